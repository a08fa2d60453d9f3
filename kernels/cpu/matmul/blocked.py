"""Rung 3, cache-blocked: the same loops over blocks that fit in the cache.

Rung 2 reads all of B once for every row of A. Cut into blocks of 64 x 256 numbers (64 KiB in float32), a block of B
is read from memory once and then used for all rows of A while it is in the second-level cache; the row of C, 1 KiB,
stays in the first. What it should gain: nothing while B fits in the cache anyway, severalfold beyond. The order of
the additions to one element of C is still p = 0, 1, 2 ...
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..jit import CONTRACT, jit

__all__ = ["blocked"]

Array = NDArray[Any]

_DEPTH, _COLUMNS = 64, 256


@jit(CONTRACT)
def blocked(c: Array, a: Array, b: Array) -> None:
    """C += A B, block by block of B."""
    m, k = a.shape
    n = b.shape[1]
    for j0 in range(0, n, _COLUMNS):
        j1 = min(j0 + _COLUMNS, n)
        for p0 in range(0, k, _DEPTH):
            p1 = min(p0 + _DEPTH, k)
            for i in range(m):
                for p in range(p0, p1):
                    x = a[i, p]
                    for j in range(j0, j1):
                        c[i, j] += x * b[p, j]
