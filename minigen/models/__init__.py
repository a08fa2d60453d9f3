"""Generative models: each a config, its networks, and one train_step."""

from __future__ import annotations

import json
import os
from typing import Any

from .. import checkpoint
from ..errors import CheckpointError, MinigenError
from .base import GenerativeModel
from .gan import GAN, GANConfig
from .generate import Sampling
from .gpt import GPT, GPTConfig
from .text_vae import TextVAE, TextVAEConfig
from .vae import VAE, VAEConfig

__all__ = ["GAN", "GPT", "MODELS", "VAE", "GANConfig", "GPTConfig", "GenerativeModel", "Sampling", "TextVAE",
           "TextVAEConfig", "VAEConfig", "load", "rebuild"]

MODELS: dict[str, type[GenerativeModel]] = {"gan": GAN, "vae": VAE, "gpt": GPT, "text-vae": TextVAE}


def load(path: str | os.PathLike[str], device: str = "cpu") -> GenerativeModel:
    """The model that `model.save(path)` wrote, on `device`, whatever it was trained on.

    Raises CheckpointError if the file is damaged or holds something else, DeviceError if the device is not there.
    """
    arrays, metadata = checkpoint.load(os.fspath(path))
    if metadata.get("kind") not in MODELS:
        raise CheckpointError(f"{os.fspath(path)} holds no model: its kind is {metadata.get('kind')!r}, "
                              f"expected one of {', '.join(MODELS)}")
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{os.fspath(path)}: its config cannot be read ({error}); use another copy or train "
                              "again") from error
    model = rebuild(metadata["kind"], config, os.fspath(path))
    model.load_state_dict(arrays)
    return model.to(device)


def rebuild(kind: str, config: Any, where: str) -> GenerativeModel:
    """The untrained model with a config that was read from `where`; CheckpointError if it makes none."""
    try:
        return MODELS[kind](**config)
    except (MinigenError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        raise CheckpointError(f"{where}: its config makes no {kind} ({error}); use another copy or train "
                              "again") from error
