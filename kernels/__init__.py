"""Kernels: arrays in, arrays out. What each one computes is said, in plain NumPy, by `reference`.

    elementwise   exp log log1p tanh sigmoid softplus erf gelu leaky_relu gate bernoulli_nll
    matmul        the ladder of matrix products, with bias, activation and accumulation fused
    optimizers    sgd rmsprop adam ema (in place)
    random        random_bits uniform normal (a function of seed and draw; no state)

`threads` holds the one number of threads, for these kernels and for NumPy's BLAS.

A NumPy array goes to `cpu`, compiled by Numba at first use. `kernels.cpu.jit.announce_compilation` tells a
command line when that happens. This package never imports the rest of minigen.
"""

from __future__ import annotations

from .cpu.elementwise import (
    bernoulli_nll,
    erf,
    exp,
    gate,
    gelu,
    leaky_relu,
    log,
    log1p,
    sigmoid,
    softplus,
    tanh,
)
from .cpu.matmul import matmul
from .cpu.optimizers import adam, ema, rmsprop, sgd
from .cpu.random import normal, random_bits, uniform

__all__ = [
    "adam",
    "bernoulli_nll",
    "ema",
    "erf",
    "exp",
    "gate",
    "gelu",
    "leaky_relu",
    "log",
    "log1p",
    "matmul",
    "normal",
    "random_bits",
    "rmsprop",
    "sgd",
    "sigmoid",
    "softplus",
    "tanh",
    "uniform",
]
