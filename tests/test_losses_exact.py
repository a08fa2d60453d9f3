"""Losses against facts: two models whose best possible value is known in closed form.

A linear decoder with Gaussian noise has the exact log p(x), and its maximum-likelihood weights follow from
eigenvalues (Tipping & Bishop 1999). Two known densities have the best discriminator p / (p + q), and with it
V = 2 JSD(p, q) - log 4 (Goodfellow et al. 2014, equations 5 and 6).
"""

import math

import numpy as np
import pytest
from scipy import integrate, spatial, special, stats

import minigen as mg
from minigen.losses import gan, vae
from minigen.random import Generator
from minigen.tensor import Parameter, Tensor

# The linear-Gaussian VAE: p(z) = N(0, I), p(x|z) = N(z W + b, s^2 I) ----------------------------------------


class LinearGaussian:
    """The model with its exact marginal and posterior.

    W (latent, pixels) has orthogonal rows: the posterior is then diagonal, as the encoder's must be.
    """

    def __init__(self, rng, latent=2, pixels=5):
        frame, _ = np.linalg.qr(rng.standard_normal((pixels, latent)))
        self.W = (frame * [2.0, 0.7]).T
        self.b = rng.standard_normal(pixels)
        self.noise_variance = 0.3
        self.x = rng.standard_normal((6, pixels))

    def log_p(self):
        covariance = self.W.T @ self.W + self.noise_variance * np.eye(len(self.b))
        return stats.multivariate_normal(self.b, covariance).logpdf(self.x)

    def posterior(self):
        """(mean (N, latent), variance (latent,)) of p(z|x): Bishop 2006, equation 2.116."""
        precision = np.eye(len(self.W)) + self.W @ self.W.T / self.noise_variance
        covariance = np.linalg.inv(precision)
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-14)
        return (self.x - self.b) @ self.W.T @ covariance / self.noise_variance, np.diag(covariance)

    def negative_elbo(self, mu, variance, noise):
        """Per sample, from minigen's losses, averaged over the draws of noise (K, N or 1, latent)."""
        mu, log_var = Tensor(mu), Tensor(np.log(np.broadcast_to(variance, mu.shape)))
        x, log_noise_variance = Tensor(self.x), math.log(self.noise_variance)
        reconstruction = 0.0
        for draw in noise:
            z = vae.reparameterise(mu, log_var, Tensor(np.broadcast_to(draw, mu.shape)))
            mean = z @ Tensor(self.W) + Tensor(self.b)
            reconstruction += vae.gaussian_nll(mean, log_noise_variance, x, per_sample=True) / len(noise)
        return vae.negative_elbo(reconstruction, vae.kl_normal(mu, log_var, per_sample=True)).data


def quadrature(latent):
    """Noise (2 latent, 1, latent) over which the average of every quadratic f is E[f] exactly.

    The points +- sqrt(latent) e_j have mean zero and covariance I, and a linear decoder's error is quadratic.
    """
    return (math.sqrt(latent) * np.vstack([np.eye(latent), -np.eye(latent)]))[:, None, :]


@pytest.fixture
def model(rng):
    return LinearGaussian(rng)


def test_at_the_exact_posterior_the_negative_elbo_is_minus_log_p(model):
    np.testing.assert_allclose(
        model.negative_elbo(*model.posterior(), quadrature(2)), -model.log_p(), rtol=1e-12
    )


def test_at_the_exact_posterior_every_single_sample_gives_log_p(model):
    mu, variance = model.posterior()
    log_var = Tensor(np.log(np.broadcast_to(variance, mu.shape)))
    zero = Tensor(np.zeros_like(mu))
    for seed in range(5):
        z = vae.reparameterise(Tensor(mu), log_var, Generator(seed).normal(mu.shape, "float64"))
        minus_log_likelihood = vae.gaussian_nll(
            z @ Tensor(model.W) + Tensor(model.b), math.log(0.3), Tensor(model.x), per_sample=True
        )
        minus_log_prior = vae.gaussian_nll(z, zero, zero, per_sample=True)
        minus_log_q = vae.gaussian_nll(z, log_var, Tensor(mu), per_sample=True)
        np.testing.assert_allclose(
            (minus_log_likelihood + minus_log_prior - minus_log_q).data, -model.log_p(), rtol=1e-11
        )


def test_anywhere_else_the_bound_is_loose_by_the_divergence_from_the_posterior(model, rng):
    best_mu, best_variance = model.posterior()
    for _ in range(5):
        mu = best_mu + 0.5 * rng.standard_normal(best_mu.shape)
        variance = best_variance * np.exp(rng.standard_normal(best_mu.shape))
        ratio = variance / best_variance
        divergence = 0.5 * ((mu - best_mu) ** 2 / best_variance + ratio - 1 - np.log(ratio)).sum(1)
        gap = model.negative_elbo(mu, variance, quadrature(2)) + model.log_p()
        assert (gap > 0).all()
        np.testing.assert_allclose(gap, divergence, rtol=1e-10)


