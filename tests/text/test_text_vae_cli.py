"""The command line of the text VAE: what it says and writes, and one line with the right code for bad input."""

import json

import numpy as np
import pytest

from minigen.cli import main
from minigen.data import load_text, split_sentences
from minigen.models import GPT, VAE, load

pytestmark = pytest.mark.usefixtures("tiny")
WORDS = "the sea shells she sells by shore are sure and I know".split()
rng = np.random.default_rng(0)
LINES = [" ".join(rng.choice(WORDS, rng.integers(3, 6))) + "." for _ in range(60)]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """A folder with a text and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("sentences")
    (folder / "shells.txt").write_text("\n\n".join(LINES))
    words = ["train", "text-vae", "--text", str(folder / "shells.txt"), "--tokenizer", "characters", "--epochs", "2"]
    assert main([*words, "--context", "30", "--batch-size", "50", "--out", str(folder / "run")]) == 0
    return folder


def fails(capsys, code, *words):
    """The one line on stderr of a command that must fail with this code."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("minigen: error: "), captured.err
    return captured.err


def test_training_tells_what_it_makes_and_whether_z_is_used(place, capsys):
    words = ["train", "text-vae", "--text", str(place / "shells.txt"), "--resume", "--out", str(place / "run")]
    assert main([*words, "--epochs", "3"]) == 0
    told = capsys.readouterr().out
    for part in ("sentences from step", "after epoch 3:", "samples", "  -> ", "from '", "test_without_z",
                 "latent units active", "minigen interpolate", "minigen reconstruct", "interpolations.txt"):
        assert part in told
    assert "the posterior has collapsed" in told or "no collapse" in told
    assert main(["info", str(place / "run")]) == 0
    assert "text-vae on shells.txt-train" in capsys.readouterr().out
    for option in (["--anneal", "3"], ["--free", "1"], ["--word-dropout", "0"], ["--context", "9"]):
        assert f"{option[0]} cannot be changed" in fails(capsys, 2, *words, *option)
    assert "say where that text is with --text FILE" in fails(capsys, 2, *words[:2], *words[4:])


def test_the_remedies_can_be_chosen(place, tmp_path):
    words = ["train", "text-vae", "--text", str(place / "shells.txt"), "--tokenizer", "characters", "--epochs", "1"]
    words += ["--context", "20", "--quiet"]
    assert main([*words, "--anneal", "7", "--free", "0.1", "--word-dropout", "0.5", "--out", str(tmp_path / "a")]) == 0
    config = load(tmp_path / "a" / "model.safetensors").config
    assert (config.anneal, config.free, config.word_dropout, config.context) == (7, 0.1, 0.5, 20)
    assert main([*words, "--preset", "plain", "--out", str(tmp_path / "b")]) == 0
    config = load(tmp_path / "b" / "model.safetensors").config
    assert (config.anneal, config.free, config.word_dropout) == (0, 0.0, 0.0)


