"""Neighbours and balls are those of brute force in float64, where float32 alone would be wrong too."""

import numpy as np
import pytest

from minigen.metrics import neighbours
from minigen.metrics.neighbours import Cloud, balls_and_points, nearest, squared_radii


def brute_force(a, b):
    return np.square(a.astype(np.float64)[:, None] - b.astype(np.float64)[None]).sum(-1)


def cloud(rng, count, width, offset=0.0):
    return (rng.standard_normal((count, width)) + offset).astype(np.float32)


@pytest.fixture(params=[1 << 23, 5000], ids=["one block", "many blocks"])
def block(request, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", request.param)
    monkeypatch.setattr(neighbours, "PAIRS", 100)


CASES = {
    "plain": lambda rng: (cloud(rng, 300, 7), cloud(rng, 417, 7)),
    "far from the origin": lambda rng: (cloud(rng, 200, 20, 3000), cloud(rng, 201, 20, 3000)),
    "an outlier": lambda rng: (cloud(rng, 200, 5), np.concatenate([cloud(rng, 200, 5), np.full((1, 5), 1e6, "f")])),
    "one feature": lambda rng: (cloud(rng, 50, 1), cloud(rng, 60, 1)),
    "wide": lambda rng: (cloud(rng, 60, 784), cloud(rng, 70, 784)),
    "float64": lambda rng: (rng.standard_normal((90, 6)), rng.standard_normal((80, 6)) * 0.9),
}


@pytest.mark.parametrize("case", CASES)
def test_nearest_is_brute_force(rng, block, case):
    a, b = CASES[case](rng)
    right = brute_force(a, b)
    squared, which = nearest(a, Cloud(b), 4)
    assert np.array_equal(which, np.argsort(right, 1, kind="stable")[:, :4])
    assert np.allclose(squared, np.sort(right, 1)[:, :4], rtol=1e-12, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_radii_and_balls_are_brute_force(rng, block, case):
    a, b = CASES[case](rng)
    own = brute_force(b, b)
    np.fill_diagonal(own, np.inf)
    radii = squared_radii(Cloud(b), 3)
    assert np.allclose(radii, np.sort(own, 1)[:, 2], rtol=1e-12, atol=0)
    inside = brute_force(a, b) <= radii
    balls, held = balls_and_points(a, Cloud(b), radii)
    assert inside.any() and np.array_equal(balls, inside.sum(1)) and np.array_equal(held, inside.sum(0))


def test_copies_are_at_distance_zero_where_float32_sees_noise(rng):
    a = cloud(rng, 100, 50, 200)
    b = np.concatenate([cloud(rng, 80, 50, 200), a])
    norms = (a * a).sum(1)
    naive = norms[:, None] + (b * b).sum(1) - 2 * a @ b.T
    assert np.abs(naive[np.arange(100), 80 + np.arange(100)]).max() > 0.01, "the case is none"
    squared, which = nearest(a, Cloud(b))
    assert not squared.any() and np.array_equal(which[:, 0], 80 + np.arange(100))


def test_near_copies_keep_their_order(rng):
    """Neighbours that differ in the last bits of float32: the product cannot tell them apart."""
    a = cloud(rng, 20, 30, 50)
    steps = np.array([3, 1, 2])[:, None] * np.float32(2) ** -17 * np.eye(30, dtype=np.float32)[0]
    b = np.concatenate([a + step for step in steps] + [cloud(rng, 50, 30, 50)])
    squared, which = nearest(a, Cloud(b), 3)
    assert np.array_equal(which // 20, np.tile([1, 2, 0], (20, 1)))
    assert np.all(np.diff(squared, axis=1) > 0)


def test_duplicates_and_closed_balls():
    """A ball of radius 0 holds the points at its centre."""
    x = np.repeat(np.array([[0.1, 0.2], [0.7, 0.3]], np.float32), 4, axis=0)
    radii = squared_radii(Cloud(x), 3)
    assert not radii.any()
    balls, held = balls_and_points(np.array([[0.1, 0.2], [0.1, 0.25]], np.float32), Cloud(x), radii)
    assert balls.tolist() == [4, 0] and held.tolist() == [1] * 4 + [0] * 4


def test_a_points_own_ball_reaches_exactly_to_its_neighbour(rng):
    """The k-th neighbour lies on the boundary, and is inside: the same sum in the same order both times."""
    x = cloud(rng, 400, 60)
    radii = squared_radii(Cloud(x), 5)
    _, held = balls_and_points(x, Cloud(x), radii)
    assert np.array_equal(held, np.full(400, 6)), "the point itself and its five neighbours"
