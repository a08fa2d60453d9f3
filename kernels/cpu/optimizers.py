"""Optimizer steps: each reads and writes every array once, in place.

All take C-contiguous arrays of one shape and dtype, float32 or float64, that do not overlap. Weights, momenta
and averages change in place; the gradient does not. A ValueError or TypeError comes before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..threads import threads_to_start
from .jit import CONTRACT, entry_point, jit, jit_part, require_dtype, types_of
from .team import shared_by

__all__ = ["adam", "ema", "rmsprop", "sgd"]

Array = NDArray[Any]

_PARALLEL_SIZE = 150_000
"""Weights below which a second thread does not pay: it gains 25 microseconds of Adam, but the products that follow must
fetch its weights from the cache of another core."""


@jit_part(CONTRACT)
def _sgd_loop(p: Array, g: Array, lr: float, weight_decay: float) -> None:
    number = p.dtype.type  # the coefficients must not pull the loop to float64
    rate, decay = number(lr), number(weight_decay)
    for i in range(p.size):
        p[i] -= rate * (g[i] + decay * p[i])


@jit_part(CONTRACT)
def _momentum_loop(p: Array, g: Array, buf: Array, lr: float, momentum: float, weight_decay: float) -> None:
    number = p.dtype.type
    rate, keep, decay = number(lr), number(momentum), number(weight_decay)
    for i in range(p.size):
        b = keep * buf[i] + (g[i] + decay * p[i])
        buf[i] = b
        p[i] -= rate * b


@jit_part(CONTRACT)
def _nesterov_loop(p: Array, g: Array, buf: Array, lr: float, momentum: float, weight_decay: float) -> None:
    number = p.dtype.type
    rate, keep, decay = number(lr), number(momentum), number(weight_decay)
    for i in range(p.size):
        h = g[i] + decay * p[i]
        b = keep * buf[i] + h
        buf[i] = b
        p[i] -= rate * (h + keep * b)


@jit_part(CONTRACT)
def _rmsprop_loop(
    p: Array, g: Array, sq: Array, lr: float, rho: float, eps: float, weight_decay: float
) -> None:
    number = p.dtype.type
    rate, keep, take = number(lr), number(rho), number(1.0 - rho)
    floor, decay = number(eps), number(weight_decay)
    for i in range(p.size):
        h = g[i] + decay * p[i]
        s = keep * sq[i] + take * (h * h)
        sq[i] = s
        p[i] -= rate * h / (np.sqrt(s) + floor)


@jit_part(CONTRACT)
def _adam_loop(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    beta1: float,
    beta2: float,
    eps: float,
    rate: float,
    unbias: float,
    shrink: float,
    weight_decay: float,
) -> None:
    number = p.dtype.type
    keep1, take1, keep2, take2 = number(beta1), number(1.0 - beta1), number(beta2), number(1.0 - beta2)
    floor, pace, scale = number(eps), number(rate), number(unbias)
    factor, decay = number(shrink), number(weight_decay)
    for i in range(p.size):
        h = g[i] + decay * p[i]
        first = keep1 * m[i] + take1 * h
        second = keep2 * v[i] + take2 * (h * h)
        m[i] = first
        v[i] = second
        p[i] = factor * p[i] - pace * first / (scale * np.sqrt(second) + floor)


@jit_part(CONTRACT)
def _ema_loop(average: Array, p: Array, decay: float) -> None:
    number = p.dtype.type
    keep, take = number(decay), number(1.0 - decay)
    for i in range(p.size):
        average[i] = keep * average[i] + take * p[i]


@jit_part()
def _own(n: int, part: int, parts: int) -> slice:
    """This part of n numbers, in whole lines of the cache."""
    lines = (n + 15) // 16
    return slice(min(n, 16 * (part * lines // parts)), min(n, 16 * ((part + 1) * lines // parts)))


def _on_parts(loop: Callable[..., None], arrays: int) -> Callable[..., None]:
    """work(part, parts, ...): the loop over a part of its arrays, which are its first arguments."""

    def of_two(part: int, parts: int, x: Array, y: Array, *numbers: float) -> None:
        own = _own(x.size, part, parts)
        loop(x[own], y[own], *numbers)

    def of_three(part: int, parts: int, x: Array, y: Array, z: Array, *numbers: float) -> None:
        own = _own(x.size, part, parts)
        loop(x[own], y[own], z[own], *numbers)

    def of_four(part: int, parts: int, x: Array, y: Array, z: Array, w: Array, *numbers: float) -> None:
        own = _own(x.size, part, parts)
        loop(x[own], y[own], z[own], w[own], *numbers)

    known: dict[int, Callable[..., None]] = {2: of_two, 3: of_three, 4: of_four}
    return jit_part(CONTRACT)(known[arrays])


class _Update(dict[tuple[np.dtype, int], Callable[..., None]]):
    """One kernel: update[dtype, threads](arrays, numbers), compiled when first looked up."""

    def __init__(self, name: str, loop: Callable[..., None], arrays: int, numbers: int) -> None:
        super().__init__()
        self.name = name
        self.arguments = "a" * arrays + "d" * numbers
        self.loop = loop
        self.work = _on_parts(loop, arrays)

    def __missing__(self, key: tuple[np.dtype, int]) -> Callable[..., None]:
        dtype, threads = key
        require_dtype(self.name, dtype)
        kinds = types_of(self.arguments, dtype)
        if threads == 1:
            update = entry_point(jit(CONTRACT)(self.loop), kinds)
        else:
            update = shared_by(threads, self.work, kinds)
        self[key] = update
        return update

    def __call__(self, p: Array, *rest: Any) -> None:
        """The update, by as many threads as pay. Arrays have one axis."""
        self[p.dtype, 1 if p.size < _PARALLEL_SIZE else threads_to_start()](p, *rest)


_sgd = _Update("sgd", _sgd_loop, 2, 2)
_momentum = _Update("sgd", _momentum_loop, 3, 3)
_nesterov = _Update("sgd", _nesterov_loop, 3, 3)
_rmsprop = _Update("rmsprop", _rmsprop_loop, 3, 4)
_adam = _Update("adam", _adam_loop, 4, 7)
_ema = _Update("ema", _ema_loop, 2, 1)


def sgd(
    p: Array, g: Array, buf: Array, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """Gradient descent with momentum; updates `p` and `buf` in place.

    g <- g + weight_decay p;  buf <- momentum buf + g;  p <- p - lr buf, or with `nesterov`
    p <- p - lr (g + momentum buf). `lr` stands outside the buffer, as in PyTorch; in Sutskever et al. 2013,
    equations 1-4, it stands inside, which differs once `lr` changes. With momentum 0, `buf` is neither read
    nor written, and may be empty.
    """
    if momentum == 0:
        _require("sgd", g, p)
        _sgd(p.ravel(), g.ravel(), lr, weight_decay)
        return
    _require("sgd", g, p, buf)
    (_nesterov if nesterov else _momentum)(p.ravel(), g.ravel(), buf.ravel(), lr, momentum, weight_decay)


def rmsprop(p: Array, g: Array, sq: Array, *, lr: float, rho: float, eps: float, weight_decay: float) -> None:
    """RMSProp (Hinton 2012, Neural Networks for Machine Learning, lecture 6e); updates `p` and `sq` in place.

    g <- g + weight_decay p;  sq <- rho sq + (1 - rho) g^2;  p <- p - lr g / (sqrt(sq) + eps)
    """
    _require("rmsprop", g, p, sq)
    _rmsprop(p.ravel(), g.ravel(), sq.ravel(), lr, rho, eps, weight_decay)


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1); updates `p`, `m`, `v` in place; `step` counts from 1.

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
    p <- p - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)

    Weight decay: g <- g + weight_decay p, or, when `decoupled` (AdamW: Loshchilov & Hutter 2019, algorithm 2),
    p <- (1 - lr weight_decay) p before the step.
    """
    _require("adam", g, p, m, v)
    if step < 1:
        raise ValueError(f"adam: step counts from 1, got {step}")
    rate = lr / (1.0 - beta1**step)
    unbias = 1.0 / math.sqrt(1.0 - beta2**step)
    shrink, penalty = (1.0 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    _adam(p.ravel(), g.ravel(), m.ravel(), v.ravel(), beta1, beta2, eps, rate, unbias, shrink, penalty)


def ema(average: Array, p: Array, *, decay: float) -> None:
    """average <- decay average + (1 - decay) p, in place: an average over about 1 / (1 - decay) steps."""
    _require("ema", p, average)
    _ema(average.ravel(), p.ravel(), decay)


def _require(name: str, g: Array, *updated: Array) -> None:
    """One shape, one dtype, C order, and `updated` writable: only then does `ravel` give the caller's memory."""
    shape, dtype = g.shape, g.dtype
    if not g.flags.c_contiguous:
        raise ValueError(f"{name}: C-contiguous arrays expected, got strides {g.strides} for shape {shape}")
    for a in updated:
        if a.shape != shape:
            raise ValueError(f"{name}: arrays of one shape expected, got {[b.shape for b in (*updated, g)]}")
        if a.dtype != dtype:
            raise TypeError(
                f"{name}: arrays of one dtype expected, got {[str(b.dtype) for b in (*updated, g)]}"
            )
        if not a.flags.carray:
            raise ValueError(f"{name}: what is updated must be C-contiguous, aligned and writable: {a.flags}")
