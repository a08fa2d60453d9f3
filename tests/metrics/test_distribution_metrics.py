"""Frechet and kernel distance, Inception Score and class histogram against closed forms and other code."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from minigen.errors import DataError, ShapeError
from minigen.metrics import (
    class_histogram,
    frechet_distance,
    frechet_gaussians,
    frechet_over_n,
    inception_score,
    kernel_distance,
    moments,
)
from minigen.metrics.frechet import Moments, sqrt_symmetric


def gaussian(rng, width, rank=None):
    factor = rng.standard_normal((width, rank or width))
    return Moments(rng.standard_normal(width), factor @ factor.T)


def with_sqrtm(a, b):
    """Heusel et al., equation 6, as their own code computes it."""
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    return np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root)


@pytest.mark.parametrize("width", [1, 3, 40])
def test_frechet_is_scipys_sqrtm(rng, width):
    for _ in range(5):
        a, b = gaussian(rng, width), gaussian(rng, width)
        assert frechet_gaussians(a, b) == pytest.approx(with_sqrtm(a, b), rel=1e-6)
        assert frechet_gaussians(a, b) == pytest.approx(frechet_gaussians(b, a), rel=1e-9)


def test_frechet_of_covariances_that_commute(rng):
    """Diagonal ones: |m - n|^2 + sum (s - t)^2, with the standard deviations s and t."""
    m, n = rng.standard_normal((2, 6))
    s, t = rng.uniform(0, 3, (2, 6))
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    a, b = (Moments(rotation @ mean, rotation @ np.diag(d**2) @ rotation.T) for mean, d in ((m, s), (n, t)))
    assert frechet_gaussians(a, b) == pytest.approx(np.square(m - n).sum() + np.square(s - t).sum())


def test_frechet_of_singular_covariances(rng):
    a, b = gaussian(rng, 12, rank=3), gaussian(rng, 12, rank=5)
    assert np.isfinite(frechet_gaussians(a, b)) and frechet_gaussians(a, b) > 0
    assert frechet_gaussians(a, a) == pytest.approx(0, abs=1e-5)
    root = sqrt_symmetric(a.covariance)
    assert np.allclose(root @ root, a.covariance) and np.allclose(root, root.T)


def test_moments_are_numpys_also_with_counts(rng):
    x = rng.standard_normal((50, 4)) + 3
    counts = np.bincount(rng.integers(0, 50, 50), minlength=50).astype(float)
    for got, rows in ((moments(x), x), (moments(x, counts), np.repeat(x, counts.astype(int), 0))):
        assert np.allclose(got.mean, rows.mean(0)) and np.allclose(got.covariance, np.cov(rows.T))


def test_frechet_of_samples_finds_the_distance_of_their_distributions(rng):
    """N(0, I) against N(m, diag s^2) in 4 dimensions: the interval of 20 000 samples holds the closed form."""
    shift, scale = np.array([0.5, 0, -1, 0]), np.array([1, 2, 0.5, 1])
    right = np.square(shift).sum() + np.square(1 - scale).sum()
    x = rng.standard_normal((20_000, 4)).astype(np.float32)
    y = (rng.standard_normal((20_000, 4)) * scale + shift).astype(np.float32)
    came = frechet_distance(x, y)
    assert came.value == pytest.approx(right, rel=0.03) and came.low < came.value < came.high
    assert came.high - came.low < 0.1 * right
    assert frechet_distance(x, y + 1000).value == pytest.approx(with_sqrtm(moments(x), moments(y + 1000)), rel=1e-6)


def test_frechet_falls_with_n_and_does_not_depend_on_the_order_of_features(rng):
    x, y = rng.standard_normal((2, 4000, 10)).astype(np.float32)
    few, some, many = frechet_over_n(x, y, [100, 500, 4000])
    assert few == pytest.approx(with_sqrtm(moments(x[:100]), moments(y)), rel=1e-3)
    assert few > some > many > 0 and many == pytest.approx(frechet_distance(x, y).value)
    assert frechet_over_n(x[:, ::-1], y[:, ::-1], [4000])[0] == pytest.approx(many)


def test_the_bootstrap_of_frechet_is_as_wide_as_the_scatter_between_draws(rng):
    y = rng.standard_normal((2000, 6)).astype(np.float32)
    draws = [frechet_distance(rng.standard_normal((1000, 6)) * 1.3 + 0.2, y, seed=i) for i in range(12)]
    width = np.mean([d.high - d.low for d in draws])
    assert width == pytest.approx(2 * 1.96 * np.std([d.value for d in draws], ddof=1), rel=0.6)


def test_frechet_refuses(rng):
    x = rng.standard_normal((50, 8))
    with pytest.raises(DataError, match="samples: 8 samples are too few, for a covariance of 8 features: give 9 or"):
        frechet_distance(x[:8], x)
    with pytest.raises(DataError, match="reference: 5 samples are too few"):
        frechet_distance(x, x[:5])
    with pytest.raises(DataError, match="samples: 400 of 400 values are NaN"):
        frechet_distance(x * np.nan, x)
    with pytest.raises(ShapeError, match="as many features expected"):
        frechet_distance(x, np.concatenate([x, x], 1))
    for other in (x[:, :, None], x[:, :0], x > 0):
        with pytest.raises(ShapeError, match="expected floats .samples, features."):
            frechet_distance(other, x)
    with pytest.raises(DataError, match="expected from 2 to the 50 samples"):
        frechet_over_n(x, x, [51])


def pairwise_kernel_distance(x, y):
    """The unbiased estimate as the equation reads: two loops and no matrix product."""
    def k(a, b):
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    def mean(pairs):
        return np.mean([k(a, b) for a, b in pairs])

    return (mean((a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j)
            + mean((a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j)
            - 2 * mean((a, b) for a in x for b in y))


@pytest.mark.parametrize("counts", [(40, 40), (45, 63), (61, 41)])
def test_kernel_distance_is_two_loops(rng, counts):
    x, y = rng.standard_normal((counts[0], 5)), rng.standard_normal((counts[1], 5)) + 0.3
    came = kernel_distance(x, y)
    assert came.value == pytest.approx(pairwise_kernel_distance(x, y), rel=1e-10)
    assert came.low < came.value and came.high - came.value == pytest.approx(came.value - came.low)


def test_kernel_distance_of_equal_distributions_is_zero_on_average(rng):
    """The interval, which is over the draw of samples, holds 0 about 19 times of 20 where the reference is large."""
    reference = rng.standard_normal((2400, 3))
    draws = [kernel_distance(rng.standard_normal((80, 3)), reference) for _ in range(40)]
    values = np.array([draw.value for draw in draws])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(40) and (values < 0).any() and (values > 0).any()
    assert sum(draw.low <= 0 <= draw.high for draw in draws) >= 35


def test_the_interval_of_a_kernel_distance_is_as_wide_as_the_scatter_between_draws(rng):
    reference = rng.standard_normal((3000, 3)) + 0.5
    draws = [kernel_distance(rng.standard_normal((300, 3)), reference) for _ in range(60)]
    width = np.mean([draw.high - draw.low for draw in draws])
    assert width == pytest.approx(2 * 1.96 * np.std([draw.value for draw in draws], ddof=1), rel=0.3)


def test_kernel_distance_in_closed_form(rng):
    """One feature, N(0, 1) against N(m, 1): E k = E (1 + xy)^3 = 1 + 3 E xy + 3 E x^2y^2 + E x^3y^3 by moments."""
    def expected(m, n):
        first, second, third = m * n, (1 + m * m) * (1 + n * n), (m**3 + 3 * m) * (n**3 + 3 * n)
        return 1 + 3 * first + 3 * second + third

    m = 0.7
    right = expected(0, 0) + expected(m, m) - 2 * expected(0, m)
    came = kernel_distance(rng.standard_normal((8000, 1)), rng.standard_normal((8000, 1)) + m)
    assert came.value == pytest.approx(right, rel=0.1)


def test_kernel_distance_refuses(rng):
    with pytest.raises(DataError, match="39 samples are too few, for 20 parts of two: give 40 or more"):
        kernel_distance(rng.standard_normal((39, 2)), rng.standard_normal((50, 2)))
    with pytest.raises(DataError, match="reference: 39 samples are too few"):
        kernel_distance(rng.standard_normal((50, 2)), rng.standard_normal((39, 2)))


def test_inception_score_known_values():
    sure = np.eye(10)[np.arange(1000) % 10]
    assert inception_score(sure).value == pytest.approx(10)
    assert inception_score(np.full((50, 10), 0.1)).value == pytest.approx(1)
    assert inception_score(sure[::10]).value == pytest.approx(1), "sure, but always of one class"
    half = np.array([[0.9, 0.1], [0.1, 0.9]])
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert inception_score(np.tile(half, (20, 1))).value == pytest.approx(np.exp(np.log(2) - entropy))


def test_inception_score_is_the_mean_kl(rng):
    p = rng.dirichlet(np.ones(7), 300)
    kl = [scipy.stats.entropy(row, p.mean(0)) for row in p]
    came = inception_score(p.astype(np.float32))
    assert came.value == pytest.approx(np.exp(np.mean(kl)), rel=1e-5) and came.low < came.value < came.high


def test_class_histogram(rng):
    p, q = np.eye(4)[[0, 0, 1, 2]], np.eye(4)[[0, 1, 1, 3]]
    came = class_histogram(p, q)
    assert came.samples.tolist() == [0.5, 0.25, 0.25, 0] and came.real.tolist() == [0.25, 0.5, 0, 0.25]
    assert came.distance.value == pytest.approx(0.5)
    assert class_histogram(p, p).distance.value == 0
    assert class_histogram(np.eye(2)[[0] * 9], np.eye(2)[[1] * 9]).distance.value == 1


@pytest.mark.parametrize("p, message", [
    (np.full((5, 4), 0.3), "expected class probabilities that sum to 1"),
    (np.array([[1.5, -0.5]] * 3), "expected class probabilities"),
    (np.full((1, 4), 0.25), "1 sample is too few"),
    (np.full((5, 4), np.nan), "20 of 20 values are NaN"),
])
def test_probabilities_that_are_none(p, message):
    with pytest.raises(DataError, match=message):
        inception_score(p)
