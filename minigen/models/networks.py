"""The dense networks that the models are made of."""

from __future__ import annotations

from ..errors import UsageError
from ..nn import BatchNorm, Dense, Dropout, LeakyReLU, Module, Tanh
from ..nn.init import glorot_uniform, lecun_uniform
from ..random import Generator

__all__ = ["hidden_layers"]


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
