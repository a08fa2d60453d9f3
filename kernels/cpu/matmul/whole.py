"""From one call of Python to a whole product on one thread: what compiled code can decide is decided here.

A row of 100 times 100 x 128 takes a third of a microsecond, and so does a handful of Python's operations. So Python
passes the arrays as they are; how they are packed, that a column is computed as a row, and what a bias means to a
sum that goes on, is found here in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from ..jit import EXACT, jit, jit_part
from .indirect import make_indirect
from .micro_kernel import FROM_BIAS, FROM_C, FROM_ZERO
from .pack import ALONG, ELEMENTS, STRAIGHT, TURNED

__all__ = ["ANY", "AS_NEEDED", "BOTH", "BY_SIZE", "make_stack", "make_whole", "packing_of"]

Array = NDArray[Any]

AS_NEEDED, BOTH, BY_SIZE = range(3)
"""What to pack: only what cannot be read in place; both operands; or what a measured rule says."""

ANY = 1 << 62
"""So many multiply-adds that no product has more."""

_ALONG_ROWS = 3  # up to so many rows, turning B costs more than the product
_KIB = 1024


@jit(EXACT)
def packing_of(a: Array, b: Array, packing: int) -> tuple[int, int]:
    """How A and B are packed; 0 where they are read from where they lie.

    Packing moves k (m + n) numbers to speed up m k n multiply-adds: it pays where the other side is long, and where
    the operand is too large for the inner cache to forgive its layout.
    """
    (m, k), n, size = a.shape, b.shape[1], a.itemsize
    a_row, a_column = a.strides
    b_row, b_column = b.strides
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


@jit_part(EXACT)
def aligned(x: Array) -> bool:
    """Whether every number begins at a multiple of its size."""
    return (x.ctypes.data | x.strides[0] | x.strides[1]) & (x.itemsize - 1) == 0  # a division would take longer


@jit_part(EXACT)
def apart(x: Array, low: int, high: int) -> bool:
    """Whether a matrix that is not empty surely lies outside these addresses: where its rows interleave with what is
    there, this does not see it.
    """
    row, column = (x.shape[0] - 1) * x.strides[0], (x.shape[1] - 1) * x.strides[1]
    first = x.ctypes.data
    begin, end = first + min(row, 0) + min(column, 0), first + max(row, 0) + max(column, 0) + x.itemsize
    return end <= low or high <= begin


def make_whole(product: Callable[..., None]) -> Callable[..., bool]:
    """whole(address, c, a, b, bias, goes_on, packing, q, activation, slope, most):
    C = activation(A B + bias) by `product`.

    `address` is that of the compiled product; q is its buffer. With `goes_on` C is added. An empty bias is none.
    Returns False, with nothing done, where A or B is not aligned; and with `most` unless all else is as it should be:
    shapes that match, a C that overlaps with nothing, and 1 to `most` multiply-adds. Then Python asks why.
    """
    call = make_indirect(product)

    @jit(EXACT)
    def whole(
        address: int, c: Array, a: Array, b: Array, bias: Array, goes_on: int, packing: int, q: Array,
        activation: int, slope: float, most: int,
    ) -> bool:  # fmt: skip
        m, n = c.shape
        if most:
            k = a.shape[1]
            if a.shape[0] != m or b.shape != (k, n) or not 0 < m * n * k <= most or bias.size not in (0, n):
                return False
            low, first = c.ctypes.data, bias.ctypes.data
            high = low + c.size * c.itemsize
            of_bias = bias.size == 0 or first + bias.size * bias.itemsize <= low or high <= first
            if not (of_bias and apart(a, low, high) and apart(b, low, high)):
                return False
        if not (aligned(a) and aligned(b)):
            return False
        start = FROM_C if goes_on else FROM_BIAS if bias.size else FROM_ZERO
        if bias.size and (goes_on or n == 1):
            for i in range(m):
                for j in range(n):
                    c[i, j] = bias[j] + (c[i, j] if goes_on else 0)
            start = FROM_C
        if n == 1 and m > 1:  # a column is computed as a row: C^T = B^T A^T
            how_a, how_b = packing_of(b.T, a.T, packing)
            call(address, (c.reshape(1, m), 0, 1, 0, m, start, bias, b.T, a.T, how_a, how_b, q, activation, slope))
        else:
            how_a, how_b = packing_of(a, b, packing)
            call(address, (c, 0, m, 0, n, start, bias, a, b, how_a, how_b, q, activation, slope))
        return True

    return whole


def make_stack(whole: Callable[..., bool]) -> Callable[..., bool]:
    """stack(address, c, a, b, ...): `whole` for each matrix of three stacks, without going back to Python."""

    @jit(EXACT)
    def stack(
        address: int, c: Array, a: Array, b: Array, bias: Array, goes_on: int, packing: int, q: Array,
        activation: int, slope: float,
    ) -> bool:  # fmt: skip
        for i in range(c.shape[0]):
            if not whole(address, c[i], a[i], b[i], bias, goes_on, packing, q, activation, slope, 0):
                return False  # already at the first: what is not aligned is so throughout
        return True

    return stack
