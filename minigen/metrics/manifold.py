"""Quality and variety apart: precision and recall, density and coverage, by balls around points.

A ball reaches from a point to its k-th nearest neighbour in its own set; all balls of a set together stand for where
its distribution is. Kynkaanniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from .checks import as_points, require_a, same_width
from .interval import Estimate, bootstrap_mean
from .neighbours import Cloud, balls_and_points, squared_radii

__all__ = ["Manifold", "ManifoldFigures", "manifold_figures"]

K = 5


class ManifoldFigures(NamedTuple):
    """What `manifold_figures` gives; shares from 0 to 1, but for the density."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


class Manifold:
    """The points of a set (N, D) and the squared distance of each to its k-th nearest other; computed once."""

    def __init__(self, points: np.ndarray, k: int = K, name: str = "points") -> None:
        if k < 1:
            raise UsageError(f"{name}: k = {k}, expected one neighbour or more")
        self.points = as_points(points, name, k + 1, f"for the {k} nearest neighbours of each")
        self.k = k
        self.cloud = Cloud(self.points)
        self.radii = squared_radii(self.cloud, k)


def manifold_figures(samples: Manifold, real: Manifold, *, seed: int = 0) -> ManifoldFigures:
    """Precision, recall, density and coverage of samples against real points, both as `Manifold`s with the same k.

    precision  the share of samples in at least one ball of a real point        (Kynkaanniemi et al., equations 1, 2)
    recall     the share of real points in at least one ball of a sample        (the same, with the sets exchanged)
    density    1/(k N) sum over samples of the number of real balls around it   (Naeem et al.): 1 on
               average where both distributions are equal, above 1 where samples crowd in dense places
    coverage   the share of real balls that hold at least one sample            (Naeem et al.)

    Each is the mean of one number for each sample or each real point, and the interval is the bootstrap's of that
    mean, with the balls as they are.
    """
    for name, given in (("samples", samples), ("real", real)):
        require_a(Manifold, given, name, "which minigen.metrics.Manifold(features) makes")
    same_width(samples.points, real.points, "samples", "real points")
    if samples.k != real.k:
        raise UsageError(f"balls of samples reach to neighbour {samples.k}, of real points to {real.k}: give both the "
                         "same k")
    balls, held = balls_and_points(samples.points, real.cloud, real.radii)
    inside_samples, _ = balls_and_points(real.points, samples.cloud, samples.radii)
    return ManifoldFigures(
        precision=bootstrap_mean(balls > 0, seed=seed),
        recall=bootstrap_mean(inside_samples > 0, seed=seed),
        density=bootstrap_mean(balls / real.k, seed=seed),
        coverage=bootstrap_mean(held > 0, seed=seed),
    )
