"""Rung 1, naive: three nested loops, as the definition reads.

    C[i, j] = sum over p of A[i, p] B[p, j]

Every step of the inner loop waits for the addition before it (4 cycles), and jumps one row further down B, so each
number that it uses costs a cache line of 64 bytes. Around 1 % of what the processor can do; less where B no longer
fits in the cache. This is the explanation that all other rungs must agree with.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..jit import CONTRACT, jit

__all__ = ["naive"]

Array = NDArray[Any]


@jit(CONTRACT)
def naive(c: Array, a: Array, b: Array) -> None:
    """C += A B, the sum in one number."""
    m, k = a.shape
    n = b.shape[1]
    for i in range(m):
        for j in range(n):
            total = c[i, j]
            for p in range(k):
                total += a[i, p] * b[p, j]
            c[i, j] = total
