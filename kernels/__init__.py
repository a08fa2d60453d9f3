"""Kernels: arrays in, arrays out. What each one computes is said, in plain NumPy, by `reference`.

    elementwise   exp log log1p tanh sigmoid softplus erf gelu gelu_slope leaky_relu gate bernoulli_nll
    rows          normalise_rows cross_entropy, each with its gradient
    attention     self_attention and its gradient, streaming
    optimizers    sgd rmsprop adam ema (in place)
    random        random_bits uniform normal (a function of seed and draw; no state)

A NumPy array goes to `cpu`, compiled by Numba at first use. `kernels.cpu.jit.announce_compilation` tells a
command line when that happens. This package never imports the rest of minigen.
"""

from __future__ import annotations

from .cpu.attention import self_attention, self_attention_grad
from .cpu.elementwise import (
    bernoulli_nll,
    erf,
    exp,
    gate,
    gelu,
    gelu_slope,
    leaky_relu,
    log,
    log1p,
    sigmoid,
    softplus,
    tanh,
)
from .cpu.optimizers import adam, ema, rmsprop, sgd
from .cpu.random import normal, random_bits, uniform
from .cpu.rows import cross_entropy, cross_entropy_grad, normalise_rows, normalise_rows_grad

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
    "normal",
    "normalise_rows",
    "normalise_rows_grad",
    "random_bits",
    "rmsprop",
    "self_attention",
    "self_attention_grad",
    "sgd",
    "sigmoid",
    "softplus",
    "tanh",
    "uniform",
]
