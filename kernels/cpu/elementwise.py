"""Elementwise kernels: one loop around each formula of `scalar` and `scalar64`.

All take arrays of any shape and strides, float32 or float64, and return a new C-contiguous array of the same
shape and dtype. A call on a small array costs about half a microsecond besides the arithmetic.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from .. import scalar, scalar64
from .jit import CONTRACT, Kernel, jit, jit_formula
from .on_vectors import make_map

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
    "tanh",
]

Array = NDArray[Any]

for _module in (scalar, scalar64):
    for _formula in {*_module.HELPERS, *_module.FORMULAS.values()}:
        jit_formula(_formula, CONTRACT)

_NARROW = np.dtype(np.float32)


def _formula_of(name: str, dtype: np.dtype) -> Callable[..., Any]:
    return (scalar if dtype == _NARROW else scalar64).FORMULAS[name]


def _unary(formula: Callable[..., Any]) -> Callable[..., Any]:
    def unary(x: Array, out: Array) -> None:
        for i in range(x.size):
            out[i] = formula(x[i])

    return unary


def _binary(formula: Callable[..., Any]) -> Callable[..., Any]:
    def binary(a: Array, b: Array, out: Array) -> None:
        for i in range(a.size):
            out[i] = formula(a[i], b[i])

    return binary


def _with_slope(formula: Callable[..., Any]) -> Callable[..., Any]:
    def with_slope(x: Array, slope: float, out: Array) -> None:
        s = x.dtype.type(slope)
        for i in range(x.size):
            out[i] = formula(x[i], s)

    return with_slope


def _gated(formula: Callable[..., Any]) -> Callable[..., Any]:
    def gated(g: Array, x: Array, slope: float, out: Array) -> None:
        s = x.dtype.type(slope)
        for i in range(x.size):
            out[i] = formula(g[i], x[i], s)

    return gated


_LOOPS = {"bernoulli_nll": _binary, "gate": _gated, "gelu_slope": _binary, "leaky_relu": _with_slope}
_LONG = ("erf", "gelu", "gelu_slope", "log", "log1p")
"""Side by side, what these hold at once would not fit in the registers; in float64 they call the C library."""
_ABREAST = 4  # vectors of any other; from 3 to 6 it makes no difference


def row_of(name: str, dtype: np.dtype) -> Callable[..., None]:
    """For compiled code: row(x, out), or with more arguments where the formula has them; `out` may be x.

    out[i] = formula(x[i]) for contiguous rows of one length.
    """
    formula = _formula_of(name, dtype)
    loop = _LOOPS.get(name, _unary)(formula)
    if dtype != _NARROW and name in _LONG:
        return jit(CONTRACT)(loop)
    return make_map(name, formula, dtype, 1 if name in _LONG else _ABREAST, loop)


def _kernel(name: str, arguments: str) -> Kernel:
    return Kernel(name, arguments, lambda dtype: _entry(name, dtype))


def _entry(name: str, dtype: np.dtype) -> Callable[..., None]:
    """`row_of` as a function that Python can call."""
    row = row_of(name, dtype)

    def unary(x: Array, out: Array) -> None:
        row(x, out)

    def binary(x: Array, y: Any, out: Array) -> None:
        row(x, y, out)

    def ternary(x: Array, y: Array, z: Any, out: Array) -> None:
        row(x, y, z, out)

    if isinstance(row, Dispatcher):
        return row
    call: Any = {1: unary, 2: binary, 3: ternary}[len(inspect.signature(_formula_of(name, dtype)).parameters)]
    return jit(CONTRACT)(call)


def _kernel_or_numpy(name: str, ufunc: np.ufunc) -> Kernel:
    """Ours for float32, NumPy's for float64.

    Where a float64 formula calls the C library, number by number, NumPy's function is vectorised and as accurate.
    Measured over 8192 numbers, in microseconds, ours / NumPy's (AVX-512): float32 log 2.3 / 2.3, log1p 2.2 / 2.3;
    float64 log 22 / 4.5, log1p 47 / 4.9.
    """

    def quiet(x: Array, out: Array) -> None:
        with np.errstate(all="ignore"):  # a compiled loop does not warn either
            ufunc(x, out)

    return Kernel(name, "aa", lambda dtype: _entry(name, dtype) if dtype == _NARROW else quiet)


_exp = _kernel("exp", "aa")
_log = _kernel_or_numpy("log", np.log)
_log1p = _kernel_or_numpy("log1p", np.log1p)
_tanh = _kernel("tanh", "aa")
_sigmoid = _kernel("sigmoid", "aa")
_softplus = _kernel("softplus", "aa")
_erf = _kernel("erf", "aa")
_gelu = _kernel("gelu", "aa")
_gelu_slope = _kernel("gelu_slope", "aaa")
_leaky_relu = _kernel("leaky_relu", "ada")
_gate = _kernel("gate", "aada")
_bernoulli_nll = _kernel("bernoulli_nll", "aaa")


def exp(x: Array) -> Array:
    """y = e^x."""
    out = np.empty(x.shape, x.dtype)
    _exp[x.dtype](x.ravel(), out.ravel())
    return out


def log(x: Array) -> Array:
    """y = ln x; -inf at 0, NaN below."""
    out = np.empty(x.shape, x.dtype)
    _log[x.dtype](x.ravel(), out.ravel())
    return out


def log1p(x: Array) -> Array:
    """y = ln(1 + x), accurate near 0; -inf at -1, NaN below."""
    out = np.empty(x.shape, x.dtype)
    _log1p[x.dtype](x.ravel(), out.ravel())
    return out


def tanh(x: Array) -> Array:
    """y = (e^x - e^-x) / (e^x + e^-x)."""
    out = np.empty(x.shape, x.dtype)
    _tanh[x.dtype](x.ravel(), out.ravel())
    return out


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + e^-x)."""
    out = np.empty(x.shape, x.dtype)
    _sigmoid[x.dtype](x.ravel(), out.ravel())
    return out


