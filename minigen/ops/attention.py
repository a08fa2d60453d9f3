"""Scaled dot-product attention, with its gradient and the gradient of that."""

from __future__ import annotations

import math

import numpy as np

from .. import kernels
from ..autograd import op
from ..backend import Array, namespace
from ..errors import ShapeError
from ..tensor import Tensor, TensorLike
from .arithmetic import full_like, less, less_equal, where
from .reduce import softmax, sum
from .shape import broadcast_to, concatenate, reshape, stack, swap_last, transpose

__all__ = ["attention", "attention_weights", "merge_heads", "self_attention", "self_attention_grad", "split_heads"]


def attention(q: Tensor, k: Tensor, v: Tensor, seen: TensorLike | None = None) -> Tensor:
    """Y = P V with P = softmax(Q K^T / sqrt(D)) along the keys: q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv).

    Vaswani et al. 2017, arXiv:1706.03762, equation 1, in so many words; see `attention_weights` for `seen`. It stores
    P: where queries, keys and values are one array, `self_attention` does not.
    """
    return attention_weights(q, k, seen) @ v


def attention_weights(q: Tensor, k: Tensor, seen: TensorLike | None = None) -> Tensor:
    """P = softmax(Q K^T / sqrt(D)) along the keys, (..., Tq, Tk); 0 where the boolean `seen` is false.

    A query that sees no key at all has a row of zeros.
    """
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"attention: queries {q.shape} and keys {k.shape} must have the same last axis")
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ swap_last(k)
    if seen is None:
        return softmax(scores)
    if not isinstance(seen, Tensor):
        seen = Tensor(np.asarray(seen))
    # Not -inf: a row that is -inf throughout would be nan, which no multiplication brings back to 0.
    weights = softmax(where(seen, scores, -1e30))
    return where(seen, weights, 0.0)


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v, each (N, heads, T, D), of qkv (N, T, 3 heads D)."""
    n, t, width = qkv.shape
    parts = transpose(reshape(qkv, shape=(n, t, 3, heads, width // (3 * heads))), axes=(2, 0, 3, 1, 4))
    return parts[0], parts[1], parts[2]


def merge_heads(x: Tensor) -> Tensor:
    """(N, heads, T, D) as (N, T, heads D)."""
    n, heads, t, width = x.shape
    return reshape(transpose(x, axes=(0, 2, 1, 3)), shape=(n, t, heads * width))


@op
def self_attention(qkv: Array, lengths: Array, *, heads: int, causal: bool,
                   queries: tuple[int, int] | None = None) -> Array:
    """Y = P V, P = softmax(Q K^T / sqrt(D)) in each head, P never stored: qkv (N, T, 3 heads D) gives (N, T, heads D)

    dL/dV = P^T G,  dL/dS = P (dP - rows summed of P dP) with dP = G V^T,  dL/dQ = dS K / sqrt(D), dL/dK = dS^T Q / ...
    Sequence b has keys 0 .. lengths[b] - 1, (N,) integers; with `causal`, query i sees keys up to i. `queries`
    (from, to) asks for the Y of these positions alone, (N, to - from, heads D).
    """
    return kernels.self_attention(qkv, lengths, heads=heads, causal=causal, queries=queries)


@self_attention.vjp
def _(g, y, qkv, lengths, *, heads, causal, queries=None):
    def for_qkv() -> Tensor:
        if queries is None:
            return self_attention_grad(g, qkv, lengths, heads=heads, causal=causal)
        none = full_like(qkv[:, :, :g.shape[-1]], value=0.0)  # the cotangent of what was not asked for
        whole = concatenate(none[:, :queries[0]], g, none[:, queries[1]:], axis=1)
        return self_attention_grad(whole, qkv, lengths, heads=heads, causal=causal)

    return for_qkv, None


@op
def self_attention_grad(g: Array, qkv: Array, lengths: Array, *, heads: int, causal: bool) -> Array:
    """dL/d(qkv) of `self_attention` for the cotangent g; its own gradient is written with P stored.

    With S, P, dP and dS = P (dP - m), m = rows summed of P dP, as there, and the cotangents c = (cq, ck, cv):
    E = (cq K^T + Q ck^T) / sqrt(D),  X = P (E - e) with e = rows summed of P E,
    W = E (dP - m) - e dP + G cv^T,  Z = P (W - rows summed of P W),
    dL/dG = X V + P cv,  dL/dQ = (Z K + dS ck) / sqrt(D),  dL/dK = (Z^T Q + dS^T cq) / sqrt(D),  dL/dV = X^T G
    """
    return kernels.self_attention_grad(g, qkv, lengths, heads=heads, causal=causal)


@self_attention_grad.vjp
def _(c, y, g, qkv, lengths, *, heads, causal):
    q, k, v = split_heads(qkv, heads)
    cq, ck, cv = split_heads(c, heads)
    n, _, t, width = q.shape
    back = transpose(reshape(g, shape=(n, t, heads, width)), axes=(0, 2, 1, 3))
    scale = 1 / math.sqrt(width)
    p = attention_weights(q, k, _seen(lengths, t, causal))
    dp = back @ swap_last(v)
    e = (cq @ swap_last(k) + q @ swap_last(ck)) * scale
    x, dp_centred = _softmax_back(p, e), dp - _rows(p * dp)

    def for_qkv() -> Tensor:
        w = e * dp_centred - _rows(p * e) * dp + back @ swap_last(cv)
        z, ds = _softmax_back(p, w), p * dp_centred
        dq = (z @ k + ds @ ck) * scale
        dk = (swap_last(z) @ q + swap_last(ds) @ cq) * scale
        parts = transpose(stack(dq, dk, swap_last(x) @ back), axes=(1, 3, 0, 2, 4))
        return reshape(parts, shape=qkv.shape)

    return lambda: merge_heads(x @ v + p @ cv), for_qkv, None


def _rows(x: Tensor) -> Tensor:
    return sum(x, axis=-1, keepdims=True)


def _softmax_back(p: Tensor, g: Tensor) -> Tensor:
    return p * (g - _rows(p * g))


def _seen(lengths: Tensor, t: int, causal: bool) -> Tensor:
    """(N, 1, T, T): whether query i sees key j."""
    keys = Tensor(namespace(lengths.data).arange(t))
    seen = less(keys, reshape(lengths, shape=(len(lengths), 1, 1, 1)))
    if causal:
        return seen * less_equal(keys, reshape(keys, shape=(t, 1)))
    return broadcast_to(seen, shape=(len(lengths), 1, t, t))
