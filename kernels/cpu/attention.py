"""Self-attention that never stores the matrix of scores.

    S = Q K^T / sqrt(D),   P = softmax(S) along the keys,   Y = P V,         for each sequence and each head

The textbook form writes S and P, T x T numbers each, to memory and reads them again. Here a block of queries meets a
block of keys at a time, and a softmax that is not finished is corrected when a larger score comes (the online softmax:
Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3; for attention: Rabe & Staats 2021, arXiv:2112.05682, and
FlashAttention, Dao et al. 2022, arXiv:2205.14135, algorithm 1). For one row, with the scores s of the next block,

    m' = max(m, max s),   l' = e^(m - m') l + sum e^(s - m'),   y' = e^(m - m') y + sum e^(s - m') v

and y / l is the result after the last block. The backward pass (FlashAttention, algorithm 4) computes the scores anew
instead of reading them: two products more, and T x T numbers less.

A block of scores lies with the keys one under the other and the queries side by side: what a softmax does to the rows
of S is then the same for neighbours in memory, and becomes vectors without a sum being reordered. The products of
blocks are those of the matmul ladder's register tile, which reads Q, K and V where they lie: between the heads of one
array. Only Q, and in the backward pass G, is turned once for each head, because the tile wants neighbours in a row.
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
from .host import tile_for
from .jit import CONTRACT, jit
from .matmul.micro_kernel import FROM_C, FROM_ZERO, make_tile
from .matmul.transpose import make_transpose

__all__ = ["self_attention", "self_attention_grad", "self_attention_grad_into", "self_attention_into"]

Array = NDArray[Any]

_QUERIES, _KEYS = 16, 128
"""A block of scores is 8 KiB, in the inner cache. One divides the other, so that under a causal mask, from query 0 on,
a query sees at least the first key of each block that it meets; fewer queries compute less that the mask hides."""

_TOGETHER = 4
"""So many keys are taken at once by the loops over a block: vectors then need not wait for each other. What is known of
each query, its top and its total, is an array of as many parts: of keys 0, 4, 8 and so on, of keys 1, 5, 9, ..."""


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
                      0, 0.0, 0)

    return product


def _make_turn(dtype: np.dtype) -> Callable[..., None]:
    """turn(x, out): out = x^T, by blocks in registers."""
    edge = tile_for(dtype).width
    transpose = make_transpose(dtype, edge)

    @jit()
    def turn(x: Array, out: Array) -> None:
        rows, columns = x.shape
        whole_rows, whole_columns = rows // edge * edge, columns // edge * edge
        for i in range(0, whole_rows, edge):
            for j in range(0, whole_columns, edge):
                transpose(out, j, i, x, i, j)
        for i in range(rows):
            for j in range(whole_columns if i < whole_rows else 0, columns):
                out[j, i] = x[i, j]

    return turn


@jit()
def _hide(scores: Array, n: int, ahead: int) -> None:
    """Key c comes after query r, and is not seen by it, where c > r + ahead."""
    for c in range(ahead + 1, n):
        for r in range(min(c - ahead, scores.shape[1])):
            scores[c, r] = -np.inf


@jit(apart=True)
def _lift(tops: Array, x: Array) -> None:
    for e in range(x.size):
        tops[e] = x[e] if x[e] > tops[e] else tops[e]


@jit(apart=True)
def _add(totals: Array, x: Array) -> None:
    for e in range(x.size):
        totals[e] += x[e]


@jit(apart=True)
def _copy(x: Array, out: Array) -> None:
    for e in range(x.size):
        out[e] = x[e]


@jit()
def _spread(parts: Array) -> None:
    """The first part for all."""
    for e in range(_QUERIES, parts.size, _QUERIES):
        _copy(parts[:_QUERIES], parts[e : e + _QUERIES])


@jit()
def _raise_tops(scores: Array, tops: Array) -> None:
    """tops = max(tops, the largest of the scores), query by query."""
    for e in range(0, scores.size, tops.size):
        _lift(tops, scores[e : e + tops.size])
    for e in range(_QUERIES, tops.size, _QUERIES):
        _lift(tops[:_QUERIES], tops[e : e + _QUERIES])
    _spread(tops)


@jit()
def _join(totals: Array) -> None:
    """The sum of the parts, for all."""
    for e in range(_QUERIES, totals.size, _QUERIES):
        _add(totals[:_QUERIES], totals[e : e + _QUERIES])
    _spread(totals)


@functools.cache
def _loops(dtype: np.dtype) -> _Loops:
    exp = (scalar if dtype == np.float32 else scalar64).FORMULAS["exp"]
    product, turn = _make_product(dtype), _make_turn(dtype)

    @jit(CONTRACT, apart=True)
    def weigh_some(x: Array, tops: Array, factor: float, totals: Array) -> None:
        for e in range(x.size):
            x[e] = exp((x[e] - tops[e]) * factor)
            totals[e] += x[e]

    @jit()
    def weigh(scores: Array, tops: Array, factor: float, totals: Array) -> None:
        """s <- e^(factor (s - top)), and their sums added to `totals`."""
        for e in range(0, scores.size, tops.size):
            weigh_some(scores[e : e + tops.size], tops, factor, totals)

    @jit(CONTRACT, apart=True)
    def shrink(before: Array, tops: Array, factor: float, totals: Array) -> None:
        """What was summed up with a smaller top: times e^(factor (before - top)), which `before` becomes."""
        for e in range(tops.size):
            before[e] = exp((before[e] - tops[e]) * factor)
            totals[e] *= before[e]

    @jit(CONTRACT)
    def multiply(row: Array, factor: float) -> None:
        for d in range(row.size):
            row[d] *= factor

    @jit(CONTRACT, apart=True)
    def multiply_each(x: Array, factors: Array) -> None:
        for e in range(x.size):
            x[e] *= factors[e]

    @jit(CONTRACT, apart=True)
    def add_some_products(x: Array, y: Array, sums: Array) -> None:
        for e in range(x.size):
            sums[e] += x[e] * y[e]

    @jit()
    def add_products(scores: Array, slopes: Array, sums: Array) -> None:
        for e in range(0, scores.size, sums.size):
            add_some_products(scores[e : e + sums.size], slopes[e : e + sums.size], sums)

    @jit(CONTRACT, apart=True)
    def differentiate_some(x: Array, slopes: Array, shares: Array, means: Array, factor: float) -> None:
        for e in range(x.size):
            p = x[e] * shares[e]
            x[e] = p
            slopes[e] = p * (slopes[e] - means[e]) * factor

    @jit()
    def differentiate(scores: Array, slopes: Array, shares: Array, means: Array, factor: float) -> None:
        """From e^(s - top) and dP to P and dS / sqrt(D): `shares` are 1 / l, `means` the rows summed of P dP."""
        for e in range(0, scores.size, means.size):
            differentiate_some(scores[e : e + means.size], slopes[e : e + means.size], shares, means, factor)

    @jit(CONTRACT, allocates=True)
    def forward(qkv: Array, lengths: Array, causal: bool, scale: float, first: int, out: Array) -> None:
        factor = qkv.dtype.type(scale)
        size, queries, heads, width = out.shape
        nothing = np.empty(0, qkv.dtype)
        turned, scores = np.empty((width, queries), qkv.dtype), np.zeros((_KEYS, _QUERIES), qkv.dtype)
        block = scores[:, 0:]  # the same numbers, of the type that a part of a larger array has: see `_make_product`
        flat = scores.reshape(scores.size)
        tops, totals, before = (np.empty(_TOGETHER * _QUERIES, qkv.dtype), np.empty(_TOGETHER * _QUERIES, qkv.dtype),
                                np.empty(_TOGETHER * _QUERIES, qkv.dtype))
        for b in range(size):
            keys = lengths[b]
            for h in range(heads):
                k, v, y = qkv[b, :, 1, h, :], qkv[b, :, 2, h, :], out[b, :, h, :]
                turn(qkv[b, first : first + queries, 0, h, :], turned)
                for i0 in range(0, queries, _QUERIES):
                    m = min(_QUERIES, queries - i0)
                    seen = min(keys, first + i0 + m) if causal else keys
                    if seen == 0:
                        y[i0 : i0 + m] = 0
                    tops[:], totals[:] = -np.inf, 0
                    for j0 in range(0, seen, _KEYS):
                        n = min(_KEYS, seen - j0)
                        product(block, n, m, FROM_ZERO, k[j0:], turned[:, i0:], width, nothing)
                        if causal:
                            _hide(scores, n, first + i0 - j0)
                        if j0 > 0:
                            before[:] = tops
                        _raise_tops(flat[: n * _QUERIES], tops)
                        if j0 > 0:
                            shrink(before, tops, factor, totals)
                            for r in range(m):
                                multiply(out[b, i0 + r, h], before[r])
                        weigh(flat[: n * _QUERIES], tops, factor, totals)
                        product(y[i0:], m, width, FROM_C if j0 > 0 else FROM_ZERO, block.T, v[j0:], n, nothing)
                    _join(totals)
                    for r in range(m if seen > 0 else 0):
                        multiply(out[b, i0 + r, h], 1 / totals[r])

    @jit(CONTRACT, allocates=True)
    def backward(g: Array, qkv: Array, lengths: Array, causal: bool, scale: float, out: Array) -> None:
        factor = qkv.dtype.type(scale)
        size, time, _, heads, width = qkv.shape
        nothing = np.empty(0, qkv.dtype)
        turned_q, turned_g = np.empty((width, time), qkv.dtype), np.empty((width, time), qkv.dtype)
        scores, slopes = np.zeros((_KEYS, _QUERIES), qkv.dtype), np.zeros((_KEYS, _QUERIES), qkv.dtype)
        block, slope_block = scores[:, 0:], slopes[:, 0:]
        flat, flat_slopes = scores.reshape(scores.size), slopes.reshape(slopes.size)
        tops, totals = np.empty(_TOGETHER * _QUERIES, qkv.dtype), np.empty(_TOGETHER * _QUERIES, qkv.dtype)
        means, before = np.empty(_TOGETHER * _QUERIES, qkv.dtype), np.empty(_TOGETHER * _QUERIES, qkv.dtype)
        for b in range(size):
            keys = lengths[b]
            out[b] = 0
            for h in range(heads):
                q, k, v, back = qkv[b, :, 0, h, :], qkv[b, :, 1, h, :], qkv[b, :, 2, h, :], g[b, :, h, :]
                dq, dk, dv = out[b, :, 0, h, :], out[b, :, 1, h, :], out[b, :, 2, h, :]
                turn(q, turned_q)
                turn(back, turned_g)
                for i0 in range(0, time, _QUERIES):
                    m = min(_QUERIES, time - i0)
                    seen = min(keys, i0 + m) if causal else keys
                    tops[:], totals[:], means[:] = -np.inf, 0, 0
                    for j0 in range(0, seen, _KEYS):  # l of every row, and sum_j p_ij dP_ij, which is g . y
                        n = min(_KEYS, seen - j0)
                        product(block, n, m, FROM_ZERO, k[j0:], turned_q[:, i0:], width, nothing)
                        product(slope_block, n, m, FROM_ZERO, v[j0:], turned_g[:, i0:], width, nothing)
                        if causal:
                            _hide(scores, n, i0 - j0)
                        before[:] = tops
                        _raise_tops(flat[: n * _QUERIES], tops)
                        if j0 > 0:
                            shrink(before, tops, factor, totals)
                            multiply_each(means, before)
                        weigh(flat[: n * _QUERIES], tops, factor, totals)
                        add_products(flat[: n * _QUERIES], flat_slopes[: n * _QUERIES], means)
                    _join(totals)
                    _join(means)
                    for e in range(totals.size):
                        totals[e] = 1 / totals[e]
                        means[e] *= totals[e]
                    for j0 in range(0, seen, _KEYS):
                        n = min(_KEYS, seen - j0)
                        if seen > _KEYS:  # else the only block is still here
                            product(block, n, m, FROM_ZERO, k[j0:], turned_q[:, i0:], width, nothing)
                            product(slope_block, n, m, FROM_ZERO, v[j0:], turned_g[:, i0:], width, nothing)
                            if causal:
                                _hide(scores, n, i0 - j0)
                            weigh(flat[: n * _QUERIES], tops, factor, before)
                        differentiate(flat[: n * _QUERIES], flat_slopes[: n * _QUERIES], totals, means, factor)
                        product(dv[j0:], n, width, FROM_C, block, back[i0:], m, nothing)
                        product(dk[j0:], n, width, FROM_C, slope_block, q[i0:], m, nothing)
                        product(dq[i0:], m, width, FROM_C, slope_block.T, k[j0:], n, nothing)

    return _Loops(forward, backward)


def self_attention(qkv: Array, lengths: Array, *, heads: int, causal: bool,
                   queries: tuple[int, int] | None = None) -> Array:
    """y_i = sum_j p_ij v_j, p_i = softmax over j of q_i . k_j / sqrt(D): Vaswani et al. 2017, equation 1, by heads.

    qkv (N, T, 3 C) holds queries, keys and values side by side, each in `heads` parts of D = C / heads. Sequence b has
    lengths[b] keys (N,), the others are not looked at; with `causal`, query i sees keys 0 .. i only. Returns (N, T, C),
    or of `queries` (from, to) alone: (N, to - from, C). A query that sees no key gives 0. Raises ValueError for shapes
    that do not fit, TypeError for other dtypes.
    """
    size, time, _, _, width = _require(qkv, lengths, heads)
    first, end = _window(queries, time)
    out = np.empty((size, end - first, heads * width), qkv.dtype)
    self_attention_into(qkv, lengths, out, heads=heads, causal=causal, queries=queries)
    return out


def self_attention_into(qkv: Array, lengths: Array, out: Array, *, heads: int, causal: bool,
                        queries: tuple[int, int] | None = None) -> None:
    """`self_attention`, into the memory of `out`, C-contiguous."""
    size, time, _, _, width = shape = _require(qkv, lengths, heads)
    first, end = _window(queries, time)
    y = out.reshape(size, end - first, heads, width)
    scale = 1 / math.sqrt(max(width, 1))
    _loops(qkv.dtype).forward(_own(qkv).reshape(shape), _counts(lengths, time), causal, scale, first, y)


def self_attention_grad(g: Array, qkv: Array, lengths: Array, *, heads: int, causal: bool) -> Array:
    """dL/d(qkv) of `self_attention` for the cotangent g (N, T, C): with p and y as there, dP_ij = g_i . v_j,

    dV_j = sum_i p_ij g_i,  dS_ij = p_ij (dP_ij - g_i . y_i),  dQ_i = sum_j dS_ij k_j / sqrt(D), dK_j likewise.
    """
    out = np.empty(qkv.shape, qkv.dtype)
    self_attention_grad_into(g, qkv, lengths, out, heads=heads, causal=causal)
    return out


def self_attention_grad_into(g: Array, qkv: Array, lengths: Array, out: Array, *, heads: int, causal: bool) -> None:
    """`self_attention_grad`, into the memory of `out`, C-contiguous."""
    shape = _require(qkv, lengths, heads)
    size, time, _, _, width = shape
    if g.shape != (size, time, heads * width) or g.dtype != qkv.dtype:
        raise ValueError(f"self_attention_grad: g of shape {(size, time, heads * width)} and {qkv.dtype} expected, "
                         f"got {g.shape} and {g.dtype}")
    back, scale = _own(g).reshape(size, time, heads, width), 1 / math.sqrt(max(width, 1))
    counts = _counts(lengths, time)
    _loops(qkv.dtype).backward(back, _own(qkv).reshape(shape), counts, causal, scale, out.reshape(shape))


def _require(qkv: Array, lengths: Array, heads: int) -> tuple[int, int, int, int, int]:
    if qkv.dtype not in (np.float32, np.float64):
        raise TypeError(f"self_attention: float32 or float64 expected, got {qkv.dtype}")
    if qkv.ndim != 3 or heads < 1 or qkv.shape[2] % (3 * heads):
        raise ValueError(f"self_attention: qkv (N, T, 3 C), C a multiple of {heads} heads, expected, got {qkv.shape}")
    if lengths.shape != qkv.shape[:1] or lengths.dtype.kind not in "iu":
        raise ValueError(f"self_attention: one whole number of keys for each of the {len(qkv)} sequences expected, got "
                         f"lengths {lengths.shape} {lengths.dtype}")
    return (*qkv.shape[:2], 3, heads, qkv.shape[2] // (3 * heads))


def _window(queries: tuple[int, int] | None, time: int) -> tuple[int, int]:
    first, end = queries or (0, time)
    if not 0 <= first <= end <= time:
        raise ValueError(f"self_attention: queries from {first} to {end} of {time} positions")
    return first, end


def _own(x: Array) -> Array:
    """C-contiguous, aligned and writable, so that the loops are compiled for one kind of array alone."""
    return np.require(x, requirements=["C", "A", "W"])


def _counts(lengths: Array, time: int) -> Array:
    """The lengths as the loops take them; ValueError for one outside 0 .. time."""
    if lengths.size and not (0 <= lengths.min() and lengths.max() <= time):
        raise ValueError(f"self_attention: lengths from {lengths.min()} to {lengths.max()}, expected 0 to {time}")
    return _own(lengths.astype(np.int64, copy=False))
