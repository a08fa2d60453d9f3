"""The Parzen-window estimate of the 2014 GAN paper, and why not to trust it.

Goodfellow et al. 2014 (arXiv:1406.2661, section 5) put a Gaussian on each sample and report the log-likelihood of the
test set under this mixture, with the width chosen on a validation set. Theis, van den Oord & Bethge 2016
(arXiv:1511.01844, section 3.5) show what it measures: in 784 dimensions no affordable number of samples brings it near
the true log-likelihood; it does not rank models as that does; and the centroids of k-means, no model at all, score
above the model of the data from which they came. `minigen evaluate` has such centroids in its table so that this can
be seen.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import UsageError
from .checks import as_points, same_width
from .interval import Estimate, bootstrap_mean

__all__ = ["SIGMAS", "parzen_log_likelihood"]

SIGMAS = tuple(10.0**e for e in np.linspace(-1.2, 0.0, 13))
ROWS = 500  # test images at a time


def parzen_log_likelihood(samples: np.ndarray, validation: np.ndarray, test: np.ndarray, *, seed: int = 0,
                          sigmas: tuple[float, ...] = SIGMAS) -> tuple[Estimate, float]:
    """(mean of log p(x) over the test images in nats, sigma), with p(x) = 1/N sum_n N(x; sample_n, sigma^2 I).

    Breuleux, Bengio & Vincent 2011. samples (N, D), validation and test (M, D), pixels in [0, 1]; sigma is
    the one of `sigmas` with the highest mean over `validation`. A log-density: its value depends on the unit of a
    pixel and can be above 0.
    """
    samples = as_points(samples, "samples", 2)
    validation, test = as_points(validation, "validation images", 1), as_points(test, "test images", 2)
    for other, name in ((validation, "validation images"), (test, "test images")):
        same_width(samples, other, "samples", name)
    if not sigmas or min(sigmas) <= 0:
        raise UsageError(f"sigmas = {sigmas}: expected one or more, all above 0")
    means = _log_densities(samples, validation, sigmas).mean(1)
    sigma = sigmas[int(np.argmax(means))]
    return bootstrap_mean(_log_densities(samples, test, (sigma,))[0], seed=seed), sigma


def _log_densities(samples: np.ndarray, x: np.ndarray, sigmas: tuple[float, ...]) -> np.ndarray:
    """log p of each x under each sigma, (sigmas, M) float64.

    The distances come from a float32 product, good to about 1e-4 for pixels in [0, 1]: at the smallest sigma 0.01 nats
    of some hundred.
    """
    count, width = samples.shape
    a = samples.astype(np.float32)
    norms = np.einsum("ij,ij->i", a, a)
    result = np.empty((len(sigmas), len(x)))
    for start in range(0, len(x), ROWS):
        b = x[start:start + ROWS].astype(np.float32)
        squared = np.maximum(np.einsum("ij,ij->i", b, b)[:, None] + norms - 2 * (b @ a.T), 0)
        least = squared.min(1, keepdims=True)
        squared -= least
        for i, sigma in enumerate(sigmas):
            near = np.exp(squared * np.float32(-0.5 / sigma**2)).sum(1, dtype=np.float64)
            constant = math.log(count) + width / 2 * math.log(2 * math.pi * sigma**2)
            result[i, start:start + len(b)] = np.log(near) - least[:, 0] / (2 * sigma**2) - constant
    return result
