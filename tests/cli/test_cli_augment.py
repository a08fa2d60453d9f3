"""minigen train --augment: what it makes of the images, what it refuses, and that a run that goes on keeps it."""

import json

import pytest

from minigen.cli import main
from minigen.cli.augment import steps
from minigen.data import Elastic, Flip, Noise, Pipeline, Rotate, Scale, Shear, Shift

FILE = "--data images.npz --batch-size 16"


def test_every_step_by_its_name():
    assert steps("shift=3, rotate=20,scale=1.5,shear,elastic=2,noise=0.2,flip") == [
        Shift(3), Rotate(20.0), Scale(1.5), Shear(), Elastic(2.0), Noise(0.2), Flip()]  # fmt: skip


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_it_is_recorded_and_a_run_that_goes_on_keeps_it_bitwise(train, tmp_path, capsys, kind):
    asked = f"{kind} --preset document {FILE} --seed 7"
    assert train(f"{asked} --epochs 2 --augment shift=1,noise=0.2 --out whole")[0] == 0
    record = json.loads((tmp_path / "whole" / "config.json").read_text())["data"]["pipeline"]
    assert record == Pipeline(Shift(1), Noise(0.2), seed=7).record()
    assert train(f"{asked} --epochs 1 --augment shift=1,noise=0.2 --out run")[0] == 0
    assert train(f"{kind} --data images.npz --epochs 2 --resume --out run")[0] == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert models[0] == models[1]
    assert main(["info", "run"]) == 0
    assert "pipeline\n  Shift(pixels=1)\n  Noise(sigma=0.2)\n  seed 7\n" in capsys.readouterr().out
    train(f"{asked} --epochs 2 --out plain")
    assert (tmp_path / "plain" / "model.safetensors").read_bytes() != models[0]


def test_another_augmentation_is_not_gone_on_with(train, tmp_path):
    train(f"vae {FILE} --epochs 1 --augment shift=1 --out run")
    code, _, err = train(f"vae {FILE} --epochs 2 --resume --out run --augment shift=2")
    assert code == 3 and "was trained through the pipeline" in err and "or no --augment" in err
    assert len(err.splitlines()) == 1
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    record["data"]["pipeline"]["steps"][0]["step"] = "Shred"
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    code, _, err = train("vae --data images.npz --epochs 2 --resume --out run")
    assert code == 4 and "config.json: damaged (" in err and len(err.splitlines()) == 1
    assert main(["info", "run"]) == 4


@pytest.mark.parametrize("words, message", [
    ("vae --augment shfit=2", "no such step 'shfit': choose from elastic, flip, noise, rotate, scale, shear, shift; "
                              "did you mean 'shift'?"),
    ("vae --augment shift=2,", "no such step ''"),
    ("vae --augment ''", "no such step ''"),
    ("vae --augment clean", "no such step 'clean'"),
    ("vae --augment shift=1.5", "'1.5' is not a whole number; give one as in shift=2"),
    ("vae --augment rotate=", "'' is not a number; give one as in rotate=10.0"),
    ("gan --augment rotate=nan", "Rotate: degrees = nan: expected above 0, at most 180"),
    ("vae --augment noise=1e308", "Noise: sigma = 1e+308: expected above 0, at most 1000"),
    ("vae --augment shift=6", "Shift: pixels = 6 for images of 6 x 6: expected less, or nothing of some is left"),
])
def test_bad_steps_are_one_line_and_leave_nothing(train, tmp_path, words, message):
    code, _, err = train(f"{words} {FILE} --out run")
    assert code == 2 and message in err and len(err.splitlines()) == 1, err
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


@pytest.mark.parametrize("kind", ["gpt", "text-vae"])
def test_a_text_is_not_augmented(train, kind):
    code, _, err = train(f"{kind} --augment shift=1")
    assert code == 2 and f"--augment changes images, but a {kind} learns from text: leave it out" in err
