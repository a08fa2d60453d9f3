"""Functions of one tensor, element by element. Their loops are in `minigen.kernels`."""

from __future__ import annotations

import math

from .. import kernels
from ..autograd import op
from ..backend import Array, namespace
from ..tensor import Tensor

__all__ = ["bernoulli_nll", "erf", "exp", "gate", "gelu", "gelu_slope", "leaky_relu", "log", "log1p", "relu", "sigmoid",
           "softplus", "sqrt", "tanh"]


@op
def exp(x: Array) -> Array:
    """y = e^x,  dL/dx = g y"""
    return kernels.exp(x)


@exp.vjp
def _(g, y, x):
    return g * y


@op
def log(x: Array) -> Array:
    """y = ln x,  dL/dx = g / x"""
    return kernels.log(x)


@log.vjp
def _(g, y, x):
    return g / x


@op
def log1p(x: Array) -> Array:
    """y = ln(1 + x), accurate near 0,  dL/dx = g / (1 + x)"""
    return kernels.log1p(x)


@log1p.vjp
def _(g, y, x):
    return g / (1 + x)


@op
def sqrt(x: Array) -> Array:
    """y = x^(1/2),  dL/dx = g / (2 y)"""
    return namespace(x).sqrt(x)


@sqrt.vjp
def _(g, y, x):
    return g / (2 * y)


@op
def tanh(x: Array) -> Array:
    """y = tanh x,  dL/dx = g (1 - y^2)"""
    return kernels.tanh(x)


@tanh.vjp
def _(g, y, x):
    return g * (1 - y * y)


@op
def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + e^-x),  dL/dx = g y (1 - y)"""
    return kernels.sigmoid(x)


@sigmoid.vjp
def _(g, y, x):
    return g * y * (1 - y)


@op
def softplus(x: Array) -> Array:
    """y = ln(1 + e^x), finite for every x,  dL/dx = g sigmoid(x)"""
    return kernels.softplus(x)


@softplus.vjp
def _(g, y, x):
    return g * sigmoid(x)


@op
def erf(x: Array) -> Array:
    """y = 2/sqrt(pi) int_0^x e^(-t^2) dt,  dL/dx = g 2/sqrt(pi) e^(-x^2)"""
    return kernels.erf(x)


@erf.vjp
def _(g, y, x):
    return g * (2 / math.sqrt(math.pi)) * exp(-x * x)


@op
def gelu(x: Array) -> Array:
    """y = x Phi(x), Phi the standard normal CDF,  dL/dx = g (Phi(x) + x phi(x))

    Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2; the exact form, not the tanh approximation.
    """
    return kernels.gelu(x)


@gelu.vjp
def _(g, y, x):
    return gelu_slope(g, x)


@op
def gelu_slope(g: Array, x: Array) -> Array:
    """y = g (Phi(x) + x phi(x)): the derivative of gelu at x, applied to g;  dL/dx = c g phi(x) (2 - x^2)

    dL/dg is the same function of the cotangent c; phi is the standard normal density.
    """
    return kernels.gelu_slope(g, x)


@gelu_slope.vjp
def _(c, y, g, x):
    def for_x() -> Tensor:
        density = exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        return c * g * density * (2 - x * x)

    return lambda: gelu_slope(c, x), for_x


@op
def leaky_relu(x: Array, *, slope: float) -> Array:
    """y = x where x > 0, else slope x,  dL/dx = g where x > 0, else slope g

    Maas, Hannun & Ng 2013, section 2. At x = 0 the derivative is taken as `slope`.
    """
    return kernels.leaky_relu(x, slope)


@leaky_relu.vjp
def _(g, y, x, *, slope):
    return gate(g, x, slope=slope)


@op
def gate(g: Array, x: Array, *, slope: float) -> Array:
    """y = g where x > 0, else slope g: the derivative of leaky_relu at x, applied to g; none with respect to x"""
    return kernels.gate(g, x, slope)


@gate.vjp
def _(cotangent, y, g, x, *, slope):
    return lambda: gate(cotangent, x, slope=slope), None


def relu(x: Array) -> Array:
    """y = max(x, 0): leaky_relu with slope 0. Nair & Hinton 2010."""
    return leaky_relu(x, slope=0.0)


@op
def bernoulli_nll(logit: Array, x: Array) -> Array:
    """y = -[x ln p + (1-x) ln(1-p)] with p = sigmoid(logit), as softplus(logit) - x logit: finite for every logit

    dL/dlogit = g (p - x),  dL/dx = -g logit
    """
    xp = namespace(logit, x)
    x = xp.asarray(x, dtype=logit.dtype)
    if x.shape != logit.shape:
        logit, x = xp.broadcast_arrays(logit, x)
    return kernels.bernoulli_nll(logit, x)


@bernoulli_nll.vjp
def _(g, y, logit, x):
    return lambda: g * (sigmoid(logit) - x), lambda: -g * logit
