"""The transformer block, of which GPT is made and both halves of the text VAE."""

from __future__ import annotations

import math

from ..random import Generator
from ..tensor import Tensor
from .attention import KeyValueCache, SelfAttention
from .init import normal
from .layers import GELU, Dense, Dropout
from .module import Module
from .norm import LayerNorm

__all__ = ["Block"]


class Block(Module):
    """x <- x + attention(norm_1(x)),  x <- x + W_2 gelu(W_1 norm_2(x) + b_1) + b_2

    The hidden layer is four times as wide as x. Weights start from N(0, 0.02^2), those that write to x from a standard
    deviation 1 / sqrt(2 layers) of that, so that the sum of all writes has the variance of one (GPT-2, section 2.3);
    `layers` is the number of blocks that write to one x. Without `bias`, every b and shift is left out.
    """

    def __init__(self, width: int, heads: int, layers: int, *, dropout: float, rng: Generator, noise: Generator,
                 causal: bool = True, bias: bool = True) -> None:
        inner, outer = normal(0.02), normal(0.02 / math.sqrt(2 * layers))
        self.norm_1, self.norm_2 = LayerNorm(width, bias=bias), LayerNorm(width, bias=bias)
        self.attention = SelfAttention(width, heads, causal=causal, bias=bias, init=inner, init_out=outer, rng=rng)
        self.up = Dense(width, 4 * width, bias=bias, init=inner, rng=rng)
        self.gelu = GELU()
        self.down = Dense(4 * width, width, bias=bias, init=outer, rng=rng)
        self.dropout = Dropout(dropout, noise)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None, lengths: Tensor | None = None) -> Tensor:
        """x (N, T, width); it follows on what is in `cache`, or has `lengths` (N,) positions before its padding."""
        h = self.norm_1(x)
        x = x + self.dropout(self.attention(h, lengths) if cache is None else self.attention.extend(h, cache))
        return x + self.dropout(self.down(self.gelu(self.up(self.norm_2(x)))))
