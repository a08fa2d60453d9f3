"""Packing: copying a block of an operand into the order in which the micro-kernel reads it.

Where it pays: when rows of A or B lie pages apart, every step over k touches another page and the same few sets of
the cache; when B lies transposed, its rows cannot be loaded as vectors at all. Packed, a panel is one stream.

    A: panel t holds rows i0 ... of one tile, column after column:   Q[t * kc + p, r] = A[i0 + r, p0 + p]
    B: panel t holds columns j0 ... of one tile, row after row:      Q[t * kc + p, s] = B[p0 + p, j0 + s]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from ..jit import EXACT, jit_part

__all__ = ["ALONG", "ELEMENTS", "STRAIGHT", "TURNED", "make_packer"]

Array = NDArray[Any]

STRAIGHT, TURNED, ELEMENTS, ALONG = 1, 2, 3, 4
"""How a block is copied: rows by vectors; transposed in registers; one by one, whatever the strides; or not at all,
because the product takes other vectors (`dot`)."""


def make_packer(
    copy: Callable[..., None], width: int, transpose: Callable[..., None], edge: int
) -> Callable[..., None]:
    """pack(q, q0, s, i0, j0, rows, columns, how): Q[q0 + r, c] = S[i0 + r, j0 + c].

    STRAIGHT needs neighbours in a row of S adjacent in memory, TURNED neighbours in a column, ELEMENTS nothing.
    """

    @jit_part(EXACT)
    def pack(q: Array, q0: int, s: Array, i0: int, j0: int, rows: int, columns: int, how: int) -> None:
        by_vectors = columns // width * width if how == STRAIGHT else 0
        for r in range(rows if how == STRAIGHT else 0):
            for c in range(0, by_vectors, width):
                copy(q, q0 + r, c, s, i0 + r, j0 + c)
            for c in range(by_vectors, columns):
                q[q0 + r, c] = s[i0 + r, j0 + c]
        if how == STRAIGHT:
            return
        turned = s.T
        whole_rows, whole_columns = rows // edge * edge, columns // edge * edge
        if how == ELEMENTS:
            whole_columns = 0
        for c in range(0, whole_columns, edge):
            for r in range(0, whole_rows, edge):
                transpose(q, q0 + r, c, turned, j0 + c, i0 + r)
            for r in range(whole_rows, rows):
                for t in range(c, c + edge):
                    q[q0 + r, t] = s[i0 + r, j0 + t]
        for r in range(rows):
            for c in range(whole_columns, columns):
                q[q0 + r, c] = s[i0 + r, j0 + c]

    return pack
