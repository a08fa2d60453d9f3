"""From one call of Python to a whole product on one thread: what compiled code can decide is decided here.

A row of 100 times 100 x 128 takes a third of a microsecond, and so does a handful of Python's operations. So Python
passes the arrays as they are; how they are packed, that a column is computed as a row, and what a bias means to a
sum that goes on, is found here in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from ..indirect import make_indirect
from ..jit import EXACT, jit, jit_part
from .micro_kernel import FROM_BIAS, FROM_C, FROM_ZERO
from .pack import ALONG, ELEMENTS, STRAIGHT, TURNED

__all__ = ["AS_NEEDED", "BOTH", "BY_SIZE", "make_stack", "make_whole"]

Array = NDArray[Any]

AS_NEEDED, BOTH, BY_SIZE = range(3)
"""What to pack: only what cannot be read in place; both operands; or what a measured rule says."""

_ALONG_ROWS = 3  # up to so many rows, turning B costs more than the product
_KIB = 1024


@jit_part(EXACT)
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


@jit_part(EXACT)
def fits(c: Array, a: Array, b: Array, bias: Array) -> bool:
    """Whether there is anything to compute, the shapes match, and C overlaps with nothing."""
    m, n = c.shape
    k = a.shape[1]
    if a.shape[0] != m or b.shape != (k, n) or m * n * k == 0 or bias.size not in (0, n):
        return False
    low, first = c.ctypes.data, bias.ctypes.data
    high = low + c.size * c.itemsize
    of_bias = bias.size == 0 or first + bias.size * bias.itemsize <= low or high <= first
    return of_bias and apart(a, low, high) and apart(b, low, high)


@jit_part(EXACT)
def begin(c: Array, bias: Array, goes_on: int) -> int:
    """What the sums start from; a bias that they cannot start from is in C afterwards."""
    m, n = c.shape
    if bias.size and (goes_on or n == 1):
        for i in range(m):
            for j in range(n):
                c[i, j] = bias[j] + (c[i, j] if goes_on else 0)
        return FROM_C
    return FROM_C if goes_on else FROM_BIAS if bias.size else FROM_ZERO


def make_whole(product: Callable[..., None], share: Callable[..., None]) -> Callable[..., bool]:
    """whole(address, fork, worker, team, q, c, a, b, bias, goes_on, packing, activation, slope, asks):
    C = activation(A B + bias) by `product`, in parts (see `share`) unless the team is 0.

    `address` is that of the compiled product; q has a row to pack into for each part. With `goes_on` C is added. An
    empty bias is none. Returns False, with nothing done, where A or B is not aligned; and with `asks` where it does
    not fit. Then Python asks why.
    """
    call = make_indirect(product)

    @jit_part(EXACT)
    def run(
        address: int, fork: int, worker: int, team: int, q: Array, c: Array, start: int, bias: Array, a: Array,
        b: Array, packing: int, activation: int, slope: float,
    ) -> None:  # fmt: skip
        how_a, how_b = packing_of(a, b, packing)
        if team:
            share(fork, worker, team, address, c, start, bias, a, b, how_a, how_b, q, activation, slope)
        else:
            m, n = c.shape
            call(address, (c, 0, m, 0, n, start, bias, a, b, how_a, how_b, q[0], activation, slope))

    @jit(EXACT)
    def whole(
        address: int, fork: int, worker: int, team: int, q: Array, c: Array, a: Array, b: Array, bias: Array,
        goes_on: int, packing: int, activation: int, slope: float, asks: int,
    ) -> bool:  # fmt: skip
        if (asks and not fits(c, a, b, bias)) or not (aligned(a) and aligned(b)):
            return False
        start = begin(c, bias, goes_on)
        if c.shape[1] == 1:  # a column is computed as a row: C^T = B^T A^T
            c, a, b = c.reshape(1, c.shape[0]), b.T, a.T
        run(address, fork, worker, team, q, c, start, bias, a, b, packing, activation, slope)
        return True

    return whole


def make_stack(whole: Callable[..., bool]) -> Callable[..., bool]:
    """stack(address, q, c, a, b, bias, packing): `whole` for each matrix of three stacks, in compiled code."""

    @jit(EXACT)
    def stack(address: int, q: Array, c: Array, a: Array, b: Array, bias: Array, packing: int) -> bool:
        for i in range(c.shape[0]):
            if not whole(address, 0, 0, 0, q, c[i], a[i], b[i], bias, 0, packing, 0, 0.0, 0):
                return False  # already at the first: what is not aligned is so throughout
        return True

    return stack
