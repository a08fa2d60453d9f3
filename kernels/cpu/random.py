"""Random numbers: one loop over Philox's blocks for each kind of number.

A block of four words becomes four numbers in float32 and two in float64, so the first k numbers of a draw do
not depend on how many are drawn. The last, incomplete block is computed whole and cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..scalar_random import FORMULAS, normal_pair_32, normal_pair_64, philox, uniform_32, uniform_64
from .jit import EXACT, Kernel, jit, jit_formula

__all__ = ["normal", "normal_into", "random_bits", "uniform", "uniform_into"]

Array = NDArray[Any]

for _formula in FORMULAS:
    jit_formula(_formula, EXACT)


@jit(EXACT)
def _bits_loop(seed: int, draw: int, out: Array) -> None:
    seed_, draw_ = np.uint64(seed), np.uint64(draw)
    whole = out.size // 4
    for i in range(whole):
        w0, w1, w2, w3 = philox(seed_, draw_, np.uint64(i))
        out[4 * i] = w0
        out[4 * i + 1] = w1
        out[4 * i + 2] = w2
        out[4 * i + 3] = w3
    if whole * 4 < out.size:
        words = philox(seed_, draw_, np.uint64(whole))
        for j in range(out.size - whole * 4):
            out[4 * whole + j] = words[j]


@jit(EXACT)
def _uniform_loop_32(seed: int, draw: int, out: Array) -> None:
    seed_, draw_ = np.uint64(seed), np.uint64(draw)
    whole = out.size // 4
    for i in range(whole):
        w0, w1, w2, w3 = philox(seed_, draw_, np.uint64(i))
        out[4 * i] = uniform_32(w0)
        out[4 * i + 1] = uniform_32(w1)
        out[4 * i + 2] = uniform_32(w2)
        out[4 * i + 3] = uniform_32(w3)
    if whole * 4 < out.size:
        words = philox(seed_, draw_, np.uint64(whole))
        for j in range(out.size - whole * 4):
            out[4 * whole + j] = uniform_32(words[j])


@jit(EXACT)
def _uniform_loop_64(seed: int, draw: int, out: Array) -> None:
    seed_, draw_ = np.uint64(seed), np.uint64(draw)
    whole = out.size // 2
    for i in range(whole):
        w0, w1, w2, w3 = philox(seed_, draw_, np.uint64(i))
        out[2 * i] = uniform_64(w0, w1)
        out[2 * i + 1] = uniform_64(w2, w3)
    if whole * 2 < out.size:
        w0, w1, _, _ = philox(seed_, draw_, np.uint64(whole))
        out[2 * whole] = uniform_64(w0, w1)


@jit(EXACT)
def _normal_loop_32(seed: int, draw: int, out: Array) -> None:
    seed_, draw_ = np.uint64(seed), np.uint64(draw)
    whole = out.size // 4
    for i in range(whole):
        w0, w1, w2, w3 = philox(seed_, draw_, np.uint64(i))
        z0, z1 = normal_pair_32(w0, w1)
        z2, z3 = normal_pair_32(w2, w3)
        out[4 * i] = z0
        out[4 * i + 1] = z1
        out[4 * i + 2] = z2
        out[4 * i + 3] = z3
    if whole * 4 < out.size:
        w0, w1, w2, w3 = philox(seed_, draw_, np.uint64(whole))
        last = (*normal_pair_32(w0, w1), *normal_pair_32(w2, w3))
        for j in range(out.size - whole * 4):
            out[4 * whole + j] = last[j]


@jit(EXACT)
def _normal_loop_64(seed: int, draw: int, out: Array) -> None:
    seed_, draw_ = np.uint64(seed), np.uint64(draw)
    whole = out.size // 2
    for i in range(whole):
        w0, w1, w2, w3 = philox(seed_, draw_, np.uint64(i))
        z0, z1 = normal_pair_64(w0, w1, w2, w3)
        out[2 * i] = z0
        out[2 * i + 1] = z1
    if whole * 2 < out.size:
        w0, w1, w2, w3 = philox(seed_, draw_, np.uint64(whole))
        out[2 * whole] = normal_pair_64(w0, w1, w2, w3)[0]


def _by_width(
    narrow: Callable[..., Any], wide: Callable[..., Any]
) -> Callable[[np.dtype], Callable[..., Any]]:
    return lambda dtype: narrow if dtype == np.float32 else wide


_WORD = np.dtype(np.uint32)
_bits = Kernel("random_bits", "uua", lambda dtype: _bits_loop, (_WORD,))
_uniform = Kernel("uniform", "uua", _by_width(_uniform_loop_32, _uniform_loop_64))
_normal = Kernel("normal", "uua", _by_width(_normal_loop_32, _normal_loop_64))


def random_bits(seed: int, draw: int, n: int) -> NDArray[np.uint32]:
    """Philox4x32-10 (Salmon et al. 2011, section 3.3): n words of 32 bits.

    Key: the 64-bit seed. Counter: (block, draw), 64 bits each. Word i is word i % 4 of block i // 4; little
    endian throughout. A different `seed` or `draw` is an independent stream.
    """
    _require_words(seed, draw)
    out = np.empty(n, _WORD)
    _bits[_WORD](seed, draw, out)
    return out


def uniform(seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """U[0, 1). float32: the upper 24 bits of a word. float64: the upper 53 bits of two words."""
    out = np.empty(shape, dtype)
    uniform_into(seed, draw, out)
    return out


def uniform_into(seed: int, draw: int, out: Array) -> None:
    """Fill `out`, a contiguous array, as `uniform` does."""
    _require_words(seed, draw)
    _uniform[out.dtype](seed, draw, out.ravel())


def normal(seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """N(0, 1), by Box & Muller 1958: numbers 2i and 2i + 1 are r cos a and r sin a.

    r = sqrt(-2 ln u), a = 2 pi v. float32: u and v are two words; |z| <= 6.77. float64: u and v are 53 and 64
    bits of four words; |z| <= 8.58. The same bits on every device, but different numbers in the two dtypes.
    """
    out = np.empty(shape, dtype)
    normal_into(seed, draw, out)
    return out


def normal_into(seed: int, draw: int, out: Array) -> None:
    """Fill `out`, a contiguous array, as `normal` does."""
    _require_words(seed, draw)
    _normal[out.dtype](seed, draw, out.ravel())


def _require_words(seed: int, draw: int) -> None:
    if not (0 <= seed < 2**64 and 0 <= draw < 2**64):
        raise ValueError(f"seed and draw must lie in [0, 2**64), got {seed} and {draw}")
