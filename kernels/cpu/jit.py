"""How a Python loop becomes machine code: one decorator, its flags, its cache, and who is told.

With NUMBA_DISABLE_JIT=1 the same functions run as plain Python: slow, silent, and visible to a debugger and to
a coverage tool.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numba
import numpy as np
from numba.core import config, event
from numba.core.compiler import Compiler
from numba.extending import register_jitable

from .cache import PrivateCache

__all__ = ["CONTRACT", "DISABLED", "EXACT", "LOOSE", "NO_ALLOCATION", "Kernel", "NoOverlap", "announce_compilation",
           "jit", "jit_formula", "jit_part", "quiet"]

EXACT: frozenset[str] = frozenset()
"""Every operation rounded as IEEE 754 says, in the written order: the same bits on every device."""

CONTRACT = frozenset({"contract"})
"""a * b + c may be one rounding (a fused multiply-add); nothing is reordered, so error analysis still holds."""

LOOSE = frozenset({"contract", "reassoc", "arcp", "afn", "nsz"})
"""Sums may be reordered and divisions shared. Without "nnan" and "ninf", which break isnan and isfinite."""

MAY_ALLOCATE: dict[str, Any] = {"_nrt": True, "no_cfunc_wrapper": True}
NO_ALLOCATION: dict[str, Any] = {"_nrt": False, "no_cfunc_wrapper": True}
"""Numba's switch for its run-time memory manager. The other one leaves out a way in from C, which nobody takes."""

DISABLED = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]
"""Whether Numba leaves everything to Python."""

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class NoOverlap(Compiler):
    """Numba's pipeline, with the promise that the arrays given do not overlap where one is written."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


def jit(
    fastmath: Collection[str] = EXACT, allocates: bool = False, apart: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a loop over arrays: compiled at its first call, with NumPy's error model, cached on disk.

    error_model="numpy" lets a division by 0 give inf. Python's would raise, and the hidden test at every
    division keeps LLVM from vectorising the loop. Without `allocates` the loop makes no arrays of its own, so
    that Numba need not count who uses the given ones: a call with five arrays takes half the time. `apart` promises
    that the arrays do not overlap: a short loop over several is then a few vectors, with nothing compared before.
    """
    options = MAY_ALLOCATE if allocates else NO_ALLOCATION  # said either way: what a loop calls inherits the switch
    if apart:
        options = {**options, "pipeline_class": NoOverlap}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if DISABLED:
            return quiet(function)
        dispatcher: Any = numba.njit(function, error_model="numpy", fastmath=set(fastmath) or False, **options)
        dispatcher._cache = PrivateCache(function, repr((sorted(fastmath), apart)))
        return dispatcher

    return decorate


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code does not warn of overflow, nor does the same code in plain Python."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments)

    return call


def jit_part(
    fastmath: Collection[str] = EXACT, allocates: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a loop that only other jitted loops call. It stays an ordinary Python function.

    `jit` would also write what Python needs to call it, and keep that on disk: more to compile than a short loop.
    """
    memory = MAY_ALLOCATE if allocates else NO_ALLOCATION
    return register_jitable(error_model="numpy", fastmath=set(fastmath) or False, **memory)


def jit_formula(function: Callable[..., Any], fastmath: Collection[str] = EXACT) -> Callable[..., Any]:
    """Let jitted loops call the scalar function, always inlined. It stays an ordinary Python function."""
    options = {"error_model": "numpy", "fastmath": set(fastmath) or False, "forceinline": True,
               "no_cfunc_wrapper": True}
    return register_jitable(**options)(function)


def require_dtype(name: str, dtype: np.dtype, known: Collection[np.dtype] = _FLOATS) -> None:
    """TypeError, which names the kernel, unless the dtype is known."""
    if dtype not in known:
        raise TypeError(f"{name}: expected an array of {' or '.join(map(str, known))}, got {dtype}")


class Kernel(dict[np.dtype, Callable[..., Any]]):
    """One kernel for float32 and float64: `kernel[x.dtype](...)`, compiled when first looked up.

    `make(dtype)` gives the loop in Python. `arguments` describes what it takes by the letters of `types_of`. What is
    stored is the compiled entry point itself: it costs half of Numba's dispatcher, and takes a read-only array without
    compiling a second time. The caller must pass what `arguments` promises.
    """

    def __init__(
        self,
        name: str,
        arguments: str,
        make: Callable[[np.dtype], Callable[..., Any]],
        dtypes: Collection[np.dtype] = _FLOATS,
    ) -> None:
        super().__init__()
        self.name = name
        self.arguments = arguments
        self.make = make
        self.dtypes = dtypes

    def __missing__(self, dtype: np.dtype) -> Callable[..., Any]:
        require_dtype(self.name, dtype, self.dtypes)
        loop = self[dtype] = entry_point(self.make(dtype), types_of(self.arguments, dtype))
        return loop


def types_of(arguments: str, dtype: np.dtype) -> tuple[Any, ...]:
    """The types that the letters stand for: `a` a contiguous vector, `c` a contiguous matrix, `m` any matrix,
    `s` and `t` a stack of those, `n` a contiguous vector of int64, `d` a float64, `i` an int64, `u` a uint64.
    """
    number, array = numba.from_dtype(dtype), numba.types.Array
    types = {"a": array(number, 1, "C"), "c": array(number, 2, "C"), "m": array(number, 2, "A"),
             "s": array(number, 3, "C"), "t": array(number, 3, "A"), "n": array(numba.int64, 1, "C"),
             "d": numba.float64, "i": numba.int64, "u": numba.uint64}  # fmt: skip
    return tuple(types[letter] for letter in arguments)


def entry_point(dispatcher: Any, signature: tuple[Any, ...]) -> Callable[..., Any]:
    """Compile for these types, and return the compiled function itself; what is not jitted is returned as it is."""
    if not isinstance(dispatcher, numba.core.dispatcher.Dispatcher):
        return dispatcher
    dispatcher.compile(signature)
    overloads: dict[Any, Any] = dispatcher.overloads
    return overloads[signature].entry_point


class _FirstCompile(event.Listener):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell: Callable[[str], None] | None = tell

    def on_start(self, event: Any) -> None:
        tell, self.tell = self.tell, None
        if tell is not None:
            tell(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event: Any) -> None:
        """Part of Numba's interface: the end is not news."""


@contextlib.contextmanager
def announce_compilation(tell: Callable[[str], None]) -> Iterator[None]:
    """Within this context, call `tell(name)` once, just before the first kernel is compiled.

    A kernel found in the cache is not compiled, so a warm run says nothing.
    """
    with event.install_listener("numba:compile", _FirstCompile(tell)):
        yield
