"""Train the classifier that gives the features. One recipe for any labelled set of small grey images.

Adam with cosine decay (arXiv:1608.03983), batch normalisation, dropout, random shifts, and an average of the weights,
which is what is kept. The labels are not smoothed: that costs no accuracy, but takes certainty, of which the Inception
Score is made (real digits then have 6.1 instead of nearly 10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import ops
from ..data import Loader, to_unit
from ..data.augment import Shift
from ..data.draws import Draws
from ..errors import DataError, UsageError
from ..optim import EMA, Adam, Cosine
from ..tensor import Tensor
from .classifier import Classifier, ClassifierConfig

__all__ = ["Progress", "accuracy", "cross_entropy", "fit_classifier"]

LR = 2e-3
BATCH = 128
AVERAGE = 0.9995
SHIFT = 2  # pixels


class Progress(NamedTuple):
    """What is told after an epoch; the loss in nats, the accuracy of the averaged weights on held-out images."""

    epoch: int
    loss: float
    accuracy: float


def cross_entropy(logits: Tensor, labels: np.ndarray) -> Tensor:
    """-mean_n log softmax(logits_n)_{label_n} in nats. logits (N, classes), labels (N,)."""
    target = np.zeros(logits.shape, logits.dtype)
    target[np.arange(len(labels)), labels] = 1
    return ops.sum(ops.log_softmax(logits) * Tensor(target).to(logits.device)) * (-1 / len(labels))


def accuracy(net: Classifier, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images (N, H, W) whose most probable class is their label (N,)."""
    return float(np.mean(net.describe_images(images)[1].argmax(1) == labels))


def fit_classifier(images: np.ndarray, labels: np.ndarray, held_out: tuple[np.ndarray, np.ndarray], *,
                   hidden: tuple[int, ...] = (512, 128), epochs: int = 30, seed: int = 0, device: str = "cpu",
                   report: Callable[[Progress], None] = lambda progress: None) -> Classifier:
    """A classifier of images (N, H, W) with labels (N,), trained on `device`, its weights averaged over the last steps.

    `held_out` (images, labels) is only looked at: `report` is told the accuracy there after each epoch. Raises
    DataError for labels that are no classes, UsageError for settings out of range.
    """
    classes = _check(images, labels, epochs)
    config = ClassifierConfig((images.shape[1], images.shape[2]), classes, hidden, seed=seed)
    net, average = Classifier(config).to(device), Classifier(config).to(device)
    loader = Loader(len(images), min(BATCH, len(images)), seed, drop_last=True)
    optimizer, schedule = Adam(net.parameters(), LR), Cosine(epochs * len(loader))
    ema, shift = EMA(net, average, AVERAGE), Shift(SHIFT)
    for epoch in range(epochs):
        total = 0.0
        for indices in loader.epoch(epoch):
            moved = shift.apply(to_unit(images[indices]), Draws(seed, "classifier", indices, epoch))
            loss = cross_entropy(net(Tensor(moved.reshape(len(moved), -1)).to(device)), labels[indices])
            loss.backward()
            optimizer.lr = LR * schedule(optimizer.steps)
            optimizer.step()
            optimizer.zero_grad()
            ema.update()
            total += loss.item()
        report(Progress(epoch + 1, total / len(loader), accuracy(average, *held_out)))
    return average


def _check(images: np.ndarray, labels: np.ndarray, epochs: int) -> int:
    """The number of classes."""
    if epochs < 1:
        raise UsageError(f"epochs = {epochs}: expected at least 1")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or len(images) < 2:
        raise DataError(f"labels {labels.dtype} of shape {labels.shape} for {len(images)} images: a feature net needs "
                        "two images or more with one whole number for each")
    found = np.unique(labels)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        raise DataError(f"labels are {', '.join(map(str, found[:12]))}: a feature net needs two classes or more, "
                        "numbered 0, 1, 2 ... without a gap")
    return len(found)
