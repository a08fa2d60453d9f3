"""The classifier whose insides are the features: a dense network, and how it is kept on disk.

The published figures that carry the names used in this room (Inception Score, FID, KID) come from a network trained
on ImageNet, which has never seen a digit. Here the features are those of a small network trained on the data set in
question; so the figures compare models of that data set with each other, and with nothing published elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import checkpoint
from ..autograd import no_grad
from ..data import to_unit
from ..errors import CheckpointError, DataError, ShapeError, UsageError
from ..nn import BatchNorm, Dense, Dropout, Module, ReLU, Sequential
from ..ops import softmax
from ..random import Generator
from ..tensor import Tensor

__all__ = ["Classifier", "ClassifierConfig", "load_classifier", "save_classifier"]

CHUNK = 2000  # images at a time outside training
KIND = "classifier"


@dataclass(frozen=True)
class ClassifierConfig:
    """The settings of a classifier; the last of `hidden` is the number of features."""

    image_shape: tuple[int, int] = (28, 28)
    classes: int = 10
    hidden: tuple[int, ...] = (512, 128)
    dropout: float = 0.2
    seed: int = 0


class Classifier(Module):
    """p(y|x) = softmax(W h(x) + b), with h a stack of dense layers, batch normalisation, ReLU and dropout.

    h(x), the last hidden layer, is what the metrics call features: (N, features) float32, none below 0.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        if config.classes < 2 or not config.hidden or min(config.hidden) < 1 or len(config.image_shape) != 2:
            raise UsageError(f"{config}: a classifier needs two classes, images (H, W) and a hidden layer, or more")
        self.config = config
        root = Generator(config.seed)
        weights, noise = root.fork("weights"), root.fork("dropout")
        layers: list[Module] = []
        for n_in, n_out in zip((math.prod(config.image_shape), *config.hidden), config.hidden, strict=False):
            layers += [Dense(n_in, n_out, rng=weights), BatchNorm(n_out), ReLU(), Dropout(config.dropout, noise)]
        self.body = Sequential(*layers)
        self.head = Dense(config.hidden[-1], config.classes, rng=weights)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (N, classes) of pixels (N, H W) in [0, 1]."""
        return self.head(self.body(x))

    def rows(self, images: np.ndarray) -> np.ndarray:
        """Images (N, H, W), uint8 or float32 in [0, 1], as (N, H W) in [0, 1]; ShapeError or DataError otherwise."""
        if images.ndim != 3 or images.shape[1:] != self.config.image_shape:
            height, width = self.config.image_shape
            raise ShapeError(f"images {images.shape}: this feature net was trained on (N, {height}, {width}); train "
                             "one for your images with `minigen features --data FILE`")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise DataError(f"{int(np.count_nonzero(~np.isfinite(images)))} pixels are NaN or infinite, expected "
                            "finite numbers in [0, 1]; clean the images")
        return to_unit(images.reshape(len(images), math.prod(self.config.image_shape)))

    def describe_images(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(features (N, hidden[-1]), class probabilities (N, classes)) of images (N, H, W), both float32."""
        rows, device = self.rows(images), self.head.weight.device
        features = np.empty((len(rows), self.config.hidden[-1]), np.float32)
        probabilities = np.empty((len(rows), self.config.classes), np.float32)
        with no_grad(), self.evaluating():
            for start in range(0, len(rows), CHUNK):
                part = slice(start, start + CHUNK)
                h = self.body(Tensor(rows[part]).to(device))
                features[part] = h.to("cpu").data
                probabilities[part] = softmax(self.head(h)).to("cpu").data
        return features, probabilities


def save_classifier(path: str | Path, net: Classifier, notes: dict[str, str]) -> None:
    """Write the weights in float16, half the bytes, and the config; `notes` say where it came from.

    The network is rounded as well, so that what was measured is what is kept.
    """
    with np.errstate(over="ignore"):  # found in the next line
        arrays = {name: array.astype(np.float16) for name, array in net.state_dict().items()}
    if wrong := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise DataError(f"{wrong[0]} has values beyond float16 (65504) or none at all: there is nothing worth keeping")
    net.load_state_dict({name: array.astype(np.float32) for name, array in arrays.items()})
    checkpoint.save(path, arrays, {"kind": KIND, "config": json.dumps(dataclasses.asdict(net.config)), **notes})


def load_classifier(path: str | Path) -> tuple[Classifier, dict[str, str]]:
    """What `save_classifier` wrote, and its notes; CheckpointError for a damaged or foreign file."""
    arrays, metadata = checkpoint.load(path)
    if metadata.get("kind") != KIND:
        raise CheckpointError(f"{path} holds no feature net: its kind is {metadata.get('kind')!r}; train one with "
                              "`minigen features --data FILE`")
    try:
        config = json.loads(metadata["config"]).items()
        settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in config}
        net = Classifier(ClassifierConfig(**settings))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise CheckpointError(f"{path}: its config makes no classifier ({error}); train it again") from error
    net.load_state_dict({name: array.astype(np.float32) for name, array in arrays.items()})
    return net, {name: text for name, text in metadata.items() if name not in ("kind", "config")}
