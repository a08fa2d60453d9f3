"""What a metric is not made for is one clear error, and none of NumPy's."""

import numpy as np
import pytest

from minigen.errors import DataError, ShapeError, UsageError
from minigen.metrics import (
    Cloud,
    Judge,
    bootstrap_mean,
    manifold_figures,
    moments,
    nearest,
    nearest_training,
    vae_figures,
)
from minigen.models import GAN

POINTS = np.eye(6, dtype=np.float32)
IMAGES = np.zeros((6, 4, 4), np.uint8)


@pytest.mark.parametrize("call, error, message", [
    (lambda: vae_figures(GAN(generator=(2,), discriminator=(2,)), IMAGES), UsageError, "a GAN has no encoder"),
    (lambda: nearest(POINTS, POINTS), UsageError, "the second set is of type ndarray: expected a Cloud, which"),
    (lambda: nearest(POINTS, Cloud(POINTS), 7), UsageError, "k = 7 neighbours of a point that has 6: expected 1 to 6"),
    (lambda: nearest(POINTS, Cloud(POINTS), 6, exclude_self=True), UsageError, "a point that has 5: expected 1 to 5"),
    (lambda: nearest_training(POINTS, POINTS), UsageError, "training is of type ndarray: expected a Cloud"),
    (lambda: manifold_figures(POINTS, POINTS), UsageError, "samples is of type ndarray: expected a Manifold, which"),
    (lambda: Judge(3, IMAGES, IMAGES, 5), UsageError, "net is of type int: expected a Classifier, such as"),
    (lambda: bootstrap_mean([]), ShapeError, r"values of shape \(0,\): expected one for each"),
    (lambda: bootstrap_mean(POINTS), ShapeError, r"values of shape \(6, 6\)"),
    (lambda: moments(POINTS[:1]), DataError, "1 row of features: a covariance needs 2 or more"),
    (lambda: moments(POINTS[0]), ShapeError, r"features of shape \(6,\): expected \(samples, features\)"),
])
def test_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()
