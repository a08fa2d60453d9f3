"""Normalisation layers: activations brought to mean 0 and variance 1, then scaled and shifted by what is learned."""

from __future__ import annotations

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..errors import ShapeError, UsageError
from ..tensor import Parameter, Tensor
from .module import Module

__all__ = ["BatchNorm", "LayerNorm"]


class LayerNorm(Module):
    """y = scale (x - m) / sqrt(v + eps) + shift, with m and v over the last axis of each sample.

    Ba, Kiros & Hinton 2016, arXiv:1607.06450, equation 4. x (..., width). The shift can be left out.
    """

    def __init__(self, width: int, eps: float = 1e-5, *, bias: bool = True) -> None:
        self.scale = Parameter(np.ones(width, np.float32))
        self.shift = Parameter(np.zeros(width, np.float32)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = ops.normalise(x, axis=-1, eps=self.eps) * self.scale
        return y if self.shift is None else y + self.shift

    def describe(self) -> str:
        return f"LayerNorm({self.scale.size}{'' if self.shift is not None else ', bias=False'})"


class BatchNorm(Module):
    """y = scale (x - m) / sqrt(v + eps) + shift, with m and v over the batch. x (N, width).

    Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithm 1. Running averages of m and of the unbiased v (Algorithm 2)
    move by the share `momentum` in each training step and take the place of m and v in evaluation.
    """

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        if not isinstance(width, int | np.integer) or width < 1:
            raise UsageError(f"BatchNorm({width!r}): the width must be a whole number, at least 1")
        self.scale = Parameter(np.ones(width, np.float32))
        self.shift = Parameter(np.zeros(width, np.float32))
        self.running_mean = Tensor(np.zeros(width, np.float32))
        self.running_var = Tensor(np.ones(width, np.float32))
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.scale.size:
            raise ShapeError(f"BatchNorm({self.scale.size}) takes (N, {self.scale.size}), got {x.shape}")
        if not self.training:
            normalised = (x - self.running_mean) * (self.running_var + self.eps) ** -0.5
            return normalised * self.scale + self.shift
        if len(x) < 2:
            raise ShapeError("BatchNorm needs at least two samples in training: one sample has no variance")
        self._track(x)
        return ops.normalise(x, axis=0, eps=self.eps) * self.scale + self.shift

    @no_grad()
    def _track(self, x: Tensor) -> None:
        n = len(x)
        ops.ema_step(self.running_mean, ops.mean(x, 0), decay=1 - self.momentum)
        ops.ema_step(self.running_var, ops.var(x, 0) * (n / (n - 1)), decay=1 - self.momentum)

    def describe(self) -> str:
        return f"BatchNorm({self.scale.size})"
