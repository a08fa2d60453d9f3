"""What a metric refuses, in one line that says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError, ShapeError, UsageError

__all__ = ["as_points", "as_probabilities", "require_a", "same_width"]


def require_a(kind: type, value: Any, name: str, how: str) -> None:
    """UsageError unless `value` is a `kind`; `how` says where one comes from."""
    if not isinstance(value, kind):
        raise UsageError(f"{name} is of type {type(value).__name__}: expected a {kind.__name__}, {how}")


def as_points(x: Any, name: str, at_least: int, why: str = "") -> np.ndarray:
    """`x` as a matrix of at least so many rows of finite floats; ShapeError or DataError otherwise."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] < 1 or x.dtype.kind != "f":
        raise ShapeError(f"{name}: {x.dtype} of shape {x.shape}, expected floats (samples, features); images become "
                         "features with a feature net, or rows with x.reshape(len(x), -1)")
    if len(x) < at_least:
        came = "1 sample is" if len(x) == 1 else f"{len(x)} samples are"
        raise DataError(f"{name}: {came} too few{f', {why}' if why else ''}: give {at_least} or more")
    if bad := int(np.count_nonzero(~np.isfinite(x))):
        raise DataError(f"{name}: {bad} of {x.size} values are NaN or infinite, expected finite features; has the run "
                        "diverged?")
    return x


def as_probabilities(p: Any, name: str) -> np.ndarray:
    """`p` as float64 rows (samples, classes) that are not negative and sum to one."""
    p = as_points(p, name, 2).astype(np.float64)
    if p.min() < 0 or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise DataError(f"{name}: rows from {p.sum(1).min():g} to {p.sum(1).max():g} in sum, expected class "
                        "probabilities that sum to 1; apply a softmax to logits")
    return p / p.sum(1, keepdims=True)


def same_width(a: np.ndarray, b: np.ndarray, name_a: str, name_b: str) -> None:
    """Raise ShapeError unless both have as many features."""
    if a.shape[1] != b.shape[1]:
        raise ShapeError(f"{name_a} {a.shape} and {name_b} {b.shape}: as many features expected in both; take them "
                         "from the same feature net")
