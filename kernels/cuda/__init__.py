"""The kernels as CUDA C++: sources, the arithmetic of their launches, and their compilation.

    matmul/         the ladder, one rung a file, from a thread for each number to the tensor cores
    translate       a scalar formula in Python to a device function in CUDA C++
    elementwise, linear, optimizers, random, reductions, rows, attention
                    generated or written sources behind the names of `kernels`, and the same functions
    from_memory     random numbers and optimizers whose numbers lie in memory, for a captured graph
    coefficients    what the optimizers multiply by
    capture         launches recorded once and started as a whole
    staging         from the host, while Python goes on
    stopwatch       what a benchmark needs of a GPU
    launch          grids and blocks, in plain Python
    compile         reading a source, and CuPy's compiler

Importing this package needs no GPU; running a kernel needs CuPy and a device.
"""

from __future__ import annotations

from .attention import self_attention, self_attention_grad
from .elementwise import (
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
from .linear import matmul
from .optimizers import adam, ema, rmsprop, sgd
from .random import normal, random_bits, uniform
from .reductions import log_softmax, logsumexp, normalise, softmax, sum
from .rows import cross_entropy, cross_entropy_grad, normalise_rows_grad

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
