"""Which classes were generated, and how often: the plainest sign of a collapse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .checks import as_probabilities, same_width
from .interval import Estimate, bootstrap

__all__ = ["ClassHistogram", "class_histogram"]


class ClassHistogram(NamedTuple):
    """Shares (classes,) of samples and of real images, and their distance, from 0 to 1."""

    samples: np.ndarray
    real: np.ndarray
    distance: Estimate


def class_histogram(probabilities: np.ndarray, real: np.ndarray, *, seed: int = 0) -> ClassHistogram:
    """How often each class is the most probable one, and TV = 1/2 sum_c |samples_c - real_c|.

    probabilities (N, classes) of samples and `real` (M, classes) of real images by the same classifier, so that its
    own mistakes are on both sides. The total variation distance is the share of samples that would have to change
    their class; biased upwards, by about 0.4 sum_c sqrt(p_c / N) for equal distributions.
    """
    p, q = as_probabilities(probabilities, "samples"), as_probabilities(real, "real images")
    same_width(p, q, "samples", "real images")
    classes = p.shape[1]
    chosen = p.argmax(1)
    real_shares = np.bincount(q.argmax(1), minlength=classes) / len(q)

    def distance(counts: np.ndarray) -> float:
        return float(np.abs(np.bincount(chosen, counts, classes) / len(p) - real_shares).sum() / 2)

    shares = np.bincount(chosen, minlength=classes) / len(p)
    return ClassHistogram(shares, real_shares, bootstrap(distance, len(p), seed=seed))
