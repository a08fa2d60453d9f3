"""What the kernels of optimizers.cu multiply by, worked out in Python from an optimizer's settings, in their order."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["BY_KERNEL", "adam", "ema", "momentum", "rmsprop", "sgd"]

Coefficients = tuple[float, ...]


def sgd(*, lr: float, weight_decay: float) -> Coefficients:
    """rate, decay"""
    return lr, weight_decay


def momentum(*, lr: float, momentum: float, weight_decay: float) -> Coefficients:
    """rate, keep, decay: of the kernels `momentum` and `nesterov`"""
    return lr, momentum, weight_decay


def rmsprop(*, lr: float, rho: float, eps: float, weight_decay: float) -> Coefficients:
    """rate, keep, take, eps, decay"""
    return lr, rho, 1.0 - rho, eps, weight_decay


def adam(
    *, lr: float, beta1: float, beta2: float, eps: float, step: int, weight_decay: float, decoupled: bool
) -> Coefficients:
    """keep and take of both moments, eps, rate, unbias, shrink, decay. ValueError unless `step` counts from 1."""
    if step < 1:
        raise ValueError(f"adam: step counts from 1, got {step}")
    rate = lr / (1.0 - beta1**step)
    unbias = 1.0 / math.sqrt(1.0 - beta2**step)
    shrink, penalty = (1.0 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    return beta1, 1.0 - beta1, beta2, 1.0 - beta2, eps, rate, unbias, shrink, penalty


def ema(*, decay: float) -> Coefficients:
    """keep, take"""
    return decay, 1.0 - decay


BY_KERNEL: dict[str, Callable[..., Coefficients]] = {
    "sgd": sgd, "momentum": momentum, "nesterov": momentum, "rmsprop": rmsprop, "adam": adam, "ema": ema,
}  # fmt: skip
