"""minigen bench training: who computes something else is not timed, and the figures are what was measured."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from minigen import peers
from minigen.cli import main
from minigen.cli.bench import training
from minigen.kernels.threads import get_threads, processors
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


def test_lead_and_table():
    timed = {name: {"median": seconds} for name, seconds in [("eager", 4e-3), ("compiled", 1e-3), ("jax", 2e-3)]}
    row = {"net": "GAN", "batch": 64, "threads": 1, "wrong": [], "seconds": timed, "floor": {"median": 5e-4},
           "over_floor": 2.0, "ratios": {"eager": 4.0, "compiled": 1.0, "jax": 2.0}}
    summary = training._summary([row, {**row, "ratios": {"compiled": 1.0, "jax": 8.0, "torch": 9.0}}])
    assert summary == {"geometric_mean": pytest.approx(4.0), "least": 2.0}
    (table,) = training._tables([row], summary)
    assert list(table.rows[0]) == ["GAN, batch 64", "4000", "1000", "2000", "500", "2.00", "2.00"]
    assert "4.00 in the geometric mean, 2.00 at least" in table.notes[0]


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """bench(...) -> (exit code, stdout, stderr) of `minigen bench training` on small nets, here and for a moment."""
    monkeypatch.setattr(training, "BATCHES", (1, 2))
    monkeypatch.setattr(training, "_in_processes", lambda cells, names, seconds: (
        training.measure_cell(cell, names, 0.001) for cell in cells))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        code = main(["bench", "training", "--quick", "--threads", "1", "--out", "b", *words])
        return code, *capsys.readouterr()

    return run


def test_the_command_times_three_nets_against_their_floor(bench, tmp_path):
    code, out, _ = bench("--peers", "")
    assert code == 0 and "Training steps on 1 thread" in out and "over fastest peer" in out
    record = json.loads((tmp_path / "b" / "training.json").read_text())
    assert record["peers"] == [] and record["summary"] == {"geometric_mean": None, "least": None}
    assert [(row["net"], row["batch"]) for row in record["results"]] == [(net, 2) for net in SMALL]
    for row in record["results"]:
        assert set(row["seconds"]) == {"eager", "compiled"} and not row["wrong"]
        assert row["floor"]["median"] > 0 and row["over_floor"] > 0
        assert f"{row['net']}, batch {row['batch']}" in out
    assert (tmp_path / "b" / "training.png").stat().st_size > 1000


def test_a_peer_that_computes_something_else_is_in_the_exit_code(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: ["jax"])
    monkeypatch.setattr(peers, "make_peer", lambda name, model, threads: lambda x, noise=None: 1.0)
    monkeypatch.setattr(training, "NETS", ["VAE-2"])
    code, _, err = bench()
    assert code == 1 and "1 wrong and not timed: VAE-2 at batch 2: the losses of jax are " in err
    (row,) = json.loads((tmp_path / "b" / "training.json").read_text())["results"]
    assert set(row["seconds"]) == {"eager", "compiled"}


def test_unknown_and_missing_peers_are_refused(bench, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: ["torch"])
    for name, message in (("keras", "'keras' is no peer: choose from torch, torch.compile, jax"),
                          ("torch,jax", "'jax' is not installed: pip install 'minigen[compare]'")):
        code, _, err = bench("--peers", name)
        assert code == 2 and message in err and err.count("\n") == 1


def _where(cell, peers, seconds):
    """What a cell is measured on, in place of `measure_cell`."""
    return {"asked": cell.threads, "found": get_threads(), "process": os.getpid()}


def test_each_number_of_threads_has_a_process_of_its_own(monkeypatch):
    if processors() < 2:
        pytest.skip("one core")
    monkeypatch.setattr(training, "measure_cell", _where)
    cells = [training.Cell(net, 1, threads) for threads in (1, 2) for net in ("GAN", "VAE-2")]
    rows = list(training._in_processes(cells, [], 0.1))
    assert [(row["asked"], row["found"]) for row in rows] == [(1, 1), (1, 1), (2, 2), (2, 2)]
    assert len({row["process"] for row in rows} - {os.getpid()}) == 2
