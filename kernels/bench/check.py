"""Right before fast: what is held against a kernel's result before anybody times it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["elementwise_fault", "fault", "product_fault"]

Array = NDArray[Any]


def fault(result: Array, expected: Array, tolerance: Array | float) -> str | None:
    """Why `result` is not `expected`, or None. The pattern of NaN and infinity must agree, and no number differ by
    more than `tolerance`; a comparison with NaN is false, so it is written such that false means wrong.
    """
    if result.shape != expected.shape:
        return f"shape {result.shape}, expected {expected.shape}"
    if not np.array_equal(np.isnan(result), np.isnan(expected)):
        return f"{int((np.isnan(result) != np.isnan(expected)).sum())} numbers are NaN, or should be"
    finite = np.isfinite(expected)
    if not np.array_equal(result[~finite], expected[~finite].astype(result.dtype), equal_nan=True):
        return "infinities differ"
    difference = np.abs(result[finite].astype(np.float64) - expected[finite])
    allowed = np.broadcast_to(tolerance, expected.shape)[finite]
    inside = difference <= allowed
    if inside.all():
        return None
    return f"{int((~inside).sum())} of {expected.size} numbers are off, by up to {difference.max():.2g}"


def product_fault(result: Array, a: Array, b: Array, expected: Array, rounding: float = 0.0) -> str | None:
    """The same for C = A B, with `expected` computed in float64; `rounding` is that of the operands, if coarser.

    |error| <= 10 sqrt(k) u |a_i| |b_j|, u the rounding of the dtype, |.| the length of a row and of a column: the
    bound that rounding errors obey when they are as good as random (Higham & Mary 2019, A New Approach to
    Probabilistic Rounding Error Analysis, theorem 2.4). The certain bound grows with k, and at k = 4096 it would
    let a forgotten number pass.
    """
    rounding = max(rounding, float(np.finfo(result.dtype).eps) / 2)
    rows = np.sqrt((a.astype(np.float64) ** 2).sum(axis=1))
    columns = np.sqrt((b.astype(np.float64) ** 2).sum(axis=0))
    return fault(result, expected, 10 * np.sqrt(a.shape[1]) * rounding * np.outer(rows, columns))


def elementwise_fault(result: Array, expected: Array) -> str | None:
    """The same for elementwise kernels: 16 roundings, relative to 1 or to the result, whichever is larger."""
    if result.dtype.kind != "f":
        return fault(result, expected, 0.0)
    roundings = 16 * float(np.finfo(result.dtype).eps)
    with np.errstate(invalid="ignore"):
        return fault(result, expected, roundings * np.maximum(1.0, np.abs(expected)))
