"""Kernels: arrays in, arrays out. What each one computes is said, in plain NumPy, by `reference`.

    elementwise   exp log log1p tanh sigmoid softplus erf gelu gelu_slope leaky_relu gate bernoulli_nll
    matmul        the ladder of matrix products, with bias, activation and accumulation fused
    reductions    sum softmax log_softmax logsumexp normalise, along any axes
    rows          cross_entropy and its gradient, and that of normalise
    attention     self_attention and its gradient, streaming
    optimizers    sgd rmsprop adam ema (in place)
    random        random_bits uniform normal (a function of seed and draw; no state)

`threads` holds the one number of threads, for the kernels on the CPU and for NumPy's BLAS.

The type of the first array decides: NumPy's goes to `cpu`, compiled by Numba at first use, any other to `cuda`,
which is imported at the first such call and needs CuPy. `kernels.cpu.jit.announce_compilation` tells a command line
when Numba compiles. The random numbers take no array: here they are the CPU's, `on("gpu")` has the same for the GPU.
This package never imports the rest of minigen.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from .cpu import attention as _attention
from .cpu import elementwise as _elementwise
from .cpu import matmul as _ladder
from .cpu import optimizers as _optimizers
from .cpu import reductions as _reductions
from .cpu import rows as _rows
from .cpu.random import normal, random_bits, uniform

__all__ = [
    "adam",
    "bernoulli_nll",
    "cross_entropy",
    "cross_entropy_grad",
    "ema",
    "erf",
    "exp",
    "gate",
    "gelu",
    "gelu_slope",
    "leaky_relu",
    "log",
    "log1p",
    "log_softmax",
    "logsumexp",
    "matmul",
    "normal",
    "normalise",
    "normalise_rows_grad",
    "random_bits",
    "rmsprop",
    "self_attention",
    "self_attention_grad",
    "sgd",
    "sigmoid",
    "softmax",
    "softplus",
    "sum",
    "tanh",
    "uniform",
]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def on(device: str) -> ModuleType:
    """The kernels for arrays of a device: this package for "cpu", `kernels.cuda` for "gpu"."""
    if device == "cpu":
        return sys.modules[__name__]
    from . import cuda

    return cuda


def _by_type(here: Kernel) -> Kernel:
    """The CPU's kernel, or the one of its name on the device where the first array is."""

    @functools.wraps(here)
    def kernel(first: Any, *others: Any, **settings: Any) -> Any:
        if type(first) is np.ndarray:
            return here(first, *others, **settings)
        return _there(first, here.__name__)(first, *others, **settings)

    return kernel  # type: ignore[return-value]


def _there(x: Any, name: str) -> Any:
    """The kernel of a name on the device where x, which is no plain NumPy array, is."""
    if isinstance(x, np.ndarray):  # a memory map, a matrix: kernels know the plain kind alone
        return lambda *given, **settings: globals()[name](*map(_plain, given), **settings)
    if isinstance(x, np.generic) or not hasattr(x, "strides"):
        hint = ": pass its `data`" if hasattr(x, "requires_grad") else ""
        raise TypeError(f"{name}: an array expected, got {type(x).__name__}{hint}")
    return getattr(on("gpu"), name)


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, np.ndarray) else x


def _unary(here: Kernel) -> Kernel:
    """The same for one array alone, without the cost of passing on what is not there: a quarter of a microsecond."""

    @functools.wraps(here)
    def kernel(x: Any) -> Any:
        return here(x) if type(x) is np.ndarray else _there(x, here.__name__)(x)

    return kernel  # type: ignore[return-value]


@functools.wraps(_elementwise.leaky_relu)
def leaky_relu(x: Any, slope: float) -> Any:
    return _elementwise.leaky_relu(x, slope) if type(x) is np.ndarray else _there(x, "leaky_relu")(x, slope)


@functools.wraps(_elementwise.gate)
def gate(g: Any, x: Any, slope: float) -> Any:
    return _elementwise.gate(g, x, slope) if type(g) is np.ndarray else _there(g, "gate")(g, x, slope)


@functools.wraps(_elementwise.gelu_slope)
def gelu_slope(g: Any, x: Any) -> Any:
    return _elementwise.gelu_slope(g, x) if type(g) is np.ndarray else _there(g, "gelu_slope")(g, x)


@functools.wraps(_elementwise.bernoulli_nll)
def bernoulli_nll(logit: Any, x: Any) -> Any:
    here = type(logit) is np.ndarray
    return _elementwise.bernoulli_nll(logit, x) if here else _there(logit, "bernoulli_nll")(logit, x)


@functools.wraps(_ladder.matmul)
def matmul(a: Any, b: Any, **settings: Any) -> Any:
    return (_ladder.matmul if type(a) is np.ndarray else _there(a, "matmul"))(a, b, **settings)


exp = _unary(_elementwise.exp)
log = _unary(_elementwise.log)
log1p = _unary(_elementwise.log1p)
tanh = _unary(_elementwise.tanh)
sigmoid = _unary(_elementwise.sigmoid)
softplus = _unary(_elementwise.softplus)
erf = _unary(_elementwise.erf)
gelu = _unary(_elementwise.gelu)
sum = _by_type(_reductions.sum)
softmax = _by_type(_reductions.softmax)
log_softmax = _by_type(_reductions.log_softmax)
logsumexp = _by_type(_reductions.logsumexp)
normalise = _by_type(_reductions.normalise)
normalise_rows_grad = _by_type(_rows.normalise_rows_grad)
cross_entropy = _by_type(_rows.cross_entropy)
cross_entropy_grad = _by_type(_rows.cross_entropy_grad)
self_attention = _by_type(_attention.self_attention)
self_attention_grad = _by_type(_attention.self_attention_grad)
sgd = _by_type(_optimizers.sgd)
rmsprop = _by_type(_optimizers.rmsprop)
adam = _by_type(_optimizers.adam)
ema = _by_type(_optimizers.ema)
