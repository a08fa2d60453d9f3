"""Optimizer steps on the GPU: each reads and writes every array once, in place.

All take C-contiguous arrays on the GPU of one shape and dtype, float32 or float64, that do not overlap. Weights,
momenta and averages change in place; the gradient does not. A ValueError or TypeError comes before anything is
written. The kernels are those of optimizers.cu.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import coefficients, device
from . import compile as cuda_compile
from .launch import FLOAT32

__all__ = ["adam", "ema", "rmsprop", "sgd"]

Array = Any  # cupy.ndarray


def sgd(
    p: Array, g: Array, buf: Array, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """Gradient descent with momentum; updates `p` and `buf` in place.

    g <- g + weight_decay p;  buf <- momentum buf + g;  p <- p - lr buf, or with `nesterov`
    p <- p - lr (g + momentum buf). With momentum 0, `buf` is neither read nor written, and may be empty.
    """
    if momentum == 0:
        require("sgd", g, p)
        _update("sgd", [p, g], coefficients.sgd(lr=lr, weight_decay=weight_decay))
        return
    require("sgd", g, p, buf)
    kernel = "nesterov" if nesterov else "momentum"
    _update(kernel, [p, g, buf], coefficients.momentum(lr=lr, momentum=momentum, weight_decay=weight_decay))


def rmsprop(p: Array, g: Array, sq: Array, *, lr: float, rho: float, eps: float, weight_decay: float) -> None:
    """RMSProp (Hinton 2012, Neural Networks for Machine Learning, lecture 6e); updates `p` and `sq` in place.

    g <- g + weight_decay p;  sq <- rho sq + (1 - rho) g^2;  p <- p - lr g / (sqrt(sq) + eps)
    """
    require("rmsprop", g, p, sq)
    _update("rmsprop", [p, g, sq], coefficients.rmsprop(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay))


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1); updates `p`, `m`, `v` in place; `step` counts from 1.

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
    p <- p - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)

    Weight decay: g <- g + weight_decay p, or, when `decoupled` (AdamW: Loshchilov & Hutter 2019, algorithm 2),
    p <- (1 - lr weight_decay) p before the step.
    """
    require("adam", g, p, m, v)
    given = coefficients.adam(lr=lr, beta1=beta1, beta2=beta2, eps=eps, step=step, weight_decay=weight_decay,
                              decoupled=decoupled)
    _update("adam", [p, g, m, v], given)


def ema(average: Array, p: Array, *, decay: float) -> None:
    """average <- decay average + (1 - decay) p, in place: an average over about 1 / (1 - decay) steps."""
    require("ema", p, average)
    _update("ema", [average, p], coefficients.ema(decay=decay))


def _update(kernel: str, arrays: Sequence[Array], given: Sequence[float]) -> None:
    start(kernel, arrays, [arrays[0].dtype.type(c) for c in given])


def start(kernel: str, arrays: Sequence[Array], given: Sequence[Any], defines: tuple[str, ...] = ()) -> None:
    """Start a kernel of optimizers.cu on arrays that fit, with its coefficients as `defines` says that they come."""
    dtype, n = arrays[0].dtype, arrays[0].size
    if dtype != FLOAT32:
        defines = ("REAL=double", *defines)
    device.run_by_fours(cuda_compile.read("optimizers.cu"), kernel, n, [*arrays, *given], defines)


def require(name: str, g: Array, *updated: Array) -> None:
    """One shape, one dtype, C order: only then is the kernel's walk through memory the arrays' own."""
    for a in (g, *updated):
        if a.shape != g.shape:
            raise ValueError(f"{name}: arrays of one shape expected, got {[b.shape for b in (*updated, g)]}")
        if a.dtype != g.dtype:
            raise TypeError(f"{name}: arrays of one dtype expected, got {[str(b.dtype) for b in (*updated, g)]}")
        if not a.flags.c_contiguous:
            raise ValueError(f"{name}: C-contiguous arrays expected, got strides {a.strides} for shape {a.shape}")
    device.require_float(name, g)
