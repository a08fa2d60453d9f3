"""The doctor beside runs that are broken on purpose, beside healthy ones, and on disk."""

import dataclasses

import numpy as np
import pytest
from fake_model import FakeModel, pictures

import minigen as mg
from minigen.cli import main
from minigen.models import GAN
from minigen.training import RunFolder, Silent, train, watch
from minigen.training.diagnosis import PATIENCE, diagnose
from minigen.training.history import History

SMALL = {"generator": (64,), "discriminator": (64,), "latent": 16}
HEALTHY = {"generator": (64, 128), "discriminator": (128, 64), "lr": 1e-3}


@pytest.fixture(scope="module")
def mnist():
    """(training, test) of the sample that comes with minigen."""
    from minigen.data.mnist import load_mnist

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MINIGEN_DATA", raising=False)
        return load_mnist("train", download=False), load_mnist("test", download=False)


class Listener(Silent):
    def __init__(self):
        self.lines = []

    def notice(self, text):
        self.lines.append(text)


def examined(monkeypatch, gan, data, test, steps, out, every=200):
    """(symptoms, what was told) of a run of about so many steps with looks so often."""
    monkeypatch.setattr(watch, "EVERY", every)
    listener = Listener()
    batch = 32
    epochs = -(-steps // -(-len(data) // batch))
    train(gan, data, epochs=epochs, batch_size=batch, out=out, test_images=test, report=listener, compile=True)
    return {finding.symptom for finding in diagnose(History.read_csv(out / "signs.csv").rows)}, listener.lines


@pytest.mark.compiled
def test_a_discriminator_far_too_fast_saturates_and_starves_a_minimax_generator(mnist, tmp_path, monkeypatch):
    gan = GAN.preset("document", **SMALL, lr=2e-4, lr_discriminator=0.02, form="minimax")
    found, told = examined(monkeypatch, gan, *mnist, 900, tmp_path)
    assert {"saturated", "vanishing", "collapsed"} <= found and "oscillating" not in found
    assert any(line.startswith("doctor: vanishing since epoch 1, step 200: ") and "minimax" in line for line in told)
    text = (tmp_path / "diagnosis.txt").read_text()
    assert all(line.removeprefix("doctor: ") in text for line in told if line.startswith("doctor: "))


@pytest.mark.compiled
def test_a_generator_that_draws_one_digit_has_collapsed(mnist, tmp_path, monkeypatch):
    """Its output layer is all bias: a picture of a three, whatever the noise."""
    gan = GAN.preset("document", **SMALL, lr=1e-7)
    three = mnist[0].images[mnist[0].labels == 3][0].reshape(-1) / 255
    gan.generator.layers[-2].weight.data *= np.float32(1e-3)
    gan.generator.layers[-2].bias.data[:] = np.arctanh((2 * three - 1) * 0.99)
    found, told = examined(monkeypatch, gan, *mnist, 300, tmp_path, every=100)
    assert found == {"collapsed"}
    assert "their variance is 0% of the data's" in told[0] and "100% of them are taken for class 3" in told[0]


@pytest.mark.compiled
def test_a_discriminator_with_a_hundred_images_learns_them_by_heart(mnist, tmp_path, monkeypatch):
    few = mnist[0].part(np.tile(np.arange(100), 20))  # each twenty times: fewer epochs, each of which is drawn
    found, told = examined(monkeypatch, GAN.preset("default", **HEALTHY, r1=0.0), few, mnist[1], 1600, tmp_path)
    assert "memorised" in found
    assert any("knows the training images by heart" in line for line in told)


@pytest.mark.compiled
def test_learning_rates_far_too_high_make_the_losses_swing(mnist, tmp_path, monkeypatch):
    gan = GAN.preset("document", **SMALL, lr=1e-2, lr_discriminator=1e-3)
    found, told = examined(monkeypatch, gan, *mnist, 1800, tmp_path)
    assert "oscillating" in found
    assert any("the discriminator's loss swings by" in line for line in told)


@pytest.mark.compiled
@pytest.mark.parametrize("r1", [2.0, 0.0])
def test_a_healthy_run_is_left_in_peace(mnist, tmp_path, monkeypatch, r1):
    found, told = examined(monkeypatch, GAN.preset("default", **HEALTHY, r1=r1), *mnist, 2500, tmp_path, every=500)
    assert found == set() and not [line for line in told if line.startswith("doctor")]
    assert (tmp_path / "diagnosis.txt").read_text().startswith("nothing found\n(5 looks")
    grown = History.read_csv(tmp_path / "signs.csv").rows[2:]
    assert len(grown) == 3 and not [diagnose([row] * PATIENCE) for row in grown if diagnose([row] * PATIENCE)]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_with_the_doctor_is_bitwise_the_run_without(tmp_path, monkeypatch, compiled):
    monkeypatch.setattr(watch, "EVERY", 3)
    states = []
    for doctor in (True, False):
        gan = GAN(image_shape=(4, 4), latent=3, generator=(5, 6), discriminator=(5, 6), dropout=0.3, r1_every=2)
        history = train(gan, pictures(), epochs=4, batch_size=16, test_images=pictures(20), compile=compiled,
                        doctor=doctor, out=tmp_path / str(doctor))
        losses = {name: history[name] for name in history.curves}
        states.append(({name: array.tobytes() for name, array in gan.training_state().items()}, losses))
    assert states[0] == states[1]
    assert len(History.read_csv(tmp_path / "True" / "signs.csv")) == 5
    assert not (tmp_path / "False" / "signs.csv").exists()


def small():
    return GAN(image_shape=(4, 4), latent=3, generator=(5,), discriminator=(5,))


def test_a_resumed_run_remembers_what_was_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(small(), pictures(), epochs=4, batch_size=16, out=whole)
    train(small(), pictures(), epochs=2, batch_size=16, out=parts)
    train(small(), pictures(), epochs=4, batch_size=16, out=parts, resume=True)
    signs = [History.read_csv(path / "signs.csv") for path in (whole, parts)]
    for name in signs[0].columns[:-4]:  # all but the swing, whose window begins anew
        np.testing.assert_array_equal(*(history[name] for history in signs))
    assert (whole / "diagnosis.txt").read_text() == (parts / "diagnosis.txt").read_text()
    listener = Listener()
    (parts / "signs.csv").write_text("epoch,step\n1,x\n")
    train(small(), pictures(), epochs=5, batch_size=16, out=parts, resume=True, report=listener)
    assert "damaged" in listener.lines[0] and listener.lines[0].endswith("; the doctor begins anew")
    assert History.read_csv(parts / "signs.csv")["step"] == [18, 20]


@pytest.mark.parametrize("looks, words", [
    (1, "too early to say: a finding takes 3 looks\n(1 look, the last at step 1;"),
    (2, "too early to say: a finding takes 3 looks\n(2 looks, the last at step 2;"),
    (3, "nothing found\n(3 looks, the last at step 3;"),
])
def test_a_short_run_is_not_called_healthy(tmp_path, monkeypatch, looks, words):
    monkeypatch.setattr(watch, "EVERY", 1)
    monkeypatch.setattr(watch, "diagnose", lambda rows: [])
    train(small(), pictures(), epochs=looks, batch_size=50, out=tmp_path)
    assert (tmp_path / "diagnosis.txt").read_text().startswith(words)


def test_other_models_have_no_doctor(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 1)
    train(FakeModel(), pictures(), epochs=1, batch_size=16, out=tmp_path)
    assert not RunFolder(tmp_path).signs.exists() and not RunFolder(tmp_path).diagnosis.exists()


def test_without_test_images_and_of_images_all_alike_it_measures_what_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 1)
    train(small(), np.full((16, 4, 4), 7, np.uint8), epochs=4, batch_size=16, out=tmp_path)
    signs = History.read_csv(tmp_path / "signs.csv")
    for name in ("unseen_logit", "gap_errors", "variety", "classes", "swing"):
        assert np.isnan(signs[name]).all(), name
    assert np.isfinite(signs["sure"]).all() and np.isfinite(signs["gradient"]).all()


