"""minigen features and evaluate: a table, a picture and numbers; one clear line for whatever is wrong."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from minigen.cli import evaluate, main
from minigen.cli.evaluate import TITLES
from minigen.metrics import Estimate, load_classifier
from minigen.models import GAN, VAE

COUNT = 1500


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with bars.npz, its feature net, a VAE run and a GAN run."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(5)
    labels = np.arange(COUNT) % 3
    images = rng.integers(0, 100, (COUNT, 9, 7)).astype(np.uint8)
    for row in range(3):
        images[labels == row, 3 * row:3 * row + 3] += 140
    np.savez(folder / "bars.npz", images=images, labels=labels)
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert main(["features", "--data", "bars.npz", "--epochs", "3"]) == 0
        for kind in ("vae", "gan"):
            words = ["train", kind, "--preset", "document", "--data", "bars.npz", "--epochs", "1", "--out", kind]
            assert main([*words, "--quiet"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def command(place, monkeypatch, capsys):
    """command("evaluate", ...) -> (exit code, stdout, stderr), in that folder."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)
    monkeypatch.delenv("MINIGEN_DATA", raising=False)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    return run


@pytest.fixture
def fails(command):
    """fails(code, "part of the message", ...): one line on stderr."""

    def run(code, message, *words):
        came, _, err = command(*words)
        assert came == code, err
        assert err.startswith("minigen: error: ") and err.count("\n") == 1 and message in err, err

    return run


KNOWN = ("--data", "bars.npz", "--features", "bars-features.safetensors")


def test_features_of_a_file(place):
    net, notes = load_classifier(place / "bars-features.safetensors")
    assert net.config.image_shape == (9, 7) and net.config.classes == 3 and notes["data"] == "bars.npz"


def test_evaluate_prints_a_table_and_leaves_numbers_and_a_picture(command, place):
    code, out, err = command("evaluate", "vae", "--against", "gan", "-n", 240, "--seed", 3, *KNOWN)
    assert (code, err) == (0, "")
    table = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in out.splitlines() if line.startswith("│")}
    assert list(table) == list(TITLES.values()) and all(len(cells) == 6 for cells in table.values())
    assert "note: a file has no held-out images: a sixth stands for them" in out
    assert "Features are those of a small classifier of this data set, not Inception's: compare within this" in out
    assert "vae, 250 held-out images, nats: reconstruction " in out and "log p(x) at least " in out
    assert out.splitlines()[-1].endswith("picture and numbers in vae/evaluation.png and evaluation.json")
    with Image.open(place / "vae" / "evaluation.png") as picture:
        assert picture.size == (1560, 1020)
    record = json.loads((place / "vae" / "evaluation.json").read_text())
    assert list(record["sets"]) == ["vae", "gan", "real", "copies", "centroids", "pixels"]
    assert record["samples"] == 240 and record["seed"] == 3 and record["feature_net"] == "bars-features.safetensors"
    figures = {name: {f: e["value"] for f, e in part["figures"].items()} for name, part in record["sets"].items()}
    assert figures["copies"]["copies"] == 1 and figures["real"]["copies"] < 0.05, "only this figure sees copies"
    for model in ("vae", "gan"):
        assert figures[model]["frechet"] > 10 * figures["real"]["frechet"], "one epoch is no training"
        assert figures[model]["coverage"] < figures["real"]["coverage"]
    assert figures["centroids"]["recall"] < 0.5 * figures["real"]["recall"]
    for part in record["sets"].values():
        assert part["frechet_over_n"] == [part["figures"]["frechet"]["value"]]
        assert sum(part["classes"]) == pytest.approx(1)
        for estimate in part["figures"].values():
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    vae = record["vae"]["vae"]
    assert vae["bound"]["value"] > -vae["negative_elbo"]["value"] and "gan" not in record["vae"]


