"""How far a figure would move if other samples had been drawn: the bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .. import kernels
from ..errors import ShapeError
from ..random import Generator

__all__ = ["Estimate", "bootstrap", "bootstrap_mean", "resampled_counts"]

RESAMPLES = 200
LEVEL = 0.95


class Estimate(NamedTuple):
    """A figure and its 95 % interval, in the unit of the figure."""

    value: float
    low: float
    high: float


def resampled_counts(size: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """(size,) float64 at a time: how often each of `size` samples comes up in `size` draws with replacement."""
    key = Generator(seed).fork("bootstrap").seed
    for draw in range(resamples):
        chosen = (kernels.uniform(key, draw, (size,), "float64") * size).astype(np.intp)
        yield np.bincount(chosen, minlength=size).astype(np.float64)


def bootstrap(statistic: Callable[[np.ndarray], float], size: int, *, resamples: int = RESAMPLES,
              seed: int = 0) -> Estimate:
    """`statistic` of the sample, between the 2.5 % and 97.5 % quantiles of it over resamples.

    `statistic` takes how often each sample counts, (size,) with the sum `size`: all ones for the sample itself. The
    quantiles are moved so that the resamples' mean lies at the estimate. Without that the interval of a biased figure
    would not even hold the figure: a resample is to the sample what the sample is to the distribution, so the bias of
    a Frechet distance occurs in it a second time (Efron & Tibshirani 1993, chapter 10).
    """
    value = statistic(np.ones(size))
    drawn = np.array([statistic(counts) for counts in resampled_counts(size, resamples, seed)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) + (value - drawn.mean())
    return Estimate(value, min(float(low), value), max(float(high), value))


def bootstrap_mean(values: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of one value a sample, (N,). ShapeError for another shape, and for none."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ShapeError(f"values of shape {values.shape}: expected one for each sample, (N,) with N > 0")
    return bootstrap(lambda counts: float(counts @ values) / len(values), len(values), resamples=resamples, seed=seed)
