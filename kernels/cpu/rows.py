"""Kernels over the rows of a matrix: the gradient of normalisation; the cross-entropy of a softmax and its gradient;
rows added to rows.

A row is read from the cache again after it was reduced, where NumPy would pass over the whole matrix for every
operation. All take C-contiguous or other arrays, float32 or float64, and return a new array, or fill the given one
where their name ends in `_into`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import scalar, scalar64
from . import elementwise  # noqa: F401 - importing it lets compiled loops call the formulas
from .jit import CONTRACT, EXACT, LOOSE, Kernel, jit
from .reductions import largest_of

__all__ = ["add_rows", "cross_entropy", "cross_entropy_grad", "cross_entropy_grad_into", "cross_entropy_into",
           "normalise_rows_grad"]

Array = NDArray[Any]


@jit(LOOSE)
def _sum(x: Array) -> float:
    total = x.dtype.type(0)
    for j in range(x.size):
        total += x[j]
    return total


@jit(LOOSE)
def _sum_of_products(x: Array, y: Array) -> float:
    total = x.dtype.type(0)
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@jit(LOOSE)
def _sum_of_squares(x: Array, mean: float) -> float:
    total = x.dtype.type(0)
    for j in range(x.size):
        total += (x[j] - mean) * (x[j] - mean)
    return total


@jit(CONTRACT)
def _standardise(x: Array, eps: float, out: Array) -> float:
    """out = (x - mean) r, and r = (var + eps)^(-1/2)."""
    number = x.dtype.type
    share = number(1) / number(x.size)
    mean = _sum(x) * share
    r = number(1) / np.sqrt(_sum_of_squares(x, mean) * share + number(eps))
    for j in range(x.size):
        out[j] = (x[j] - mean) * r
    return r


@jit(CONTRACT)
def _normalise_rows_grad(g: Array, x: Array, eps: float, out: Array) -> None:
    share = x.dtype.type(1) / x.dtype.type(x.shape[1])
    for i in range(x.shape[0]):
        row, back = out[i], g[i]
        r = _standardise(x[i], eps, row)
        mean, along = _sum(back) * share, _sum_of_products(back, row) * share
        for j in range(row.size):
            row[j] = r * (back[j] - mean - row[j] * along)


def _make_terms(dtype: np.dtype) -> tuple[Callable[..., Any], Callable[..., Any]]:
    formulas = (scalar if dtype == np.float32 else scalar64).FORMULAS
    exp, log, largest = formulas["exp"], formulas["log"], largest_of(dtype)

    @jit(LOOSE)
    def total_of(x: Array, high: float) -> float:
        total = x.dtype.type(0)
        for j in range(x.size):
            total += exp(x[j] - high)
        return total

    @jit(CONTRACT)
    def log_total(x: Array) -> tuple[float, float]:
        """(m, ln sum_j e^(x_j - m)) of a row: apart, because their sum would lose digits. m is the largest, or 0 where
        that is infinite.
        """
        high = largest(x)
        if not np.isfinite(high):
            high = x.dtype.type(0)
        return high, log(total_of(x, high))

    return exp, log_total


def _make_cross_entropy(dtype: np.dtype) -> Callable[..., Any]:
    _, log_total = _make_terms(dtype)

    @jit(CONTRACT)
    def loss(logits: Array, targets: Array, out: Array) -> None:
        for i in range(targets.size):
            if targets[i] < 0:
                out[i] = 0
            else:
                high, rest = log_total(logits[i])
                out[i] = rest + (high - logits[i, targets[i]])

    return loss


def _make_cross_entropy_grad(dtype: np.dtype) -> Callable[..., Any]:
    exp, log_total = _make_terms(dtype)

    @jit(CONTRACT)
    def gradient(g: Array, logits: Array, targets: Array, out: Array) -> None:
        for i in range(targets.size):
            row, x, weight = out[i], logits[i], g[i]
            if targets[i] < 0:
                row[:] = 0
            else:
                high, rest = log_total(x)
                for j in range(row.size):
                    row[j] = weight * exp((x[j] - high) - rest)
                row[targets[i]] -= weight

    return gradient


@jit(EXACT)
def _add_rows(target: Array, places: Array, values: Array) -> None:
    for i in range(places.size):
        row, value = target[places[i]], values[i]
        for j in range(row.size):
            row[j] += value[j]


_adding = Kernel("add_rows", "cnc", lambda dtype: _add_rows)
_normalise_grad = Kernel("normalise_rows_grad", "ccdc", lambda dtype: _normalise_rows_grad)
_cross_entropy = Kernel("cross_entropy", "cna", _make_cross_entropy)
_cross_entropy_grad = Kernel("cross_entropy_grad", "acnc", _make_cross_entropy_grad)


def normalise_rows_grad(g: Array, x: Array, eps: float) -> Array:
    """dL/dx = r (g - mean(g) - y mean(g y)), row by row: r = (v + eps)^(-1/2), y = `normalise`(x)."""
    x, g = _matrix("normalise_rows_grad", x), _matrix("normalise_rows_grad", g)
    _require_alike("normalise_rows_grad", g, x, x.shape)
    out = np.empty(x.shape, x.dtype)
    _normalise_grad[x.dtype](g, x, eps, out)
    return out


def cross_entropy(logits: Array, targets: Array) -> Array:
    """y_i = ln sum_j e^(logits_ij) - logits_i,targets_i, in nats: -ln p(target) of a softmax. 0 where the target < 0.

    logits (M, n), targets (M,) integers below n.
    """
    out = np.empty(logits.shape[:1], logits.dtype)
    cross_entropy_into(logits, targets, out)
    return out


def cross_entropy_into(logits: Array, targets: Array, out: Array) -> None:
    """`cross_entropy`, into the memory of `out`, C-contiguous."""
    logits, targets = _matrix("cross_entropy", logits), _targets(logits, targets)
    _cross_entropy[logits.dtype](logits, targets, out)


def cross_entropy_grad(g: Array, logits: Array, targets: Array) -> Array:
    """dL/dlogits_ij = g_i (softmax(logits_i)_j - [j = targets_i]), 0 where the target < 0; g (M,)."""
    out = np.empty(logits.shape, logits.dtype)
    cross_entropy_grad_into(g, logits, targets, out)
    return out


def cross_entropy_grad_into(g: Array, logits: Array, targets: Array, out: Array) -> None:
    """`cross_entropy_grad`, into the memory of `out`, C-contiguous."""
    logits, targets = _matrix("cross_entropy_grad", logits), _targets(logits, targets)
    _require_alike("cross_entropy_grad", g, logits, targets.shape)
    _cross_entropy_grad[logits.dtype](np.ascontiguousarray(g), logits, targets, out)


def add_rows(target: Array, places: Array, values: Array) -> None:
    """target[places[i]] += values[i] for each i in order, where a row that is named twice gets both.

    target (M, n), C-contiguous and written to; places (K,) integers from -M to M - 1; values (K, n). Raises IndexError
    for a place outside, ValueError for shapes and TypeError for dtypes that do not fit.
    """
    m, n = target.shape
    if values.shape != (places.size, n) or not target.flags.carray:
        raise ValueError(f"add_rows: values {(places.size, n)} and a contiguous target expected, got {values.shape}")
    if values.dtype != target.dtype:
        raise TypeError(f"add_rows: values of {target.dtype} expected, as the target is, got {values.dtype}")
    places = places.astype(np.int64)
    if places.size:
        low, high = places.min(), places.max()
        if low < -m or high >= m:
            raise IndexError(f"add_rows: places from {low} to {high} in {m} rows")
        if low < 0:
            places[places < 0] += m
    _adding[target.dtype](target, places, np.ascontiguousarray(values))


def _matrix(name: str, x: Array) -> Array:
    if x.ndim != 2:
        raise ValueError(f"{name}: a matrix expected, got shape {x.shape}")
    return np.ascontiguousarray(x)


def _targets(logits: Array, targets: Array) -> Array:
    if targets.shape != logits.shape[:1] or targets.dtype.kind not in "iu":
        raise ValueError(f"cross_entropy: {len(logits)} whole numbers expected as targets, got {targets.shape} "
                         f"{targets.dtype}")
    if targets.size and targets.max() >= logits.shape[1]:
        raise ValueError(f"cross_entropy: target {targets.max()}, expected below {logits.shape[1]}")
    return np.ascontiguousarray(targets, np.int64)


def _require_alike(name: str, g: Array, x: Array, shape: tuple[int, ...]) -> None:
    if g.shape != shape:
        raise ValueError(f"{name}: g of shape {shape} expected, got {g.shape}")
    if g.dtype != x.dtype:
        raise TypeError(f"{name}: g of {x.dtype} expected, got {g.dtype}")
