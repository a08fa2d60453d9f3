"""From arrays to the compiled product: which loops, which packing, how many threads, into which buffers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from .. import jit
from ..host import tile_for
from ..indirect import compiled_address
from ..team import NOBODY, one_at_a_time, team_for
from .driver import buffer_size, make_product
from .epilogue import ACTIVATIONS
from .parallel import make_sharing
from .whole import make_stack, make_whole

__all__ = ["ENGINES", "entry_point", "multiply", "multiply_stacks"]

Array = NDArray[Any]

_PRODUCT = "ciiiiiammiiaid"
_WHOLE = "iiiiccmmaiiidi"
_STACK = "icsttai"


class Engine(NamedTuple):
    """The compiled loops of one dtype, for one number of threads: what `whole` takes first, and `whole`."""

    address: int
    fork: Any
    worker: Any
    team: int
    buffer: Array
    whole: Callable[..., bool]
    no_bias: Array


def entry_point(dispatcher: Any, arguments: str, dtype: np.dtype) -> Callable[..., Any]:
    """What Python calls, compiled for the types that the letters of `types_of` stand for."""
    return jit.entry_point(dispatcher, jit.types_of(arguments, dtype))


@functools.cache
def _product(dtype: np.dtype) -> tuple[Any, Callable[..., None], Callable[[], Any]]:
    """The product, and what shares it out: see `make_sharing`."""
    tile = tile_for(dtype)
    product = make_product(dtype, tile)
    return product, *make_sharing(product, dtype, tile)


@functools.cache
def _whole(dtype: np.dtype) -> Any:
    product, share, _ = _product(dtype)
    return make_whole(product, share)


@functools.cache
def native_whole(dtype: np.dtype) -> tuple[int, tuple[Any, ...]]:
    """The address of `whole`, and the types that it takes."""
    kinds = jit.types_of(_WHOLE, dtype)
    return compiled_address(_whole(dtype), kinds), kinds


@functools.cache
def _stack(dtype: np.dtype) -> Callable[..., bool]:
    return entry_point(make_stack(_whole(dtype)), _STACK, dtype)


class _Engines(dict[tuple[np.dtype, int], Engine]):
    """The engine of each dtype and number of threads, compiled when first looked up; `get` gives only what is there."""

    def __missing__(self, key: tuple[np.dtype, int]) -> Engine:
        dtype, threads = key
        product, _, worker = _product(dtype)
        compiled = isinstance(product, Dispatcher)
        address = compiled_address(product, jit.types_of(_PRODUCT, dtype)) if compiled else 0
        (fork, team), by = (NOBODY, 0) if threads == 1 else (team_for(threads), worker())
        whole = entry_point(_whole(dtype), _WHOLE, dtype)
        if team:
            whole = one_at_a_time(whole)
        engine = self[key] = Engine(address, fork, by, team, _buffers(dtype, threads), whole, np.zeros(0, dtype))
        return engine


ENGINES = _Engines()


@functools.cache
def _buffers(dtype: np.dtype, parts: int) -> Array:
    """A row to pack operands into for each of so many parts, on 64-byte boundaries, valid until the next call.

    It is kept, because fresh pages would cost more than the packing, and as large as the loops ever need, because the
    system hands out pages only as they are first written. One for all callers is enough: no two products on as many
    threads run at once, since compiled code keeps Python's lock while it runs, and a team has its own.
    """
    shape = parts, buffer_size(tile_for(dtype))
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    at = -memory.ctypes.data % 64
    return memory[at : at + size].view(dtype).reshape(shape)


def multiply(
    c: Array, a: Array, b: Array, bias: Array | None, accumulate: bool, activation: str | None, slope: float,
    packing: int, threads: int,
) -> None:  # fmt: skip
    """C = activation(A B), or with `accumulate` activation(C + A B), plus bias; C contiguous, bias as well.

    Shapes and dtypes agree; no array is empty but for k = 0.
    """
    *loops, whole, no_bias = ENGINES[c.dtype, threads]
    if bias is None:
        bias = no_bias
    code = ACTIVATIONS[activation]
    if not whole(*loops, c, a, b, bias, accumulate, packing, code, slope, False):
        whole(*loops, c, np.array(a), np.array(b), bias, accumulate, packing, code, slope, False)


def multiply_stacks(c: Array, a: Array, b: Array, packing: int) -> None:
    """C_i = A_i B_i for each matrix of three stacks."""
    engine, stack = ENGINES[c.dtype, 1], _stack(c.dtype)
    if not stack(engine.address, engine.buffer, c, a, b, engine.no_bias, packing):
        stack(engine.address, engine.buffer, c, np.array(a), np.array(b), engine.no_bias, packing)
