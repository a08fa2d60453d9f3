"""What the training loop needs of a model. All of `minigen.models` have it; so may one of your own.

A language model takes windows of tokens (N, context + 1) where the others take images, and its samples are texts; a
text VAE takes sentences, rows of as many numbers (`minigen.data.sentences`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

__all__ = ["Trainable"]


class Trainable(Protocol):
    """A generative model that trains itself a step at a time and whose whole state is arrays."""

    kind: ClassVar[str]
    config: Any  # a dataclass; its fields rebuild the model

    def train_step(self, images: np.ndarray) -> dict[str, float]:
        """One step on a batch (N, H, W); the losses by name."""

    def evaluate(self, images: np.ndarray) -> dict[str, float]:
        """Figures on held-out images; the random stream of training stays where it is."""

    def sample(self, n: int, *, seed: int = 0) -> np.ndarray:
        """(n, H, W) float32 in [0, 1], a function of the weights and `seed` alone."""

    def named_parameters(self) -> Mapping[str, Any]:
        """The parameters by name, each with its array as `.data`."""

    def training_state(self) -> dict[str, np.ndarray]:
        """All that an exact continuation needs."""

    def load_training_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `training_state()`; CheckpointError where it does not fit."""

    def save(self, path: str | Path) -> None:
        """Write weights and config."""