def test_samples_reconstructions_and_interpolations_are_printed(place, capsys, tmp_path):
    run, model = str(place / "run"), load(place / "run" / "model.safetensors")
    capsys.readouterr()
    assert main(["sample", run, "--seed", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == model.sample(10, seed=4)
    assert main(["sample", run, "-n", "3", "--temperature", "0.7", "--top-p", "0.9"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    text = place / "shells.txt"
    assert main(["reconstruct", run, "--text", str(text), "-n", "4"]) == 0
    told = capsys.readouterr().out
    _, test = split_sentences(load_text(str(text)), 30, model.tokenizer)
    shown = test.texts[::max(1, len(test) // 4)][:4]
    pairs = zip(shown, model.reconstruct(shown), strict=True)
    assert told == "".join(f"{a}\n  -> {b}\n" for a, b in pairs)
    assert main(["reconstruct", run, "--text", str(text), "-n", "4", "--out", str(tmp_path / "r.txt")]) == 0
    assert (tmp_path / "r.txt").read_text() == told
    capsys.readouterr()
    assert main(["interpolate", run, "the sea are.", "she sells shells.", "-n", "5"]) == 0
    assert capsys.readouterr().out.splitlines() == model.interpolate("the sea are.", "she sells shells.", 5)


def test_bad_input_is_one_clear_line(place, capsys, tmp_path):
    run, good = place / "run", "the sea."
    assert "empty sentence" in fails(capsys, 3, "interpolate", run, good, "")
    assert "empty sentence" in fails(capsys, 3, "interpolate", run, "  ", good)
    assert "'Q', 'z': not among" in fails(capsys, 3, "interpolate", run, good, "Qz sea.")
    assert "at most 30" in fails(capsys, 3, "interpolate", run, good, "the sea " * 9)
    assert "from 2 to 1000" in fails(capsys, 2, "interpolate", run, good, good, "-n", "1")
    assert "missing argument" in fails(capsys, 2, "interpolate", run, good)
    assert "no such run" in fails(capsys, 4, "interpolate", tmp_path / "nothing", good, good)
    GPT(context=4, layers=1, heads=1, width=4).save(tmp_path / "gpt.safetensors")
    VAE(image_shape=(4, 4), hidden=(4,)).save(tmp_path / "vae.safetensors")
    for kind in ("gpt", "vae"):
        file = tmp_path / f"{kind}.safetensors"
        assert f"is a {kind}, and sentences are" in fails(capsys, 2, "interpolate", file, good, good)
    vae = tmp_path / "vae.safetensors"
    assert "--text is for a text-vae" in fails(capsys, 2, "reconstruct", vae, "--text", "austen")
    assert "has no encoder" in fails(capsys, 2, "reconstruct", tmp_path / "gpt.safetensors")
    assert "--data is for images" in fails(capsys, 2, "reconstruct", run, "--data", "mnist")
    assert "--text FILE" in fails(capsys, 2, "reconstruct", run)
    assert "ends in .txt" in fails(capsys, 2, "sample", run, "--out", tmp_path / "x.png")
    assert "--prompt is for a gpt" in fails(capsys, 2, "sample", run, "--prompt", "a")
    assert "temperature = -1.0" in fails(capsys, 2, "sample", run, "--temperature", "-1")


@pytest.mark.parametrize("words, code, message", [
    (["text-vae", "--data", "mnist"], 2, "name one with --text"),
    (["gpt", "--free", "1"], 2, "--free is for a text-vae"),
    (["vae", "--word-dropout", "0.1"], 2, "--word-dropout is for a text-vae"),
    (["text-vae", "--preset", "nanogpt"], 2, "no preset 'nanogpt': choose from default, plain"),
    (["text-vae", "--tokenizer", "characters", "--word-dropout", "1"], 2, "word_dropout = 1.0"),
    (["text-vae", "--tokenizer", "characters", "--free", "-1"], 2, "free = -1.0"),
    (["text-vae", "--tokenizer", "characters", "--context", "2"], 3, "no sentence of 3 words"),
])
def test_options_that_do_not_fit_are_one_clear_line(tmp_path, capsys, words, code, message):
    assert message in fails(capsys, code, "train", *words, "--out", tmp_path / "run", "--quiet")


def test_evaluate_says_how_much_z_tells(place, capsys, tmp_path):
    words = ["evaluate", str(place / "run"), "--text", str(place / "shells.txt"), "-n", "5", "--out", str(tmp_path)]
    assert main(words) == 0
    told = capsys.readouterr().out
    for part in ("negative ELBO, nats per token", "bits per character", "active units", "at z = 0",
                 "of another sentence",
                 "real words, in samples", "distinct pairs", "nats per sentence", "held-out sentences, 5 samples"):
        assert part in told, part
    found = json.loads((tmp_path / "evaluation.json").read_text())
    figures = found["sets"]["run"]
    model = load(place / "run" / "model.safetensors")
    _, test = split_sentences(load_text(str(place / "shells.txt")), 30, model.tokenizer)
    plain = model.evaluate(test.rows)
    assert figures["kl"]["value"] == pytest.approx(plain["kl"], rel=1e-4)
    assert figures["without_z"]["low"] < plain["without_z"] < figures["without_z"]["high"]
    nats = figures["reconstruction"]["value"] + figures["kl"]["value"]
    assert figures["per_token"] == pytest.approx(nats / (test.rows[:, 0].mean() + 1))
    assert figures["per_character"] == pytest.approx(nats / np.mean([len(text) for text in test.texts]))
    assert figures["active_units"] == plain["active_units"] and found["samples"] == 5
    for name in ("recovered_words", "known_words", "known_words_between", "distinct_2", "self_bleu"):
        assert 0 <= figures[name] <= 1


def test_evaluate_refuses_runs_of_different_kinds(place, capsys, tmp_path):
    GPT(context=4, layers=1, heads=1, width=4).save(tmp_path / "gpt.safetensors")
    words = "evaluate", place / "run", "--text", place / "shells.txt"
    assert "different kinds (gpt, text-vae)" in fails(capsys, 2, *words, "--against", tmp_path / "gpt.safetensors")
    assert "--data is for images, but a text-vae" in fails(capsys, 2, *words, "--data", "mnist")
