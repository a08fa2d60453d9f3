"""From arrays to the compiled product: which loops, which packing, how many threads, into which buffers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from .driver import buffer_size, make_product
from .epilogue import ACTIVATIONS
from .host import Tile, tile_for
from .indirect import address_of_overload
from .micro_kernel import FROM_BIAS, FROM_C, FROM_ZERO
from .parallel import make_shared_product, team_of
from .whole import make_stack, make_whole, packing_of

__all__ = ["ENGINES", "entry_point", "multiply", "multiply_in_parallel", "multiply_stacks"]

Array = NDArray[Any]

_PRODUCT = "ciiiiiammiiaid"
_WHOLE = "icmmaiiaidi"
_STACK = "isttaiiaid"
_SHARED = "iiiciammiicid"


class Engine(NamedTuple):
    """The compiled loops of one dtype."""

    address: int
    whole: Callable[..., bool]
    no_bias: Array
    buffer: Array


def signature(arguments: str, dtype: np.dtype) -> tuple[Any, ...]:
    """The types that the letters stand for: `c` a contiguous matrix, `m` any matrix, `s` and `t` a stack of those,
    `a` a contiguous vector, `i` an int64, `d` a float64.
    """
    number = numba.from_dtype(dtype)
    types = {
        "a": numba.types.Array(number, 1, "C"),
        "c": numba.types.Array(number, 2, "C"),
        "m": numba.types.Array(number, 2, "A"),
        "s": numba.types.Array(number, 3, "C"),
        "t": numba.types.Array(number, 3, "A"),
        "i": numba.int64,
        "d": numba.float64,
    }
    return tuple(types[letter] for letter in arguments)


def entry_point(dispatcher: Any, arguments: str, dtype: np.dtype) -> Callable[..., Any]:
    """Compile for these types, and return what Python calls; a function that is not compiled is returned as it is."""
    if not isinstance(dispatcher, Dispatcher):
        return dispatcher
    kinds = signature(arguments, dtype)
    dispatcher.compile(kinds)
    overloads: dict[Any, Any] = dispatcher.overloads
    return overloads[kinds].entry_point


@functools.cache
def _loops(dtype: np.dtype) -> tuple[Tile, Any]:
    tile = tile_for(dtype)
    return tile, make_product(dtype, tile)


@functools.cache
def _whole(dtype: np.dtype) -> Any:
    return make_whole(_loops(dtype)[1])


@functools.cache
def _stack(dtype: np.dtype) -> Callable[..., bool]:
    return entry_point(make_stack(_whole(dtype)), _STACK, dtype)


class _Engines(dict[np.dtype, Engine]):
    """The engine of each dtype, compiled when first looked up; `get` gives only what is there."""

    def __missing__(self, dtype: np.dtype) -> Engine:
        _, product = _loops(dtype)
        entry_point(product, _PRODUCT, dtype)
        address = address_of_overload(product, signature(_PRODUCT, dtype)) if isinstance(product, Dispatcher) else 0
        whole = entry_point(_whole(dtype), _WHOLE, dtype)
        engine = self[dtype] = Engine(address, whole, np.zeros(0, dtype), _buffers(dtype, 1)[0])
        return engine


ENGINES = _Engines()


@functools.cache
def _shared_product(dtype: np.dtype) -> Callable[..., None]:
    """`product` by its address, on several threads."""
    tile, product = _loops(dtype)
    address = ENGINES[dtype].address
    return functools.partial(entry_point(make_shared_product(product, dtype, tile), _SHARED, dtype), address)


@functools.cache
def _packing_of(dtype: np.dtype) -> Callable[..., tuple[int, int]]:
    """`packing_of` for matrices of any layout: called as it is, Numba would compile it again for each."""
    return entry_point(packing_of, "mmi", dtype)


@functools.cache
def _buffers(dtype: np.dtype, parts: int) -> Array:
    """A row to pack operands into for each of so many parts, on 64-byte boundaries, valid until the next call.

    It is kept, because fresh pages would cost more than the packing, and as large as the loops ever need, because the
    system hands out pages only as they are first written. One for all callers is enough: compiled code keeps Python's
    lock while it runs, so no two products run at once.
    """
    shape = parts, buffer_size(tile_for(dtype))
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    at = -memory.ctypes.data % 64
    return memory[at : at + size].view(dtype).reshape(shape)


def multiply(
    c: Array, a: Array, b: Array, bias: Array | None, accumulate: bool, activation: str | None, slope: float,
    packing: int,
) -> None:  # fmt: skip
    """C = activation(A B), or with `accumulate` activation(C + A B), plus bias; C contiguous, bias as well.

    Shapes and dtypes agree; no array is empty but for k = 0.
    """
    dtype = c.dtype
    address, whole, no_bias, q = ENGINES[dtype]
    if bias is None:
        bias = no_bias
    code = ACTIVATIONS[activation]
    if not whole(address, c, a, b, bias, accumulate, packing, q, code, slope, 0):
        whole(address, c, np.array(a), np.array(b), bias, accumulate, packing, q, code, slope, 0)


def multiply_stacks(c: Array, a: Array, b: Array, packing: int) -> None:
    """C_i = A_i B_i for each matrix of three stacks."""
    dtype = c.dtype
    address, _, no_bias, q = ENGINES[dtype]
    stack = _stack(dtype)
    if not stack(address, c, a, b, no_bias, 0, packing, q, 0, 0.0):
        stack(address, c, np.array(a), np.array(b), no_bias, 0, packing, q, 0, 0.0)


def multiply_in_parallel(
    c: Array, a: Array, b: Array, bias: Array | None, accumulate: bool, activation: str | None, slope: float,
    packing: int, threads: int,
) -> None:  # fmt: skip
    """The same, on so many threads."""
    dtype = c.dtype
    if not (a.flags.aligned and b.flags.aligned):
        a, b = np.array(a), np.array(b)
    m, n = c.shape
    start = FROM_C if accumulate else FROM_ZERO
    if bias is None:
        bias = ENGINES[dtype].no_bias
    elif accumulate or n == 1:
        c[...] = c + bias if accumulate else bias
        start = FROM_C
    else:
        start = FROM_BIAS
    if n == 1 and m > 1:  # a column is computed as a row: C^T = B^T A^T
        c, a, b, m, n = c.reshape(1, -1), b.T, a.T, 1, m
    how_a, how_b = _packing_of(dtype)(a, b, packing)
    # Cut where fewer numbers are packed, and read, by every thread again.
    by_rows = m * (4 if how_a else 1) >= n * (4 if how_b else 1) and m >= threads * tile_for(dtype).rows
    q, code, shared = _buffers(dtype, threads), ACTIVATIONS[activation], _shared_product(dtype)
    with team_of(threads):
        shared(threads, by_rows, c, start, bias, a, b, how_a, how_b, q, code, slope)
