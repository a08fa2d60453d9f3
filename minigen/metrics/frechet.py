"""The Frechet distance between two sets of features (FID: Heusel et al. 2017, arXiv:1706.08500)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import DataError, ShapeError
from .checks import as_points, same_width
from .interval import Estimate, bootstrap

__all__ = ["Moments", "frechet_distance", "frechet_gaussians", "frechet_over_n", "moments", "sqrt_symmetric"]

RESAMPLES = 100


class Moments(NamedTuple):
    """The mean (D,) and covariance (D, D) of features, float64."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(x: np.ndarray, counts: np.ndarray | None = None) -> Moments:
    """Mean and unbiased covariance of the rows of x (N, D), each counted as often as `counts` (N,) says, N in all.

    ShapeError for another shape, DataError for fewer than two rows, which have no covariance.
    """
    if x.ndim != 2:
        raise ShapeError(f"features of shape {x.shape}: expected (samples, features)")
    size = len(x)
    if size < 2:
        raise DataError(f"{size} row{'' if size == 1 else 's'} of features: a covariance needs 2 or more")
    counts = np.ones(size) if counts is None else counts
    mean = counts @ x / size
    return Moments(mean, (x.T @ (x * counts[:, None]) - size * np.outer(mean, mean)) / (size - 1))


def sqrt_symmetric(matrix: np.ndarray) -> np.ndarray:
    """A^(1/2) = V diag(sqrt(l)) V^T for a symmetric A = V diag(l) V^T whose eigenvalues are at least 0.

    Eigenvalues that rounding has pushed below 0 count as 0.
    """
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def frechet_gaussians(a: Moments, b: Moments, root_of_b: np.ndarray | None = None) -> float:
    """d^2 = |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)): Dowson & Landau 1982; Heusel et al., equation 6.

    The squared 2-Wasserstein distance of two Gaussians, in squared units of a feature. S_a S_b is not symmetric, but
    similar to R S_a R with R = S_b^(1/2), which is: the same eigenvalues l, none below 0, and tr (S_a S_b)^(1/2) =
    sum sqrt(l). So two symmetric eigen-decompositions do, and no complex numbers appear. `root_of_b` is R where it is
    known already.
    """
    root = sqrt_symmetric(b.covariance) if root_of_b is None else root_of_b
    product = root @ a.covariance @ root
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    difference = a.mean - b.mean
    return float(difference @ difference + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap)


def frechet_distance(x: np.ndarray, reference: np.ndarray, *, seed: int = 0) -> Estimate:
    """The Frechet distance of features x (N, D) to those of the reference (M, D), as of two Gaussians.

    Biased upwards by about c / N, c depending on the model (Binkowski et al. 2018, arXiv:1801.01401), so
    compare at the same N only, and see `frechet_over_n`. The interval is over the draw of x, the reference staying.
    Needs more samples than features: with fewer, the covariance has directions without any variance.
    """
    x, reference = _both(x, reference)
    right = moments(reference)
    root = sqrt_symmetric(right.covariance)
    return bootstrap(lambda counts: frechet_gaussians(moments(x, counts), right, root), len(x),
                     resamples=RESAMPLES, seed=seed)


def frechet_over_n(x: np.ndarray, reference: np.ndarray, sizes: Sequence[int]) -> list[float]:
    """The Frechet distance of the first n rows of x, for each n of `sizes`: falls with n, as 1/n in the limit.

    Where the curves of two models cross, their order at one N means nothing (Chong & Forsyth 2020, arXiv:1911.07023).
    """
    x, reference = _both(x, reference)
    if not all(1 < n <= len(x) for n in sizes):
        raise DataError(f"sizes {list(sizes)}: expected from 2 to the {len(x)} samples there are")
    right = moments(reference)
    root = sqrt_symmetric(right.covariance)
    return [frechet_gaussians(moments(x[:n]), right, root) for n in sizes]


def _both(x: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    needed = np.shape(x)[1] + 1 if np.ndim(x) == 2 else 2
    why = f"for a covariance of {needed - 1} features"
    x, reference = as_points(x, "samples", needed, why), as_points(reference, "reference", needed, why)
    same_width(x, reference, "samples", "reference")
    middle = reference.mean(0, dtype=np.float64)  # the distance does not depend on it, and less cancels near 0
    return x - middle, reference - middle
