"""Self-attention that never stores the matrix of scores.

    S = Q K^T / sqrt(D),   P = softmax(S) along the keys,   Y = P V,         for each sequence and each head

The textbook form writes S and P, T x T numbers each, to memory and reads them again. Here a block of queries meets a
block of keys at a time, and a softmax that is not finished is corrected when a larger score comes (the online softmax:
Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3; for attention: Rabe & Staats 2021, arXiv:2112.05682, and
FlashAttention, Dao et al. 2022, arXiv:2205.14135, algorithm 1). For one row, with the scores s of the next block,

    m' = max(m, max s),   l' = e^(m - m') l + sum e^(s - m'),   y' = e^(m - m') y + sum e^(s - m') v

and y / l is the result after the last block. The backward pass (FlashAttention, algorithm 4) computes the scores anew
instead of reading them: two products more, and T x T numbers less.

The products of blocks are those of the matmul ladder's register tile, which reads Q, K and V where they lie: between
the heads of one array. K and V are turned once for each head, because the tile wants neighbours in a row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import scalar, scalar64
from . import elementwise  # noqa: F401 - importing it lets compiled loops call the formulas
from .jit import CONTRACT, LOOSE, jit
from .matmul.host import tile_for
from .matmul.micro_kernel import FROM_C, FROM_ZERO, make_tile

__all__ = ["self_attention", "self_attention_grad"]

Array = NDArray[Any]

_QUERIES, _KEYS = 32, 64
"""A block of scores: with the values that meet it, well inside the first cache."""


class _Loops(NamedTuple):
    forward: Callable[..., None]
    backward: Callable[..., None]


def _make_product(dtype: np.dtype) -> Callable[..., None]:
    """product(c, m, n, start, a, b, depth, nothing): C[:m, :n] = (C or 0) + A[:m, :depth] B[:depth, :n].

    Every matrix is a part of a larger array, so that there is one type of matrix, and this is compiled once.
    """
    tile = tile_for(dtype)
    micro = make_tile(dtype, tile)
    rows, columns = tile.rows, 2 * tile.width

    @jit(CONTRACT)
    def product(c: Array, m: int, n: int, start: int, a: Array, b: Array, depth: int, nothing: Array) -> None:
        for i in range(0, m, rows):
            for j in range(0, n, columns):
                micro(min(rows, m - i), min(columns, n - j), c, i, j, start, nothing, a, i, 0, b, 0, j, depth,
                      0, 0.0)

    return product


@functools.cache
def _loops(dtype: np.dtype) -> _Loops:
    exp = (scalar if dtype == np.float32 else scalar64).FORMULAS["exp"]
    product = _make_product(dtype)

    @jit(CONTRACT)
    def turn(x: Array, factor: float, count: int, out: Array) -> None:
        """out = factor x^T for the first `count` rows of x."""
        f = x.dtype.type(factor)
        for d in range(x.shape[1]):
            for t in range(count):
                out[d, t] = f * x[t, d]

    @jit(LOOSE)
    def total_of(s: Array, high: float, count: int) -> float:
        """The sum of e^(s - high), which overwrites s."""
        total = s.dtype.type(0)
        for c in range(count):
            p = exp(s[c] - high)
            s[c] = p
            total += p
        return total

    @jit(LOOSE)
    def moment_of(s: Array, high: float, slopes: Array, count: int) -> tuple[float, float]:
        """The sums of p = e^(s - high) and of p times `slopes`."""
        total, moment = s.dtype.type(0), s.dtype.type(0)
        for c in range(count):
            p = exp(s[c] - high)
            total += p
            moment += p * slopes[c]
        return total, moment

    @jit()
    def highest(s: Array, high: float, count: int) -> float:
        for c in range(count):
            high = s[c] if s[c] > high else high
        return high

    @jit(CONTRACT, allocates=True)
    def forward(qkv: Array, lengths: Array, causal: bool, scale: float, out: Array) -> None:
        number = qkv.dtype.type
        size, time, _, heads, width = qkv.shape
        nothing = np.empty(0, qkv.dtype)
        turned, scores = np.empty((width, time), qkv.dtype), np.empty((_QUERIES, _KEYS), qkv.dtype)
        block = scores[:, 0:]  # the same numbers, of the type that a part of a larger array has: see `_make_product`
        tops, totals = np.empty(_QUERIES, qkv.dtype), np.empty(_QUERIES, qkv.dtype)
        for b in range(size):
            keys = lengths[b]
            for h in range(heads):
                q, k, v, y = qkv[b, :, 0, h, :], qkv[b, :, 1, h, :], qkv[b, :, 2, h, :], out[b, :, h, :]
                turn(k, scale, keys, turned)
                for i0 in range(0, time, _QUERIES):
                    m = min(_QUERIES, time - i0)
                    seen = min(keys, i0 + m) if causal else keys
                    tops[:], totals[:], y[i0 : i0 + m] = -np.inf, 0, 0
                    for j0 in range(0, seen, _KEYS):
                        n = min(_KEYS, seen - j0)
                        product(block, m, n, FROM_ZERO, q[i0:], turned[:, j0:], width, nothing)
                        for r in range(m):
                            last = max(0, min(n, i0 + r + 1 - j0)) if causal else n
                            scores[r, last:n] = 0
                            if last > 0:
                                high = highest(scores[r], tops[r], last)
                                shrink = exp(number(tops[r] - high)) if j0 > 0 else number(0)
                                totals[r] = totals[r] * shrink + total_of(scores[r], high, last)
                                tops[r] = high
                                for d in range(width):
                                    y[i0 + r, d] *= shrink
                        product(y[i0:], m, width, FROM_C, block, v[j0:], n, nothing)
                    for r in range(m):
                        share = number(1) / totals[r] if seen > 0 else number(0)
                        for d in range(width):
                            y[i0 + r, d] *= share

    @jit(CONTRACT, allocates=True)
    def backward(g: Array, qkv: Array, lengths: Array, causal: bool, scale: float, out: Array) -> None:
        number = qkv.dtype.type
        size, time, _, heads, width = qkv.shape
        nothing = np.empty(0, qkv.dtype)
        turned_k, turned_v = np.empty((width, time), qkv.dtype), np.empty((width, time), qkv.dtype)
        scores, slopes = np.empty((_QUERIES, _KEYS), qkv.dtype), np.empty((_QUERIES, _KEYS), qkv.dtype)
        tops, totals = np.empty(_QUERIES, qkv.dtype), np.empty(_QUERIES, qkv.dtype)
        block, slope_block = scores[:, 0:], slopes[:, 0:]
        means, factor = np.empty(_QUERIES, qkv.dtype), number(scale)
        out[:] = 0
        for b in range(size):
            keys = lengths[b]
            for h in range(heads):
                q, k, v, back = qkv[b, :, 0, h, :], qkv[b, :, 1, h, :], qkv[b, :, 2, h, :], g[b, :, h, :]
                dq, dk, dv = out[b, :, 0, h, :], out[b, :, 1, h, :], out[b, :, 2, h, :]
                turn(k, scale, keys, turned_k)
                turn(v, 1.0, keys, turned_v)
                for i0 in range(0, time, _QUERIES):
                    m = min(_QUERIES, time - i0)
                    seen = min(keys, i0 + m) if causal else keys
                    tops[:], totals[:], means[:] = -np.inf, 0, 0
                    for j0 in range(0, seen, _KEYS):  # l of every row, and sum_j p_ij dP_ij, which is g . y
                        n = min(_KEYS, seen - j0)
                        product(block, m, n, FROM_ZERO, q[i0:], turned_k[:, j0:], width, nothing)
                        product(slope_block, m, n, FROM_ZERO, back[i0:], turned_v[:, j0:], width, nothing)
                        for r in range(m):
                            last = max(0, min(n, i0 + r + 1 - j0)) if causal else n
                            if last > 0:
                                high = highest(scores[r], tops[r], last)
                                shrink = exp(number(tops[r] - high)) if j0 > 0 else number(0)
                                total, moment = moment_of(scores[r], high, slopes[r], last)
                                totals[r] = totals[r] * shrink + total
                                means[r] = means[r] * shrink + moment
                                tops[r] = high
                    for j0 in range(0, seen, _KEYS):
                        n = min(_KEYS, seen - j0)
                        if seen > _KEYS:  # else the only block is still here
                            product(block, m, n, FROM_ZERO, q[i0:], turned_k[:, j0:], width, nothing)
                            product(slope_block, m, n, FROM_ZERO, back[i0:], turned_v[:, j0:], width, nothing)
                        for r in range(m):
                            last = max(0, min(n, i0 + r + 1 - j0)) if causal else n
                            share = number(1) / totals[r]
                            mean, top = means[r] * share, tops[r]
                            for c in range(last):
                                p = exp(scores[r, c] - top) * share
                                scores[r, c] = p
                                slopes[r, c] = p * (slopes[r, c] - mean) * factor
                            scores[r, last:n] = 0
                            slopes[r, last:n] = 0
                        product(dv[j0:], n, width, FROM_C, block.T, back[i0:], m, nothing)
                        product(dq[i0:], m, width, FROM_C, slope_block, k[j0:], n, nothing)
                        product(dk[j0:], n, width, FROM_C, slope_block.T, q[i0:], m, nothing)

    return _Loops(forward, backward)


def self_attention(qkv: Array, lengths: Array, *, heads: int, causal: bool) -> Array:
    """y_i = sum_j p_ij v_j, p_i = softmax over j of q_i . k_j / sqrt(D): Vaswani et al. 2017, equation 1, by heads.

    qkv (N, T, 3 C) holds queries, keys and values side by side, each in `heads` parts of D = C / heads. Sequence b has
    lengths[b] keys (N,), the others are not looked at; with `causal`, query i sees keys 0 .. i only. Returns (N, T, C);
    a query that sees no key gives 0. Raises ValueError for shapes that do not fit, TypeError for other dtypes.
    """
    shape = _require(qkv, lengths, heads)
    out = np.empty((shape[0], shape[1], heads, shape[4]), qkv.dtype)
    scale = 1 / math.sqrt(max(shape[4], 1))
    _loops(qkv.dtype).forward(_own(qkv).reshape(shape), _counts(lengths, shape[1]), causal, scale, out)
    return out.reshape(shape[0], shape[1], heads * shape[4])


def self_attention_grad(g: Array, qkv: Array, lengths: Array, *, heads: int, causal: bool) -> Array:
    """dL/d(qkv) of `self_attention` for the cotangent g (N, T, C): with p and y as there, dP_ij = g_i . v_j,

    dV_j = sum_i p_ij g_i,  dS_ij = p_ij (dP_ij - g_i . y_i),  dQ_i = sum_j dS_ij k_j / sqrt(D), dK_j likewise.
    """
    shape = _require(qkv, lengths, heads)
    size, time, _, _, width = shape
    if g.shape != (size, time, heads * width) or g.dtype != qkv.dtype:
        raise ValueError(f"self_attention_grad: g of shape {(size, time, heads * width)} and {qkv.dtype} expected, "
                         f"got {g.shape} and {g.dtype}")
    out, scale = np.empty(shape, qkv.dtype), 1 / math.sqrt(max(width, 1))
    back = _own(g).reshape(size, time, heads, width)
    _loops(qkv.dtype).backward(back, _own(qkv).reshape(shape), _counts(lengths, time), causal, scale, out)
    return out.reshape(qkv.shape)


def _require(qkv: Array, lengths: Array, heads: int) -> tuple[int, int, int, int, int]:
    if qkv.dtype not in (np.float32, np.float64):
        raise TypeError(f"self_attention: float32 or float64 expected, got {qkv.dtype}")
    if qkv.ndim != 3 or heads < 1 or qkv.shape[2] % (3 * heads):
        raise ValueError(f"self_attention: qkv (N, T, 3 C), C a multiple of {heads} heads, expected, got {qkv.shape}")
    if lengths.shape != qkv.shape[:1] or lengths.dtype.kind not in "iu":
        raise ValueError(f"self_attention: one whole number of keys for each of the {len(qkv)} sequences expected, got "
                         f"lengths {lengths.shape} {lengths.dtype}")
    return (*qkv.shape[:2], 3, heads, qkv.shape[2] // (3 * heads))


def _own(x: Array) -> Array:
    """C-contiguous, aligned and writable, so that the loops are compiled for one kind of array alone."""
    return np.require(x, requirements=["C", "A", "W"])


def _counts(lengths: Array, time: int) -> Array:
    """The lengths as the loops take them; ValueError for one outside 0 .. time."""
    if lengths.size and not (0 <= lengths.min() and lengths.max() <= time):
        raise ValueError(f"self_attention: lengths from {lengths.min()} to {lengths.max()}, expected 0 to {time}")
    return _own(lengths.astype(np.int64, copy=False))
