"""Three ways to make images without having learned anything: what a good figure must be better than, or explain."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from ..random import Generator

__all__ = ["centroids", "independent_pixels", "random_rows"]

ITERATIONS = 4


def random_rows(count: int, chosen: int, rng: Generator) -> np.ndarray:
    """`chosen` different numbers from 0 to count - 1 in random order: the cheat of copying training images."""
    if chosen > count:
        raise DataError(f"{chosen} images asked for, {count} are there: ask for fewer with -n")
    return np.argsort(rng.uniform((count,), "float64").numpy(), kind="stable")[:chosen]


def independent_pixels(x: np.ndarray, rng: Generator) -> np.ndarray:
    """Each pixel of each image drawn from that pixel's values in x (N, D), whatever the others are: (N, D)."""
    rows = np.empty(x.shape, np.intp)
    for column in range(x.shape[1]):
        rows[:, column] = random_rows(len(x), len(x), rng)
    return np.take_along_axis(x, rows, 0)


def centroids(x: np.ndarray, k: int, rng: Generator) -> np.ndarray:
    """Each row of x (N, D) replaced by the mean of its cluster, of k: (N, D).

    A few iterations of Lloyd 1982 from k random rows. Theis et al. 2016 (arXiv:1511.01844, section 3.5) used such
    centroids to fool the Parzen estimate.
    """
    x = np.asarray(x, np.float32)
    middles = x[random_rows(len(x), k, rng)]
    for _ in range(ITERATIONS):
        own = _nearest(x, middles)
        sums = np.zeros((k, x.shape[1]))
        np.add.at(sums, own, x)
        sizes = np.bincount(own, minlength=k)
        filled = sizes > 0  # a cluster that lost all its rows keeps its middle
        middles[filled] = sums[filled] / sizes[filled, None]
    return middles[_nearest(x, middles)]


def _nearest(x: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """The nearest middle of each row: |x|^2 is the same for all, so it is left out."""
    norms = np.einsum("ij,ij->i", middles, middles)
    step = 2000
    return np.concatenate([np.argmin(norms - 2 * (x[i:i + step] @ middles.T), 1) for i in range(0, len(x), step)])