def test_signs_equal_their_definitions(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 4)
    gan = GAN(**{**dataclasses.asdict(small().config), "form": "minimax"})
    train(gan, pictures(), epochs=1, batch_size=16, test_images=pictures(90)[50:], out=tmp_path)
    (row,) = History.read_csv(tmp_path / "signs.csv").rows
    fake = gan.generate(watch.IMAGES, seed=0, network=gan.generator)
    with mg.no_grad(), gan.evaluating():
        logits = [gan.discriminator(x).numpy().astype(float).ravel()
                  for x in (gan.preprocess(pictures()), gan.preprocess(pictures(90)[50:]), fake)]
    real, unseen, made = logits
    assert (row["real_logit"], row["unseen_logit"], row["fake_logit"]) == pytest.approx(
        (real.mean(), unseen.mean(), made.mean()), rel=1e-6)
    assert row["signal"] == pytest.approx((1 / (1 + np.exp(-made))).mean(), rel=1e-6)
    variance = ((fake.numpy() + 1) / 2).var(0).sum() / (pictures() / 255).var(0).sum()
    assert row["variety"] == pytest.approx(variance, rel=1e-5)
    assert row["gap_errors"] == pytest.approx(
        (real.mean() - unseen.mean()) / np.sqrt(real.var() / 50 + unseen.var() / 40), rel=1e-5)


def test_info_shows_the_diagnosis_and_a_flag_sends_the_doctor_away(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "EVERY", 1)
    np.savez(tmp_path / "x.npz", images=pictures(32))
    words = ["train", "gan", "--data", "x.npz", "--epochs", "3", "--batch-size", "16", "--quiet"]
    assert main([*words, "--out", "with"]) == 0 and main([*words, "--out", "without", "--no-doctor"]) == 0
    capsys.readouterr()
    assert main(["info", "with"]) == 0
    shown = capsys.readouterr().out
    for line in (tmp_path / "with" / "diagnosis.txt").read_text().splitlines():
        assert f"diagnosis\n  {line}"[10:] in shown
    assert "diagnosis\n" in shown
    assert main(["info", "without"]) == 0 and "diagnosis" not in capsys.readouterr().out
