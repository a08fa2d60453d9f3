"""Rung 7, parallel: each thread computes its own rows, or its own columns, of C.

No two threads write the same number and none waits for another, so nothing but the memory is shared: with t threads
it should gain t-fold, less the few microseconds that starting them costs, which is why small products stay with one.
Since every element is one chain of additions, the result is the same in every bit for every number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..host import Tile
from ..indirect import make_handover, make_indirect
from ..jit import EXACT, jit_part
from ..team import call_fork, make_worker

__all__ = ["make_sharing"]

Array = NDArray[Any]

_LEAST_ROWS = 3
"""So many rows take as long as fewer: loading a row of B takes as long as to multiply it by three numbers of A."""
_PACKING = 16
"""How many multiply-adds take as long as to pack a number."""


def make_sharing(
    product: Callable[..., None], dtype: np.dtype, tile: Tile
) -> tuple[Callable[..., None], Callable[[], Any]]:
    """share(fork, worker, team, address, c, start, bias, a, b, how_a, how_b, q, activation, slope), and its worker.

    The product at this address computes C in as many parts as q, which it packs into, has rows; the rest is as in
    `product`.
    """
    number, integer, array = numba.from_dtype(dtype), numba.int64, numba.types.Array
    kinds = (
        integer, integer, array(number, 2, "C"), integer, array(number, 1, "C"), array(number, 2, "A"),
        array(number, 2, "A"), integer, integer, array(number, 2, "C"), integer, numba.float64,
    )  # fmt: skip
    call = make_indirect(product)
    hold, held = make_handover(kinds)
    width = tile.width

    @jit_part(EXACT)
    def by_rows(c: Array, k: int, how_a: int, how_b: int, parts: int) -> bool:
        """Whether to compute its rows takes a thread no longer than its columns. What all need, each packs."""
        m, n = c.shape
        vectors = (n + width - 1) // width
        rows = max(_LEAST_ROWS, (m + parts - 1) // parts) * vectors * width * k + _PACKING * k * n * (how_b > 0)
        columns = max(_LEAST_ROWS, m) * ((vectors + parts - 1) // parts) * width * k + _PACKING * k * m * (how_a > 0)
        return rows <= columns

    @jit_part(EXACT)
    def part_of(
        part: int, address: int, unit: int, c: Array, start: int, bias: Array, a: Array, b: Array, how_a: int,
        how_b: int, q: Array, activation: int, slope: float,
    ) -> None:  # fmt: skip
        """One part: rows of C where the unit is 1, else columns by vectors."""
        m, n = c.shape
        total = m if unit == 1 else n
        units, parts = (total + unit - 1) // unit, q.shape[0]
        first, end = min(total, unit * (part * units // parts)), min(total, unit * ((part + 1) * units // parts))
        i0, i1, j0, j1 = (first, end, 0, n) if unit == 1 else (0, m, first, end)
        if first < end:
            call(address, (c, i0, i1, j0, j1, start, bias, a, b, how_a, how_b, q[part], activation, slope))

    @jit_part(EXACT)
    def share(
        fork: int, worker: int, team: int, address: int, c: Array, start: int, bias: Array, a: Array, b: Array,
        how_a: int, how_b: int, q: Array, activation: int, slope: float,
    ) -> None:  # fmt: skip
        parts = q.shape[0]
        unit = 1 if by_rows(c, a.shape[1], how_a, how_b, parts) else width
        given = hold((address, unit, c, start, bias, a, b, how_a, how_b, q, activation, slope))
        call_fork(fork, (worker, given, parts, team))

    return share, make_worker(part_of, held, kinds)
