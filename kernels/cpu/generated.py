"""Loops that a program wrote: compiled for given types, once for all programs that hold the same loop.

`compile_loop` knows a loop by its byte code and constants, not by its name, in memory and in the cache on disk.
The compiler is told that no two arrays overlap where one is written, so that it makes vectors without checking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

from . import elementwise  # noqa: F401 - importing it lets compiled loops call the formulas
from .cache import PrivateCache
from .indirect import compiled_address
from .jit import CONTRACT, DISABLED, LOOSE, NO_ALLOCATION, NoOverlap, jit_formula, quiet

__all__ = ["compile_loop", "native", "plus"]


def _plus(total: Any, x: Any) -> Any:
    return total + x


plus = jit_formula(_plus, LOOSE)
"""total + x in an order that the compiler may choose: many partial sums at once."""


class _LoopCache(PrivateCache):
    """Knows a loop by what it does."""

    def __init__(self, description: str) -> None:
        self._description = description


_compiled: dict[tuple[str, str], Callable[..., None]] = {}
_native: dict[Callable[..., None], tuple[Any, tuple[Any, ...]]] = {}  # dispatcher and types, by entry point


def compile_loop(function: Callable[..., None], types: str) -> Callable[..., None]:
    """The compiled entry point for arguments of these types, such as "float32[:, :], float64": arrays contiguous."""
    if DISABLED:
        return quiet(function)
    code = function.__code__
    description = repr((code.co_code, code.co_consts, code.co_names, code.co_argcount))  # not the names of variables
    found = _compiled.get((description, types))
    if found is None:
        # Machine code from the cache is linked by name, and needs a module that can be imported.
        function.__module__ = __name__
        function.__name__ = function.__qualname__ = f"loop_{hashlib.sha256(description.encode()).hexdigest()[:16]}"
        dispatcher: Any = numba.njit(
            function, error_model="numpy", fastmath=set(CONTRACT), pipeline_class=NoOverlap, **NO_ALLOCATION
        )
        dispatcher._cache = _LoopCache(description)
        signature = tuple(map(_numba_type, types.split(";")))
        dispatcher.compile(signature)
        assert isinstance(dispatcher, Dispatcher)
        found = _compiled[description, types] = dispatcher.overloads[signature].entry_point  # type: ignore[attr-defined]
        _native[found] = dispatcher, signature
    return found


def native(loop: Callable[..., None]) -> tuple[int, tuple[Any, ...]]:
    """The address of the machine code behind an entry point of `compile_loop`, and the types that it takes."""
    dispatcher, signature = _native[loop]
    return compiled_address(dispatcher, signature), signature


def _numba_type(text: str) -> Any:
    name, _, dimensions = text.strip().partition("[")
    element = numba.from_dtype(np.dtype(name))
    return numba.types.Array(element, dimensions.count(":"), "C") if dimensions else element