def softplus(x: Array) -> Array:
    """y = ln(1 + e^x)."""
    out = np.empty(x.shape, x.dtype)
    _softplus[x.dtype](x.ravel(), out.ravel())
    return out


def erf(x: Array) -> Array:
    """y = 2/sqrt(pi) * integral from 0 to x of e^(-t^2) dt."""
    out = np.empty(x.shape, x.dtype)
    _erf[x.dtype](x.ravel(), out.ravel())
    return out


def gelu(x: Array) -> Array:
    """y = x Phi(x), Phi the standard normal distribution function (Hendrycks & Gimpel 2016, section 2)."""
    out = np.empty(x.shape, x.dtype)
    _gelu[x.dtype](x.ravel(), out.ravel())
    return out


def gelu_slope(g: Array, x: Array) -> Array:
    """y = g (Phi(x) + x phi(x)): the cotangent of `gelu`, phi the standard normal density.

    Raises ValueError unless g and x have the same shape, TypeError unless they have the same dtype.
    """
    _require_alike("gelu_slope", g, x)
    out = np.empty(x.shape, x.dtype)
    _gelu_slope[x.dtype](g.ravel(), x.ravel(), out.ravel())
    return out


def leaky_relu(x: Array, slope: float) -> Array:
    """y = x where x > 0, else slope x (Maas, Hannun & Ng 2013); slope 0 is the rectified linear unit."""
    out = np.empty(x.shape, x.dtype)
    _leaky_relu[x.dtype](x.ravel(), slope, out.ravel())
    return out


def gate(g: Array, x: Array, slope: float) -> Array:
    """y = g where x > 0, else slope g: the cotangent of `leaky_relu`, whose derivative at 0 is `slope`.

    Raises ValueError unless g and x have the same shape, TypeError unless they have the same dtype.
    """
    _require_alike("gate", g, x)
    out = np.empty(x.shape, x.dtype)
    _gate[x.dtype](g.ravel(), x.ravel(), slope, out.ravel())
    return out


def bernoulli_nll(logit: Array, x: Array) -> Array:
    """y = ln(1 + e^logit) - x logit, in nats: -ln p(x) for a Bernoulli x in [0, 1] with p = sigmoid(logit).

    Raises ValueError unless logit and x have the same shape, TypeError unless they have the same dtype.
    """
    _require_alike("bernoulli_nll", logit, x)
    out = np.empty(x.shape, x.dtype)
    _bernoulli_nll[x.dtype](logit.ravel(), x.ravel(), out.ravel())
    return out


def _require_alike(name: str, a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{name}: operands of equal shape expected, got {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise TypeError(f"{name}: operands of equal dtype expected, got {a.dtype} and {b.dtype}")
