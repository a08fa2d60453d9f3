"""The dense networks that the models are made of."""

from __future__ import annotations

from ..nn import BatchNorm, Dense, Dropout, LeakyReLU, Module
from ..random import Generator

__all__ = ["hidden_layers"]


def hidden_layers(sizes: tuple[int, ...], rng: Generator, *, slope: float, batch_norm: bool = False,
                  dropout: float = 0.0, noise: Generator | None = None) -> list[Module]:
    """Dense layers from sizes[0] to sizes[-1], weights from `rng`, each followed by a leaky ReLU.

    `batch_norm` stands before the leaky ReLU; `dropout`, drawn from `noise`, after it.
    """
    layers: list[Module] = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers.append(Dense(n_in, n_out, rng=rng))
        if batch_norm:
            layers.append(BatchNorm(n_out))
        layers.append(LeakyReLU(slope))
        if dropout:
            layers.append(Dropout(dropout, noise))
    return layers
