"""The importance-weighted bound against an exact log p(x); Parzen, copies, cheats, intervals against plain code."""

import math

import numpy as np
import pytest
import scipy.stats

from minigen import Tensor
from minigen.errors import DataError, ShapeError, UsageError
from minigen.metrics import (
    Cloud,
    active_units,
    bootstrap,
    bootstrap_mean,
    copies,
    importance_weighted_bound,
    nearest_training,
    parzen_log_likelihood,
    vae_figures,
)
from minigen.metrics.cheats import centroids, independent_pixels, random_rows
from minigen.models import VAE
from minigen.random import Generator

SIGMA = 0.5


@pytest.fixture
def linear(rng):
    """x = W z + b + noise, z of 2 and x of 5 dimensions: (x, exact log p(x), posterior, log p(x|z))."""
    w, b = rng.standard_normal((2, 5)), rng.standard_normal(5)
    x = rng.standard_normal((40, 2)) @ w + b + SIGMA * rng.standard_normal((40, 5))
    exact = scipy.stats.multivariate_normal(b, w.T @ w + SIGMA**2 * np.eye(5)).logpdf(x)
    precision = np.eye(2) + w @ w.T / SIGMA**2
    mean = (x - b) @ w.T / SIGMA**2 @ np.linalg.inv(precision)

    def log_likelihood(z):
        squared = np.square(x - z.data @ w - b).sum(1) / SIGMA**2
        return Tensor(-0.5 * squared - 2.5 * math.log(2 * math.pi * SIGMA**2))

    return x, exact, mean, precision, log_likelihood


def bound(linear, samples, spread=1.0, seed=0):
    """L_k with q(z|x) = the diagonal Gaussian nearest to the posterior in KL, its variance times `spread`."""
    x, _, mean, precision, log_likelihood = linear
    log_var = np.tile(np.log(spread / np.diag(precision)), (len(x), 1))
    arrays = (Tensor(a.astype(np.float64)) for a in (x, mean, log_var))
    return importance_weighted_bound(*arrays, log_likelihood, samples, Generator(seed))


def test_the_bound_rises_to_the_exact_log_likelihood(linear):
    exact = linear[1]
    means = [np.mean([bound(linear, k, seed=seed).mean() for seed in range(5)]) for k in (1, 10, 1000)]
    assert means[0] < means[1] < means[2] < exact.mean() + 0.01
    close = bound(linear, 4000)
    assert np.abs(close - exact).max() < 0.1 and abs(close.mean() - exact.mean()) < 0.01


def test_the_bound_at_one_sample_is_the_elbo(linear):
    """In expectation: log p(x) - KL(q || posterior), the KL of two Gaussians in closed form."""
    _, exact, _, precision, _ = linear
    variance = 1.5 / np.diag(precision)
    kl = 0.5 * (np.trace(precision @ np.diag(variance)) - 2 - np.log(np.linalg.det(precision) * variance.prod()))
    drawn = [bound(linear, 1, spread=1.5, seed=seed).mean() for seed in range(300)]
    error = np.std(drawn) / math.sqrt(300)
    assert abs(np.mean(drawn) - (exact.mean() - kl)) < 4 * error and error < 0.02


def test_with_the_true_posterior_one_sample_is_enough(rng):
    """Latent dimensions that do not mix: q(z|x) is p(z|x), every weight is p(x)."""
    w = np.diag([2.0, 0.5])
    x = rng.standard_normal((30, 2))
    exact = scipy.stats.multivariate_normal(np.zeros(2), w @ w + SIGMA**2 * np.eye(2)).logpdf(x)
    variance = 1 / (1 + np.diag(w) ** 2 / SIGMA**2)
    mean = x * np.diag(w) * variance / SIGMA**2
    came = importance_weighted_bound(Tensor(x), Tensor(mean), Tensor(np.tile(np.log(variance), (30, 1))),
                                     lambda z: Tensor(scipy.stats.norm(z.data @ w, SIGMA).logpdf(x).sum(1)), 1,
                                     Generator(0))  # fmt: skip
    assert np.allclose(came, exact, atol=1e-5), "the noise is float32"


def test_the_bound_survives_weights_that_underflow():
    """log w of -20 000: exp(-20 000) is 0 in float64."""
    zeros = Tensor(np.zeros((3, 1)))
    came = importance_weighted_bound(zeros, zeros, zeros, lambda z: Tensor(np.full(3, -2e4)), 5, Generator(0))
    assert np.allclose(came, -2e4)
    with pytest.raises(UsageError, match="0 samples for the importance-weighted bound"):
        importance_weighted_bound(zeros, zeros, zeros, lambda z: z, 0, Generator(0))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_vae_figures_agree_with_the_models_own(rng, likelihood, monkeypatch):
    vae = VAE(image_shape=(4, 5), latent=3, hidden=(16,), likelihood=likelihood)
    images = (rng.uniform(0, 1, (300, 4, 5)) > 0.6).astype(np.float32)
    came = vae_figures(vae, images, samples=50)
    own = vae.evaluate(images)
    assert came.kl.value == pytest.approx(own["kl"], rel=1e-4)
    assert came.reconstruction.value == pytest.approx(own["reconstruction"], rel=0.02), "other z"
    assert came.negative_elbo.value == pytest.approx(came.reconstruction.value + came.kl.value)
    assert -came.negative_elbo.value < came.bound.value and came.samples == 50
    monkeypatch.setattr("minigen.metrics.vae.CHUNK", 70)
    chunked = vae_figures(vae, images, samples=50)
    assert chunked.kl == pytest.approx(came.kl, rel=1e-4) and chunked.bound.value == pytest.approx(came.bound.value,
                                                                                                  rel=0.02)  # fmt: skip
    with pytest.raises(DataError, match="1 images to evaluate a VAE on"):
        vae_figures(vae, images[:1])
    vae.log_var.bias.data[0] = np.nan
    with pytest.raises(DataError, match=f"{len(images)} of {len(images)} images have a loss that is NaN or infinite"):
        vae_figures(vae, images, samples=2)


