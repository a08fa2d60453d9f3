"""Updates in place: assignment, and one fused step of each optimizer. They have no gradient."""

from __future__ import annotations

from typing import Any

from .. import kernels
from ..autograd import op
from ..backend import Array, as_key, namespace

__all__ = ["adam_step", "assign", "ema_step", "rmsprop_step", "sgd_step"]


@op(mutates=(0,))
def assign(target: Array, value: Array, *, key: Any) -> None:
    """target[key] <- value, broadcast"""
    target[as_key(key, target)] = value


@op(mutates=(0, 2))
def sgd_step(p: Array, g: Array, momentum_buffer: Array, *, lr: float, momentum: float, nesterov: bool,
             weight_decay: float) -> None:
    """One step of gradient descent with momentum: see `minigen.optim.SGD`"""
    kernels.sgd(p, _ordered(g), momentum_buffer, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


@op(mutates=(0, 2))
def rmsprop_step(p: Array, g: Array, square: Array, *, lr: float, rho: float, eps: float,
                 weight_decay: float) -> None:
    """One step of RMSprop: see `minigen.optim.RMSprop`"""
    kernels.rmsprop(p, _ordered(g), square, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)


@op(mutates=(0, 2, 3))
def adam_step(p: Array, g: Array, m: Array, v: Array, *, lr: float, beta1: float, beta2: float, eps: float,
              step: int, weight_decay: float, decoupled: bool) -> None:
    """One step of Adam, or AdamW where `decoupled`: see `minigen.optim.Adam`"""
    kernels.adam(p, _ordered(g), m, v, lr=lr, beta1=beta1, beta2=beta2, eps=eps, step=step, weight_decay=weight_decay,
                 decoupled=decoupled)


@op(mutates=(0,))
def ema_step(average: Array, p: Array, *, decay: float) -> None:
    """average <- decay average + (1 - decay) p"""
    kernels.ema(average, _ordered(p), decay=decay)


def _ordered(array: Array) -> Array:
    """The array as the kernels read it, row by row: the gradient of a transposed product may lie column by column."""
    return array if array.flags.c_contiguous else namespace(array).asarray(array, order="C")
