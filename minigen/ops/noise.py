"""Random numbers as operations without inputs, so that a recorded program holds them too.

Each is a pure function of (seed, draw), the same bits on every device: see `minigen.random.Generator`, which counts
the draws.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import kernels
from ..autograd import op
from ..backend import Array

__all__ = ["dropout_mask", "normal", "uniform"]


@op
def normal(*, seed: int, draw: int, shape: Sequence[int], dtype: str = "float32", device: str = "cpu") -> Array:
    """y ~ N(0, 1), independent elements"""
    return kernels.on(device).normal(seed, draw, tuple(shape), dtype)


@op
def uniform(*, seed: int, draw: int, shape: Sequence[int], dtype: str = "float32", device: str = "cpu") -> Array:
    """y ~ U[0, 1), independent elements"""
    return kernels.on(device).uniform(seed, draw, tuple(shape), dtype)


@op
def dropout_mask(*, rate: float, seed: int, draw: int, shape: Sequence[int], dtype: str = "float32",
                 device: str = "cpu") -> Array:
    """y = 0 with probability `rate`, else 1 / (1 - rate), so that E[y] = 1. Srivastava et al. 2014, section 10."""
    kept = kernels.on(device).uniform(seed, draw, tuple(shape), dtype) >= rate
    mask = kept.astype(dtype)
    mask *= 1 / (1 - rate)
    return mask