def test_evaluate_is_a_function_of_the_seed(command, place, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "_draw", lambda *_: None)
    numbers = []
    for seed in (0, 0, 1):
        out = tmp_path / f"{len(numbers)}"
        code, shown, _ = command("evaluate", "gan", "-n", 5000, "--seed", seed, "--out", out, *KNOWN)
        assert code == 0
        assert "note: 250 samples instead of 5000: 1250 training and 250 held-out images allow no more" in shown
        numbers.append(json.loads((out / "evaluation.json").read_text())["sets"])
    assert numbers[0] == numbers[1] != numbers[2]
    assert not (place / "gan" / "evaluation.json").exists()


def test_what_evaluate_refuses(fails, place, tmp_path):
    fails(4, "nope: no such run; minigen info lists the runs", "evaluate", "nope")
    fails(4, "holds no run", "evaluate", tmp_path)
    fails(4, "nope: no such run", "evaluate", "vae", "--against", "nope", *KNOWN)
    fails(2, "vae was trained on bars.npz: say where such images are with --data FILE", "evaluate", "vae")
    fails(2, "mnits: neither 'mnist' nor a .npy or .npz file; did you mean 'mnist'?", "evaluate", "vae", "--data",
          "mnits")  # fmt: skip
    fails(3, "nope.npz: cannot be read", "evaluate", "vae", "--data", "nope.npz")
    no_net = "there is no feature net for bars.npz: train one with `minigen features --data bars.npz`, then evaluate"
    fails(2, no_net, "evaluate", "vae", "--data", "bars.npz")
    fails(4, "nowhere.safetensors: no such checkpoint", "evaluate", "vae", *KNOWN[:3], "nowhere.safetensors")
    fails(4, "holds no feature net: its kind is 'vae'", "evaluate", "vae", *KNOWN[:3], "vae/model.safetensors")
    few = "50 samples: too few, a figure over 128 features needs 200 or more"
    fails(2, few, "evaluate", "vae", *KNOWN, "-n", 50)
    fails(2, "1 sample: too few", "evaluate", "vae", *KNOWN, "-n", 1)
    fails(2, "'0' is not a whole number, 1 or more", "evaluate", "vae", "-n", 0)
    (tmp_path / "file").write_text("in the way")
    fails(6, "there: cannot be written (Not a directory); name another", "evaluate", "gan", *KNOWN, "-n", 240, "--out",
          tmp_path / "file" / "there")  # fmt: skip


def test_unwritable_output_is_found_before_the_work(fails, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("minigen.cli.evaluate.load_split", lambda *_, **__: pytest.fail("the data were read"))
    monkeypatch.setattr("minigen.cli.features.load_split", lambda *_, **__: pytest.fail("the data were read"))
    fails(6, "cannot be written", "evaluate", "gan", *KNOWN, "--out", tmp_path / "file" / "there")
    fails(6, "cannot be written", "features", *KNOWN[:2], "--out", tmp_path / "file" / "net.safetensors")


def test_images_that_do_not_fit(fails, place, tmp_path):
    np.savez(tmp_path / "other.npz", images=np.eye(8)[None].repeat(900, 0))
    fails(3, "vae: other.npz: shape (900, 8, 8), expected (N, 9, 7) with N > 0", "evaluate", "vae", "--data",
          tmp_path / "other.npz", *KNOWN[2:])  # fmt: skip
    VAE(image_shape=(8, 8), hidden=(4,)).save(tmp_path / "small.safetensors")
    fails(3, "other.npz: images (750, 8, 8), but the feature net was trained on (N, 9, 7): train one with `minigen fea",
          "evaluate", tmp_path / "small.safetensors", "--data", tmp_path / "other.npz", *KNOWN[2:])  # fmt: skip
    VAE(image_shape=(9, 7), hidden=(4,)).save(tmp_path / "right.safetensors")
    with np.load(place / "bars.npz") as bars:
        np.savez(tmp_path / "few.npz", images=bars["images"][:300])
    fails(3, "a figure over 128 features needs 200 samples or more and as many real ones, of which 250 training and",
          "evaluate", tmp_path / "right.safetensors", "--data", tmp_path / "few.npz", *KNOWN[2:])  # fmt: skip


def test_a_broken_run(fails, place, tmp_path):
    gan = GAN(image_shape=(9, 7), generator=(8,), discriminator=(8,), ema=0.0)
    gan.generator.layers[0].weight.data[0, 0] = np.nan
    gan.save(tmp_path / "nan.safetensors")
    fails(3, "240 of 240 samples hold NaN or infinite pixels, its weights are broken; train it anew", "evaluate",
          tmp_path / "nan.safetensors", *KNOWN, "-n", 240)  # fmt: skip
    vae = VAE(image_shape=(9, 7), hidden=(4,))
    vae.mu.weight.data[0, 0] = np.nan
    vae.save(tmp_path / "blind.safetensors")
    fails(3, "blind.safetensors: 250 of 250 images have a loss that is NaN or infinite: the weights are broken; train",
          "evaluate", tmp_path / "blind.safetensors", *KNOWN, "-n", 240)  # fmt: skip
    shutil.copytree(place / "vae", tmp_path / "damaged")
    model = tmp_path / "damaged" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-7])
    fails(4, "model.safetensors: damaged checkpoint", "evaluate", tmp_path / "damaged", *KNOWN)
    (tmp_path / "damaged" / "config.json").write_text("{")
    shutil.copy(place / "vae" / "model.safetensors", model)
    fails(4, "config.json: damaged", "evaluate", tmp_path / "damaged")


