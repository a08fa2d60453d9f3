"""The same training steps in other frameworks, to be measured against: `minigen bench training`.

Nothing here is imported unless it is asked for, and no framework is a dependency: the extra `compare` brings them. A
peer is made of a minigen model, with its weights, and has one method:

    train_step(images, noise=None) -> float

one step on a batch (N, H, W) uint8, as `model.train_step` does it; it returns the sum of the losses that
`losses_of` picks. `noise` are the random numbers to take, in the order in which minigen draws them; without it the
framework draws its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib import util
from typing import Any

import numpy as np

from ..models import GenerativeModel
from ..random import Generator

__all__ = ["PEERS", "installed", "losses_of", "make_peer", "noise_of"]

PEERS = ("torch", "torch.compile", "jax")
"""By name: PyTorch as it is, PyTorch compiled, JAX jitted; each with Adam, fused in PyTorch, Optax's
in JAX."""


_NEEDS = {"torch": ("torch",), "jax": ("jax", "optax")}


def installed() -> list[str]:
    """The peers whose framework is there."""
    return [name for name in PEERS if all(util.find_spec(need) for need in _NEEDS[name.split(".")[0]])]


def make_peer(name: str, model: GenerativeModel, threads: int) -> Callable[..., float]:
    """The training step of `model` in another framework, on so many threads."""
    framework = name.split(".")[0]
    module = importlib.import_module(f".with_{framework}", __name__)
    step: Callable[..., float] = module.make(model, threads, compiled=name.endswith(".compile"))
    return step


def losses_of(losses: Mapping[str, Any]) -> float:
    """The number that two curves are compared by: of a GAN both losses, of a VAE both terms."""
    return float(sum(float(value) for name, value in losses.items() if name != "loss"))


def noise_of(model: GenerativeModel, images: np.ndarray) -> list[np.ndarray]:
    """What `model.train_step(images)` will draw next."""
    rng = Generator(*model.noise.state())
    count, latent = len(images), model.config.latent
    if model.kind == "gan":
        return [rng.normal((max(count, 2), latent)).numpy()]
    drawn = [rng.uniform((count, images[0].size)).numpy()] if model.config.likelihood == "bernoulli" else []
    return [*drawn, rng.normal((count, latent)).numpy()]
