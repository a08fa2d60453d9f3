"""The formulas of `scalar` for one float64, by the functions of the C library.

float64 is here to check gradients with, not to be fast: correct to a few units in the last place is enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .scalar import gate, leaky_relu

__all__ = [
    "FORMULAS",
    "bernoulli_nll",
    "erf",
    "exp",
    "gate",
    "gelu",
    "gelu_slope",
    "leaky_relu",
    "log",
    "log1p",
    "sigmoid",
    "softplus",
    "tanh",
]

# NumPy's functions, not those of `math`: in plain Python `math.exp(1000.0)` raises.
_SQRT_HALF = np.float64(0.7071067811865476)
_INV_SQRT_2PI = np.float64(0.3989422804014327)
_LOWEST = np.float64(-40.0)  # 40 Phi(-40) rounds to 0


def exp(x: Any) -> Any:
    """y = e^x."""
    return np.exp(x)


def log(x: Any) -> Any:
    """y = ln x; -inf at 0, NaN below."""
    return np.log(x)


def log1p(x: Any) -> Any:
    """y = ln(1 + x)."""
    return np.log1p(x)


def tanh(x: Any) -> Any:
    """y = (e^x - e^-x) / (e^x + e^-x)."""
    return np.tanh(x)


def sigmoid(x: Any) -> Any:
    """y = 1 / (1 + e^-x); left of 0 as e^x / (1 + e^x), which keeps the digits of the tail."""
    e = np.exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


def softplus(x: Any) -> Any:
    """y = ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)."""
    return (x if x > 0.0 else 0.0) + np.log1p(np.exp(-abs(x)))


def bernoulli_nll(logit: Any, x: Any) -> Any:
    """y = ln(1 + e^logit) - x logit = max(logit, 0) - x logit + ln(1 + e^-|logit|)."""
    return ((logit if logit > 0.0 else 0.0) - x * logit) + np.log1p(np.exp(-abs(logit)))


def erf(x: Any) -> Any:
    """y = 2/sqrt(pi) * integral from 0 to x of e^(-t^2) dt."""
    return math.erf(x)


def gelu(x: Any) -> Any:
    """y = x Phi(x) = x erfc(-x / sqrt 2) / 2.

    The rounding of x / sqrt(2) costs x^2 units in the last place in the left tail, where y is nearly 0.
    """
    c = _LOWEST if x < _LOWEST else x
    return 0.5 * c * math.erfc(-c * _SQRT_HALF)


def gelu_slope(g: Any, x: Any) -> Any:
    """y = g (Phi(x) + x phi(x)): the cotangent of `gelu`."""
    low = _LOWEST if x < _LOWEST else x
    c = -_LOWEST if low > -_LOWEST else low
    return g * (0.5 * math.erfc(-c * _SQRT_HALF) + c * np.exp(-0.5 * c * c) * _INV_SQRT_2PI)


FORMULAS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (bernoulli_nll, erf, exp, gate, gelu, gelu_slope, leaky_relu, log, log1p, sigmoid, softplus, tanh)
}
"""The public formulas by name."""
