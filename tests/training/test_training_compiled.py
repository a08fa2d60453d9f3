"""Training by a program: the same run, whenever it is stopped and resumed, and the same as eager but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from minigen.cli.app import minigen as command_line
from minigen.models import VAE
from minigen.training import train

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 6, 5)).astype(np.uint8)


def vae():
    return VAE(image_shape=(6, 5), latent=2, hidden=(7,))


def test_a_compiled_run_has_the_losses_of_an_eager_one_with_a_short_last_batch():
    compiled, eager = (train(vae(), PICTURES, epochs=3, batch_size=16, compile=on).rows for on in (True, False))
    for ours, theirs in zip(compiled, eager, strict=True):
        for name in ("loss", "reconstruction", "kl"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4)


def test_a_compiled_run_that_was_resumed_is_bitwise_the_uninterrupted_one(tmp_path):
    whole, first, second = vae(), vae(), vae()
    train(whole, PICTURES, epochs=4, batch_size=16, compile=True)
    train(first, PICTURES, epochs=2, batch_size=16, compile=True, out=tmp_path)
    train(second, PICTURES, epochs=4, batch_size=16, compile=True, out=tmp_path, resume=True)
    for name, array in whole.training_state().items():
        np.testing.assert_array_equal(second.training_state()[name], array)


def test_the_mode_may_change_between_runs(tmp_path):
    eager, mixed = vae(), vae()
    train(eager, PICTURES, epochs=4, batch_size=16)
    train(vae(), PICTURES, epochs=2, batch_size=16, compile=True, out=tmp_path)
    train(mixed, PICTURES, epochs=4, batch_size=16, out=tmp_path, resume=True)
    for name, array in eager.training_state().items():
        np.testing.assert_allclose(mixed.training_state()[name], array, rtol=1e-2, atol=1e-4)


def test_the_command_line_compiles_unless_told_not_to(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("minigen.training.train", lambda *args, compile, **rest: seen.append(compile) or exit(0))
    np.save(tmp_path / "images.npy", PICTURES)
    for options in ([], ["--no-compile"]):
        arguments = ["train", "vae", "--data", str(tmp_path / "images.npy"), "--out", str(tmp_path / "run"), "--quiet"]
        CliRunner().invoke(command_line, arguments + options)
    assert seen == [True, False]
