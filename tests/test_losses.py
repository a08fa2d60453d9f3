"""The losses: both forms of each equation, their gradients, their extremes, their units."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

import minigen as mg
from minigen.errors import ShapeError, UsageError
from minigen.losses import gan, vae
from minigen.losses.text import bits_per_character
from minigen.random import Generator
from minigen.tensor import Tensor

FORMS = ["minimax", "non_saturating"]


def leaf(array, dtype="float64"):
    return mg.tensor(array, requires_grad=True, dtype=dtype)


def bits(rng, *shape):
    return (rng.random(shape) < 0.5).astype(float)


def probabilities(rng, *shape):
    return rng.uniform(0.05, 0.95, shape)


# Every loss with inputs to check its gradient at.
def gradient_cases(rng):
    a, b, c = rng.standard_normal((3, 4, 3))
    one, two = rng.standard_normal((2, 5, 1))
    p, q = probabilities(rng, 5), probabilities(rng, 6)
    cases = {
        "discriminator_loss": (gan.discriminator_loss, one, two[:3]),
        "discriminator_loss, smoothed": (
            lambda r, f: gan.discriminator_loss(r, f, real_label=0.9),
            one,
            two[:, 0],
        ),
        "value": (gan.value, one, two),
        "discriminator_loss_literal": (gan.discriminator_loss_literal, p, q),
        "r1_penalty": (
            lambda w: gan.r1_penalty(lambda x: mg.tanh(x @ w).sum(axis=1), Tensor(a), gamma=3.0),
            rng.standard_normal((3, 2)),
        ),
        "reparameterise": (vae.reparameterise, a, b, c),
        "negative_elbo": (lambda r, k: vae.negative_elbo(r, k, beta=0.7), a[0], b[0]),
    }
    for each in (False, True):
        cases[f"importance_weighted, per_sample={each}"] = (
            lambda w, each=each: vae.importance_weighted(w, per_sample=each), 3 * a)
    cases["log_importance_weights"] = (vae.log_importance_weights, *rng.standard_normal((1, 2, 4)),
                                       *rng.standard_normal((2, 2, 4, 3)), b)
    for form in FORMS:
        cases[f"generator_loss, {form}"] = (lambda f, form=form: gan.generator_loss(f, form=form), one)
        cases[f"generator_loss_literal, {form}"] = (
            lambda p, form=form: gan.generator_loss_literal(p, form=form),
            p,
        )
    for each in (False, True):
        for name, inputs in {
            "kl_normal": (a, b),
            "kl_normal_literal": (a, np.exp(b / 2)),
            "bernoulli_nll": (a, probabilities(rng, 4, 3)),
            "bernoulli_nll_literal": (probabilities(rng, 4, 3), probabilities(rng, 4, 3)),
            "gaussian_nll": (a, b, c),
            "gaussian_nll_literal": (a, np.exp(b / 2), c),
        }.items():
            loss = getattr(vae, name)
            cases[f"{name}, per_sample={each}"] = (
                lambda *i, loss=loss, each=each: loss(*i, per_sample=each),
                *inputs,
            )
    cases["gaussian_nll, one variance"] = (vae.gaussian_nll, a, b[:1, :1], c)
    cases["gaussian_nll, images"] = (vae.gaussian_nll, *rng.standard_normal((3, 2, 2, 2)))
    # Off the kink: the mean KL of the three dimensions is 0.05, 2.02 and 0.05, and 0.4 of each is free.
    cases["kl_free_bits"] = (lambda m, v: vae.kl_free_bits(m, v, 0.4), np.array([[0.1, 2.0, 0.3], [0.4, 2.0, -0.3]]),
                             np.array([[0.1, 0.3, 0.0], [-0.2, 0.2, 0.1]]))
    cases["kl_normal, strided"] = (vae.kl_normal, a.T, rng.standard_normal((6, 4))[::2])
    cases["bernoulli_nll, no samples"] = (
        lambda x: vae.bernoulli_nll(x, x, per_sample=True),
        np.zeros((0, 3)),
    )
    return cases


CASES = gradient_cases(np.random.default_rng(11))


def test_every_loss_has_its_gradient_checked():
    without = {"one_draw"}  # a choice, through which no gradient flows
    assert {name.split(",")[0] for name in CASES} == {*gan.__all__, *vae.__all__} - without


@pytest.mark.parametrize("name", CASES)
def test_a_loss_has_the_right_gradients_of_both_orders(name):
    loss, *inputs = CASES[name]
    mg.gradcheck(loss, *inputs, order=2)


# The literal and the stable form ----------------------------------------------------------------------------


def same_value_and_gradients(stable, literal, *arrays):
    """Both functions of the same arrays: one value, one gradient."""
    results = []
    for function in (stable, literal):
        leaves = [leaf(a) for a in arrays]
        y = function(*leaves)
        results.append([y.data, *(g.data for g in mg.grad(y.sum(), leaves))])
    for a, b in zip(*results, strict=True):
        assert np.isfinite(a).all() and np.abs(a).max() > 1e-3
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_discriminator_loss_in_logits_is_that_in_probabilities(rng):
    real, fake = 4 * rng.standard_normal((2, 8, 1))
    same_value_and_gradients(
        gan.discriminator_loss,
        lambda r, f: gan.discriminator_loss_literal(mg.sigmoid(r), mg.sigmoid(f)),
        real,
        fake,
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_generator_loss_in_logits_is_that_in_probabilities(form, rng):
    same_value_and_gradients(
        lambda f: gan.generator_loss(f, form=form),
        lambda f: gan.generator_loss_literal(mg.sigmoid(f), form=form),
        4 * rng.standard_normal(8),
    )


@pytest.mark.parametrize("each", [False, True])
def test_the_vae_losses_are_those_in_probabilities_and_deviations(each, rng):
    a, b, c = 3 * rng.standard_normal((3, 4, 5))
    x = Tensor(rng.random((4, 5)))
    same_value_and_gradients(
        lambda m, v: vae.kl_normal(m, v, per_sample=each),
        lambda m, v: vae.kl_normal_literal(m, mg.exp(v * 0.5), per_sample=each),
        a,
        b,
    )
    same_value_and_gradients(
        lambda m, v, x: vae.gaussian_nll(m, v, x, per_sample=each),
        lambda m, v, x: vae.gaussian_nll_literal(m, mg.exp(v * 0.5), x, per_sample=each),
        a,
        b / 3,
        c,
    )
    same_value_and_gradients(
        lambda t: vae.bernoulli_nll(t, x, per_sample=each),
        lambda t: vae.bernoulli_nll_literal(mg.sigmoid(t), x, per_sample=each),
        a,
    )


EXTREME = np.array([[1000.0], [-1000.0]])
PAIRS = {  # (stable, literal, its value at the extreme)
    "discriminator": (
        lambda t: gan.discriminator_loss(t, t),
        lambda t: gan.discriminator_loss_literal(mg.sigmoid(t), mg.sigmoid(t)),
        1000.0,
    ),
    "minimax": (
        lambda t: gan.generator_loss(t, form="minimax"),
        lambda t: gan.generator_loss_literal(mg.sigmoid(t), form="minimax"),
        -500.0,
    ),
    "non-saturating": (gan.generator_loss, lambda t: gan.generator_loss_literal(mg.sigmoid(t)), 500.0),
    "Bernoulli": (
        lambda t: vae.bernoulli_nll(t, Tensor(0.5 + 0 * t.data)),
        lambda t: vae.bernoulli_nll_literal(mg.sigmoid(t), Tensor(0.5 + 0 * t.data)),
        500.0,
    ),
    "KL": (
        lambda t: vae.kl_normal(0 * t, t - 1000),
        lambda t: vae.kl_normal_literal(0 * t, mg.exp((t - 1000) * 0.5)),
        0.25 * (0 + 2000 - 1),
    ),
    "Gaussian": (
        lambda t: vae.gaussian_nll(t, 0.0, Tensor(0 * t.data)),
        lambda t: vae.gaussian_nll_literal(t, Tensor(1 + 0 * t.data), Tensor(0 * t.data)),
        500000 + 0.5 * math.log(2 * math.pi),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PAIRS)
def test_at_logits_of_a_thousand_only_the_stable_form_is_finite(name, dtype):
    stable, literal, expected = PAIRS[name]
    t = leaf(EXTREME, dtype)
    y = stable(t)
    (g,) = mg.grad(y, [t])
    assert y.dtype == dtype and y.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert np.isfinite(g.data).all() and g.data.any()
    with np.errstate(all="ignore"):
        y = literal(t)
        (g,) = mg.grad(y, [t])
    assert not math.isfinite(y.item()) and not np.isfinite(g.data).all()


def test_a_wide_posterior_and_a_wide_likelihood_stay_finite():
    log_var = leaf(np.full((1, 2), 80.0), "float32")
    for loss in (
        vae.kl_normal(0 * log_var, log_var),
        vae.gaussian_nll(0 * log_var, log_var, log_var.detach()),
    ):
        (g,) = mg.grad(loss, [log_var])
        assert math.isfinite(loss.item()) and np.isfinite(g.data).all()


# What the GAN's losses are ----------------------------------------------------------------------------------


def test_the_discriminator_loss_is_both_cross_entropies(rng):
    real, fake = rng.standard_normal(4), rng.standard_normal((7, 1))
    expected = -np.log(special.expit(real)).mean() - np.log(1 - special.expit(fake)).mean()
    assert gan.discriminator_loss(leaf(real), leaf(fake)).item() == pytest.approx(expected, rel=1e-12)
    assert gan.value(leaf(real), leaf(fake)).item() == pytest.approx(-expected, rel=1e-12)


def test_a_discriminator_that_knows_nothing_is_worth_minus_log_four():
    assert gan.value(leaf(np.zeros(3)), leaf(np.zeros(5))).item() == pytest.approx(-math.log(4), rel=1e-12)


def test_the_minimax_gradient_vanishes_where_the_other_does_not():
    for form, expected in (("minimax", 0.0), ("non_saturating", -1.0)):
        t = leaf([-40.0])
        (g,) = mg.grad(gan.generator_loss(t, form=form), [t])
        assert g.item() == pytest.approx(expected, abs=1e-12)


def test_both_generator_losses_push_the_logit_up(rng):
    t = rng.standard_normal(6)
    p = special.expit(t)
    for form, slope in (("minimax", -p), ("non_saturating", -(1 - p))):
        leaf_t = leaf(t)
        (g,) = mg.grad(gan.generator_loss(leaf_t, form=form), [leaf_t])
        np.testing.assert_allclose(g.data, slope / 6, rtol=1e-12)


def test_the_generator_minimises_the_non_saturating_loss_unless_told(rng):
    t = leaf(rng.standard_normal(5))
    assert gan.generator_loss(t).item() == gan.generator_loss(t, form="non_saturating").item()
    assert gan.generator_loss_literal(mg.sigmoid(t)).item() == pytest.approx(gan.generator_loss(t).item())
    assert gan.generator_loss(t, form="minimax").item() < 0 < gan.generator_loss(t).item()


@pytest.mark.parametrize("t", [0.9, 0.5])
def test_label_smoothing_moves_the_best_discriminator_to_t_p_over_p_plus_q(t):
    # Three kinds of sample, so many real and so many fake of each: then p and q are known exactly.
    real, fake = np.repeat([0, 1, 2], [3, 1, 4]), np.repeat([0, 1, 2], [2, 5, 1])
    p, q = np.bincount(real) / 8, np.bincount(fake) / 8
    best = t * p / (p + q)

    def loss(table):
        return gan.discriminator_loss(table[real], table[fake], real_label=t)

    table = leaf(special.logit(best))
    (g,) = mg.grad(loss(table), [table])
    np.testing.assert_allclose(g.data, 0, atol=1e-15)
    for nudge in 0.1 * np.vstack([np.eye(3), -np.eye(3)]):
        assert loss(leaf(table.data + nudge)).item() > loss(table).item()


def test_a_real_label_of_one_is_no_smoothing(rng):
    real, fake = leaf(rng.standard_normal(4)), leaf(rng.standard_normal(4))
    nearly = gan.discriminator_loss(real, fake, real_label=1 - 1e-12).item()
    assert gan.discriminator_loss(real, fake, real_label=1.0).item() == pytest.approx(nearly, rel=1e-9)


def test_label_smoothing_touches_the_real_side_alone(rng):
    fake = rng.standard_normal(4)
    results = []
    for label in (1.0, 0.7):
        real, t = leaf(np.ones(3)), leaf(fake)
        g_real, g_fake = mg.grad(gan.discriminator_loss(real, t, real_label=label), [real, t])
        np.testing.assert_allclose(g_real.data, (special.expit(1.0) - label) / 3, rtol=1e-12)
        results.append(g_fake.data)
    np.testing.assert_array_equal(*results)


def test_r1_of_a_linear_discriminator_is_its_squared_slope(rng):
    w = leaf(rng.standard_normal((3, 1)))
    real = Tensor(rng.standard_normal((7, 3)))
    penalty = gan.r1_penalty(lambda x: x @ w, real, gamma=5.0)
    assert penalty.item() == pytest.approx(2.5 * (w.data**2).sum(), rel=1e-12)
    (g,) = mg.grad(penalty, [w])
    np.testing.assert_allclose(g.data, 5 * w.data, rtol=1e-12)


def test_r1_averages_over_the_batch_and_leaves_the_images_alone(rng):
    real = rng.standard_normal((4, 3))
    slope = special.expit(real @ [1.0, 2.0, 3.0])
    expected = 0.5 * 2.0 * (slope**2).mean() * 14

    def discriminator(x):
        return mg.softplus(x @ Tensor(np.array([[1.0], [2.0], [3.0]])))

    for batch in (real, np.tile(real, (2, 1))):
        images = Tensor(batch)
        assert gan.r1_penalty(discriminator, images, gamma=2.0).item() == pytest.approx(expected, rel=1e-12)
        assert images.grad is None and not images.requires_grad


@pytest.mark.parametrize("label", [0.0, -0.5, 1.1])
def test_a_label_outside_its_range_is_refused(label):
    with pytest.raises(UsageError, match="real_label = .* above 0 and at most 1"):
        gan.discriminator_loss(leaf([0.0]), leaf([0.0]), real_label=label)


@pytest.mark.parametrize("loss", [gan.generator_loss, gan.generator_loss_literal])
def test_an_unknown_form_is_refused_with_the_known_ones(loss):
    with pytest.raises(UsageError, match="form = 'wasserstein': expected one of minimax, non_saturating"):
        loss(leaf([0.5]), form="wasserstein")


@pytest.mark.parametrize("shape", [(), (3, 2), (3, 1, 1), (1, 3)])
def test_anything_but_a_logit_per_sample_is_refused(shape):
    good, bad = leaf(np.zeros((3, 1))), leaf(np.zeros(shape))
    with pytest.raises(ShapeError, match="real_logits .* one logit per sample"):
        gan.discriminator_loss(bad, good)
    with pytest.raises(ShapeError, match="fake_logits .* one logit per sample"):
        gan.discriminator_loss(good, bad)
    with pytest.raises(ShapeError, match="fake_logits .* one logit per sample"):
        gan.generator_loss(bad)


def test_an_empty_batch_has_no_loss():
    empty = leaf(np.zeros((0, 1)))
    one = leaf(np.zeros((1, 1)))
    for loss, *given in ((vae.kl_normal, empty, empty), (vae.bernoulli_nll, empty, empty), (gan.value, empty, empty),
                         (vae.kl_free_bits, empty, empty, 0.1), (gan.discriminator_loss, empty, one),
                         (gan.discriminator_loss, one, empty), (gan.generator_loss, empty)):
        with pytest.raises(ShapeError, match="a loss needs at least one sample, got an empty batch"):
            loss(*given)
    with pytest.raises(ShapeError, match=r"real \(0, 1\): expected one image or more"):
        gan.r1_penalty(lambda x: x, empty, gamma=1.0)


def test_the_weights_of_other_draws_are_refused():
    nll, z, log_var = np.zeros((2, 4)), np.zeros((2, 4, 3)), np.zeros((4, 3))
    for wrong in [(nll[:1], z, z, log_var), (nll, z, z, log_var[:1]), (nll, z[0], z[0], log_var)]:
        with pytest.raises(ShapeError, match=r"expected z \(k, N, latent\), nll \(k, N\) and log_var \(N, latent\)"):
            vae.log_importance_weights(*(leaf(array) for array in wrong))
    with pytest.raises(ShapeError, match="z .* and noise .* same shape"):
        vae.log_importance_weights(leaf(nll), leaf(z), leaf(z[:1]), leaf(log_var))
    for shape in [(4,), (0, 4), (4, 0), (1, 2, 3)]:
        with pytest.raises(ShapeError, match="at least one draw for at least one image"):
            vae.importance_weighted(leaf(np.zeros(shape)))


# What the VAE's losses are ----------------------------------------------------------------------------------


def test_reparameterised_noise_has_the_mean_and_variance_asked_for():
    mu, log_var = np.array([1.0, -2.0]), np.array([0.5, -3.0])
    n = 20000
    noise = Generator(3).normal((n, 2), "float64")
    z = vae.reparameterise(Tensor(mu), Tensor(log_var), noise).data
    np.testing.assert_allclose(z, mu + np.exp(log_var / 2) * noise.data, rtol=1e-15)
    np.testing.assert_array_less(np.abs(z.mean(0) - mu), 4 * np.exp(log_var / 2) / math.sqrt(n))
    np.testing.assert_array_less(np.abs(z.var(0) / np.exp(log_var) - 1), 4 * math.sqrt(2 / n))


@pytest.mark.parametrize(("mean", "noise"), [((4, 2), (2,)), ((4, 2), (4, 1)), ((1, 1), (1, 2)), ((2, 2), (3, 2))])
def test_noise_that_is_not_there_for_every_latent_is_refused(mean, noise):
    mu = Tensor(np.zeros(mean))
    with pytest.raises(ShapeError, match=rf"noise \({noise[0]},.* must have the shape of mu"):
        vae.reparameterise(mu, mu, Tensor(np.zeros(noise)))
    with pytest.raises(ShapeError, match="mu .* and log_var .* must have the same shape"):
        vae.reparameterise(mu, Tensor(np.zeros((*mean, 1))), mu)


def test_the_kl_is_what_monte_carlo_finds():
    n, mu, log_var = 20000, np.array([0.7, -1.2]), np.array([0.4, -1.5])
    z = vae.reparameterise(Tensor(mu), Tensor(log_var), Generator(5).normal((n, 2), "float64")).data
    terms = (stats.norm.logpdf(z, mu, np.exp(log_var / 2)) - stats.norm.logpdf(z)).sum(1)
    error = terms.std() / math.sqrt(n)
    exact = vae.kl_normal(Tensor(mu[None]), Tensor(log_var[None])).item()
    assert error < 0.02 and abs(terms.mean() - exact) < 4 * error


@pytest.mark.parametrize(("mu", "sigma"), [(0.7, 1.3), (-2.0, 0.4), (0.0, 3.0)])
def test_the_kl_is_the_integral_that_defines_it(mu, sigma):
    q = stats.norm(mu, sigma)
    integral, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), mu - 12 * sigma, mu + 12 * sigma
    )
    exact = vae.kl_normal(Tensor(np.array([[mu]])), Tensor(np.array([[2 * math.log(sigma)]])))
    assert exact.item() == pytest.approx(integral, rel=1e-7)


def test_the_kl_is_zero_at_the_prior_alone(rng):
    zero = np.zeros((3, 4))
    assert vae.kl_normal(Tensor(zero), Tensor(zero)).item() == 0
    a, b = rng.standard_normal((2, 3, 4))
    assert (vae.kl_normal(Tensor(a), Tensor(zero), per_sample=True).data > 0).all()
    assert (vae.kl_normal(Tensor(zero), Tensor(b), per_sample=True).data > 0).all()


def test_gaussian_nll_is_the_density_of_scipy(rng):
    mean, log_var, x = rng.standard_normal((3, 5, 4))
    per_sample = -stats.norm.logpdf(x, mean, np.exp(log_var / 2)).sum(1)
    found = vae.gaussian_nll(Tensor(mean), Tensor(log_var), Tensor(x), per_sample=True)
    np.testing.assert_allclose(found.data, per_sample, rtol=1e-12)
    assert vae.gaussian_nll(Tensor(mean), Tensor(log_var), x).item() == pytest.approx(
        per_sample.mean(), rel=1e-12
    )


@pytest.mark.parametrize(
    "kind",
    [float, np.array, lambda v: Tensor(np.full((1, 1), v)), lambda v: np.full((5, 1), v)],
    ids=["number", "0-d array", "tensor", "array"],
)
def test_gaussian_nll_takes_one_variance_for_all_pixels(kind, rng):
    mean, x = rng.standard_normal((2, 5, 4))
    expected = -stats.norm.logpdf(x, mean, math.exp(-0.4)).sum(1).mean()
    assert vae.gaussian_nll(Tensor(mean), kind(-0.8), Tensor(x)).item() == pytest.approx(expected, rel=1e-12)


def test_a_density_may_exceed_one():
    assert vae.gaussian_nll(Tensor(np.zeros((1, 2))), -10.0, np.zeros((1, 2))).item() < 0


def test_bernoulli_nll_is_the_probability_of_scipy(rng):
    logits, x = 2 * rng.standard_normal((5, 4)), bits(rng, 5, 4)
    per_sample = -stats.bernoulli.logpmf(x, special.expit(logits)).sum(1)
    found = vae.bernoulli_nll(Tensor(logits), Tensor(x), per_sample=True)
    np.testing.assert_allclose(found.data, per_sample, rtol=1e-10)
    assert vae.bernoulli_nll(Tensor(logits), x).item() == pytest.approx(per_sample.mean(), rel=1e-10)


def test_bernoulli_nll_is_least_where_the_probability_is_the_intensity():
    x = np.array([[0.2, 0.5, 0.9]])
    t = leaf(special.logit(x))
    (g,) = mg.grad(vae.bernoulli_nll(t, Tensor(x)), [t])
    np.testing.assert_allclose(g.data, 0, atol=1e-15)


def test_beta_weighs_the_kl():
    reconstruction, kl = leaf([80.0]), leaf([20.0])
    assert vae.negative_elbo(reconstruction, kl).item() == 100
    assert vae.negative_elbo(reconstruction, kl, beta=4.0).item() == 160
    assert vae.negative_elbo(reconstruction, kl, beta=0.0).item() == 80


# Units: nats per sample -------------------------------------------------------------------------------------

UNITS = {
    "kl": vae.kl_normal,
    "kl literal": lambda a, b, **k: vae.kl_normal_literal(a, mg.exp(b), **k),
    "Bernoulli": lambda a, b, **k: vae.bernoulli_nll(a, mg.sigmoid(b), **k),
    "Bernoulli literal": lambda a, b, **k: vae.bernoulli_nll_literal(mg.sigmoid(a), mg.sigmoid(b), **k),
    "Gaussian": lambda a, b, **k: vae.gaussian_nll(a, b, 0.5 * a, **k),
    "Gaussian literal": lambda a, b, **k: vae.gaussian_nll_literal(a, mg.exp(b), 0.5 * a, **k),
}


@pytest.mark.parametrize("name", UNITS)
def test_a_loss_sums_over_dimensions_and_averages_over_the_batch(name, rng):
    loss = UNITS[name]
    a, b = rng.standard_normal((2, 4, 3))
    once = loss(Tensor(a), Tensor(b)).item()
    assert abs(once) > 1e-2
    assert loss(Tensor(np.tile(a, (2, 1))), Tensor(np.tile(b, (2, 1)))).item() == pytest.approx(
        once, rel=1e-12
    )
    assert loss(Tensor(np.tile(a, (1, 2))), Tensor(np.tile(b, (1, 2)))).item() == pytest.approx(
        2 * once, rel=1e-12
    )
    assert loss(Tensor(a.reshape(4, 3, 1)), Tensor(b.reshape(4, 3, 1))).item() == pytest.approx(
        once, rel=1e-12
    )
    each = loss(Tensor(a), Tensor(b), per_sample=True)
    assert each.shape == (4,)
    assert each.data.mean() == pytest.approx(once, rel=1e-12)
    alone = [loss(Tensor(a[i : i + 1]), Tensor(b[i : i + 1])).item() for i in range(4)]
    np.testing.assert_allclose(each.data, alone, rtol=1e-12)


@pytest.mark.parametrize("name", UNITS)
def test_a_loss_needs_a_batch_axis(name):
    with pytest.raises(ShapeError, match=r"needs a batch \(N, dimensions\), got shape \(3,\)"):
        UNITS[name](Tensor(np.ones(3)), Tensor(np.ones(3)))


@pytest.mark.parametrize("name", [name for name in UNITS if name != "Gaussian" and "literal" not in name])
def test_no_loss_broadcasts_its_target(name):
    with pytest.raises(ShapeError, match=r"\(4, 3\) and .* \(1, 3\) must have the same shape"):
        UNITS[name](Tensor(np.ones((4, 3))), Tensor(np.ones((1, 3))))


def test_gaussian_nll_broadcasts_its_variance_only():
    wide, narrow = Tensor(np.ones((4, 3))), Tensor(np.ones((1, 3)))
    with pytest.raises(ShapeError, match=r"mean \(4, 3\) and x \(1, 3\) must have the same shape"):
        vae.gaussian_nll(wide, 0.0, narrow)
    with pytest.raises(ShapeError, match=r"mean \(4, 3\) and x \(\) must have the same shape"):
        vae.gaussian_nll(wide, 0.0, 1.0)
    with pytest.raises(ShapeError, match=r"log_var \(4, 3\) does not broadcast to mean \(1, 3\)"):
        vae.gaussian_nll(narrow, wide, narrow)


@pytest.mark.compare
def test_the_losses_are_those_of_pytorch(rng):
    torch = pytest.importorskip("torch")
    t, x = 3 * rng.standard_normal((4, 5)), bits(rng, 4, 5)
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(t), torch.tensor(x), reduction="sum"
    )
    assert vae.bernoulli_nll(Tensor(t), Tensor(x)).item() == pytest.approx(theirs.item() / 4, rel=1e-12)
    normal, prior = (
        torch.distributions.Normal(*(torch.tensor(v, dtype=torch.float64) for v in pair))
        for pair in ((t, np.exp(x)), (np.zeros((4, 5)), np.ones((4, 5))))
    )
    theirs = torch.distributions.kl_divergence(normal, prior).sum() / 4
    assert vae.kl_normal(Tensor(t), Tensor(2 * x)).item() == pytest.approx(theirs.item(), rel=1e-12)


def test_no_penalty_rewards():
    x = Tensor(np.ones((2, 3)))
    for wrong in (-1.0, math.nan):
        with pytest.raises(UsageError, match=f"gamma = {wrong}: expected at least 0"):
            gan.r1_penalty(lambda y: y.sum(axis=1), x, gamma=wrong)
        with pytest.raises(UsageError, match=f"free = {wrong}: expected at least 0, in nats"):
            vae.kl_free_bits(x, x, wrong)
    with pytest.raises(UsageError, match="characters = 0: expected at least 1"):
        bits_per_character(1.0, 1, 0)


def test_one_draw_wants_what_fits():
    with pytest.raises(ShapeError, match=r"got \(2, 3\), \(2, 3\) and \(3, 2, 5\)"):
        vae.one_draw(Tensor(np.ones((2, 3))), Tensor(np.ones((2, 3))), Tensor(np.ones((3, 2, 5))))


# What the importance-weighted loss is -----------------------------------------------------------------------


def test_the_weights_are_the_densities_ratio(rng):
    mu, log_var = rng.standard_normal((2, 4, 3))
    noise, nll = rng.standard_normal((5, 4, 3)), rng.standard_normal((5, 4))
    z = vae.reparameterise(Tensor(mu), Tensor(log_var), Tensor(noise))
    came = vae.log_importance_weights(Tensor(nll), z, Tensor(noise), Tensor(log_var))
    log_prior = stats.norm.logpdf(z.data).sum(-1)
    log_q = stats.norm.logpdf(z.data, mu, np.exp(log_var / 2)).sum(-1)
    np.testing.assert_allclose(came.data, log_prior - nll - log_q, rtol=1e-12)


def test_the_bound_is_the_logarithm_of_the_mean_weight(rng):
    log_w = rng.standard_normal((7, 4))
    expected = -np.log(np.exp(log_w).mean(0))
    np.testing.assert_allclose(vae.importance_weighted(Tensor(log_w), per_sample=True).data, expected, rtol=1e-13)
    np.testing.assert_allclose(vae.importance_weighted(Tensor(log_w)).data, expected.mean(), rtol=1e-13)
    np.testing.assert_allclose(vae.importance_weighted(Tensor(log_w - 3000)).data, expected.mean() + 3000, rtol=1e-13)
    np.testing.assert_allclose(vae.importance_weighted(Tensor(log_w[:1])).data, -log_w[0].mean(), rtol=1e-13)


def test_its_gradient_weighs_each_draw_by_its_share(rng):
    """Burda et al. 2016, equation 14: the normalised weights."""
    log_w = leaf(3 * rng.standard_normal((6, 4)))
    [gradient] = mg.grad(vae.importance_weighted(log_w), [log_w])
    np.testing.assert_allclose(gradient.data, -special.softmax(log_w.data, axis=0) / 4, rtol=1e-12)


def test_one_draw_is_chosen_as_often_as_its_share(rng):
    """20 000 images with the same weights: counts within four standard errors of n softmax(log w)."""
    log_w, n = np.array([0.0, -1.0, 2.0, -400.0]), 20000
    noise = np.broadcast_to(np.arange(4.0)[:, None, None], (4, n, 2))
    came = vae.one_draw(Tensor(np.tile(log_w[:, None], (1, n))), Generator(4).uniform((4, n), "float64"), Tensor(noise))
    assert came.shape == (1, n, 2) and (came.data[..., 0] == came.data[..., 1]).all()
    share = special.softmax(log_w)
    counts = np.bincount(came.data[0, :, 0].astype(int), minlength=4)
    assert counts.sum() == n and counts[3] == 0
    np.testing.assert_array_less(np.abs(counts - n * share)[:3], 4 * np.sqrt(n * share * (1 - share))[:3])


def test_one_draw_survives_the_ends_of_the_uniforms(rng):
    uniform = np.array([[0.0, 0.5], [1 - 2.0**-24, 0.0]], np.float32)
    noise = rng.standard_normal((2, 2, 3)).astype(np.float32)
    came = vae.one_draw(Tensor(np.full((2, 2), -5000, np.float32)), Tensor(uniform), Tensor(noise))
    np.testing.assert_array_equal(came.data[0], [noise[1, 0], noise[0, 1]])


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_bytes_are_no_pixels(dtype):
    """Taken as they are, 0 to 255 would give a Bernoulli loss that falls without end."""
    x = np.full((2, 3), 200, dtype)
    for given in (x, mg.tensor(x)):
        for call in (lambda y: vae.bernoulli_nll(mg.tensor(np.zeros((2, 3), "f4")), y),
                     lambda y: vae.gaussian_nll(mg.tensor(np.zeros((2, 3), "f4")), 0.0, y)):
            with pytest.raises(mg.errors.DTypeError, match=f"x is {dtype}: expected floats"):
                call(given)
    assert float(vae.bernoulli_nll(mg.tensor(np.zeros((2, 3), "f4")), x > 0).item()) > 0
