"""Sums and their relatives along axes."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence

from .. import kernels
from ..autograd import op
from ..backend import Array, namespace
from ..errors import ShapeError
from ..tensor import Tensor
from .arithmetic import astype, div, equal, full_like, less_equal
from .elementwise import exp
from .shape import broadcast_to, reshape, summed

__all__ = ["cross_entropy", "cross_entropy_grad", "log_softmax", "logsumexp", "max", "mean", "min", "normalise",
           "normalise_grad", "softmax", "sum", "sum_of_squares", "var"]

Axes = int | Sequence[int] | None


def _normalised(ndim: int, axis: Axes) -> tuple[int, ...]:
    """The axes as non-negative numbers; all of them for None."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, Sequence) else (axis,)
    if wrong := [a for a in axes if not -ndim <= a < ndim]:
        raise ShapeError(f"axis {wrong[0]} does not exist in a tensor of {ndim} axes")
    if len(found := {a % ndim for a in axes}) < len(axes):
        raise ShapeError(f"axis {axis} names an axis of {ndim} twice")
    return tuple(sorted(found))


def _keep(t: Tensor, x: Tensor, axis: Axes) -> Tensor:
    """A reduced tensor with the reduced axes put back, of length one, so that it broadcasts against x."""
    reduced = _normalised(x.ndim, axis)
    shape = tuple(1 if i in reduced else n for i, n in enumerate(x.shape))
    return t if t.shape == shape else reshape(t, shape=shape)


def _axes(axis: Axes) -> int | tuple[int, ...] | None:
    return tuple(axis) if isinstance(axis, Sequence) else axis


