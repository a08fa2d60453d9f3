"""Gradient clipping: a bound on what one bad batch can do."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..autograd import no_grad
from ..errors import UsageError
from ..ops import clip
from ..tensor import Parameter

__all__ = ["clip_norm", "clip_value"]


@no_grad()
def clip_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """g <- g min(1, max_norm / |g|), |g| the 2-norm over all gradients together; returns |g|.

    Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, Algorithm 1. A norm that is not finite leaves the gradients
    as they are, so that it is seen.
    """
    if not max_norm > 0:
        raise UsageError(f"max_norm must be positive, got {max_norm}")
    trained = [p for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(float((p.grad * p.grad).sum()) for p in trained if p.grad is not None))
    if math.isfinite(norm) and norm > max_norm:
        for p in trained:
            p.grad = p.grad * (max_norm / norm) if p.grad is not None else None
    return norm


@no_grad()
def clip_value(parameters: Iterable[Parameter], bound: float) -> None:
    """g <- min(max(g, -bound), bound), element by element."""
    if not bound > 0:
        raise UsageError(f"bound must be positive, got {bound}")
    for p in parameters:
        if p.grad is not None:
            p.grad = clip(p.grad, low=-bound, high=bound)
