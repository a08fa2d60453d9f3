"""What every generative model here has: a config that rebuilds it, a training step, and its whole state as arrays."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from .. import checkpoint, ops
from ..backend import is_array, to_device
from ..data import to_unit
from ..errors import CheckpointError, DTypeError, ShapeError, UsageError
from ..host import trace
from ..nn import Module
from ..optim import Optimizer
from ..random import Generator
from ..tensor import Tensor

__all__ = ["GenerativeModel", "Images", "Losses", "figures", "intensities", "require_count"]

Images = np.ndarray  # (N, H, W): uint8, or float32 in [0, 1]
Losses = dict[str, float]


def figures(**losses: Tensor) -> Losses:
    """The losses as numbers; in a step that is being compiled, whose values are not known yet, as scalar Tensors."""
    if trace.ledger is not None:
        return losses  # type: ignore[return-value]
    return {name: loss.item() for name, loss in losses.items()}


def intensities(pixels: Tensor) -> Tensor:
    """Pixels, uint8 or float32 in [0, 1], as float32 in [0, 1]; else DTypeError and DataError.

    A compiled step on the gpu trusts floats to lie there (`mg.train` looks at the whole set before the first step).
    """
    if pixels.dtype == np.uint8:
        return pixels.astype("float32") / 255.0
    if trace.ledger is None:
        return Tensor(to_unit(pixels.data))
    if pixels.dtype != np.float32:
        raise DTypeError(f"pixels of {pixels.dtype}: expected uint8, or float32 in [0, 1]")
    return ops.within(pixels, low=0.0, high=1.0)


def require_count(n: Any) -> None:
    """UsageError unless `n` is a whole number, at least 1."""
    if not isinstance(n, int | np.integer) or n < 1:
        raise UsageError(f"cannot draw {n!r} samples: ask for a whole number, at least one")


class GenerativeModel(Module):
    """The base of GAN, VAE, GPT and TextVAE.

    `config` rebuilds the networks; `noise` draws all random numbers of training; `optimizers` do the updates. Images
    go in as (N, H, W) uint8 or float32 in [0, 1] and come out as float32 in [0, 1]: NumPy arrays, whatever the device.
    Text goes in as whole numbers, windows of tokens or rows of sentences, and comes out as strings.

    On the gpu a batch goes up in `upload`, as it is stored, and nothing else goes up in a step. The data set stays with
    the host: a batch of uint8 is a quarter of its float32, 50 kB for 64 images of MNIST, and a data set may be larger
    than the GPU's memory. Images that are on the gpu already are taken from there.
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "images"  # what it is trained on, in the word of the data set that holds them
    Config: ClassVar[type]
    PRESETS: ClassVar[dict[str, dict[str, Any]]]  # config fields that a preset changes
    TRAINING: ClassVar[dict[str, dict[str, int]]]  # how long and in what batches a preset is meant to be trained

    config: Any
    device: str = "cpu"  # where the weights are; `to` moves them
    noise: Generator
    optimizers: dict[str, Optimizer]

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """The model with the settings called `name`, with some of them changed."""
        if name not in cls.PRESETS:
            raise UsageError(f"{cls.__name__} has no preset {name!r}: choose from {', '.join(cls.PRESETS)}")
        return cls(**{**cls.PRESETS[name], **changes})

    def configure(self, settings: dict[str, Any]) -> Generator:
        """Store the config, start `noise`, and return the generator of the initial weights."""
        known = {field.name for field in dataclasses.fields(self.Config)}
        if unknown := sorted(settings.keys() - known):
            raise UsageError(f"{type(self).__name__} has no setting {unknown[0]!r}: it has {', '.join(sorted(known))}")
        self.config = self.Config(**{name: _plain(value) for name, value in settings.items()})
        for field in dataclasses.fields(self.Config):
            value, (wanted, fits) = getattr(self.config, field.name), _SETTINGS[str(field.type)]
            if not fits(value):
                raise UsageError(f"{field.name} = {value!r}: expected {wanted}")
        root = Generator(self.config.seed)
        self.noise = root.fork("noise")
        return root.fork("weights")

    def train_step(self, images: Images) -> Losses:
        """One step of training on a batch; the losses in nats."""
        raise TypeError(f"{type(self).__name__} defines no train_step")

    def sample(self, n: int, *, seed: int = 0) -> Images:
        """`n` new images, a function of the weights and `seed` alone."""
        raise TypeError(f"{type(self).__name__} defines no sample")

    def check_images(self, images: Images | Tensor) -> None:
        """Raise ShapeError unless the images are (N, H, W) of this model's size."""
        if not isinstance(images, Tensor) and not is_array(images):
            raise ShapeError(f"this model takes images as one array, got {type(images).__name__}")
        if images.ndim != 3 or images.shape[1:] != self.config.image_shape:
            raise ShapeError(f"this model takes images (N, {', '.join(map(str, self.config.image_shape))}), "
                             f"got {images.shape}")

    def to_images(self, rows: Tensor) -> Images:
        """(N, H W) in [0, 1] as (N, H, W), a NumPy array."""
        return np.clip(to_device(rows.data, "cpu"), 0, 1).reshape(-1, *self.config.image_shape)

    def upload(self, images: Images | Tensor) -> Tensor:
        """(N, H, W) as (N, H W) on this model's device, in the type that they have."""
        x = images if isinstance(images, Tensor) else Tensor(images)
        return x.reshape(len(x), math.prod(self.config.image_shape)).to(self.device)

    def to(self, device: str) -> Self:
        """Move the weights, with the moments of the optimizers, to `device`; returns self."""
        super().to(device)
        for optimizer in self.optimizers.values():
            optimizer.to(device)
        self.device = device
        return self

    # The whole state ----------------------------------------------------------------------------------------

    def training_state(self) -> dict[str, np.ndarray]:
        """Everything that an exact continuation needs: weights, buffers, moments, the position of `noise`."""
        arrays = {f"model.{name}": array for name, array in self.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            arrays.update({f"optimizer.{name}.{key}": array for key, array in optimizer.state_dict().items()})
        arrays["noise"] = np.array(self.noise.state(), np.uint64)
        return arrays

    def load_training_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `training_state()`; CheckpointError if it belongs to another architecture."""
        if "noise" not in arrays:
            raise CheckpointError("this file holds no training state (no 'noise'): it may be a model file")
        self.load_state_dict(_under("model.", arrays))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(_under(f"optimizer.{name}.", arrays))
        self.noise.seed, self.noise.draw = (int(value) for value in arrays["noise"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and config to `path`, as safetensors; `minigen.load` reads it."""
        metadata = {"kind": self.kind, "config": json.dumps(dataclasses.asdict(self.config))}
        checkpoint.save(os.fspath(path), self.state_dict(), metadata)


def _plain(value: Any) -> Any:
    """NumPy numbers as Python's, lists as tuples: what JSON gives back."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_int(v) and v > 0 for v in value)


# By the annotation of a config's field: what a setting must be, in words and as a test.
_SETTINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "float": ("a finite number", _is_number),
    "float | None": ("a finite number or None", lambda value: value is None or _is_number(value)),
    "int": ("an integer", _is_int),
    "str": ("a string", lambda value: isinstance(value, str)),
    "tuple[int, ...]": ("positive integers, such as (400,)", _are_sizes),
    "tuple[int, int]": ("two positive integers", lambda value: _are_sizes(value) and len(value) == 2),
}


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
