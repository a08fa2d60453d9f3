"""The options of `minigen train` that switch feedback on: what they make, what they refuse, and that they stay."""

import csv
import json

import pytest

from minigen.cli import main


@pytest.fixture
def train(train):
    """train("vae --kl-target 5") -> (exit code, stdout, stderr), on those images into the folder `run`."""
    return lambda words: train(f"{words} --data images.npz --batch-size 16 --out run")


def actions(folder):
    with open(folder / "run" / "feedback.csv", newline="") as stream:
        return [(row["controller"], row["measured"], row["setting"]) for row in csv.DictReader(stream)]


def recorded(folder):
    return json.loads((folder / "run" / "config.json").read_text())["feedback"]


def test_a_vae_with_all_that_is_for_it(train, tmp_path):
    code, out, err = train("vae --epochs 3 --kl-target 5 --on-plateau loss --keep-best kl --stop-early kl --patience 2")
    assert (code, err) == (0, "")
    assert "trained vae, 3 epochs" in out
    lines = [line for line in out.splitlines() if line.startswith("feedback: kl ")]
    assert sum("wanted 5: beta is now" in line for line in lines) == 3
    assert any("is the lowest so far: kept as best.safetensors" in line for line in lines)
    assert ("kl_target", "kl", "beta") in actions(tmp_path) and ("keep_best", "kl", "best_epoch") in actions(tmp_path)
    settings = {entry["controller"]: entry for entry in recorded(tmp_path)}
    assert list(settings) == ["kl_target", "on_plateau", "keep_best", "stop_early"]
    assert settings["kl_target"]["target"] == 5 and settings["on_plateau"]["patience"] == 2 \
        and settings["stop_early"]["patience"] == 2
    assert main(["sample", "run/best.safetensors", "-n", "4"]) == 0


def test_a_gan_with_all_that_is_for_it(train, tmp_path):
    code, _, err = train("gan --epochs 3 --ada --balance 0.7")
    assert (code, err) == (0, "")
    assert [entry["controller"] for entry in recorded(tmp_path)] == ["adaptive_augmentation", "balance"]
    assert recorded(tmp_path)[1]["target"] == 0.7
    assert set(actions(tmp_path)) == {("adaptive_augmentation", "real_sign", "p"),
                                      ("balance", "accuracy", "discriminator_ratio")}


def test_a_run_that_goes_on_keeps_its_feedback(train, tmp_path):
    train("vae --epochs 1 --kl-target 5")
    before = recorded(tmp_path)
    code, out, err = train("vae --epochs 2 --resume")
    assert (code, err) == (0, "") and "wanted 5: beta is now" in out
    assert recorded(tmp_path) == before and len(actions(tmp_path)) == 6
    code, _, err = train("vae --epochs 3 --resume --kl-target 6")
    assert code == 2 and "was trained with the feedback" in err and len(err.splitlines()) == 1
    assert main(["info", "run"]) == 0


def test_a_run_that_ends_early_says_after_how_many_epochs(train):
    code, out, _ = train("vae --epochs 9 --lr 1e-30 --stop-early loss --patience 1")
    assert code == 0
    ended = out[out.index("the run ends with epoch ") + len("the run ends with epoch "):].split()[0]
    assert f"trained vae, {ended} epoch" in out and int(ended) < 9


@pytest.mark.parametrize("words, message", [
    ("vae --kl-target 0", "invalid value for '--kl-target': '0' is not a number above 0"),
    ("vae --kl-target 1e308", "KLTarget: target = 1e+308, expected nats above 0, at most a million"),
    ("vae --kl-target lots", "'lots' is not a number above 0"),
    ("vae --ada", "AdaptiveAugmentation is for a gan's discriminator, and a vae has none: leave it out"),
    ("gan --kl-target 5", "KLTarget moves the beta of a vae, and a gan has none: leave it out"),
    ("vae --balance 0.8", "Balance is for the two players of a gan, and a vae has none"),
    ("gan --balance 1.2", "Balance: target = 1.2, expected an accuracy above 0.5 and below 1"),
    ("vae --stop-early los", "this run has no figure 'los': choose from loss, reconstruction, kl"),
    ("vae --on-plateau test_loss", "this run has no figure 'test_loss'"),
    ("vae --keep-best=", "invalid value for '--keep-best': it is empty"),
    ("gan --keep-best frechet", "which does not know images.npz: choose a loss, and compare whole runs with minigen"),
    ("vae --patience 3", "--patience is how long --on-plateau and --stop-early wait: give one of them"),
    ("vae --stop-early kl --patience 0", "'0' is not a whole number, 1 or more"),
    ("vae --kl-traget 5", "no such option --kl-traget; did you mean '--kl-target'?"),
])
def test_bad_options_are_one_line_and_leave_nothing(train, tmp_path, words, message):
    code, _, err = train(words)
    assert code == 2 and message in err and len(err.splitlines()) == 1, err
    assert not any((tmp_path / "run").rglob("*"))
