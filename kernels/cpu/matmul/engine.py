"""From arrays to the compiled product: which loops, which packing, how many threads, into which buffers."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from .driver import make_product
from .epilogue import ACTIVATIONS
from .host import Tile, tile_for
from .indirect import address_of_overload
from .micro_kernel import FROM_BIAS, FROM_C, FROM_ZERO
from .pack import ALONG, ELEMENTS, STRAIGHT, TURNED
from .parallel import make_shared_product, one_at_a_time

__all__ = ["AS_NEEDED", "BOTH", "BY_SIZE", "entry_point", "multiply"]

Array = NDArray[Any]

AS_NEEDED, BOTH, BY_SIZE = range(3)
"""What to pack: only what cannot be read in place; both operands; or what a measured rule says."""

_DEPTH, _TILES, _PANELS = 512, 32, 22
"""Blocks: kc, tiles of A (in float32 with AVX-512: 512 KiB), panels of B (2 MiB). A smaller kc adds to C more often,
which costs a tenth at 2048 cubed; without packing, it makes no difference."""

_ALONG_ROWS = 3  # up to so many rows, turning B costs more than the product
_KIB = 1024

_PRODUCT = "ciiiiiammiiiiimmid"
_SHARED = "iiiciammiiiiissid"


class Engine(NamedTuple):
    """The compiled loops of one dtype."""

    tile: Tile
    product: Callable[..., None]
    nothing: Array
    no_bias: Array


def signature(arguments: str, dtype: np.dtype) -> tuple[Any, ...]:
    """The types that the letters stand for: `c` a contiguous matrix, `m` any matrix, `s` a stack of contiguous ones,
    `a` a contiguous vector, `i` an int64, `d` a float64.
    """
    number = numba.from_dtype(dtype)
    types = {
        "a": numba.types.Array(number, 1, "C"),
        "c": numba.types.Array(number, 2, "C"),
        "m": numba.types.Array(number, 2, "A"),
        "s": numba.types.Array(number, 3, "C"),
        "i": numba.int64,
        "d": numba.float64,
    }
    return tuple(types[letter] for letter in arguments)


def entry_point(dispatcher: Any, arguments: str, dtype: np.dtype) -> Callable[..., None]:
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


class _Engines(dict[np.dtype, Engine]):
    """The engine of each dtype, compiled when first looked up."""

    def __missing__(self, dtype: np.dtype) -> Engine:
        tile, product = _loops(dtype)
        entry = entry_point(product, _PRODUCT, dtype)
        engine = self[dtype] = Engine(tile, entry, np.zeros((0, 0), dtype), np.zeros(0, dtype))
        return engine


_engines = _Engines()


@functools.cache
def _shared_product(dtype: np.dtype) -> Callable[..., None]:
    """`product` by its address, on several threads; `_engine` has compiled it."""
    tile, product = _loops(dtype)
    address = address_of_overload(product, signature(_PRODUCT, dtype)) if isinstance(product, Dispatcher) else 0
    return functools.partial(entry_point(make_shared_product(product, dtype, tile), _SHARED, dtype), address)


class _Buffers(threading.local):
    """Memory for packed operands, kept between calls: fresh pages would cost more than the packing.

    Each is as large as the loops ever need; the system hands out pages only as they are first written.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[np.dtype, int], tuple[Array, Array]] = {}

    def take(self, tile: Tile, dtype: np.dtype, parts: int) -> tuple[Array, Array]:
        """qa and qb for so many parts, on 64-byte boundaries, valid until the next call in this thread."""
        found = self.kept.get((dtype, parts))
        if found is None:
            qa = _aligned((parts, _DEPTH * _TILES, tile.rows), dtype)
            qb = _aligned((parts, _DEPTH * _PANELS, tile.width * tile.vectors), dtype)
            found = self.kept[dtype, parts] = (qa, qb) if parts > 1 else (qa[0], qb[0])
        return found


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> Array:
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    at = -memory.ctypes.data % 64
    return memory[at : at + size].view(dtype).reshape(shape)


_buffers = _Buffers()


def multiply(
    c: Array, a: Array, b: Array, bias: Array | None, accumulate: bool, activation: str | None, slope: float,
    packing: int, threads: int,
) -> None:  # fmt: skip
    """C = activation(A B), or with `accumulate` activation(C + A B), plus bias; C contiguous, bias as well.

    Shapes and dtypes agree; no array is empty but for k = 0.
    """
    engine = _engines[c.dtype]
    (m, n), k = c.shape, a.shape[1]
    code = ACTIVATIONS[activation]
    if not (a.flags.aligned and b.flags.aligned):
        a, b = np.array(a), np.array(b)
    start = FROM_C if accumulate else FROM_ZERO
    if bias is None:
        bias = engine.no_bias
    elif accumulate or n == 1:
        c[...] = c + bias if accumulate else bias
        start = FROM_C
    else:
        start = FROM_BIAS
    if n == 1 and m > 1:  # a column is computed as a row: C^T = B^T A^T
        c, a, b, m, n = c.reshape(1, -1), b.T, a.T, 1, m
    how_a, how_b = _packing(a, b, m, n, k, packing)
    if threads > 1:
        _in_parallel(engine, c, start, bias, a, b, how_a, how_b, code, slope, threads)
        return
    qa = qb = engine.nothing
    if how_a or 0 < how_b < ALONG:
        qa, qb = _buffers.take(engine.tile, c.dtype, 1)
    engine.product(
        c, 0, m, 0, n, start, bias, a, b, how_a, how_b, _DEPTH, _TILES, _PANELS, qa, qb, code, slope,
    )  # fmt: skip


def _packing(a: Array, b: Array, m: int, n: int, k: int, packing: int) -> tuple[int, int]:
    """How A and B are packed; 0 where they are read from where they lie.

    Packing moves k (m + n) numbers to speed up m k n multiply-adds: it pays where the other side is long, and where
    the operand is too large for the inner cache to forgive its layout.
    """
    a_row, a_column = a.strides
    b_row, b_column = b.strides
    size = a.itemsize
    if b_column == size or n == 1:
        pays = packing == BY_SIZE and m >= 384 and k * n * size >= 512 * _KIB
        how_b = STRAIGHT if packing == BOTH or pays else 0
    elif b_row == size or k == 1:
        if m <= _ALONG_ROWS and packing != BOTH and (a_column == size or k == 1):
            return 0, ALONG
        how_b = TURNED
    else:
        how_b = ELEMENTS
    if packing == AS_NEEDED:
        return 0, how_b
    turned = a_column == size
    if packing == BY_SIZE and (n < 384 or m * k * size < (4096 if turned else 1024) * _KIB):
        return 0, how_b
    return TURNED if turned else STRAIGHT if a_row == size else ELEMENTS, how_b


def _in_parallel(
    engine: Engine, c: Array, start: int, bias: Array, a: Array, b: Array, how_a: int, how_b: int,
    activation: int, slope: float, threads: int,
) -> None:  # fmt: skip
    m, n = c.shape
    # Cut where fewer numbers are packed, and read, by every thread again.
    by_rows = m * (4 if how_a else 1) >= n * (4 if how_b else 1) and m >= threads * engine.tile.rows
    qa, qb = _buffers.take(engine.tile, c.dtype, threads)
    shared = _shared_product(c.dtype)
    with one_at_a_time:
        shared(
            threads, by_rows, c, start, bias, a, b, how_a, how_b, _DEPTH, _TILES, _PANELS, qa, qb, activation, slope,
        )  # fmt: skip
