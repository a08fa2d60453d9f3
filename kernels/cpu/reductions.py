"""Reductions: sums, and what is made of sums along axes.

A long sum of float32 numbers, added one to the next, loses a digit for every ten times that it gets longer. Here
the numbers are added in blocks (of 512 along a row, of 32 down a column), several partial sums at a time, and the
sums of the blocks are added with compensation: what each addition rounds away is kept and added at the end
(Neumaier 1974; Higham 2002, section 4.3). The error is that of a block, however long the sum.

All take arrays of any shape and strides, float32 or float64, and return a new C-contiguous array of the dtype.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import scalar, scalar64
from . import elementwise as _elementwise  # noqa: F401 - importing it lets compiled loops call the formulas
from .jit import CONTRACT, EXACT, LOOSE, Kernel, jit, jit_part

__all__ = ["largest_of", "log_softmax", "logsumexp", "normalise", "softmax", "sum"]

Array = NDArray[Any]
Axes = int | Sequence[int] | None

_BLOCK = 512  # numbers of a row
_ROWS = 32  # of a column


# --- sums -------------------------------------------------------------------------------------------------------
#
# The innermost loops take arrays and run over all of them: that is what the compiler makes vectors of.


@jit_part(LOOSE)
def _block_sum(x: Array) -> Any:
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@jit_part(LOOSE)
def _block_of_squares(x: Array, mean: Any) -> Any:
    total = x.dtype.type(0)
    for i in range(x.size):
        d = x[i] - mean
        total += d * d
    return total


@jit_part(EXACT)
def _rounded_away(a: Any, b: Any, total: Any) -> Any:
    """What total = a + b has lost, exactly."""
    return (a - total) + b if abs(a) >= abs(b) else (b - total) + a


@jit_part(EXACT)
def _row_sum(x: Array) -> Any:
    total = lost = x.dtype.type(0)
    for i in range(0, x.size, _BLOCK):
        part, before = _block_sum(x[i : i + _BLOCK]), total
        total = before + part
        lost += _rounded_away(before, part, total)
    return total + lost if np.isfinite(total) else total


@jit_part(EXACT)
def _row_of_squares(x: Array, mean: Any) -> Any:
    """The sum of (x_i - mean)^2: all of one sign, so that blocks suffice."""
    total = x.dtype.type(0)
    for i in range(0, x.size, _BLOCK):
        total += _block_of_squares(x[i : i + _BLOCK], mean)
    return total


@jit_part(EXACT)
def _set(x: Array, value: float) -> None:
    for j in range(x.size):
        x[j] = value


@jit_part(EXACT)
def _add(total: Array, x: Array) -> None:
    for j in range(total.size):
        total[j] += x[j]


@jit_part(EXACT)
def _add_with_care(total: Array, lost: Array, x: Array) -> None:
    for j in range(total.size):
        before = total[j]
        after = before + x[j]
        lost[j] += _rounded_away(before, x[j], after)
        total[j] = after


@jit_part(EXACT, allocates=True)
def _column_sums(x: Array, n: int, out: Array) -> None:
    """out = the sums of the columns of x, a matrix of n columns."""
    lost, part = np.empty(n, x.dtype), np.empty(n, x.dtype)
    _set(out, 0)
    _set(lost, 0)
    for first in range(0, x.size, _ROWS * n):
        _set(part, 0)
        for row in range(first, min(first + _ROWS * n, x.size), n):
            _add(part, x[row : row + n])
        _add_with_care(out, lost, part)
    for j in range(n):
        out[j] = out[j] + lost[j] if np.isfinite(out[j]) else out[j]


@jit(EXACT)
def _sum_loop(x: Array, outer: int, m: int, n: int, out: Array) -> None:
    """out (outer, n) = x (outer, m, n) summed over its middle axis."""
    for o in range(outer):
        block = x[o * m * n : (o + 1) * m * n]
        if n == 1:
            out[o] = _row_sum(block)
        else:
            _column_sums(block, n, out[o * n : (o + 1) * n])


# --- exponentials -------------------------------------------------------------------------------------------------


def largest_of(dtype: np.dtype) -> Callable[..., Any]:
    """largest(x): the largest number of a row, -inf of nothing; one that is NaN may be passed over.

    By the bits of the floats: read as integers they have the same order, once those of negative numbers are turned
    around. A maximum of integers the compiler makes vectors of; with floats it would have to keep the NaN in order.
    """
    integer, mask, sign = (np.int32, 0x7FFFFFFF, 31) if dtype == np.float32 else (np.int64, 0x7FFFFFFFFFFFFFFF, 63)
    all_but_sign, shift, number = integer(mask), integer(sign), dtype.type
    lowest: Any = integer(np.array(-np.inf, dtype).view(integer)) ^ all_but_sign

    @jit_part(EXACT)
    def turned(bits: Any) -> Any:
        return integer(bits ^ (bits >> shift & all_but_sign))  # Numba computes in 64 bits

    @jit_part(EXACT)
    def largest(x: Array) -> Any:
        bits = x.view(integer)
        top = lowest
        for i in range(bits.size):
            candidate = turned(bits[i])
            top = candidate if candidate > top else top
        return integer(turned(top)).view(number)

    return largest


def _rows_of_exp(exp: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """out = e^(x - top) along a row, and the sum of that without keeping it."""

    @jit_part(CONTRACT)
    def exp_from(x: Array, top: Any, out: Array) -> None:
        for i in range(x.size):
            out[i] = exp(x[i] - top)

    @jit_part(LOOSE)
    def block(x: Array, top: Any) -> Any:
        total = x.dtype.type(0)
        for i in range(x.size):
            total += exp(x[i] - top)
        return total

    @jit_part(EXACT)
    def sum_of_exp(x: Array, top: Any) -> Any:
        total = x.dtype.type(0)
        for i in range(0, x.size, _BLOCK):
            total += block(x[i : i + _BLOCK], top)
        return total

    return exp_from, sum_of_exp


def _columns_of_exp(exp: Callable[..., Any]) -> Callable[..., None]:
    """columns_of_exp(x, n, tops, out): out = e^(x - tops), tops the largest of each of the n columns of x."""

    @jit_part(EXACT)
    def raise_to(tops: Array, x: Array) -> None:
        for j in range(tops.size):
            tops[j] = x[j] if x[j] > tops[j] else tops[j]

    @jit_part(CONTRACT)
    def exp_from(x: Array, tops: Array, out: Array) -> None:
        for j in range(tops.size):
            out[j] = exp(x[j] - tops[j])

    @jit_part(EXACT)
    def columns_of_exp(x: Array, n: int, tops: Array, out: Array) -> None:
        _set(tops, -np.inf)
        for row in range(0, x.size, n):
            raise_to(tops, x[row : row + n])
        for row in range(0, x.size, n):
            exp_from(x[row : row + n], tops, out[row : row + n])

    return columns_of_exp


def _softmax_loop(dtype: np.dtype, exp: Callable[..., Any], log: Callable[..., Any]) -> Callable[..., None]:
    largest, columns_of_exp = largest_of(dtype), _columns_of_exp(exp)
    exp_from, _ = _rows_of_exp(exp)

    @jit(EXACT, allocates=True)
    def softmax_loop(x: Array, outer: int, m: int, n: int, out: Array) -> None:
        tops, sums = np.empty(n, x.dtype), np.empty(n, x.dtype)
        for o in range(outer):
            block, y = x[o * m * n : (o + 1) * m * n], out[o * m * n : (o + 1) * m * n]
            if n == 1:
                exp_from(block, largest(block), y)
                _divide(y, _row_sum(y))
                continue
            columns_of_exp(block, n, tops, y)
            _column_sums(y, n, sums)
            for row in range(0, y.size, n):
                _divide_by_each(y[row : row + n], sums)

    return softmax_loop


def _log_softmax_loop(dtype: np.dtype, exp: Callable[..., Any], log: Callable[..., Any]) -> Callable[..., None]:
    largest, columns_of_exp = largest_of(dtype), _columns_of_exp(exp)
    _, sum_of_exp = _rows_of_exp(exp)

    @jit_part(EXACT)
    def subtract(x: Array, top: Any, rest: Any, out: Array) -> None:
        for i in range(x.size):
            out[i] = (x[i] - top) - rest

    @jit_part(EXACT)
    def subtract_each(x: Array, tops: Array, rests: Array, out: Array) -> None:
        for j in range(x.size):
            out[j] = (x[j] - tops[j]) - rests[j]

    @jit(CONTRACT, allocates=True)
    def log_softmax_loop(x: Array, outer: int, m: int, n: int, out: Array) -> None:
        tops, rests = np.empty(n, x.dtype), np.empty(n, x.dtype)
        for o in range(outer):
            block, y = x[o * m * n : (o + 1) * m * n], out[o * m * n : (o + 1) * m * n]
            if n == 1:
                top = largest(block)
                subtract(block, top, log(sum_of_exp(block, top)), y)
                continue
            columns_of_exp(block, n, tops, y)
            _column_sums(y, n, rests)
            for j in range(n):
                rests[j] = log(rests[j])
            for row in range(0, y.size, n):
                subtract_each(block[row : row + n], tops, rests, y[row : row + n])

    return log_softmax_loop


def _logsumexp_loop(dtype: np.dtype, exp: Callable[..., Any], log: Callable[..., Any]) -> Callable[..., None]:
    largest = largest_of(dtype)
    _, sum_of_exp = _rows_of_exp(exp)

    @jit(CONTRACT)
    def logsumexp_loop(x: Array, m: int, out: Array) -> None:
        for i in range(out.size):
            row = x[i * m : (i + 1) * m]
            top = largest(row)
            if not np.isfinite(top):
                top = x.dtype.type(0)
            out[i] = log(sum_of_exp(row, top)) + top

    return logsumexp_loop


# --- normalisation ----------------------------------------------------------------------------------------------


@jit_part(EXACT)
def _divide(x: Array, by: Any) -> None:
    for i in range(x.size):
        x[i] /= by


@jit_part(EXACT)
def _divide_by_each(x: Array, by: Array) -> None:
    for j in range(x.size):
        x[j] /= by[j]


@jit_part(EXACT)
def _scale_row(x: Array, mean: Any, spread: Any, out: Array) -> None:
    for j in range(x.size):
        out[j] = (x[j] - mean) / spread


@jit_part(EXACT)
def _scale_columns(x: Array, means: Array, spreads: Array, out: Array) -> None:
    for j in range(x.size):
        out[j] = (x[j] - means[j]) / spreads[j]


@jit_part(EXACT)
def _deviations(x: Array, means: Array, out: Array) -> None:
    for j in range(x.size):
        d = x[j] - means[j]
        out[j] = d * d


@jit_part(EXACT, allocates=True)
def _normalise_columns(x: Array, n: int, count: Any, floor: Any, out: Array) -> None:
    means, spreads = np.empty(n, x.dtype), np.empty(n, x.dtype)
    _column_sums(x, n, means)
    _divide(means, count)
    for row in range(0, x.size, n):
        _deviations(x[row : row + n], means, out[row : row + n])
    _column_sums(out, n, spreads)
    for j in range(n):
        spreads[j] = np.sqrt(spreads[j] / count + floor)
    for row in range(0, x.size, n):
        _scale_columns(x[row : row + n], means, spreads, out[row : row + n])


@jit(EXACT)
def _normalise_loop(x: Array, outer: int, m: int, n: int, eps: float, out: Array) -> None:
    """out = (x - mean) / sqrt(variance + eps) along the middle axis of (outer, m, n)."""
    floor, count = x.dtype.type(eps), x.dtype.type(m)
    for o in range(outer):
        block, y = x[o * m * n : (o + 1) * m * n], out[o * m * n : (o + 1) * m * n]
        if n == 1:
            mean = _row_sum(block) / count
            _scale_row(block, mean, np.sqrt(_row_of_squares(block, mean) / count + floor), y)
        else:
            _normalise_columns(block, n, count, floor, y)


def _with_formulas(loop: Callable[..., Callable[..., None]]) -> Callable[[np.dtype], Callable[..., None]]:
    def make(dtype: np.dtype) -> Callable[..., None]:
        formulas = (scalar if dtype == np.float32 else scalar64).FORMULAS
        return loop(dtype, formulas["exp"], formulas["log"])

    return make


_sum = Kernel("sum", "aiiia", lambda dtype: _sum_loop)
_softmax = Kernel("softmax", "aiiia", _with_formulas(_softmax_loop))
_log_softmax = Kernel("log_softmax", "aiiia", _with_formulas(_log_softmax_loop))
_logsumexp = Kernel("logsumexp", "aia", _with_formulas(_logsumexp_loop))
_normalise = Kernel("normalise", "aiiida", lambda dtype: _normalise_loop)


# --- over any axes ----------------------------------------------------------------------------------------------


def sum(x: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    """y = the sum of x over `axis`, all axes by default."""
    plan = _plan(x.shape, axis if axis is None or type(axis) is int else _hashable(axis))
    out = np.empty(plan.kept if keepdims else plan.reduced, x.dtype)
    loop = _sum[x.dtype]
    if out.size:
        loop(_laid_out(x, plan), plan.outer, plan.m, plan.n, out.ravel())
    return out


def logsumexp(x: Array, axis: int = -1, keepdims: bool = False) -> Array:
    """y = ln sum_i e^(x_i) along `axis`, finite wherever x is; -inf of nothing."""
    plan = _plan(x.shape, operator.index(axis))
    out = np.empty(plan.kept if keepdims else plan.reduced, x.dtype)
    rows = x if plan.n == 1 else np.moveaxis(x, axis, -1)
    _logsumexp[x.dtype](rows.ravel(), plan.m, out.ravel())
    return out


def softmax(x: Array, axis: int = -1) -> Array:
    """y_i = e^(x_i) / sum_j e^(x_j) along `axis`."""
    plan = _plan(x.shape, operator.index(axis))
    out = np.empty(x.shape, x.dtype)
    loop = _softmax[x.dtype]
    if x.size:
        loop(x.ravel(), plan.outer, plan.m, plan.n, out.ravel())
    return out


def log_softmax(x: Array, axis: int = -1) -> Array:
    """y_i = x_i - ln sum_j e^(x_j) along `axis`."""
    plan = _plan(x.shape, operator.index(axis))
    out = np.empty(x.shape, x.dtype)
    loop = _log_softmax[x.dtype]
    if x.size:
        loop(x.ravel(), plan.outer, plan.m, plan.n, out.ravel())
    return out


def normalise(x: Array, axis: Axes, eps: float) -> Array:
    """y = (x - m) / sqrt(v + eps), m the mean and v the mean of (x - m)^2 over `axis`."""
    plan = _plan(x.shape, axis if axis is None or type(axis) is int else _hashable(axis))
    out = np.empty(x.size, x.dtype)
    loop = _normalise[x.dtype]
    if x.size:
        loop(_laid_out(x, plan), plan.outer, plan.m, plan.n, eps, out)
    if plan.order is None:
        return out.reshape(x.shape)
    shape = [x.shape[i] for i in plan.order]
    return np.ascontiguousarray(out.reshape(shape).transpose(np.argsort(plan.order)))


class _Plan(NamedTuple):
    """An array seen as (outer, m, n), of which m is reduced; `order` transposes it first, where that is needed."""

    outer: int
    m: int
    n: int
    order: tuple[int, ...] | None
    reduced: tuple[int, ...]
    kept: tuple[int, ...]
    """The shape of the result, without the reduced axes and with each of length 1."""


@functools.lru_cache(1024)
def _plan(shape: tuple[int, ...], axis: int | tuple[int, ...] | None) -> _Plan:
    ndim = len(shape)
    axes = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"axis {a} does not exist in an array of {ndim} axes")
    gone = sorted({a % ndim for a in axes})
    if len(gone) < len(axes):
        raise ValueError(f"axis {axis} names an axis twice")
    stay = [i for i in range(ndim) if i not in gone]
    first, end = (gone[0], gone[-1] + 1) if gone else (ndim, ndim)
    order = None
    if end - first > len(gone):  # axes that stay lie between
        order = (*stay, *gone)
        first, end = len(stay), ndim
    sizes = shape if order is None else [shape[i] for i in order]
    outer, m, n = math.prod(sizes[:first]), math.prod(sizes[first:end]), math.prod(sizes[end:])
    reduced = tuple(shape[i] for i in stay)
    return _Plan(outer, m, n, order, reduced, tuple(1 if i in gone else size for i, size in enumerate(shape)))


def _hashable(axis: Sequence[int] | int) -> tuple[int, ...]:
    return tuple(axis) if isinstance(axis, Sequence) else (operator.index(axis),)


def _laid_out(x: Array, plan: _Plan) -> Array:
    return x.ravel() if plan.order is None else x.transpose(plan.order).ravel()
