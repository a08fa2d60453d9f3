"""Layers: each is one equation and the parameters in it."""

from __future__ import annotations

import math

import numpy as np

from .. import ops
from ..errors import DTypeError, ShapeError, UsageError
from ..host import trace
from ..ops.shape import require_rows
from ..random import Generator, default_generator
from ..tensor import Parameter, Tensor, tensor
from .init import Initialiser, lecun_uniform
from .module import Module

__all__ = ["GELU", "Dense", "Dropout", "Embedding", "Flatten", "LeakyReLU", "ReLU", "Reshape", "Sequential", "Sigmoid",
           "Tanh"]


class Dense(Module):
    """y = x W + b: x (..., in), W (in, out), b (out,).

    `init` draws W from `rng` (see `minigen.nn.init`); b starts at zero and can be left out.
    """

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True, init: Initialiser = lecun_uniform,
                 rng: Generator | None = None) -> None:
        if not all(isinstance(n, int | np.integer) and n >= 1 for n in (n_in, n_out)):
            raise UsageError(f"Dense({n_in!r}, {n_out!r}): both sizes must be whole numbers, at least 1")
        if rng is not None and not isinstance(rng, Generator):
            raise UsageError(f"rng = {rng!r}: expected a generator, such as mg.Generator(0)")
        self.weight = Parameter(init(rng or default_generator, (n_in, n_out)).data)
        self.bias = Parameter(np.zeros(n_out, np.float32)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is not None:
            return ops.dense(x, self.weight, self.bias)
        if x.ndim == 2:
            return x @ self.weight
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ self.weight
        return rows.reshape(*x.shape[:-1], self.weight.shape[1])

    def describe(self) -> str:
        n_in, n_out = self.weight.shape
        return f"Dense({n_in}, {n_out}{'' if self.bias is not None else ', bias=False'})"


class ReLU(Module):
    """y = max(x, 0). Nair & Hinton 2010."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class LeakyReLU(Module):
    """y = x where x > 0, else slope x. Maas, Hannun & Ng 2013."""

    def __init__(self, slope: float = 0.01) -> None:
        if not isinstance(slope, int | float | np.floating):
            raise UsageError(f"LeakyReLU slope must be a number, got {slope!r}")
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, slope=self.slope)

    def describe(self) -> str:
        return f"LeakyReLU({self.slope})"


class Tanh(Module):
    """y = tanh x."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


class Sigmoid(Module):
    """y = 1 / (1 + e^-x). Losses here take logits: use it to look at probabilities, not before a loss."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


class GELU(Module):
    """y = x Phi(x), Phi the standard normal CDF. Hendrycks & Gimpel 2016, arXiv:1606.08415."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.gelu(x)


class Dropout(Module):
    """y = x m in training, with m = 0 with probability `rate` and 1 / (1 - rate) otherwise; y = x in evaluation.

    Srivastava et al. 2014, in the inverted form that needs no change at evaluation.
    """

    def __init__(self, rate: float = 0.5, rng: Generator | None = None) -> None:
        if not isinstance(rate, int | float | np.floating) or not 0 <= rate < 1:
            raise UsageError(f"Dropout rate must be at least 0 and under 1, got {rate!r}")
        self.rate = rate
        self.rng = rng or default_generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return x * self.rng.dropout_mask(x.shape, self.rate, str(x.dtype), x.device)

    def describe(self) -> str:
        return f"Dropout({self.rate})"


class Flatten(Module):
    """(N, ...) as (N, product of the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 2:
            raise ShapeError(f"Flatten needs a batch (N, ...), got shape {x.shape}")
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(Module):
    """(N, ...) as (N, *shape)."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def describe(self) -> str:
        return f"Reshape{self.shape}"


class Embedding(Module):
    """y = W[i]: one learned row of length `width` for each of `count` symbols; i holds integers.

    Rows start from N(0, std^2).
    """

    def __init__(self, count: int, width: int, *, std: float = 0.02, rng: Generator | None = None) -> None:
        self.weight = Parameter((rng or default_generator).normal((count, width)).data * std)

    def forward(self, i: Tensor | np.ndarray) -> Tensor:
        i = i if isinstance(i, Tensor) else tensor(i)
        if i.dtype.kind not in "iu":
            raise DTypeError(f"Embedding takes integers, got {i.dtype}")
        if i.device == "gpu" and trace.ledger is None:  # a compiled step does not wait for the gpu
            require_rows(i.data, self.weight.shape[0])
        return ops.embedding(self.weight, i)

    def describe(self) -> str:
        return f"Embedding{self.weight.shape}"


class Sequential(Module):
    """y = f_n(... f_2(f_1(x)))."""

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            if not callable(layer) or isinstance(layer, type):
                raise UsageError(f"Sequential got {layer!r}: expected layers one by one, such as "
                                 "Sequential(Dense(2, 1), Tanh())")
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, i: int) -> Module:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def describe(self) -> str:
        return f"Sequential of {len(self.layers)}"

