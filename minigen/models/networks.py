"""What several models are made of: dense networks, the optimizers of those that learn from text, checks of settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import UsageError
from ..nn import BatchNorm, Dense, Dropout, LeakyReLU, Module, Tanh
from ..nn.init import glorot_uniform, lecun_uniform
from ..optim import AdamW, Optimizer
from ..random import Generator
from ..tensor import Parameter

__all__ = ["decayed_matrices", "hidden_layers", "require_at_least", "require_hidden", "require_share"]


def require_at_least(config: Any, least: int, *names: str) -> None:
    """UsageError where one of these settings is smaller."""
    for name in names:
        if getattr(config, name) < least:
            raise UsageError(f"{name} = {getattr(config, name)}: expected at least {least}")


def require_share(config: Any, *names: str) -> None:
    """UsageError where one of these settings is not from 0 to below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"{name} = {getattr(config, name)}: expected at least 0 and under 1")


def require_hidden(config: Any, *names: str) -> None:
    """UsageError where one of these settings, widths of hidden layers, is empty."""
    for name in names:
        if not getattr(config, name):
            raise UsageError(f"{name} = (): expected the width of one hidden layer or more, such as (400,)")


def hidden_layers(sizes: tuple[int, ...], rng: Generator, *, slope: float, activation: str = "relu",
                  batch_norm: bool = False, dropout: float = 0.0, noise: Generator | None = None) -> list[Module]:
    """Dense layers from sizes[0] to sizes[-1], weights from `rng`, each followed by a leaky ReLU or by tanh.

    `batch_norm` stands before the activation; `dropout`, drawn from `noise`, after it. Before tanh the weights are
    Glorot's.
    """
    if activation not in ("relu", "tanh"):
        raise UsageError(f"activation = {activation!r}: expected relu or tanh")
    layers: list[Module] = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        init = glorot_uniform if activation == "tanh" else lecun_uniform
        layers.append(Dense(n_in, n_out, init=init, rng=rng))
        if batch_norm:
            layers.append(BatchNorm(n_out))
        layers.append(Tanh() if activation == "tanh" else LeakyReLU(slope))
        if dropout:
            layers.append(Dropout(dropout, noise))
    return layers


def decayed_matrices(parameters: Iterable[Parameter], lr: float, beta2: float, decay: float) -> dict[str, Optimizer]:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) in two parts: weight decay acts on matrices alone."""
    parameters = list(parameters)
    matrices, vectors = [p for p in parameters if p.ndim == 2], [p for p in parameters if p.ndim != 2]
    return {"matrices": AdamW(matrices, lr, (0.9, beta2), weight_decay=decay),
            "vectors": AdamW(vectors, lr, (0.9, beta2), weight_decay=0.0)}
