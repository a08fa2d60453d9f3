"""minigen bench training: who computes something else is not timed, and the figures are what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minigen import peers
from minigen.cli.bench import training
from minigen.models import GAN, VAE
from minigen.peers import losses_of, make_peer, noise_of

SMALL = {
    "GAN": lambda: GAN.preset("document", generator=(8,), discriminator=(8,), latent=4),
    "VAE-2": lambda: VAE.preset("document", hidden=(8, 6)),
    "VAE-20": lambda: VAE(hidden=(8,), latent=3),
}


@pytest.fixture(autouse=True)
def small_nets(monkeypatch):
    monkeypatch.setattr(training, "make_model", lambda net: SMALL[net]())


def images(count):
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28)).astype(np.uint8)


@pytest.mark.filterwarnings("ignore")  # of the frameworks among themselves
@pytest.mark.parametrize("framework", ["torch", "torch.compile", "jax"])
@pytest.mark.parametrize("net", SMALL)
def test_a_peer_computes_the_same_losses_from_the_same_noise(net, framework):
    if framework not in peers.installed():
        pytest.skip("needs the extra `compare`")
    model = SMALL[net]()
    step = make_peer(framework, SMALL[net](), 1)
    for count in (5, 5, 1):
        noise = noise_of(model, images(count))
        assert step(images(count), noise) == pytest.approx(losses_of(model.train_step(images(count))), rel=1e-4)
    assert np.isfinite(step(images(5)))  # from noise of its own


@pytest.mark.parametrize("net", SMALL)
def test_the_noise_that_a_step_will_draw_is_foretold(net):
    model = SMALL[net]()
    foretold = noise_of(model, images(5))
    draws = model.noise.draw
    model.train_step(images(5))
    assert model.noise.draw - draws == len(foretold)


def test_a_cell_times_both_of_ours_and_leaves_out_who_is_wrong(monkeypatch):
    monkeypatch.setattr(peers, "make_peer", lambda name, model, threads: lambda x, noise=None: 1.0)
    row = training.measure_cell(training.Cell("VAE-2", 4, 1), ["torch"], seconds=0.01)
    assert set(row["seconds"]) == {"eager", "compiled"} and row["off"]["compiled"] < 1e-4
    assert len(row["wrong"]) == 1 and row["wrong"][0].startswith("the losses of torch are ")
    # 784-8-6-2 and back at batch 4: each weight is used three times in a step, but the first layer's, twice
    weights = [784 * 8, 8 * 6, 6 * 2, 6 * 2, 2 * 6, 6 * 8, 8 * 784]
    assert row["flops"] == 2 * 4 * (3 * sum(weights) - weights[0])
    assert row["bytes"] > 28 * sum(weights)  # Adam alone: four arrays read, three written


def test_floor_lead_and_table():
    timed = {name: {"median": seconds} for name, seconds in [("eager", 4e-3), ("compiled", 1e-3), ("jax", 2e-3)]}
    row = {"net": "GAN", "batch": 64, "threads": 1, "wrong": [], "seconds": timed, "flops": 4e7, "bytes": 1e6,
           "ratios": {"eager": 4.0, "compiled": 1.0, "jax": 2.0}}
    found = training._with_floor(row, peak=1e11, bandwidth=1e10)
    assert found["floor"] == pytest.approx(5e-4) and found["over_floor"] == pytest.approx(2.0)
    summary = training._summary([found, {**found, "ratios": {"compiled": 1.0, "jax": 8.0, "torch": 9.0}}])
    assert summary == {"geometric_mean": pytest.approx(4.0), "least": 2.0}
    (table,) = training._tables([found], summary)
    assert list(table.rows[0]) == ["GAN, batch 64", "4000", "1000", "2000", "500", "2.00", "2.00"]
    assert "4.00 in the geometric mean, 2.00 at least" in table.notes[0]
    json.dumps(found)