@op
def sum(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """y = the sum of x over `axis` (all axes by default),  dL/dx = g broadcast to x"""
    return summed(x, _axes(axis), keepdims)


@sum.vjp
def _(g, y, x, *, axis=None, keepdims=False):
    return broadcast_to(_keep(g, x, axis), shape=x.shape)


@op
def sum_of_squares(*xs: Array) -> Array:
    """y = sum of x_i^2 over all elements of all the xs (or a list of them),  dL/dx_i = 2 g x_i"""
    return functools.reduce(operator.add, [summed(namespace(x).asarray(x * x), None, False) for x in xs])


@sum_of_squares.vjp
def _(g, y, *xs):
    return tuple(lambda x=x: 2 * g * x for x in xs)


def mean(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` divided by the number of elements summed; ShapeError where there are none."""
    count = math.prod(x.shape[a] for a in _normalised(x.ndim, axis))
    if not count:
        raise ShapeError(f"mean over axis {axis} of shape {x.shape}: there is nothing to average")
    return div(sum(x, axis=axis, keepdims=keepdims), float(count))


def var(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean of (x - mean(x))^2 over `axis`: the biased variance, as batch normalisation uses it."""
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


@op
def max(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """y = the largest element along `axis`;  equal largest elements share g"""
    return x.max(axis=_axes(axis), keepdims=keepdims)


@op
def min(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """y = the smallest element along `axis`;  equal smallest elements share g"""
    return x.min(axis=_axes(axis), keepdims=keepdims)


@max.vjp
@min.vjp
def _(g, y, x, *, axis=None, keepdims=False):
    chosen = astype(equal(x, _keep(y, x, axis)), dtype=x.dtype)
    return _keep(g, x, axis) * (chosen / sum(chosen, axis=axis, keepdims=True))


@op
def logsumexp(x: Array, *, axis: int = -1, keepdims: bool = False) -> Array:
    """y = ln sum_i e^(x_i) along `axis`, finite wherever x is,  dL/dx = g softmax(x)"""
    return kernels.logsumexp(x, axis, keepdims)


@logsumexp.vjp
def _(g, y, x, *, axis=-1, keepdims=False):
    return _keep(g, x, axis) * softmax(x, axis=axis)


@op
def softmax(x: Array, *, axis: int = -1) -> Array:
    """y_i = e^(x_i) / sum_j e^(x_j) along `axis`,  dL/dx = y (g - sum_j g_j y_j)"""
    return kernels.softmax(x, axis)


@softmax.vjp
def _(g, y, x, *, axis=-1):
    return y * (g - sum(g * y, axis=axis, keepdims=True))


@op
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """y_i = x_i - ln sum_j e^(x_j) along `axis`,  dL/dx = g - e^y sum_j g_j"""
    return kernels.log_softmax(x, axis)


@log_softmax.vjp
def _(g, y, x, *, axis=-1):
    return g - exp(y) * sum(g, axis=axis, keepdims=True)


@op
def cross_entropy(logits: Array, targets: Array) -> Array:
    """y_i = ln sum_j e^(logits_ij) - logits_i,t_i = -ln softmax(logits_i)_t_i, in nats; 0 where the target t_i < 0

    dL/dlogits_ij = g_i (softmax(logits_i)_j - [j = t_i]).  logits (N, classes), targets (N,) integers.
    """
    return kernels.cross_entropy(logits, targets)


@cross_entropy.vjp
def _(g, y, logits, targets):
    return lambda: cross_entropy_grad(g, logits, targets), None


@op
def cross_entropy_grad(g: Array, logits: Array, targets: Array) -> Array:
    """y_ij = g_i (p_ij - [j = t_i]) with p = softmax(logits), 0 where t_i < 0

    With the cotangent c: dL/dg_i = sum_j c_ij (p_ij - [j = t_i]),  dL/dlogits = g p (c - sum_j c_j p_j)
    """
    return kernels.cross_entropy_grad(g, logits, targets)


@cross_entropy_grad.vjp
def _(c, y, g, logits, targets):
    def for_g() -> Tensor:
        return sum(c * cross_entropy_grad(full_like(g, value=1.0), logits, targets), axis=1)

    def for_logits() -> Tensor:
        p = softmax(logits)
        counted = astype(less_equal(0, targets), dtype=logits.dtype)
        return reshape(g * counted, shape=(len(g), 1)) * p * (c - sum(c * p, axis=1, keepdims=True))

    return for_g, for_logits, None


@op
def normalise(x: Array, *, axis: Axes, eps: float) -> Array:
    """y = (x - m) r,  m the mean over `axis`, r = (var + eps)^(-1/2)

    dL/dx = r (g - mean(g) - y mean(g y)), means over `axis`. Ioffe & Szegedy 2015, section 3; Ba et al. 2016.
    """
    return kernels.normalise(x, axis, eps)


@normalise.vjp
def _(g, y, x, *, axis, eps):
    if _is_last(axis, x.ndim):
        return normalise_grad(g, x, eps=eps)
    r = (var(x, axis, keepdims=True) + eps) ** -0.5
    return r * (g - mean(g, axis, keepdims=True) - y * mean(g * y, axis, keepdims=True))


@op
def normalise_grad(g: Array, x: Array, *, eps: float) -> Array:
    """z = r (g - mean(g) - y mean(g y)), y = normalise(x) and r as there, means over the last axis, of length n

    With the cotangent c: dL/dg is the same function of c;  dL/dy = -r (c mean(g y) + g mean(c y)) goes back through y,
    and r^2 y / n times -sum(c (g - mean(g) - y mean(g y))) is what the change of r adds.
    """
    rows = (math.prod(x.shape[:-1]), x.shape[-1])
    return kernels.normalise_rows_grad(g.reshape(rows), x.reshape(rows), eps).reshape(x.shape)


@normalise_grad.vjp
def _(c, z, g, x, *, eps):
    def for_x() -> Tensor:
        y = normalise(x, axis=-1, eps=eps)
        r = (var(x, -1, keepdims=True) + eps) ** -0.5
        along = mean(g * y, -1, keepdims=True)
        into_y = -r * (c * along + g * mean(c * y, -1, keepdims=True))
        into_r = sum(c * (g - mean(g, -1, keepdims=True) - y * along), axis=-1, keepdims=True)
        return normalise_grad(into_y, x, eps=eps) - into_r * r * r * y * (1 / x.shape[-1])

    return lambda: normalise_grad(c, x, eps=eps), for_x


def _is_last(axis: Axes, ndim: int) -> bool:
    return ndim > 0 and _normalised(ndim, axis) == (ndim - 1,)
