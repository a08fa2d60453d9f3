"""The Inception Score (Salimans et al. 2016, arXiv:1606.03498, section 4)."""

from __future__ import annotations

import numpy as np

from .checks import as_probabilities
from .interval import Estimate, bootstrap

__all__ = ["inception_score"]


def inception_score(probabilities: np.ndarray, *, seed: int = 0) -> Estimate:
    """IS = exp( E_x KL( p(y|x) || p(y) ) ),  p(y) = E_x p(y|x).

    probabilities: p(y|x), (N, classes), rows that sum to 1. From 1, all images are of the same classes, to the number
    of classes: each image is surely of one class, and all classes are equally frequent. It never looks at real images,
    so one perfect picture of each class has the best score (Barratt & Sharma 2018, arXiv:1801.01973), and it depends
    on the classifier: nothing computed with another one compares. The paper takes ten parts and their mean; this is
    the score of all N at once, whose bias is smaller, with a bootstrap interval.
    """
    p = as_probabilities(probabilities, "class probabilities")
    negative_entropy = _x_log_x(p).sum(1)

    def score(counts: np.ndarray) -> float:
        return float(np.exp(counts @ negative_entropy / len(p) - _x_log_x(counts @ p / len(p)).sum()))

    return bootstrap(score, len(p), seed=seed)


def _x_log_x(p: np.ndarray) -> np.ndarray:
    """p ln p, 0 where p = 0."""
    return p * np.log(np.where(p > 0, p, 1))
