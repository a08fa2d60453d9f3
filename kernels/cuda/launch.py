"""The launch arithmetic: what grid, block and macros a kernel needs, in plain Python.

Nothing here knows a GPU, so all of it is tested without one. A rung of the matmul ladder is a row of `RUNGS`; its
constants are those of its source, and a test holds the two together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "BEST",
    "OLDEST",
    "RUNGS",
    "Launch",
    "Operand",
    "Rung",
    "elementwise_launch",
    "matmul_launch",
    "operand",
    "reduction_launch",
    "slices_of",
]

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

MOST_BLOCKS_X = 2**31 - 1
MOST_BLOCKS_Y = 65535
MOST = 2**31 - 2**15  # an int holds it, and the end of the tile that it is in, and of empty slices of k behind it
OLDEST = (7, 0)
"""The compute capability from which on every rung without tensor cores runs."""

Dims = tuple[int, int, int]


@dataclass(frozen=True)
class Launch:
    """How to start a kernel. No block at all (`empty`) means that there is nothing to compute."""

    grid: Dims
    block: Dims
    defines: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return 0 in self.grid

    def with_defines(self, *defines: str) -> Launch:
        """The same launch of a source with more macros."""
        return dataclasses.replace(self, defines=(*self.defines, *defines))


@dataclass(frozen=True)
class Operand:
    """A matrix in memory: the distance between rows and between columns, in numbers."""

    row_stride: int
    col_stride: int


def operand(array: Any, transpose: bool = False) -> Operand:
    """The strides of a two-dimensional array, or of its transpose, on whatever device it is."""
    row, col = (stride // array.itemsize for stride in array.strides)
    return Operand(col, row) if transpose else Operand(row, col)


@dataclass(frozen=True)
class Rung:
    """One step of the matmul ladder. A block computes `rows` x `cols` of C, `depth` numbers of k at a time.

    `oriented`: the source has a macro for the direction of each operand. `epilogue`: it takes bias, activation
    and accumulate. `raster`: blocks have one number, in patches, instead of two. `small`: rows (and columns) of
    the tile for a C of few tiles, and `small_threads` its block's. `sliced`: with small tiles, the grid's rows may
    each take a slice of k. `words`: 4-byte words of a panel's line, for the tensor cores.
    """

    name: str
    rows: int
    cols: int
    depth: int
    block: Dims
    dtypes: tuple[np.dtype, ...] = (FLOAT32, FLOAT64)
    capability: tuple[int, int] = OLDEST
    oriented: bool = False
    epilogue: bool = False
    raster: bool = False
    small: int = 0
    small_threads: int = 0
    sliced: bool = False
    words: int = 0


_ORIENTED: dict[str, Any] = dict(oriented=True, epilogue=True, dtypes=(FLOAT32,))
_TENSOR: dict[str, Any] = dict(raster=True, small=64, small_threads=128, words=16, capability=(8, 0), **_ORIENTED)

RUNGS: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        Rung("naive", 16, 16, 1, (16, 16, 1)),
        Rung("coalesced", 16, 16, 1, (16, 16, 1)),
        Rung("shared_tile", 32, 32, 32, (32, 32, 1)),
        Rung("register_tile_1d", 64, 64, 8, (512, 1, 1)),
        Rung("register_tile_2d", 128, 128, 8, (256, 1, 1)),
        Rung("vectorised", 128, 128, 8, (256, 1, 1), **_ORIENTED),
        Rung("warp_tile", 128, 128, 16, (256, 1, 1), raster=True, small=64, small_threads=64,
             sliced=True, **_ORIENTED),
        Rung("tensor_core_tf32", 128, 128, 16, (128, 1, 1), **_TENSOR),
        Rung("tensor_core_bf16", 128, 128, 32, (128, 1, 1), **_TENSOR),
    )
}
"""The ladder, from the first rung to the last."""

BEST: dict[np.dtype, str] = {FLOAT32: "warp_tile", FLOAT64: "register_tile_2d"}
"""The highest rung that computes in the dtype itself."""

_PROCESSORS = 108  # of an A100, for whoever does not ask the GPU


def _tiles(length: int, tile: int) -> int:
    return -(-length // tile)


def _in_small_tiles(rung: Rung, m: int, n: int, processors: int) -> bool:
    """Whether large tiles of C[m, n] are fewer than the processors, and the rung has a smaller one."""
    return rung.small > 0 and _tiles(m, rung.rows) * _tiles(n, rung.cols) < processors


_SLICE, _LONG = 64, 256  # numbers of k in a slice, and from how many on it is worth a second kernel: estimates


def slices_of(rung: Rung, m: int, n: int, k: int, processors: int = _PROCESSORS) -> int:
    """Into how many slices of k a rung's blocks share out C[m, n], so that few tiles keep more processors busy.

    At most two blocks for each: a small tile's has two warps, and a multiprocessor can start four at once.
    """
    if not rung.sliced or 0 in (m, n) or k < _LONG or not _in_small_tiles(rung, m, n, processors):
        return 1
    tiles = _tiles(m, rung.small) * _tiles(n, rung.small)
    return max(1, min(k // _SLICE, 2 * processors // tiles))


def _along_k(k_stride: int, line_stride: int) -> bool:
    """Whether neighbours along k are neighbours in memory, or at least nearer than neighbours along a line."""
    return k_stride == 1 or (line_stride != 1 and abs(k_stride) <= abs(line_stride))


def matmul_launch(
    rung: Rung,
    m: int,
    n: int,
    k: int,
    a: Operand,
    b: Operand,
    dtype: np.dtype = FLOAT32,
    activation: str | None = None,
    processors: int = _PROCESSORS,
    slices: int = 1,
) -> Launch:
    """The launch of C[m, n] = A[m, k] B[k, n] on a rung.

    `activation` is the expression in x that the macro ACTIVATION(x) stands for. `processors` is the GPU's number
    of multiprocessors: with fewer large tiles than that, a rung that has a small tile uses it. With `slices` of k, the
    result is as many matrices, one after the other, to be added up: see `slices_of`.

    Raises ValueError for a size that an int does not hold, a C of more tiles than a grid, or an epilogue that the rung
    has not; TypeError for a dtype that it has not.
    """
    if dtype not in rung.dtypes:
        raise TypeError(f"matmul rung {rung.name!r} computes in {_names(rung.dtypes)}, got {dtype}")
    if not all(0 <= size <= MOST for size in (m, n, k)):
        raise ValueError(f"matmul: sizes from 0 to {MOST} expected, got m={m}, n={n}, k={k}")
    if activation is not None and not rung.epilogue:
        raise ValueError(f"matmul rung {rung.name!r} has no epilogue: use one of {_with_epilogue()}")
    rows, cols, threads = rung.rows, rung.cols, rung.block
    if _in_small_tiles(rung, m, n, processors):
        rows = cols = rung.small
        threads = (rung.small_threads, 1, 1)
    along_k = (_along_k(a.col_stride, a.row_stride), _along_k(b.row_stride, b.col_stride))
    defines = [] if dtype == FLOAT32 else ["REAL=double"]
    if rung.oriented:
        defines += [f"A_ALONG_K={int(along_k[0])}", f"B_ALONG_K={int(along_k[1])}"]
    if rung.small:
        defines.append(f"PANEL={rows}")
    if activation is not None:
        defines.append(f"ACTIVATION(x)={activation}")
    grid = _grid(rung, _tiles(m, rows), _tiles(n, cols))
    if slices > 1:
        if not rung.sliced or rows != rung.small:
            raise ValueError(f"matmul rung {rung.name!r}: no slices of k with tiles of {rows} x {cols}")
        grid = (grid[0], slices, 1)
    return Launch(grid, threads, tuple(defines))


def _grid(rung: Rung, down: int, across: int) -> Dims:
    """Row tiles go to x, which may be long; y may not."""
    x, y = (down * across, 1) if rung.raster else (down, across)
    if x > MOST_BLOCKS_X or y > MOST_BLOCKS_Y:
        raise ValueError(f"matmul rung {rung.name!r}: {down} x {across} tiles are more than a grid holds")
    return x, y, 1


def _names(dtypes: Sequence[np.dtype]) -> str:
    return " or ".join(map(str, dtypes))


def _with_epilogue() -> str:
    return ", ".join(name for name, rung in RUNGS.items() if rung.epilogue)


ELEMENTWISE_THREADS = 256
_WAVES = 8  # blocks a multiprocessor: enough threads to hide the latency of memory


def elementwise_launch(n: int, processors: int = _PROCESSORS) -> Launch:
    """A grid whose threads walk over n numbers in strides: no more blocks than keep the GPU busy."""
    blocks = min(_tiles(n, ELEMENTWISE_THREADS), _WAVES * processors)
    return Launch((blocks, 1, 1), (ELEMENTWISE_THREADS, 1, 1))


REDUCTION_THREADS = 256


def reduction_launch(x: int, y: int = 1) -> Launch:
    """x by y blocks, each of which reduces its part by a tree of 256 threads. Raises ValueError beyond a grid."""
    if x > MOST_BLOCKS_X or y > MOST_BLOCKS_Y:
        raise ValueError(f"reduction: {x} x {y} blocks are more than a grid holds")
    return Launch((x, y, 1), (REDUCTION_THREADS, 1, 1))
