"""Matrix products. Both gradients of a product are products: that is where training spends its time."""

from __future__ import annotations

import math

from .. import kernels
from ..autograd import op
from ..backend import Array, device_of
from ..errors import ShapeError
from ..tensor import Tensor
from .shape import reshape, swap_last

__all__ = ["dense", "matmul"]


@op
def matmul(a: Array, b: Array) -> Array:
    """Y = A B over the last two axes, broadcast over the others,  dL/dA = G B^T,  dL/dB = A^T G"""
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(f"matmul: a {a.shape} and b {b.shape} must both have two axes or more: "
                         "make a vector a row with v.reshape(1, -1) or a column with v.reshape(-1, 1)")
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"matmul: a {a.shape} and b {b.shape}: the last axis of a ({a.shape[-1]}) and "
                         f"the last but one of b ({b.shape[-2]}) must be equal")
    if a.dtype == b.dtype and a.dtype.kind == "f" and (a.ndim == 2 == b.ndim or device_of(a) == "cpu"):
        return kernels.matmul(a, b)
    return a @ b


@matmul.vjp
def _(g, y, a, b):
    return lambda: g @ swap_last(b), lambda: swap_last(a) @ g


@op
def dense(x: Array, weight: Array, bias: Array) -> Array:
    """Y = X W + b, x (..., in), weight (in, out), bias (out,)

    dL/dX = G W^T,  dL/dW = X^T G (summed over the leading axes),  dL/db = G summed over the leading axes
    """
    if weight.ndim != 2 or bias.shape != weight.shape[1:] or x.ndim < 1 or x.shape[-1] != weight.shape[0]:
        raise ShapeError(f"dense: x {x.shape}, weight {weight.shape}, bias {bias.shape}: "
                         "expected x (..., in), weight (in, out), bias (out,)")
    if x.dtype != weight.dtype:  # integers, which take the other's float type
        x = x.astype(weight.dtype)
    if x.ndim == 2:
        return kernels.matmul(x, weight, bias=bias)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return kernels.matmul(rows, weight, bias=bias).reshape(*x.shape[:-1], weight.shape[1])


@dense.vjp
def _(g, y, x, weight, bias):
    def for_x() -> Tensor:
        back = swap_last(weight)
        return g @ back if g.ndim == 2 else reshape(_rows(g) @ back, shape=x.shape)

    return for_x, lambda: swap_last(_rows(x)) @ _rows(g), lambda: g


def _rows(x: Tensor) -> Tensor:
    """x (..., n) as a matrix (rows, n)."""
    return x if x.ndim == 2 else reshape(x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))
