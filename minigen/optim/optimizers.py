"""Optimizers: how a gradient becomes a step. Each update is one fused pass over memory, in `minigen.kernels`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..backend import namespace, to_device
from ..errors import CheckpointError, UsageError
from ..host import HostNumber, Number
from ..tensor import Parameter, Tensor

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


class Optimizer:
    """The base: parameters, a learning rate, and per-parameter state named in `slots`.

    `step()` reads each parameter's `.grad` and changes the parameter in place; a parameter without a gradient
    stays as it is. `lr` may be set between steps, by a schedule for example.
    """

    slots: tuple[str, ...] = ()
    lr = HostNumber()
    steps = HostNumber()

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        if not isinstance(parameters, Iterable) or isinstance(parameters, Tensor) or hasattr(parameters, "parameters"):
            raise UsageError(f"{type(self).__name__} got one {type(parameters).__name__}: expected the parameters of a "
                             "module, net.parameters(), or a list of them")
        self.parameters = list(parameters)
        for n, p in enumerate(self.parameters):
            if not isinstance(p, Parameter) and not (isinstance(p, Tensor) and p.requires_grad):
                raise UsageError(f"{type(self).__name__}: parameters[{n}] is a {type(p).__name__}, expected a "
                                 "Parameter, or a Tensor that requires grad")
        if not self.parameters:
            raise UsageError(f"{type(self).__name__} got no parameters to train")
        _at_least_0(lr=lr)
        self.lr = lr
        self.steps = 0
        self.state: dict[str, list[Tensor]] = {
            slot: [Tensor(namespace(p.data).zeros_like(p.data)) for p in self.parameters] for slot in self.slots}

    @no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.steps += 1
        for p, *state in zip(self.parameters, *(self.state[slot] for slot in self.slots), strict=True):
            if p.grad is not None:
                self.update(p, p.grad, state)

    def update(self, p: Parameter, g: Tensor, state: list[Tensor]) -> None:
        """Change `p` and its `state` in place by the gradient `g`."""
        raise TypeError(f"{type(self).__name__} defines no update")

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters:
            p.grad = None

    def to(self, device: str) -> Self:
        """Move all moments to `device`, where the parameters must be (`Module.to`); returns self."""
        for tensors in self.state.values():
            for t in tensors:
                t.move_(device)
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """NumPy copies of all moments, and the number of steps: what an exact continuation needs, besides `lr`."""
        arrays = {f"{slot}.{i}": to_device(t.data, "cpu").copy()
                  for slot, ts in self.state.items() for i, t in enumerate(ts)}
        return {"steps": np.array(self.steps, np.int64), **arrays}

    def load_state_dict(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `state_dict()`; CheckpointError if it belongs to other parameters."""
        own = {f"{slot}.{i}": t for slot, ts in self.state.items() for i, t in enumerate(ts)}
        if (wrong := own.keys() ^ (arrays.keys() - {"steps"})) or "steps" not in arrays:
            raise CheckpointError(f"the optimizer's saved state does not fit {type(self).__name__} over "
                                  f"{len(self.parameters)} parameters: {sorted(wrong) or 'steps'} differ")
        for name, t in own.items():
            if arrays[name].shape != t.shape:
                raise CheckpointError(f"optimizer state {name!r} is {arrays[name].shape} in the saved state, "
                                      f"{t.shape} here")
        for name, t in own.items():
            t.copy_(to_device(arrays[name], t.device))
        self.steps = int(arrays["steps"])


def _at_least_0(**settings: float) -> None:
    for name, value in settings.items():
        if not isinstance(value, int | float | np.number | Number) or not 0 <= value < math.inf:
            raise UsageError(f"{name} must be at least 0 and finite, got {value!r}")


def _positive(**settings: float) -> None:
    for name, value in settings.items():
        if not isinstance(value, int | float | np.number | Number) or not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive and finite, got {value!r}")


def _decay_rate(**settings: float) -> None:
    for name, value in settings.items():
        if not isinstance(value, int | float | np.number | Number) or not 0 <= value < 1:
            raise UsageError(f"{name} must be at least 0 and under 1, got {value!r}")


class SGD(Optimizer):
    """b <- momentum b + g;  p <- p - lr b, or with Nesterov p - lr (g + momentum b).

    Polyak 1964; Sutskever et al. 2013, equations 1-4. `weight_decay` adds weight_decay p to g.
    """

    slots = ("momentum",)

    def __init__(self, parameters: Iterable[Parameter], lr: float = 1e-2, momentum: float = 0.0,
                 nesterov: bool = False, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr)
        _decay_rate(momentum=momentum)
        _at_least_0(weight_decay=weight_decay)
        if nesterov and not momentum:
            raise UsageError("nesterov needs a momentum above 0, got 0")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def update(self, p: Parameter, g: Tensor, state: list[Tensor]) -> None:
        ops.sgd_step(p, g, *state, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov,
                     weight_decay=self.weight_decay)


class RMSprop(Optimizer):
    """s <- rho s + (1 - rho) g^2;  p <- p - lr g / (sqrt(s) + eps).

    Tieleman & Hinton 2012, *Neural Networks for Machine Learning*, lecture 6.5.
    """

    slots = ("square",)

    def __init__(self, parameters: Iterable[Parameter], lr: float = 1e-3, rho: float = 0.9, eps: float = 1e-8,
                 weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr)
        _decay_rate(rho=rho)
        _positive(eps=eps)
        _at_least_0(weight_decay=weight_decay)
        self.rho, self.eps, self.weight_decay = rho, eps, weight_decay

    def update(self, p: Parameter, g: Tensor, state: list[Tensor]) -> None:
        ops.rmsprop_step(p, g, *state, lr=self.lr, rho=self.rho, eps=self.eps, weight_decay=self.weight_decay)


class Adam(Optimizer):
    """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  p <- p - lr m' / (sqrt(v') + eps)

    with m' = m / (1 - b1^t) and v' = v / (1 - b2^t) after t steps. Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1.
    `weight_decay` adds weight_decay p to g; see AdamW for the decoupled form.
    """

    slots = ("m", "v")
    decoupled = False

    def __init__(self, parameters: Iterable[Parameter], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise UsageError(f"betas = {betas!r}: expected two numbers, such as (0.9, 0.999)")
        beta1, beta2 = betas
        _decay_rate(beta1=beta1, beta2=beta2)
        _positive(eps=eps)
        _at_least_0(weight_decay=weight_decay)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, p: Parameter, g: Tensor, state: list[Tensor]) -> None:
        ops.adam_step(p, g, *state, lr=self.lr, beta1=self.betas[0], beta2=self.betas[1], eps=self.eps,
                      step=self.steps, weight_decay=self.weight_decay, decoupled=self.decoupled)


class AdamW(Adam):
    """Adam whose weight decay acts on the weights alone: p <- p - lr weight_decay p beside the step.

    Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2.
    """

    decoupled = True

    def __init__(self, parameters: Iterable[Parameter], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)
