"""Arithmetic with broadcasting. The engine sums a gradient over the axes that its input was broadcast along."""

from __future__ import annotations

import numpy as np

from ..autograd import op
from ..backend import FLOATS, Array, device_of, namespace
from ..backend import to_device as moved
from ..errors import DataError, DTypeError
from ..tensor import Tensor
from .elementwise import log

__all__ = ["abs", "add", "astype", "clip", "div", "equal", "full_like", "less", "less_equal", "maximum", "minimum",
           "mul", "neg", "not_equal", "pow", "sign", "sub", "to_device", "where", "within"]


@op
def add(a: Array, b: Array) -> Array:
    """y = a + b,  dL/da = g,  dL/db = g"""
    return a + b


@add.vjp
def _(g, y, a, b):
    return lambda: g, lambda: g


@op
def sub(a: Array, b: Array) -> Array:
    """y = a - b,  dL/da = g,  dL/db = -g"""
    return a - b


@sub.vjp
def _(g, y, a, b):
    return lambda: g, lambda: -g


@op
def mul(a: Array, b: Array) -> Array:
    """y = a b,  dL/da = g b,  dL/db = g a"""
    return a * b


@mul.vjp
def _(g, y, a, b):
    return lambda: g * b, lambda: g * a


@op
def div(a: Array, b: Array) -> Array:
    """y = a / b,  dL/da = g / b,  dL/db = -g y / b"""
    return a / b


@div.vjp
def _(g, y, a, b):
    return lambda: g / b, lambda: -g * y / b


@op
def neg(x: Array) -> Array:
    """y = -x,  dL/dx = -g"""
    return -x


@neg.vjp
def _(g, y, x):
    return -g


@op
def pow(a: Array, b: Array) -> Array:
    """y = a^b,  dL/da = g b a^(b-1),  dL/db = g y log a   (a > 0 where b is a tensor)"""
    return a**b


@pow.vjp
def _(g, y, a, b):
    def for_a() -> Tensor:
        constant = not isinstance(b, Tensor) and b == 0
        return g * 0.0 if constant else g * b * a ** (b - 1)  # 0 a^-1 would be nan at a = 0

    return for_a, lambda: g * y * (log(a) if isinstance(a, Tensor) else float(np.log(a)))


@op
def abs(x: Array) -> Array:
    """y = |x|,  dL/dx = g sign(x), zero at the kink"""
    return namespace(x).abs(x)


@abs.vjp
def _(g, y, x):
    return g * sign(x)


@op
def sign(x: Array) -> Array:
    """y = -1, 0 or 1; its gradient is zero"""
    return namespace(x).sign(x)


@op
def maximum(a: Array, b: Array) -> Array:
    """y = max(a, b);  the gradient goes to the larger, to b where they are equal"""
    return namespace(a, b).maximum(a, b)


@maximum.vjp
def _(g, y, a, b):
    return lambda: where(a > b, g, 0.0), lambda: where(a > b, 0.0, g)


@op
def minimum(a: Array, b: Array) -> Array:
    """y = min(a, b);  the gradient goes to the smaller, to b where they are equal"""
    return namespace(a, b).minimum(a, b)


@minimum.vjp
def _(g, y, a, b):
    return lambda: where(a < b, g, 0.0), lambda: where(a < b, 0.0, g)


@op
def clip(x: Array, *, low: float, high: float) -> Array:
    """y = min(max(x, low), high),  dL/dx = g where low <= x <= high, else 0"""
    return namespace(x).clip(x, low, high)


@clip.vjp
def _(g, y, x, *, low, high):
    return where(equal(x, y), g, 0.0)


@op
def where(condition: Array, a: Array, b: Array) -> Array:
    """y = a where condition, else b;  dL/da = g where condition, dL/db = g elsewhere, 0 otherwise"""
    return namespace(condition, a, b).where(condition, a, b)


@where.vjp
def _(g, y, condition, a, b):
    return None, lambda: where(condition, g, 0.0), lambda: where(condition, 0.0, g)


@op
def astype(x: Array, *, dtype: str | np.dtype) -> Array:
    """y = x in another element type;  dL/dx = g in the type of x"""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iub" and dtype not in FLOATS:
        raise DTypeError(f"astype({dtype}): a tensor holds float32, float64, integers or booleans")
    return x.astype(dtype)


@astype.vjp
def _(g, y, x, *, dtype):
    return astype(g, dtype=x.dtype)


@op
def full_like(x: Array, *, value: float) -> Array:
    """y = `value` everywhere, in the shape and type of x,  dL/dx = 0"""
    y = namespace(x).zeros_like(x)
    y[...] = value
    return y


@full_like.vjp
def _(g, y, x, *, value):
    return full_like(x, value=0.0)


@op
def to_device(x: Array, *, device: str) -> Array:
    """y = a copy of x on `device`,  dL/dx = g on the device of x"""
    return x.copy() if device_of(x) == device else moved(x, device)


@to_device.vjp
def _(g, y, x, *, device):
    return to_device(g, device=x.device)


@op
def equal(a: Array, b: Array) -> Array:
    """y = (a == b), boolean; no gradient"""
    return a == b


@op
def not_equal(a: Array, b: Array) -> Array:
    """y = (a != b), boolean; no gradient"""
    return a != b


@op
def less(a: Array, b: Array) -> Array:
    """y = (a < b), boolean; no gradient"""
    return a < b


@op
def less_equal(a: Array, b: Array) -> Array:
    """y = (a <= b), boolean; no gradient"""
    return a <= b


@op
def within(x: Array, *, low: float, high: float) -> Array:
    """y = x, which must lie in [low, high] but for rounding: DataError for others and NaN,  dL/dx = g

    On the gpu nothing is asked of x, which would wait for it.
    """
    slack = 1e-6 * (high - low)
    if device_of(x) == "cpu" and x.size and not (x.min() >= low - slack and x.max() <= high + slack):
        raise DataError(f"values from {low:g} to {high:g} expected, got {x.min():g} to {x.max():g}")
    return x[...]


@within.vjp
def _(g, y, x, *, low, high):
    return g
