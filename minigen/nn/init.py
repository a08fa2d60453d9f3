"""Initial weights. Each keeps the variance of what flows through a layer near one, under its own assumption.

Every function takes a Generator and the shape (fan_in, fan_out) of a dense weight, and returns a Tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..random import Generator
from ..tensor import Tensor

__all__ = ["Initialiser", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_uniform", "normal"]

Initialiser = Callable[[Generator, tuple[int, int]], Tensor]
"""What `Dense(init=...)` takes: from a generator and the shape (fan_in, fan_out), a Tensor of that shape."""


def _uniform(rng: Generator, shape: tuple[int, int], variance: float) -> Tensor:
    """U(-a, a) with a = sqrt(3 variance)."""
    return (rng.uniform(shape) * 2.0 - 1.0) * math.sqrt(3 * variance)


def glorot_uniform(rng: Generator, shape: tuple[int, int]) -> Tensor:
    """Uniform, variance 2 / (fan_in + fan_out): for tanh and linear layers. Glorot & Bengio 2010, equation 16."""
    return _uniform(rng, shape, 2 / sum(shape))


def glorot_normal(rng: Generator, shape: tuple[int, int]) -> Tensor:
    """Normal, variance 2 / (fan_in + fan_out). Glorot & Bengio 2010, equation 12."""
    return rng.normal(shape) * math.sqrt(2 / sum(shape))


def he_uniform(rng: Generator, shape: tuple[int, int]) -> Tensor:
    """Uniform, variance 2 / fan_in: for ReLU, which halves the variance. He et al. 2015, equation 10."""
    return _uniform(rng, shape, 2 / shape[0])


def he_normal(rng: Generator, shape: tuple[int, int]) -> Tensor:
    """Normal, variance 2 / fan_in. He et al. 2015, equation 10."""
    return rng.normal(shape) * math.sqrt(2 / shape[0])


def lecun_uniform(rng: Generator, shape: tuple[int, int]) -> Tensor:
    """Uniform, variance 1 / (3 fan_in), that is U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    After LeCun et al. 1998, *Efficient BackProp*, section 4.6, whose variance is 1 / fan_in; the factor of three
    is the convention of Glorot & Bengio 2010, equation 1.
    """
    return _uniform(rng, shape, 1 / (3 * shape[0]))


def normal(std: float) -> Initialiser:
    """Normal with standard deviation `std`, whatever the shape."""
    return lambda rng, shape: rng.normal(shape) * std
