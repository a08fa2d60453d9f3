"""Operations that move elements without changing them. Their gradients move them back."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from .. import kernels
from ..autograd import op
from ..backend import Array, add_at, as_key, device_of, namespace
from ..errors import ShapeError
from ..host import trace
from ..tensor import Tensor

__all__ = ["broadcast_to", "concatenate", "embedding", "index", "reshape", "scatter_along", "scatter_index",
           "scatter_take", "split", "stack", "sum_to", "swap_last", "take", "take_along", "transpose"]


@op
def reshape(x: Array, *, shape: int | Sequence[int]) -> Array:
    """y = x in another shape, one axis of which may be -1,  dL/dx = g in the shape of x"""
    return x.reshape(_resolve(x, (shape,) if isinstance(shape, int) else tuple(shape)))


@reshape.vjp
def _(g, y, x, *, shape):
    return reshape(g, shape=x.shape)


def _resolve(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with -1 filled in; NumPy refuses to where another axis is empty, although rows of x may say it."""
    known = math.prod(n for n in shape if n != -1)
    if shape.count(-1) == 1 and known == 0 and x.size == 0:
        return tuple(0 if n == -1 else n for n in shape)
    return shape


@op
def transpose(x: Array, *, axes: Sequence[int] | None = None) -> Array:
    """y = x with its axes permuted (reversed by default),  dL/dx = g permuted back"""
    return x.transpose(axes)


@transpose.vjp
def _(g, y, x, *, axes=None):
    if axes is None:
        return transpose(g)
    inverse = sorted(range(x.ndim), key=[a % x.ndim for a in axes].__getitem__)
    return transpose(g, axes=tuple(inverse))


@op
def swap_last(x: Array) -> Array:
    """y = x with its last two axes exchanged,  dL/dx = g exchanged back"""
    return x.swapaxes(-1, -2)


@swap_last.vjp
def _(g, y, x):
    return swap_last(g)


@op
def broadcast_to(x: Array, *, shape: Sequence[int]) -> Array:
    """y = x repeated along new and unit axes,  dL/dx = g summed over them"""
    return namespace(x).broadcast_to(x, tuple(shape))


@broadcast_to.vjp
def _(g, y, x, *, shape):
    return sum_to(g, shape=x.shape)


@op
def sum_to(x: Array, *, shape: Sequence[int]) -> Array:
    """y = x summed over the axes that broadcasting added to `shape`,  dL/dx = g broadcast"""
    shape = tuple(shape)
    axes = _broadcast_axes(shape, x.shape)
    if not axes and x.dtype.kind == "f":  # sums of integers have a type of their own
        return x.reshape(shape).copy()
    return summed(x, axes, keepdims=True).reshape(shape)


