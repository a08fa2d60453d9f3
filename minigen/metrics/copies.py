"""Were the training images learned or remembered? The nearest training image of each sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .checks import as_points, require_a, same_width
from .interval import Estimate, bootstrap_mean
from .neighbours import Cloud, nearest

__all__ = ["Copies", "copies", "nearest_training"]

QUANTILE = 0.01


class Copies(NamedTuple):
    """`share` of samples that are suspiciously near a training image, the nearest one of each, and how far it is."""

    share: Estimate
    which: np.ndarray  # (N,) rows of the training images
    distance: np.ndarray  # (N,) in the unit of a pixel


def nearest_training(samples: np.ndarray, training: Cloud) -> tuple[np.ndarray, np.ndarray]:
    """(distance (N,), row (N,)) of the training image nearest to each sample: Euclidean, over all pixels.

    samples (N, D), training (M, D). Pixels, not features: a copy is a matter of pixels.
    """
    require_a(Cloud, training, "training", "which minigen.metrics.Cloud(images as rows) makes")
    samples, points = as_points(samples, "samples", 1), as_points(training.points, "training images", 1)
    same_width(samples, points, "samples", "training images")
    squared, which = nearest(samples, training)
    return np.sqrt(squared[:, 0]), which[:, 0]


def copies(samples: np.ndarray, training: Cloud, usual: np.ndarray, *, seed: int = 0) -> Copies:
    """The share of samples nearer to a training image than all but 1 % of new real images are.

    `usual` (L,): distances of held-out real images to their nearest training images, from `nearest_training`. A
    generator that draws from the distribution itself has 1 %, one that repeats its training images 100 %. No
    distribution metric can tell: for them copies are the best samples there are. (The idea of holding distances of
    samples against those of held-out images: Meehan, Chaudhuri & Dasgupta 2020, arXiv:2004.05675.) Smooth images lie
    nearer to everything than sharp ones do, so that means of images, as a VAE draws them, can exceed 1 % without
    being copies: look at the pairs.
    """
    usual = as_points(np.reshape(usual, (-1, 1)), "distances of held-out images", round(1 / QUANTILE))[:, 0]
    distance, which = nearest_training(samples, training)
    return Copies(bootstrap_mean(distance < np.quantile(usual, QUANTILE), seed=seed), which, distance)
