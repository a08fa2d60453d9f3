"""The kernel distance between two sets of features (KID: Binkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

import numpy as np

from .checks import as_points, same_width
from .interval import Estimate

__all__ = ["kernel_distance"]

PARTS = 20  # of each set: a kernel matrix is summed a pair of parts at a time, and the jackknife leaves one out


def kernel_distance(x: np.ndarray, reference: np.ndarray) -> Estimate:
    """KID = the unbiased estimate of MMD^2 with k(a, b) = (a.b / D + 1)^3.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), the first two over different points only: Gretton et al. 2012,
    equation 3; the kernel is that of Binkowski et al. Unlike the Frechet distance it has no bias in N, so
    that two equal distributions give 0 on average, and values below 0 about half of the time. Units: a feature to the
    sixth.

    x (N, D), reference (M, D). Computed in float64: the value is a small difference of large means. The interval is
    value +- 1.96 standard errors of a jackknife over 20 parts of x, the reference staying: a bootstrap would put equal
    points into both places of k(x, x'), which the unbiased estimate leaves out. Where the distributions are equal the
    interval is too wide rather than too narrow (Efron & Stein 1981).
    """
    why = f"for {PARTS} parts of two"
    x, reference = as_points(x, "samples", 2 * PARTS, why), as_points(reference, "reference", 2 * PARTS, why)
    same_width(x, reference, "samples", "reference")
    xs = np.array_split(x.astype(np.float64), PARTS)
    ys = np.array_split(reference.astype(np.float64), PARTS)
    between_samples, between_real = _sums(xs, xs), _sums(ys, ys)
    across = _sums(xs, ys).sum(1)
    n, m = np.array([len(part) for part in xs]), len(reference)
    within = (between_real.sum() - sum(map(_own, ys))) / (m * (m - 1))
    own = np.array([_own(part) for part in xs])

    def estimate(keep: np.ndarray) -> float:
        count = n[keep].sum()
        first = (between_samples[np.ix_(keep, keep)].sum() - own[keep].sum()) / (count * (count - 1))
        return float(first + within - 2 * across[keep].sum() / (count * m))

    everything = np.arange(PARTS)
    value = estimate(everything)
    others = np.array([estimate(np.delete(everything, part)) for part in everything])
    error = float(np.sqrt((PARTS - 1) / PARTS * np.square(others - others.mean()).sum()))
    return Estimate(value, value - 1.96 * error, value + 1.96 * error)


def _sums(xs: list[np.ndarray], ys: list[np.ndarray]) -> np.ndarray:
    """The sum of k over all pairs of points of two parts, for each part of xs and of ys; of a set with itself by half.

    A tile of some hundred rows and columns stays in the cache while it is cubed.
    """
    sums = np.empty((len(xs), len(ys)))
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            if xs is ys and j < i:
                sums[i, j] = sums[j, i]
                continue
            k = x @ y.T
            k /= x.shape[1]
            k += 1
            sums[i, j] = np.vdot(k * k, k)
    return sums


def _own(x: np.ndarray) -> float:
    """The sum of k(x_i, x_i)."""
    return float(((np.einsum("ij,ij->i", x, x) / x.shape[1] + 1) ** 3).sum())