def test_active_units(rng):
    mu = rng.standard_normal((5000, 4)) * [1, 0.2, 0.05, 0] + 3
    assert active_units(mu) == 2 and active_units(mu, threshold=0.001) == 3


def test_parzen_is_the_mixture_density(rng):
    samples, validation, test = (rng.uniform(0, 1, (n, 6)).astype(np.float32) for n in (30, 20, 25))
    came, sigma = parzen_log_likelihood(samples, validation, test, sigmas=(0.05, 0.3, 1.0))

    def exact(x, width):
        return np.log([scipy.stats.norm(samples, width).pdf(row).prod(1).mean() for row in x]).mean()

    assert sigma == max((0.05, 0.3, 1.0), key=lambda width: exact(validation, width))
    assert came.value == pytest.approx(exact(test, sigma), rel=1e-4)


@pytest.mark.parametrize("sigmas", [(), (0.1, 0.0)])
def test_parzen_wants_a_width(rng, sigmas):
    x = rng.uniform(0, 1, (4, 3)).astype(np.float32)
    with pytest.raises(UsageError, match="expected one or more, all above 0"):
        parzen_log_likelihood(x, x, x, sigmas=sigmas)


def test_parzen_far_from_every_sample_stays_finite(rng):
    far = np.full((3, 784), 1, np.float32)
    came, _ = parzen_log_likelihood(np.zeros((5, 784), np.float32), far, far, sigmas=(0.05,))
    expected = 784 * scipy.stats.norm(0, 0.05).logpdf(1)
    assert came.value == pytest.approx(expected, rel=1e-5)


def test_copies_are_found_and_new_images_are_not(rng):
    training = rng.uniform(0, 1, (400, 30)).astype(np.float32)
    new = rng.uniform(0, 1, (900, 30)).astype(np.float32)
    cloud = Cloud(training)
    usual, which = nearest_training(new[:500], cloud)
    right = np.sqrt(np.square(new[:500, None].astype(float) - training).sum(-1))
    assert np.allclose(usual, right.min(1)) and np.array_equal(which, right.argmin(1))
    assert copies(new[500:], cloud, usual).share.value < 0.04
    found = copies(training[::-1] + np.float32(1e-4), cloud, usual)
    assert found.share.value == 1 and np.array_equal(found.which, np.arange(400)[::-1])
    with pytest.raises(DataError, match="99 samples are too few: give 100 or more"):
        copies(new, cloud, usual[:99])
    with pytest.raises(ShapeError, match="samples .* and training images"):
        nearest_training(new[:, :5], cloud)


def test_bootstrap_interval_is_that_of_the_mean(rng):
    values = rng.exponential(2.0, 4000)
    came = bootstrap_mean(values, resamples=1000)
    half = 1.96 * values.std() / math.sqrt(4000)
    assert came.value == pytest.approx(values.mean())
    assert came.low == pytest.approx(came.value - half, abs=0.15 * half)
    assert came.high == pytest.approx(came.value + half, abs=0.15 * half)
    assert came == bootstrap_mean(values, resamples=1000) != bootstrap_mean(values, resamples=1000, seed=1)


def test_bootstrap_of_a_biased_figure_holds_the_figure(rng):
    """The square of a mean near 0 is biased upwards in every resample."""
    values = rng.standard_normal(50) * 10
    values -= values.mean()
    came = bootstrap(lambda counts: float(counts @ values / 50) ** 2, 50)
    assert came.low <= came.value <= came.high and came.value == pytest.approx(0, abs=1e-20)


def test_intervals_of_shares_stay_shares():
    assert bootstrap_mean(np.ones(50)) == (1, 1, 1) and bootstrap_mean(np.zeros(50)) == (0, 0, 0)


def test_independent_pixels_keep_each_pixels_values_and_nothing_else(rng):
    x = np.repeat(rng.uniform(0, 1, (500, 1)), 8, 1) + np.arange(8)
    came = independent_pixels(x, Generator(0))
    assert np.array_equal(np.sort(came, 0), np.sort(x, 0))
    assert np.abs(np.corrcoef(came.T) - np.eye(8)).max() < 0.2
    assert np.corrcoef(x.T).min() > 0.99


def test_centroids_are_means_of_clusters(rng):
    middles = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    own = np.repeat(np.arange(3), 100)
    x = (middles[own] + 0.1 * rng.standard_normal((300, 2))).astype(np.float32)
    for seed in range(20):
        came = centroids(x, 3, Generator(seed))
        if len(np.unique(came.round())) == 2 and len(np.unique(came, axis=0)) == 3:
            means = np.array([x[own == i].mean(0) for i in range(3)])
            if np.allclose(came, means[own], atol=1e-4):
                break
    else:
        pytest.fail("no start of 20 finds three clusters that lie far apart")


def test_random_rows():
    assert sorted(random_rows(50, 50, Generator(0))) == list(range(50))
    assert len(set(random_rows(50, 20, Generator(0)))) == 20
    with pytest.raises(DataError, match="51 images asked for, 50 are there"):
        random_rows(50, 51, Generator(0))
