"""The kernels as CUDA C++: sources, the arithmetic of their launches, and their compilation.

    matmul/         the ladder, one rung a file, from a thread for each number to the tensor cores
    translate       a scalar formula in Python to a device function in CUDA C++
    elementwise, linear, optimizers, random, reductions
                    generated or written sources behind the names of `kernels`, and the same functions
    launch          grids and blocks, in plain Python
    compile         reading a source, and CuPy's compiler

Importing this package needs no GPU; running a kernel needs CuPy and a device.
"""

from __future__ import annotations

from .elementwise import (
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
from .linear import matmul
from .optimizers import adam, ema, rmsprop, sgd
from .random import normal, random_bits, uniform
from .reductions import log_softmax, logsumexp, normalise, softmax, sum

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
    "log_softmax",
    "logsumexp",
    "matmul",
    "normal",
    "normalise",
    "random_bits",
    "rmsprop",
    "sgd",
    "sigmoid",
    "softmax",
    "softplus",
    "sum",
    "tanh",
    "uniform",
]
