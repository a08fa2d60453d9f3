"""Attention layers: how one position of a sequence learns of the others."""

from __future__ import annotations

import numpy as np

from .. import ops
from ..backend import Array, to_device
from ..errors import ShapeError, UsageError
from ..random import Generator
from ..tensor import Tensor
from .init import Initialiser, lecun_uniform
from .layers import Dense
from .module import Module

__all__ = ["KeyValueCache", "SelfAttention"]


class KeyValueCache:
    """The keys and values of the positions that a layer has seen, so that the next one costs one query.

    qkv: (N, time, 3 width) on `device`, the first `length` positions filled: as attention reads them, beside queries
    that nobody asks for again. ends: (N,), `time` for each, since a causal query sees no further than itself.
    """

    def __init__(self, size: int, time: int, width: int, dtype: str = "float32", device: str = "cpu") -> None:
        self.qkv = Tensor(to_device(np.zeros((size, time, 3 * width), dtype), device))
        self.ends = Tensor(to_device(np.full(size, time), device))
        self.length = 0

    def append(self, qkv: Array) -> tuple[int, int]:
        """Take in (N, t, 3 width) more; from where to where they are now. ShapeError where they do not fit."""
        start, end, time = self.length, self.length + qkv.shape[1], self.qkv.shape[1]
        if end > time:
            raise ShapeError(f"the cache holds {time} positions, got {end}: begin a new one")
        self.qkv.data[:, start:end] = qkv
        self.length = end
        return start, end


class SelfAttention(Module):
    """Multi-head self-attention: x (N, T, width) gives the same shape; causal, position t from positions 1 .. t alone.

        [Q K V] = x W + b,   Y_h = softmax(Q_h K_h^T / sqrt(D) + mask) V_h,   y = [Y_1 .. Y_heads] W_o + b_o

    Vaswani et al. 2017, arXiv:1706.03762, equation 1 and section 3.2.2, with D = width / heads and a mask of -infinity
    where a key comes after its query, if `causal`. `init` draws W, `init_out` W_o; b and b_o can be left out.
    """

    def __init__(self, width: int, heads: int, *, causal: bool = True, bias: bool = True,
                 init: Initialiser = lecun_uniform, init_out: Initialiser = lecun_uniform,
                 rng: Generator | None = None) -> None:
        if heads < 1 or width % heads:
            raise UsageError(f"SelfAttention({width}, {heads}): the width must be a multiple of the number of heads")
        self.heads = heads
        self.causal = causal
        self.qkv = Dense(width, 3 * width, bias=bias, init=init, rng=rng)
        self.out = Dense(width, width, bias=bias, init=init_out, rng=rng)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`lengths` (N,): how many positions of each sequence are there, for sequences that were padded."""
        if lengths is None:
            each = ops.sum(ops.astype(x.detach()[:, :0], dtype="int64"), axis=(1, 2))
            lengths = ops.full_like(each, value=x.shape[1])
        return self.out(ops.self_attention(self.qkv(x), lengths, heads=self.heads, causal=self.causal))

    def extend(self, x: Tensor, cache: KeyValueCache) -> Tensor:
        """The same for x (N, t, width) that follows on the positions in `cache`, which takes them in; causal alone."""
        new = cache.append(self.qkv(x).data)
        return self.out(ops.self_attention(cache.qkv, cache.ends, heads=self.heads, causal=True, queries=new))

    def weights(self, x: Tensor) -> Tensor:
        """The map of each head, softmax(...): (N, heads, T, T), a row for each query."""
        q, k, _ = ops.split_heads(self.qkv(x), self.heads)
        seen = Tensor(to_device(np.tri(x.shape[1], dtype=bool), x.device)) if self.causal else None
        return ops.attention_weights(q, k, seen)

    def describe(self) -> str:
        return f"SelfAttention({self.out.weight.shape[0]}, heads={self.heads}{'' if self.causal else ', causal=False'})"


