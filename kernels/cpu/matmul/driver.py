"""The loops around the micro-kernel: C in tiles, k in blocks, operands packed or straight from where they lie.

The order of the loops is that of Goto & van de Geijn (Anatomy of High-Performance Matrix Multiplication, ACM TOMS
34, 2008): a block of B stays in the outer cache while all of A passes, a panel of it in the inner cache while the
row blocks pass, a tile of C in registers while k passes. Cuts are balanced: 33 rows are 7 + 7 + 7 + 6 + 6, not
4 x 8 + 1, because the last tile of one row would take almost as long as one of eight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..host import Tile
from ..jit import CONTRACT, jit, jit_part
from .dot import DOT_ROWS, make_dot
from .epilogue import LEAKY, make_epilogue
from .micro_kernel import FROM_BIAS, FROM_C, make_tile
from .pack import ALONG, make_packer
from .transpose import make_copy, make_transpose

__all__ = ["buffer_size", "make_product"]

Array = NDArray[Any]

_DEPTH, _TILES, _PANELS = 512, 32, 22
"""Blocks: steps of k, tiles of A (in float32 with AVX-512: 512 KiB), panels of B (2 MiB). A smaller depth adds to C
more often, which costs a tenth at 2048 cubed; without packing, it makes no difference."""

_NEAR = 1 << 20
"""Bytes of operands up to which C is taken to be in the outer cache."""


def buffer_size(tile: Tile) -> int:
    """How many numbers `product` packs at a time."""
    return _DEPTH * (_TILES * tile.rows + _PANELS * tile.width * tile.vectors)


@jit_part()
def _begin(block: int, size: int, larger: int) -> int:
    """Where a block begins, when the first `larger` blocks are of size + 1 and all others of `size`."""
    return block * size + min(block, larger)


def make_product(dtype: np.dtype, tile: Tile) -> Callable[..., None]:
    """The compiled product for one dtype: C[i0:i1, j0:j1] = activation(start + A[i0:i1] B[:, j0:j1]).

    product(c, i0, i1, j0, j1, start, bias, a, b, how_a, how_b, q, activation, slope)

    `start` as in `micro_kernel`. `how_a` and `how_b` say how the operands are packed (see `pack`; 0: not at all), a
    block at a time, into q, of `buffer_size` numbers. C is contiguous, and not empty. With how_b == ALONG the vectors
    run along k instead (see `dot`): for few rows, and rows of A and columns of B contiguous.
    """
    kc, row_blocks, panels = _DEPTH, _TILES, _PANELS
    micro = make_tile(dtype, tile)
    pack = make_packer(make_copy(dtype, tile.width), tile.width, make_transpose(dtype, tile.width), tile.width)
    pack_left = make_packer(make_copy(dtype, tile.rows), tile.rows, make_transpose(dtype, tile.rows), tile.rows)
    one_dot, some_dots = make_dot(dtype, tile, 1), make_dot(dtype, tile, DOT_ROWS)
    epilogue = make_epilogue(dtype)
    most_rows, low_rows, most_vectors, width = tile.rows, tile.low, tile.vectors, tile.width
    wide = tile.wide + (tile.vectors,) * (tile.rows - len(tile.wide))

    @jit_part(CONTRACT)
    def along(
        c: Array, i0: int, i1: int, j0: int, j1: int, start: int, bias: Array, a: Array, w: Array
    ) -> None:
        whole = j1 - (j1 - j0) % DOT_ROWS
        for i in range(i0, i1):
            if start != FROM_C:
                for j in range(j0, j1):
                    c[i, j] = bias[j] if start == FROM_BIAS else 0
            for j in range(j0, whole, DOT_ROWS):
                some_dots(c, i, j, a, i, w, j, a.shape[1])
            for j in range(whole, j1):
                one_dot(c, i, j, a, i, w, j, a.shape[1])

    @jit(CONTRACT)
    def product(
        c: Array, i0: int, i1: int, j0: int, j1: int, start: int, bias: Array, a: Array, b: Array,
        how_a: int, how_b: int, q: Array, activation: int, slope: float,
    ) -> None:  # fmt: skip
        if how_b == ALONG:
            along(c, i0, i1, j0, j1, start, bias, a, b.T)
            if activation:
                epilogue(c, i0, i1, j0, j1, activation, slope)
            return
        m, n, k = i1 - i0, j1 - j0, a.shape[1]
        high = most_rows if how_a or how_b else low_rows
        tiles = (m + high - 1) // high
        vectors = (n + width - 1) // width
        most = most_vectors if how_b else wide[(m + tiles - 1) // tiles - 1]
        strips = (vectors + most - 1) // most
        steps = max(1, (k + kc - 1) // kc)
        far = (c.size + a.size + b.size) * c.itemsize > _NEAR
        tile, taller, strip, wider = m // tiles, m % tiles, vectors // strips, vectors % strips
        qa = q[: kc * row_blocks * most_rows].reshape((kc * row_blocks, most_rows))
        qb = q[kc * row_blocks * most_rows :].reshape((kc * panels, width * most_vectors))
        left, right = (qa.T if how_a else a), (qb if how_b else b)
        for first_strip in range(0, strips, panels):
            end_strip = min(first_strip + panels, strips)
            for step in range(steps):
                p, end_p = _begin(step, k // steps, k % steps), _begin(step + 1, k // steps, k % steps)
                depth = end_p - p
                origin = start if step == 0 else FROM_C
                if how_b:
                    for s in range(first_strip, end_strip):
                        j, end_j = j0 + width * _begin(s, strip, wider), j0 + width * _begin(s + 1, strip, wider)
                        pack(qb, (s - first_strip) * kc, b, p, j, depth, min(end_j, j1) - j, how_b)
                for first_tile in range(0, tiles, row_blocks):
                    end_tile = min(first_tile + row_blocks, tiles)
                    if how_a:
                        for t in range(first_tile, end_tile):
                            i, end_i = i0 + _begin(t, tile, taller), i0 + _begin(t + 1, tile, taller)
                            pack_left(qa, (t - first_tile) * kc, a.T, p, i, depth, end_i - i, how_a)
                    for s in range(first_strip, end_strip):
                        j, end_j = j0 + width * _begin(s, strip, wider), j0 + width * _begin(s + 1, strip, wider)
                        columns = min(end_j, j1) - j
                        pb, jb = ((s - first_strip) * kc, 0) if how_b else (p, j)
                        for t in range(first_tile, end_tile):
                            i, end_i = i0 + _begin(t, tile, taller), i0 + _begin(t + 1, tile, taller)
                            ia, pa = (0, (t - first_tile) * kc) if how_a else (i, p)
                            micro(
                                end_i - i, columns, c, i, j, origin, bias, left, ia, pa, right, pb, jb, depth,
                                activation == LEAKY and step == steps - 1, slope, far,
                            )  # fmt: skip
                    if activation > LEAKY and step == steps - 1:  # for all strips at once: long rows make good vectors
                        i, end_i = i0 + _begin(first_tile, tile, taller), i0 + _begin(end_tile, tile, taller)
                        j, end_j = _begin(first_strip, strip, wider), _begin(end_strip, strip, wider)
                        epilogue(c, i, end_i, j0 + width * j, min(j0 + width * end_j, j1), activation, slope)

    return product