@functools.lru_cache(1024)
def _broadcast_axes(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an array of shape `to` along which one of `shape` was repeated."""
    extra = len(to) - len(shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, to[extra:], strict=True)):
        raise ShapeError(f"sum_to: shape {to} is not {shape} broadcast")
    return tuple(i for i, m in enumerate(to) if m != 1 and (i < extra or shape[i - extra] == 1))


def summed(x: Array, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
    """The sum of an array in its own float type, in an order that follows from its shape alone.

    While a step is traced it is NumPy's: the program has loops of its own for most sums, and needs no kernel compiled.
    """
    if x.dtype.kind == "f" and trace.ledger is None:
        return kernels.sum(x, axis, keepdims)
    return x.sum(axis=axis, keepdims=keepdims)


@sum_to.vjp
def _(g, y, x, *, shape):
    return broadcast_to(g, shape=x.shape)


@op
def concatenate(*xs: Array, axis: int = 0) -> Array:
    """y = the xs (or a list of them) one after the other along `axis`,  dL/dx_i = its part of g"""
    return namespace(*xs).concatenate(xs, axis=axis)


@concatenate.vjp
def _(g, y, *xs, axis=0):
    def part(i: int) -> Tensor:
        start = sum(x.shape[axis] for x in xs[:i])
        return g[_along(g.ndim, axis, slice(start, start + xs[i].shape[axis]))]

    return tuple(lambda i=i: part(i) for i in range(len(xs)))


@op
def stack(*xs: Array, axis: int = 0) -> Array:
    """y = the xs (or a list of them), all of one shape, side by side along a new `axis`,  dL/dx_i = g at i along it"""
    return namespace(*xs).stack(xs, axis=axis)


@stack.vjp
def _(g, y, *xs, axis=0):
    return tuple(lambda i=i: g[_along(g.ndim, axis, i)] for i in range(len(xs)))


def split(x: Tensor, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Parts of x along `axis`: `sections` equal ones, or parts of the given sizes."""
    n = x.shape[axis]
    sizes = [n // max(sections, 1)] * sections if isinstance(sections, int) else list(sections)
    if sum(sizes) != n or min(sizes, default=0) < 0:
        raise ShapeError(f"split: axis {axis} of length {n} cannot be split into {sections}: the sizes must add up")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [x[_along(x.ndim, axis, slice(a, a + size))] for a, size in zip(starts, sizes, strict=True)]


def _along(ndim: int, axis: int, key: int | slice) -> tuple[Any, ...]:
    """The index that applies `key` to one axis and takes all of the others."""
    return (slice(None),) * (axis % ndim) + (key,)


@op
def index(x: Array, *, key: Any) -> Array:
    """y = x[key], a key of integers, slices, None, ..., boolean or integer arrays,  dL/dx = g at key, 0 elsewhere"""
    return x[as_key(key, x)]


@index.vjp
def _(g, y, x, *, key):
    return scatter_index(g, key=key, shape=x.shape)


@op
def scatter_index(g: Array, *, key: Any, shape: Sequence[int]) -> Array:
    """y = zeros of `shape` with y[key] += g, repeated places adding up,  dL/dg = cotangent[key]"""
    y = namespace(g).zeros(tuple(shape), g.dtype)
    if all(isinstance(k, int | slice | None | type(...)) for k in (key if isinstance(key, tuple) else (key,))):
        y[key] = g  # no place twice: an assignment, much faster than add.at
    else:
        add_at(y, key, g)
    return y


@scatter_index.vjp
def _(cotangent, y, g, *, key, shape):
    return index(cotangent, key=key)


@op
def take(x: Array, i: Array) -> Array:
    """y = x[i]: rows of x chosen by the integers i, shape (*i.shape, *x.shape[1:]),  dL/dx = g added to those rows"""
    return x[i]


@take.vjp
def _(g, y, x, i):
    return lambda: scatter_take(g, i, shape=x.shape), None


@op
def embedding(w: Array, i: Array) -> Array:
    """y = w[i]: the row of w for each of the integers i, which start at 0,  dL/dw = g added to those rows

    `take` counts negative ones from the end. On the gpu nothing is asked of them, which would wait for it.
    """
    if device_of(i) == "cpu":
        require_rows(i, len(w))
    return w[i]


def require_rows(i: Array, count: int) -> None:
    """ShapeError unless all of i are from 0 to count - 1."""
    if i.size and not (i.min() >= 0 and i.max() < count):
        raise ShapeError(f"Embedding has rows 0 to {count - 1}, got indices {int(i.min())} to {int(i.max())}")


@embedding.vjp
def _(g, y, w, i):
    return lambda: scatter_take(g, i, shape=w.shape), None


@op
def scatter_take(g: Array, i: Array, *, shape: Sequence[int]) -> Array:
    """y = zeros of `shape` with y[i] += g,  dL/dg = cotangent[i]"""
    y = namespace(g).zeros(tuple(shape), g.dtype)
    add_at(y, i, g)
    return y


@scatter_take.vjp
def _(cotangent, y, g, i, *, shape):
    return lambda: take(cotangent, i), None


@op
def take_along(x: Array, i: Array) -> Array:
    """y[..., j] = x[..., i[..., j]]: elements chosen along the last axis,  dL/dx = g added at their places"""
    return namespace(x, i).take_along_axis(x, i, axis=-1)


@take_along.vjp
def _(g, y, x, i):
    return lambda: scatter_along(g, i, shape=x.shape), None


@op
def scatter_along(g: Array, i: Array, *, shape: Sequence[int]) -> Array:
    """y = zeros of `shape` with y[..., i[..., j]] += g[..., j],  dL/dg = the cotangent at those places"""
    xp = namespace(g, i)
    y = xp.zeros(tuple(shape), g.dtype)
    rows = (xp.arange(n).reshape(-1, *(1,) * (i.ndim - 1 - axis)) for axis, n in enumerate(i.shape[:-1]))
    add_at(y, (*rows, i), g)
    return y


@scatter_along.vjp
def _(cotangent, y, g, i, *, shape):
    return lambda: take_along(cotangent, i), None
