"""Never train on garbage, and never go on from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from ..data import Dataset, SentenceDataset, TextDataset
from ..errors import DataError, DivergedError
from .model import Trainable

__all__ = ["ADVICE", "Data", "as_dataset", "not_finite", "require_finite_state"]

Data = Dataset | TextDataset | SentenceDataset
_CUTTERS = {TextDataset.unit: "split_text", SentenceDataset.unit: "split_sentences"}  # of minigen.data


def as_dataset(
    images: np.ndarray | Data, model: Trainable, name: str, labels: np.ndarray | None = None
) -> Data:
    """The images, held against what a model can be trained on: (N, H, W), uint8 or finite floats in [0, 1].

    A text must be cut into what the model reads, by its tokenizer and for its context.

    name: how an array of the user's own is called in the run's record and in errors.
    Raises DataError.
    """
    tokenizer = getattr(model.config, "tokenizer", None)
    if isinstance(images, TextDataset | SentenceDataset):
        return _checked_text(images, model, tokenizer)
    if tokenizer is not None:
        raise DataError(f"{name}: a {model.kind} is trained on text: cut one with minigen.data.{_cutter(model)}")
    dataset = images if isinstance(images, Dataset) else Dataset(np.asarray(images), labels, name, "array", "", "")
    array = dataset.images
    expected = getattr(model.config, "image_shape", array.shape[1:])
    if array.ndim != 3 or len(array) == 0 or array.shape[1:] != tuple(expected):
        raise DataError(
            f"{name}: shape {array.shape}, expected (N, {', '.join(map(str, expected))}) with N > 0: the images that "
            f"this {model.kind} is made for: give images of {' x '.join(map(str, expected))}, or make a model for these"
        )
    if array.dtype != np.uint8:
        array = _unit_floats(array, name)
    if dataset.labels is not None and dataset.labels.shape != (len(array),):
        raise DataError(f"{name}: {len(array)} images with labels of shape {dataset.labels.shape}; give one for each")
    if array is dataset.images:
        return dataset
    return dataclasses.replace(dataset, images=array)


def _cutter(model: Trainable) -> str:
    return _CUTTERS[getattr(model, "unit", TextDataset.unit)]


def _checked_text(data: TextDataset | SentenceDataset, model: Trainable,
                  tokenizer: str | None) -> TextDataset | SentenceDataset:
    if tokenizer is None:
        raise DataError(f"{data.name}: a text, but a {model.kind} is trained on images")
    if _CUTTERS[data.unit] != _cutter(model):
        raise DataError(f"{data.name}: a text cut into {data.unit}, but a {model.kind} is trained on those of "
                        f"minigen.data.{_cutter(model)}")
    if data.tokenizer.describe() != tokenizer:
        raise DataError(f"{data.name}: cut by another tokenizer ({data.tokenizer.size} symbols) than the one of this "
                        f"{model.kind}: encode the text with model.tokenizer")
    if data.context != model.config.context:
        raise DataError(f"{data.name}: {data.unit} for a context of {data.context}, this {model.kind} has one of "
                        f"{model.config.context}: cut the text anew")
    return data


def _unit_floats(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind != "f":
        raise DataError(f"{name}: elements are {array.dtype}, expected uint8 or floats in [0, 1]; convert with .astype")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise DataError(f"{name}: {bad} values are NaN or infinite, expected finite numbers; drop such "
                        "images with minigen.data.Clean")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise DataError(f"{name}: values from {low:g} to {high:g}, expected [0, 1]; divide by 255 or rescale first")
    return np.ascontiguousarray(array, dtype=np.float32)


ADVICE = "train anew with a smaller learning rate (--lr), in another folder (--out)"


def not_finite(losses: Mapping[str, float]) -> str | None:
    """The first loss that is NaN or infinite."""
    return next((name for name, value in losses.items() if not math.isfinite(value)), None)


def require_finite_state(arrays: Mapping[str, np.ndarray], step: int) -> None:
    """Raise DivergedError where a state about to be saved is broken although the losses were still finite."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DivergedError(f"diverged at step {step}: {name} has NaN or infinite values; {ADVICE}")
