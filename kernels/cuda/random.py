"""Random numbers on the GPU: the bits of `kernels.cpu.random`, for any seed, draw and length.

The formulas are those of `scalar_random`, translated; random.cu has the loops.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import scalar_random
from . import compile as cuda_compile
from . import device
from .launch import FLOAT32, elementwise_launch
from .translate import ULONG, Translator

__all__ = ["normal", "random_bits", "source", "uniform"]

Array = Any  # cupy.ndarray


@functools.cache
def source() -> str:
    """The CUDA source of all random numbers: the translated formulas, then random.cu."""
    translator = Translator()
    for formula in scalar_random.FORMULAS:
        translator.add(formula, [ULONG] * len(inspect.signature(formula).parameters))
    return f"{translator.source}\n{cuda_compile.read('random.cu')}"


def random_bits(seed: int, draw: int, n: int) -> Array:
    """Philox4x32-10 (Salmon et al. 2011, section 3.3): n words of 32 bits.

    Key: the 64-bit seed. Counter: (block, draw), 64 bits each. Word i is word i % 4 of block i // 4; little
    endian throughout. A different `seed` or `draw` is an independent stream.
    """
    return _fill("random_bits", 4, seed, draw, (n,), np.uint32)


def uniform(seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """U[0, 1). float32: the upper 24 bits of a word. float64: the upper 53 bits of two words."""
    return _fill_floats("uniform", seed, draw, shape, dtype)


def normal(seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """N(0, 1), by Box & Muller 1958: numbers 2i and 2i + 1 are r cos a and r sin a.

    r = sqrt(-2 ln u), a = 2 pi v. float32: u and v are two words; |z| <= 6.77. float64: u and v are 53 and 64
    bits of four words; |z| <= 8.58. The same bits on every device, but different numbers in the two dtypes.
    """
    return _fill_floats("normal", seed, draw, shape, dtype)


def kernel_of(name: str, dtype: np.dtype) -> tuple[str, int]:
    """The kernel for a dtype, and how many numbers it makes of a block of four words."""
    return (f"{name}_32", 4) if dtype == FLOAT32 else (f"{name}_64", 2)


def _fill_floats(name: str, seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    dtype = np.dtype(dtype)
    if dtype not in device.C_NAMES:
        raise TypeError(f"{name}: expected an array of float32 or float64, got {dtype}")
    kernel, numbers = kernel_of(name, dtype)
    return _fill(kernel, numbers, seed, draw, shape, dtype)


def _fill(kernel: str, numbers: int, seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """`numbers` is how many a block of four words makes."""
    if not (0 <= seed < 2**64 and 0 <= draw < 2**64):
        raise ValueError(f"seed and draw must lie in [0, 2**64), got {seed} and {draw}")
    n = math.prod(shape)
    out = device.empty(shape, dtype)
    launch = elementwise_launch(-(-n // numbers))
    given = [np.uint64(seed), np.uint64(draw), out, np.int64(n)]
    device.run(source(), kernel, launch, given, cuda_compile.EXACT)
    return out
