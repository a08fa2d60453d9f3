"""Kernels whose changing numbers lie in memory: a captured graph freezes every argument, but not what an address shows.

The kernels of random.cu and optimizers.cu, compiled with FROM_MEMORY. What they compute is said by `random`,
`optimizers` and `coefficients`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import compile as cuda_compile
from . import device, optimizers, random
from .launch import elementwise_launch

__all__ = ["normal", "uniform", "update"]

Array = Any  # cupy.ndarray

_DEFINE = "FROM_MEMORY"


def uniform(key: Array, out: Array) -> None:
    """U[0, 1) into `out`, C-contiguous; `key` holds seed and draw, two words of 64 bits."""
    _fill("uniform", key, out)


def normal(key: Array, out: Array) -> None:
    """N(0, 1) into `out`, C-contiguous; `key` holds seed and draw, two words of 64 bits."""
    _fill("normal", key, out)


def update(kernel: str, coefficients: Array, arrays: Sequence[Array]) -> None:
    """Start a kernel of optimizers.cu on weights, gradient and moments, in its order; the coefficients are float64."""
    optimizers.require(kernel, arrays[0], *arrays[1:])
    optimizers.start(kernel, arrays, [coefficients], (_DEFINE,))


def _fill(name: str, key: Array, out: Array) -> None:
    kernel, numbers = random.kernel_of(name, out.dtype)
    launch = elementwise_launch(-(-out.size // numbers)).with_defines(_DEFINE)
    device.run(random.source(), kernel, launch, [key[:1], key[1:], out, np.int64(out.size)], cuda_compile.EXACT)
