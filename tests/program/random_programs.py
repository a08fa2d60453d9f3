"""Random training steps: chains of operations with broadcasting, reuse, reductions, views, noise and updates."""

from __future__ import annotations

import numpy as np

import minigen as mg
from minigen import ops
from minigen.backend import to_device
from minigen.tensor import Parameter, Tensor

UNARY = [
    ops.tanh, ops.sigmoid, ops.softplus, ops.erf, ops.gelu, ops.neg, ops.abs, ops.sign, ops.relu,
    lambda x: ops.exp(ops.clip(x, low=-3.0, high=3.0)), lambda x: ops.log(ops.abs(x) + 0.5),
    lambda x: ops.log1p(x * x), lambda x: ops.sqrt(x * x + 0.1), lambda x: ops.leaky_relu(x, slope=0.2),
    lambda x: x ** 2, lambda x: (x * x + 1.0) ** -0.5, lambda x: (x * x + 1.0) ** 1.3, lambda x: x / 2.0,
    lambda x: 3.0 - x,
    lambda x: x * 1.0, lambda x: x + 0.0, lambda x: ops.clip(x, low=-0.5, high=0.7),
    lambda x: x.astype(x.dtype), lambda x: ops.full_like(x, value=0.25) * x,
]
BINARY = [
    ops.add, ops.sub, ops.mul, lambda a, b: a / (b * b + 1.0), ops.maximum, ops.minimum,
    lambda a, b: ops.where(a < b, a, b * 0.5), lambda a, b: ops.where(a <= 0.1, a, b),
    lambda a, b: ops.bernoulli_nll(a, ops.sigmoid(b)) if a.shape == b.shape else a - b,
    lambda a, b: (a > b).astype(a.dtype) * a, lambda a, b: ops.gate(a, b, slope=0.1) if a.shape == b.shape else a + b,
]
REDUCING = [
    lambda x: x.sum(), lambda x: x.mean(), lambda x: x.sum(0), lambda x: x.sum(-1), lambda x: x.sum(-1, keepdims=True),
    lambda x: x.mean(0, keepdims=True), lambda x: x.max(-1), lambda x: ops.logsumexp(x), lambda x: ops.var(x, -1),
    lambda x: ops.sum_to(x, shape=x.shape[-1:]), lambda x: x.min(0),
]
SHAPING = [
    lambda x: x.T, lambda x: x.reshape(-1), lambda x: x.reshape(1, -1), lambda x: x[0], lambda x: x[..., ::2],
    lambda x: x[::-1], lambda x: ops.broadcast_to(x, shape=(2, *x.shape)),
    lambda x: ops.swap_last(x) if x.ndim > 1 else x,
    lambda x: ops.concatenate(x, x), lambda x: ops.stack(x, x, axis=-1), lambda x: x[[0, 0]],
    lambda x: ops.softmax(x), lambda x: ops.log_softmax(x), lambda x: ops.normalise(x, axis=-1, eps=0.1),
]


def broadcasts(a, b):
    return all(m == n or 1 in (m, n) for m, n in zip(a.shape[::-1], b.shape[::-1], strict=False))


class Step:
    """A random step over `weights` and one argument: the same whenever it runs."""

    def __init__(self, seed: int, dtype: str, device: str = "cpu") -> None:
        self.device = device
        self.draws = np.random.default_rng(seed)
        shapes = [(3, 4), (4,), (3, 1), (4, 2), (2,), ()]
        values = [self.draws.normal(size=s).astype(dtype) for s in shapes]
        self.weights = [Parameter(to_device(v, device)) for v in values]
        self.noise = mg.Generator(seed)
        makers = [mg.optim.SGD, lambda p: mg.optim.SGD(p, momentum=0.9, nesterov=True), mg.optim.Adam, mg.optim.AdamW,
                  mg.optim.RMSprop]
        self.optimizer = makers[self.draws.integers(len(makers))](self.weights)
        self.trains = bool(self.draws.integers(3))
        self.clips = bool(self.draws.integers(2))
        self.again = bool(self.draws.integers(4) == 0)  # a gradient of a gradient
        self.plan = self.draws.integers(0, 10_000, (self.draws.integers(3, 12), 5))

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        pool = [x, *self.weights]
        for kind, which, first, second, _ in self.plan:
            a, b = pool[-1 - first % min(len(pool), 4)], pool[second % len(pool)]
            if a.size > 200 or a.size == 0:
                continue
            match kind % 6:
                case 0 | 1:
                    y = UNARY[which % len(UNARY)](a)
                case 2 | 3 if broadcasts(a, b):
                    y = BINARY[which % len(BINARY)](a, b)
                case 4 if a.ndim:
                    y = REDUCING[which % len(REDUCING)](a)
                case 5 if a.ndim:
                    y = SHAPING[which % len(SHAPING)](a)
                case _ if a.ndim == 2 and b.ndim == 2 and a.shape[1] == b.shape[0]:
                    y = a @ b
                case _ if a.ndim == 2 and a.shape[1] == 4:
                    y = ops.dense(a, self.weights[3], self.weights[4])
                case _:
                    y = a * self.noise.normal(a.shape, str(a.dtype), self.device)
            pool.append(y)
        loss = pool[-1].mean() + sum((p * p).sum() for p in self.weights) * 0.01
        if self.again:
            (slope,) = mg.grad(loss, [self.weights[0]], create_graph=True)
            loss = loss + (slope * slope).sum() * 0.1
        if self.trains:
            loss.backward()
            if self.clips:
                mg.optim.clip_norm(self.weights, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss, pool[-1], pool[-2]
