"""Rung 3, cache-blocked: the same loops over blocks that fit in the cache.

Rung 2 reads all of B once for every row of A. Cut into blocks of 64 x 256 numbers (64 KiB in float32), a block of B
is read from memory once and then used for all rows of A while it is in the second-level cache; the row of C, 1 KiB,
stays in the first. What it should gain: nothing while B fits in the cache anyway, severalfold beyond. The order of
the additions to one element of C is still p = 0, 1, 2 ...

The blocks of the rows are slices, whose index begins at 0: where it may begin anywhere, Numba must allow for a negative
one, which counts from the end, and the compiler then makes no vectors. That alone costs a factor of seven.
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
                row_of_c = c[i, j0:j1]
                for p in range(p0, p1):
                    x = a[i, p]
                    row_of_b = b[p, j0:j1]
                    for j in range(row_of_c.size):
                        row_of_c[j] += x * row_of_b[j]
