"""Rung 4, register tile: four rows of C at once.

In rung 3 each multiply-add takes two loads and a store. Here a number of B, once loaded, serves four rows of A, and
four steps of p are added before C is stored: 16 multiply-adds for 8 loads and 4 stores, of vectors, since the
compiler still makes vectors of the loop over j. What it should gain: two- to threefold. What limits it: C still
goes through the cache every four steps. To keep it in registers all along, one has to say which: the next rung.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..jit import CONTRACT, jit

__all__ = ["register_tile"]

Array = NDArray[Any]

_DEPTH, _COLUMNS = 64, 256


@jit(CONTRACT)
def _tile_4x4(c: Array, a: Array, b: Array, i: int, j0: int, j1: int, p: int) -> None:
    """C[i : i + 4, j0 : j1] += A[i : i + 4, p : p + 4] B[p : p + 4, j0 : j1]."""
    a00, a01, a02, a03 = a[i, p], a[i, p + 1], a[i, p + 2], a[i, p + 3]
    a10, a11, a12, a13 = a[i + 1, p], a[i + 1, p + 1], a[i + 1, p + 2], a[i + 1, p + 3]
    a20, a21, a22, a23 = a[i + 2, p], a[i + 2, p + 1], a[i + 2, p + 2], a[i + 2, p + 3]
    a30, a31, a32, a33 = a[i + 3, p], a[i + 3, p + 1], a[i + 3, p + 2], a[i + 3, p + 3]
    c0, c1, c2, c3 = c[i, j0:j1], c[i + 1, j0:j1], c[i + 2, j0:j1], c[i + 3, j0:j1]
    r0, r1, r2, r3 = b[p, j0:j1], b[p + 1, j0:j1], b[p + 2, j0:j1], b[p + 3, j0:j1]
    for j in range(c0.size):
        b0, b1, b2, b3 = r0[j], r1[j], r2[j], r3[j]
        c0[j] = c0[j] + a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
        c1[j] = c1[j] + a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
        c2[j] = c2[j] + a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
        c3[j] = c3[j] + a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


@jit(CONTRACT)
def _rest(c: Array, a: Array, b: Array, i0: int, i1: int, j0: int, j1: int, p0: int, p1: int) -> None:
    """The rows and steps that do not fill a tile."""
    for i in range(i0, i1):
        row_of_c = c[i, j0:j1]
        for p in range(p0, p1):
            x = a[i, p]
            row_of_b = b[p, j0:j1]
            for j in range(row_of_c.size):
                row_of_c[j] += x * row_of_b[j]


@jit(CONTRACT)
def register_tile(c: Array, a: Array, b: Array) -> None:
    """C += A B, in tiles of 4 rows and 4 steps."""
    m, k = a.shape
    n = b.shape[1]
    whole = m // 4 * 4
    for j0 in range(0, n, _COLUMNS):
        j1 = min(j0 + _COLUMNS, n)
        for p0 in range(0, k, _DEPTH):
            p1 = min(p0 + _DEPTH, k)
            last = p1 - (p1 - p0) % 4
            for i in range(0, whole, 4):
                for p in range(p0, last, 4):
                    _tile_4x4(c, a, b, i, j0, j1, p)
                _rest(c, a, b, i, i + 4, j0, j1, last, p1)
            _rest(c, a, b, whole, m, j0, j1, p0, p1)