def test_the_engines_own_noise_gives_the_bound_in_expectation(model):
    mu, variance = model.posterior()
    noise = Generator(1).normal((1000, len(mu), 2), "float64").data
    draws = np.stack([model.negative_elbo(mu, 2 * variance, noise[k : k + 1]) for k in range(len(noise))])
    exact = model.negative_elbo(mu, 2 * variance, quadrature(2))
    error = draws.std(0) / math.sqrt(len(draws))
    assert (error < 0.1).all() and (np.abs(draws.mean(0) - exact) < 4 * error).all()


def importance_bound(model, mu, variance, noise):
    """L_k per sample, by minigen's losses, from noise (k, N, latent)."""
    log_var = Tensor(np.log(np.broadcast_to(variance, mu.shape)))
    z = vae.reparameterise(Tensor(mu), log_var, Tensor(noise))
    k, n, latent = z.shape
    nll = vae.gaussian_nll(z.reshape(k * n, latent) @ Tensor(model.W) + Tensor(model.b), math.log(model.noise_variance),
                           Tensor(np.tile(model.x, (k, 1))), per_sample=True).reshape(k, n)
    log_w = vae.log_importance_weights(nll, z, Tensor(noise), log_var)
    return -vae.importance_weighted(log_w, per_sample=True).data


