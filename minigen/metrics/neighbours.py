"""Which points are near which: exact answers at the speed of a float32 matrix product, in bounded memory.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b

turns all distances between two sets into one matrix product. But for near points it subtracts nearly equal numbers:
in float32 the distance between an image and its copy comes out as anything near the rounding error, negative too. So
the product only decides what it can. Its error is bounded (Higham 2002, section 3.1): with u = 2^-24 and D features

    |computed - true| <= e_ab = (D + 8) u (|a|^2 + |b|^2),

D u for the product, the rest for rounding the inputs, the norms and the two sums. Pairs whose comparison this leaves
open, few as a rule, are computed again as sum((a - b)^2) in float64, where nothing cancels: every term is positive and
the difference of two float32 numbers is exact but for the last of 53 bits. The results are those of brute force in
float64. Both sets are first moved to a common centre, which makes the norms, and so the bound, small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import UsageError
from .checks import require_a

__all__ = ["Cloud", "balls_and_points", "nearest", "squared_radii"]

BLOCK = 1 << 23  # pairs at a time: 32 MiB of float32
PAIRS = 1 << 21  # float64 numbers at a time where pairs are computed again
_UNIT = 2.0**-24


class Cloud:
    """Points (N, D), and what every search among them needs: moved to `middle`, rounded, and their squared norms."""

    def __init__(self, points: np.ndarray, middle: np.ndarray | None = None) -> None:
        self.points = points
        self.middle = points.mean(0, dtype=np.float64) if middle is None else middle
        self.moved, self.norms = np.empty(points.shape, np.float32), np.empty(len(points))
        step = max(1, PAIRS // points.shape[1])
        for start in range(0, len(points), step):
            moved = points[start:start + step] - self.middle
            self.moved[start:start + step] = moved
            self.norms[start:start + step] = np.einsum("ij,ij->i", moved, moved)

    def __len__(self) -> int:
        return len(self.points)


class _Pairs:
    """All pairs of points a (N, D) and centres b (M, D), a block of rows at a time."""

    def __init__(self, a: np.ndarray, b: Cloud) -> None:
        require_a(Cloud, b, "the second set", "which minigen.metrics.Cloud(points) makes")
        self.a = b if a is b.points else Cloud(a, b.middle)
        self.b = b
        self._relative = (a.shape[1] + 8) * _UNIT

    def blocks(self, exclude_self: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, lower bounds of the squared distances (rows, M) float32): overwrite them, or keep none."""
        rows = max(1, BLOCK // max(1, len(self.b)))
        smaller = np.float32(1 - self._relative)
        norms_a, norms_b = (cloud.norms.astype(np.float32) * smaller for cloud in (self.a, self.b))
        for start in range(0, len(self.a), rows):
            block = self.a.moved[start:start + rows] @ self.b.moved.T
            block *= np.float32(-2)
            block += norms_b
            block += norms_a[start:start + rows, None]
            if exclude_self:
                np.fill_diagonal(block[:, start:], np.inf)
            yield start, block

    def slack(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """How far the true value can lie above the lower bound: 2 e_ab, and a little for this sum itself."""
        return 2.001 * self._relative * (self.a.norms[rows] + self.b.norms[columns])

    def exact(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """|a - b|^2 in float64 for pairs given by their indices."""
        result = np.empty(len(rows))
        step = max(1, PAIRS // self.a.points.shape[1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            difference = self.a.points[rows[part]].astype(np.float64) - self.b.points[columns[part]]
            result[part] = np.einsum("ij,ij->i", difference, difference)
        return result


def nearest(a: np.ndarray, b: Cloud, k: int = 1, *, exclude_self: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(squared distances (N, k) float64, nearest first; which rows of b (N, k)) from each of a (N, D) to b (M, D).

    `exclude_self`: a is b's points, and a point is no neighbour of itself. Of equal distances the first row of b
    counts. UsageError unless b has k points, besides the point itself.
    """
    pairs = _Pairs(a, b)
    others = len(b) - exclude_self
    if not 1 <= k <= others:
        raise UsageError(f"k = {k} neighbours of a point that has {others}: expected 1 to {others}")
    squared, which = np.empty((len(a), k)), np.empty((len(a), k), np.intp)
    for start, block in pairs.blocks(exclude_self):
        kth = np.partition(block, k - 1, axis=1)[:, k - 1]
        row, column = np.nonzero(block <= kth[:, None])
        starts = np.searchsorted(row, np.arange(len(block)))
        # The k-th nearest is at most the largest upper bound of these, so what lies under it holds the k nearest.
        reach = kth + np.maximum.reduceat(pairs.slack(start + row, column), starts)
        row, column = np.nonzero(block <= np.nextafter(reach.astype(np.float32), np.float32(np.inf))[:, None])
        distance = pairs.exact(start + row, column)
        order = np.lexsort((distance, row))
        first = np.searchsorted(row, np.arange(len(block)))[:, None] + np.arange(k)
        squared[start:start + len(block)] = distance[order][first]
        which[start:start + len(block)] = column[order][first]
    return squared, which


def squared_radii(x: Cloud, k: int) -> np.ndarray:
    """(N,) float64: the squared distance of each of the points to its k-th nearest other one."""
    return nearest(x.points, x, k, exclude_self=True)[0][:, -1]


def balls_and_points(points: np.ndarray, centres: Cloud, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(in how many balls each point lies (N,), how many points each ball holds (M,)), the balls closed.

    points (N, D); the balls have the centres (M, D) and the *squared* radii (M,).
    """
    pairs = _Pairs(points, centres)
    balls, held = np.zeros(len(points), np.intp), np.zeros(len(centres), np.intp)
    bound = np.nextafter(radii.astype(np.float32), np.float32(np.inf))
    for start, block in pairs.blocks():
        row, column = np.nonzero(block <= bound)
        inside = block[row, column] + pairs.slack(start + row, column) <= radii[column]
        open_ = np.flatnonzero(~inside)
        inside[open_] = pairs.exact(start + row[open_], column[open_]) <= radii[column[open_]]
        balls[start:start + len(block)] = np.bincount(row[inside], minlength=len(block))
        held += np.bincount(column[inside], minlength=len(centres))
    return balls, held
