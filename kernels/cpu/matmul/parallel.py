"""Rung 7, parallel: each thread computes its own rows, or its own columns, of C.

No two threads write the same number and none waits for another, so nothing but the memory is shared: with t threads
it should gain t-fold, less the few microseconds that starting them costs, which is why small products stay with one.
Since every element is one chain of additions, the result is the same in every bit for every number of threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from numba import prange
from numba.core import config
from numpy.typing import NDArray

from ..cache import PrivateCache
from .host import Tile
from .indirect import make_indirect

__all__ = ["make_shared_product", "team_of"]

Array = NDArray[Any]

_DISABLED = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]


def make_shared_product(product: Callable[..., None], dtype: np.dtype, tile: Tile) -> Callable[..., None]:
    """shared(address, parts, by_rows, c, start, ..., q, ...): `product` in so many parts.

    `address` is that of the compiled product; each part has a row of q to itself.
    """
    call = make_indirect(product)
    row_unit, column_unit = tile.rows, tile.width

    def shared(
        address: int, parts: int, by_rows: int, c: Array, start: int, bias: Array, a: Array, b: Array,
        how_a: int, how_b: int, q: Array, activation: int, slope: float,
    ) -> None:  # fmt: skip
        m, n = c.shape
        unit = row_unit if by_rows else column_unit
        total = m if by_rows else n
        units = (total + unit - 1) // unit
        for part in prange(parts):
            t = np.int64(part)  # Numba counts without a sign, and unsigned times signed is a float
            begin = min(total, unit * (t * units // parts))
            end = min(total, unit * ((t + 1) * units // parts))
            i0, i1, j0, j1 = (begin, end, 0, n) if by_rows else (0, m, begin, end)
            if begin < end:
                rest = (how_a, how_b, q[t], activation, slope)
                call(address, (c, i0, i1, j0, j1, start, bias, a, b, *rest))

    if _DISABLED:
        return shared
    dispatcher: Any = numba.njit(shared, parallel=True, error_model="numpy")
    dispatcher._cache = PrivateCache(shared, f"parallel {dtype} {tile}")
    return dispatcher


_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def team_of(threads: int) -> Iterator[None]:
    """Within this context Numba uses so many threads, for this caller alone.

    Alone, because Numba's plainest layer, `workqueue`, aborts the process when a second caller enters; and because two
    callers with a team each would be twice as many threads as were asked for.
    """
    with _one_at_a_time:
        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        try:
            yield
        finally:
            numba.set_num_threads(before)
