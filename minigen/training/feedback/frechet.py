"""The Frechet distance as a figure of each epoch: what a GAN's losses do not tell, whether its images get better."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data import Dataset
from ...errors import DataError, UsageError
from ...metrics import frechet_gaussians, mnist_classifier, moments
from ...metrics.cheats import random_rows
from ...random import Generator
from ..checks import Data

__all__ = ["FRECHET", "Frechet"]

FRECHET = "frechet"  # the column of the history
SAMPLES = 1000  # images of the model, and at most twice as many real ones: some hundredths of a second an epoch


class Frechet:
    """The distance of 1000 samples, from the same noise at every epoch, to real images, by the feature net of MNIST.

    To be compared within one run only: see `minigen.metrics.frechet_distance` for its bias, and evaluate the model that
    it chose with other samples and other images (`minigen evaluate`).
    """

    def __init__(self, real: Data) -> None:
        self._net = mnist_classifier()
        shape, features = self._net.config.image_shape, self._net.config.hidden[-1]
        if not isinstance(real, Dataset) or not self.knows(real):
            raise UsageError(f"feedback: {FRECHET!r} needs a feature net, and minigen has one for digits of {shape[0]} "
                             f"x {shape[1]} alone: choose a loss, and compare whole runs with `minigen features` and "
                             "`minigen evaluate --features`")
        if len(real) <= features:
            raise DataError(f"feedback: {FRECHET!r} over {features} features needs more real images than {len(real)}")
        rows = random_rows(len(real), min(2 * SAMPLES, len(real)), Generator(0).fork(FRECHET))
        self._reference = moments(self._features(real.images[rows]))

    @staticmethod
    def knows(real: Data) -> bool:
        """Whether these can be digits."""
        return isinstance(real, Dataset) and real.images.shape[1:] == mnist_classifier().config.image_shape

    def of(self, model: Any) -> float:
        """The distance of the model as it is now."""
        return frechet_gaussians(moments(self._features(model.sample(SAMPLES, seed=0))), self._reference)

    def _features(self, images: np.ndarray) -> np.ndarray:
        return self._net.describe_images(images)[0].astype(np.float64)
