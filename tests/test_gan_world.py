"""The world of examples/10_gan_world.py: its closed forms against scipy, and the identities of EQUATIONS.md on them."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

import minigen as mg
from minigen.losses import gan

PATH = Path(__file__).parent.parent / "examples" / "10_gan_world.py"
SPEC = importlib.util.spec_from_file_location("gan_world", PATH)
world = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(world)

MEANS = np.array([[0.5, 0.3], [-0.4, 0.8], [0.1, -1.0]])
LOG_SCALES = np.log([[0.6], [0.8], [0.7]])


def data(dtype="float64"):
    return [mg.tensor(a, dtype=dtype) for a in (world.MODES, world.LOG_SCALES)]


def parameters():
    return [mg.tensor(a, dtype="float64", requires_grad=True) for a in (MEANS, LOG_SCALES)]


def oracle(means, log_scales):
    """log density on the grid, by scipy."""
    parts = [stats.multivariate_normal(m, math.exp(2 * s[0])).logpdf(world.GRID)
             for m, s in zip(means, log_scales, strict=True)]
    return special.logsumexp(parts, axis=0) - math.log(len(parts))


def exact_jsd(means, log_scales):
    p, q = np.exp(oracle(world.MODES, world.LOG_SCALES)), np.exp(oracle(means, log_scales))
    return float((special.rel_entr(p, (p + q) / 2) + special.rel_entr(q, (p + q) / 2)).sum() * world.CELL / 2)


def test_the_densities_equal_scipys():
    grid = mg.tensor(world.GRID, dtype="float64")
    log_p, log_q = world.log_density(grid, *data()), world.log_density(grid, *parameters())
    np.testing.assert_allclose(log_q.numpy(), oracle(MEANS, LOG_SCALES), rtol=1e-10)
    assert np.exp(log_q.numpy()).sum() * world.CELL == pytest.approx(1, abs=1e-5)
    assert np.exp(log_p.numpy()).sum() * world.CELL == pytest.approx(1, abs=1e-5)


def test_the_best_discriminator_has_the_loss_2_log_2_minus_jsd_and_none_has_less(rng):
    grid = mg.tensor(world.GRID, dtype="float64")
    log_p, log_q = world.log_density(grid, *data()), world.log_density(grid, *parameters())
    best = 2 * (math.log(2) - exact_jsd(MEANS, LOG_SCALES))
    assert world.d_loss(log_p - log_q, log_p, log_q).item() == pytest.approx(best, abs=2e-5)  # the grid's cut
    for _ in range(5):
        other = log_p - log_q + mg.tensor(rng.standard_normal(len(world.GRID)) * 0.3, dtype="float64")
        assert world.d_loss(other, log_p, log_q).item() > best + 1e-3


@pytest.mark.compiled
def test_a_discriminator_trained_to_the_end_comes_within_a_hundredth_of_a_nat():
    grid = mg.tensor(world.GRID, dtype="float32")
    log_p = world.log_density(grid, *data("float32"))
    log_q = world.log_density(grid, *(mg.tensor(a, dtype="float32") for a in (MEANS, LOG_SCALES)))
    rng, nn = mg.Generator(seed=0), mg.nn
    net = nn.Sequential(nn.Dense(2, 48, rng=rng), nn.Tanh(), nn.Dense(48, 48, rng=rng), nn.Tanh(),
                        nn.Dense(48, 1, rng=rng))
    adam = mg.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(250):
        loss = world.d_loss(net(grid).reshape(-1), log_p, log_q)
        loss.backward()
        adam.step()
        adam.zero_grad()
    assert -1e-4 < loss.item() - 2 * (math.log(2) - exact_jsd(MEANS, LOG_SCALES)) < 0.01


def test_under_the_best_discriminator_the_minimax_gradient_is_that_of_twice_the_jsd():
    """Through samples x = m_k + s_k z and a fixed D*, by quadrature over z, against differences of scipy's JSD."""
    means, log_scales = parameters()
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    w = np.outer(weights, weights).ravel() / (2 * math.pi)
    fake = means.reshape(3, 1, 2) + mg.exp(log_scales).reshape(3, 1, 1) * mg.tensor(z[None], dtype="float64")
    x = fake.reshape(-1, 2)
    logit = world.log_density(x, *data()) - world.log_density(x, means.detach(), log_scales.detach())
    per_sample = -mg.softplus(logit)  # log(1 - D*): its mean is generator_loss(form="minimax")
    assert gan.generator_loss(logit, form="minimax").item() == pytest.approx(per_sample.numpy().mean(), rel=1e-12)
    loss = (per_sample * mg.tensor(np.tile(w, 3) / 3, dtype="float64")).sum()
    for gradient, which in zip(mg.grad(loss, [means, log_scales]), (0, 1), strict=True):
        for index in np.ndindex(gradient.shape):
            values = []
            for sign in (1, -1):
                moved = [MEANS.copy(), LOG_SCALES.copy()]
                moved[which][index] += sign * 1e-4
                values.append(2 * exact_jsd(*moved))
            assert gradient.numpy()[index] == pytest.approx((values[0] - values[1]) / 2e-4, abs=1e-4)
