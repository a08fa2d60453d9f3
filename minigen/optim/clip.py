"""Gradient clipping: a bound on what one bad batch can do."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..autograd import no_grad
from ..errors import UsageError
from ..host import trace
from ..ops import clip, sqrt, sum_of_squares, where
from ..tensor import Parameter, Tensor

__all__ = ["clip_norm", "clip_value"]


@no_grad()
def clip_norm(parameters: Iterable[Parameter], max_norm: float) -> float | Tensor:
    """g <- g min(1, max_norm / |g|), |g| the 2-norm over all gradients together; returns |g|.

    Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, Algorithm 1. A norm that is not finite leaves the gradients
    as they are, so that it is seen. In a step that is being compiled |g| is a scalar Tensor.
    """
    if not max_norm > 0:
        raise UsageError(f"max_norm must be positive, got {max_norm}")
    trained = [(p, p.grad) for p in parameters if p.grad is not None]
    if not trained:
        return 0.0
    norm = sqrt(sum_of_squares([g for _, g in trained]))
    scale = where((norm > max_norm) * (norm < math.inf), max_norm / norm, 1.0)
    tracing = trace.ledger is not None
    if tracing or scale.item() != 1:
        for p, g in trained:
            p.grad = g * scale
    return norm if tracing else norm.item()


@no_grad()
def clip_value(parameters: Iterable[Parameter], bound: float) -> None:
    """g <- min(max(g, -bound), bound), element by element."""
    if not bound > 0:
        raise UsageError(f"bound must be positive, got {bound}")
    for p in parameters:
        if p.grad is not None:
            p.grad = clip(p.grad, low=-bound, high=bound)