def test_more_draws_tighten_the_bound_towards_log_p(model):
    """Burda et al. 2016, theorem 1, with q twice too wide; at k = 1 the mean is the ELBO."""
    mu, variance = model.posterior()
    noise = Generator(2).normal((20000, len(mu), 2), "float64").data
    means = {k: np.mean([importance_bound(model, mu, 2 * variance, part) for part in np.split(noise, 20000 // k)], 0)
             for k in (1, 5, 50, 1000)}
    elbo = -model.negative_elbo(mu, 2 * variance, quadrature(2))
    np.testing.assert_allclose(means[1], elbo, atol=0.03)
    assert (means[1] + 0.1 < means[5]).all() and (means[5] + 0.01 < means[50]).all() and (means[50] < means[1000]).all()
    np.testing.assert_allclose(means[1000], model.log_p(), atol=0.01)
    np.testing.assert_allclose(importance_bound(model, mu, variance, noise[:3]), model.log_p(), rtol=1e-12)


def test_the_bound_has_its_minimum_at_the_posterior(model):
    mu, variance = model.posterior()
    mu, log_var = (
        mg.tensor(a, requires_grad=True, dtype="float64")
        for a in (mu, np.log(np.broadcast_to(variance, mu.shape)))
    )
    total = vae.kl_normal(mu, log_var)
    for draw in quadrature(2):
        z = vae.reparameterise(mu, log_var, Tensor(np.broadcast_to(draw, mu.shape)))
        total = (
            total
            + vae.gaussian_nll(z @ Tensor(model.W) + Tensor(model.b), math.log(0.3), Tensor(model.x)) / 4
        )
    for g in mg.grad(total, [mu, log_var]):
        np.testing.assert_allclose(g.data, 0, atol=1e-12)


def test_training_reaches_the_maximum_likelihood_of_probabilistic_pca():
    rng = np.random.default_rng(3)
    n, pixels, latent = 60, 4, 2
    x = rng.standard_normal((n, latent)) @ (2 * rng.standard_normal((latent, pixels))) + rng.standard_normal(
        (n, pixels)
    )
    # Tipping & Bishop 1999, equations 7 and 8: the best noise variance is the mean discarded eigenvalue.
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, ddof=0)))[::-1]
    discarded = eigenvalues[latent:].mean()
    best = 0.5 * (
        pixels * math.log(2 * math.pi)
        + np.log(eigenvalues[:latent]).sum()
        + (pixels - latent) * math.log(discarded)
        + pixels
    )

    # An encoder and a decoder as the VAE has them, but linear; the average over the noise is exact.
    encoder, decoder = (
        mg.nn.Dense(pixels, latent, rng=Generator(0)),
        mg.nn.Dense(latent, pixels, rng=Generator(1)),
    )
    for p in [*encoder.parameters(), *decoder.parameters()]:
        p.data = p.data.astype("float64")
    log_var, noise_log_var = (Parameter(np.zeros((1, k))) for k in (latent, 1))
    parameters = [*encoder.parameters(), *decoder.parameters(), log_var, noise_log_var]
    noise = quadrature(latent)
    points, images = (
        Tensor(np.repeat(noise, n, axis=1).reshape(-1, latent)),
        Tensor(np.tile(x, (len(noise), 1))),
    )
    optimizer = mg.optim.Adam(parameters, lr=0.1)
    schedule = mg.optim.Cosine(1500)
    for step in range(1500):
        optimizer.lr = 0.1 * schedule(step)
        mu = encoder(images)
        every_log_var = mg.ops.broadcast_to(log_var, shape=mu.shape)
        z = vae.reparameterise(mu, every_log_var, points)
        loss = vae.negative_elbo(
            vae.gaussian_nll(decoder(z), noise_log_var, images), vae.kl_normal(mu, every_log_var)
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert loss.item() > best - 1e-9, "a bound cannot lie under the best that there is"
    assert loss.item() == pytest.approx(best, abs=1e-3)
    assert math.exp(noise_log_var.item()) == pytest.approx(discarded, rel=0.02)
    model_covariance = decoder.weight.data.T @ decoder.weight.data + math.exp(noise_log_var.item()) * np.eye(
        pixels
    )
    np.testing.assert_allclose(
        np.linalg.eigvalsh(model_covariance)[-latent:], eigenvalues[:latent][::-1], rtol=0.02
    )


# The optimal discriminator ----------------------------------------------------------------------------------


def test_a_discriminator_trained_on_discrete_densities_is_optimal():
    real, fake = np.repeat(np.arange(4), [6, 2, 1, 1]), np.repeat(np.arange(4), [1, 1, 3, 5])
    p, q = np.bincount(real) / 10, np.bincount(fake) / 10
    table = Parameter(np.zeros(4))  # the logit of each kind of sample
    optimizer = mg.optim.SGD([table], lr=4.0, momentum=0.5)
    for _ in range(200):
        gan.discriminator_loss(table[real], table[fake]).backward()
        optimizer.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(special.expit(table.data), p / (p + q), rtol=1e-6)
    # scipy's function is the square root of the divergence, in nats.
    divergence = spatial.distance.jensenshannon(p, q) ** 2
    assert gan.value(table[real], table[fake]).item() == pytest.approx(2 * divergence - math.log(4), rel=1e-9)


def test_a_discriminator_trained_on_two_gaussians_is_optimal():
    p, q = stats.norm(1.0, 1.0), stats.norm(-0.5, 1.5)
    # Samples at the middle of equally likely slices: averages over them are integrals over p and q.
    slices = (np.arange(1000) + 0.5) / 1000
    real, fake = (Tensor(d.ppf(slices)[:, None] ** np.arange(3)) for d in (p, q))
    weights = mg.tensor(np.zeros((3, 1)), requires_grad=True, dtype="float64")  # log p/q is quadratic in x
    for _ in range(12):  # Newton's method: the Hessian is the gradient of the gradient
        (g,) = mg.grad(gan.discriminator_loss(real @ weights, fake @ weights), [weights], create_graph=True)
        hessian = np.hstack(
            [mg.grad(g[i], [weights], np.ones(1), retain_graph=True)[0].data for i in range(3)]
        )
        step = np.linalg.solve(hessian, g.data)
        with mg.no_grad():
            weights.copy_(weights.data - step)
    assert np.abs(step).max() < 1e-9

    x = np.linspace(-3, 3, 25)
    found = special.expit(x[:, None] ** np.arange(3) @ weights.data)[:, 0]
    np.testing.assert_allclose(found, p.pdf(x) / (p.pdf(x) + q.pdf(x)), atol=5e-3)

    def integrand(x):
        middle = np.log((p.pdf(x) + q.pdf(x)) / 2)
        return 0.5 * (p.pdf(x) * (p.logpdf(x) - middle) + q.pdf(x) * (q.logpdf(x) - middle))

    divergence, _ = integrate.quad(integrand, -12, 12, limit=200)
    value = gan.value(real @ weights, fake @ weights).item()
    assert value == pytest.approx(2 * divergence - math.log(4), abs=1e-3)


def test_no_discriminator_is_worth_more_than_the_optimal_one(rng):
    p, q = rng.dirichlet(np.ones(6), size=2)
    best = 2 * spatial.distance.jensenshannon(p, q) ** 2 - math.log(4)

    def value(logits):  # E over p and q by their weights: a loss per kind of sample
        one = [mg.tensor([t], dtype="float64") for t in logits]
        return sum(
            -a * gan.generator_loss(t).item() + b * gan.generator_loss(t, form="minimax").item()
            for a, b, t in zip(p, q, one, strict=True)
        )

    assert value(np.log(p / q)) == pytest.approx(best, rel=1e-12)
    assert all(value(np.log(p / q) + rng.standard_normal(6)) < best for _ in range(10))
