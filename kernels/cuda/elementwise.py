"""Elementwise kernels: the formulas of `scalar` and `scalar64`, translated, each in a loop over the array.

All take arrays on the GPU of any shape and strides, float32 or float64, and return a new C-contiguous array of the
same shape and dtype.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from .. import scalar, scalar64
from . import compile as cuda_compile
from . import device
from .launch import FLOAT32
from .translate import Translator

__all__ = [
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
    "source",
    "tanh",
]

Array = Any  # cupy.ndarray

_BY_VALUE = ("slope",)  # parameters of a formula that are one number, not one for each element


@functools.cache
def source(dtype: np.dtype) -> str:
    """The CUDA source of all operations in a dtype: the formulas, what those call, and the kernels `NAME_kernel`.

    One source instead of eleven: a compiler takes hardly longer for all of them than it takes to start.
    """
    formulas = (scalar if dtype == FLOAT32 else scalar64).FORMULAS
    number, translator = device.C_NAMES[dtype], Translator()
    kernels = [_kernel(name, list(inspect.signature(f).parameters), number) for name, f in formulas.items()]
    for formula in formulas.values():
        translator.add(formula, [number] * len(inspect.signature(formula).parameters))
    return translator.source + cuda_compile.read("four.cuh") + "".join(kernels)


def _kernel(name: str, parameters: list[str], number: str) -> str:
    arrays = [p for p in parameters if p not in _BY_VALUE]
    taken = [f"{number} {p}" if p in _BY_VALUE else f"const {number} *__restrict__ {p}" for p in parameters]
    each = ", ".join([*(f"{number} {p}" for p in arrays), f"{number} &out"])
    return f"""
extern "C" __global__ void {name}_kernel({", ".join(taken)}, {number} *__restrict__ out, long long n)
{{
    for_each(n, [=]({each}) {{ out = formula::{name}({", ".join(parameters)}); }}, {", ".join([*arrays, "out"])});
}}
"""


def _apply(name: str, *arguments: Any) -> Array:
    """Run the operation on arrays of one shape and dtype, and numbers."""
    arrays = [a for a in arguments if hasattr(a, "dtype")]
    first = arrays[0]
    dtype = device.require_float(name, first)
    for other in arrays[1:]:
        if other.shape != first.shape:
            raise ValueError(f"{name}: operands of equal shape expected, got {first.shape} and {other.shape}")
        if other.dtype != dtype:
            raise TypeError(f"{name}: operands of equal dtype expected, got {dtype} and {other.dtype}")
    out = device.empty(first.shape, dtype)
    given = [a.ravel() if hasattr(a, "dtype") else dtype.type(a) for a in arguments]
    device.run_by_fours(source(dtype), f"{name}_kernel", first.size, [*given, out])
    return out


def exp(x: Array) -> Array:
    """y = e^x."""
    return _apply("exp", x)


def log(x: Array) -> Array:
    """y = ln x; -inf at 0, NaN below."""
    return _apply("log", x)


def log1p(x: Array) -> Array:
    """y = ln(1 + x), accurate near 0; -inf at -1, NaN below."""
    return _apply("log1p", x)


def tanh(x: Array) -> Array:
    """y = (e^x - e^-x) / (e^x + e^-x)."""
    return _apply("tanh", x)


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + e^-x)."""
    return _apply("sigmoid", x)


def softplus(x: Array) -> Array:
    """y = ln(1 + e^x)."""
    return _apply("softplus", x)


def erf(x: Array) -> Array:
    """y = 2/sqrt(pi) * integral from 0 to x of e^(-t^2) dt."""
    return _apply("erf", x)


def gelu(x: Array) -> Array:
    """y = x Phi(x), Phi the standard normal distribution function (Hendrycks & Gimpel 2016, section 2)."""
    return _apply("gelu", x)


def gelu_slope(g: Array, x: Array) -> Array:
    """y = g (Phi(x) + x phi(x)): the cotangent of `gelu`, phi the standard normal density.

    Raises ValueError unless g and x have the same shape, TypeError unless they have the same dtype.
    """
    return _apply("gelu_slope", g, x)


def leaky_relu(x: Array, slope: float) -> Array:
    """y = x where x > 0, else slope x (Maas, Hannun & Ng 2013); slope 0 is the rectified linear unit."""
    return _apply("leaky_relu", x, float(slope))


def gate(g: Array, x: Array, slope: float) -> Array:
    """y = g where x > 0, else slope g: the cotangent of `leaky_relu`, whose derivative at 0 is `slope`.

    Raises ValueError unless g and x have the same shape, TypeError unless they have the same dtype.
    """
    return _apply("gate", g, x, float(slope))


def bernoulli_nll(logit: Array, x: Array) -> Array:
    """y = ln(1 + e^logit) - x logit, in nats: -ln p(x) for a Bernoulli x in [0, 1] with p = sigmoid(logit).

    Raises ValueError unless logit and x have the same shape, TypeError unless they have the same dtype.
    """
    return _apply("bernoulli_nll", logit, x)