def test_what_features_refuses(fails, place, tmp_path):
    np.savez(tmp_path / "bare.npz", images=np.eye(8)[None].repeat(30, 0))
    fails(3, "bare.npz has no labels: a feature net learns from them", "features", "--data", tmp_path / "bare.npz")
    np.savez(tmp_path / "tiny.npz", images=np.eye(8)[None].repeat(11, 0), labels=np.arange(11) % 2)
    fails(3, "tiny.npz: 11 images are too few to train on", "features", "--data", tmp_path / "tiny.npz")
    np.savez(tmp_path / "gap.npz", images=np.eye(8)[None].repeat(30, 0), labels=np.arange(30) % 2 * 2)
    fails(3, "labels are 0, 2: a feature net needs two classes or more, numbered 0, 1", "features", "--data",
          tmp_path / "gap.npz")  # fmt: skip
    fails(2, "expected a name that ends in .safetensors", "features", "--data", "bars.npz", "--out", "net.npz")


@pytest.mark.parametrize("estimate, text", [
    ((0.000512, -0.00012, 0.00112), "0.00051 ±0.00062"),
    ((17.3217, 17.0, 17.5), "17.32 ±0.25"),
    ((182.07, 174, 190.3), "182.1 ±8.2"),
    ((1.0, 1.0, 1.0), "1.000 ±0.000"),
    ((12345.6, 12000, 12600), "12346 ±300"),
])
def test_a_cell_shows_two_digits_of_the_interval(estimate, text):
    assert evaluate._cell(Estimate(*estimate)) == text
    assert evaluate._cell(Estimate(0.155, 0.147, 0.163), percent=True) == "15.5% ±0.8%"


def no_network(*_):
    raise OSError("no network")


def test_mnist_needs_no_feature_net_of_ones_own(command, tmp_path, monkeypatch):
    """With the embedded sample: 2000 held-out images, the net that is shipped, a GAN that was never trained."""
    monkeypatch.setattr(evaluate, "_draw", lambda *_: None)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "no cache")
    monkeypatch.setattr(sys.modules["minigen.data.mnist"], "fetch_files", no_network)
    GAN(generator=(8,), discriminator=(8,), ema=0.0).save(tmp_path / "new.safetensors")
    code, out, err = command("evaluate", tmp_path / "new.safetensors", "-n", 400)
    assert (code, err) == (0, "") and "stands in for the full set" in out
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["feature_net"] == "mnist, shipped with minigen" and record["data"]["source"] == "sample"
    frechet = {name: part["figures"]["frechet"]["value"] for name, part in record["sets"].items()}
    assert frechet["copies"] < 10 and frechet["real"] < 10 < frechet["pixels"] and frechet["new.safetensors"] > 10
    assert record["sets"]["real"]["figures"]["inception"]["value"] > 9
