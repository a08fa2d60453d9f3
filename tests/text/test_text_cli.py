"""The command line with text: what it says, where it writes, and one line with the right code for bad input."""

import json

import numpy as np
import pytest

from minigen.cli import main
from minigen.data import load_text, split_text
from minigen.models import VAE, load

pytestmark = pytest.mark.usefixtures("tiny")
TEXT = "She sells sea shells by the sea shore; the shells she sells are sea shells.\n" * 10


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """A folder with a text and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "shells.txt").write_text(TEXT)
    assert main(["train", "gpt", "--text", str(folder / "shells.txt"), "--context", "16", "--epochs", "1",
                 "--batch-size", "32", "--quiet", "--out", str(folder / "run")]) == 0
    return folder


def fails(capsys, code, *words):
    """The one line on stderr of a command that must fail with this code."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("minigen: error: "), captured.err
    return captured.err


def test_training_tells_samples_as_it_learns(place, capsys, tmp_path):
    out = tmp_path / "run"
    assert main(["train", "gpt", "--text", str(place / "shells.txt"), "--tokenizer", "bytes", "--vocabulary", "270",
                 "--context", "8", "--epochs", "2", "--out", str(out), "--seed", "3"]) == 0
    told = capsys.readouterr().out
    assert "760 characters" in told and "windows: 2 epochs" in told and "after epoch 2 it writes:" in told
    assert "test_bits_per_character" in told and "minigen sample" in told and "samples.txt" in told
    assert main(["info", str(out)]) == 0
    assert "gpt on shells.txt-train" in capsys.readouterr().out


def test_a_run_goes_on_with_its_tokenizer(place, capsys):
    words = ["train", "gpt", "--resume", "--out", str(place / "run"), "--epochs", "2", "--text"]
    assert main([*words, str(place / "shells.txt"), "--quiet"]) == 0
    assert "2 epochs" in capsys.readouterr().out
    (place / "other.txt").write_text("Peter Piper picked a peck of pickled peppers?\n" * 40)
    assert "not among the" in fails(capsys, 3, *words, place / "other.txt")
    (place / "near.txt").write_text(TEXT.replace("sea", "she"))
    assert "training data" in fails(capsys, 3, *words, place / "near.txt")
    assert "--text FILE" in fails(capsys, 2, *words[:-1])
    assert "--context cannot be changed" in fails(capsys, 2, *words, place / "shells.txt", "--context", "8")


def test_text_streams_or_goes_to_a_file(place, capsys, tmp_path):
    run = str(place / "run")
    words = ["sample", run, "--prompt", "She ", "--length", "30", "--temperature", "0.8", "--top-k", "5"]
    words += ["--top-p", "0.9"]
    assert main(words) == 0
    one = capsys.readouterr().out
    assert one.startswith("She ") and len(one) == len("She ") + 30 + 1
    assert main(words) == 0 and capsys.readouterr().out == one
    assert main([*words, "-n", "3"]) == 0
    several = capsys.readouterr().out
    assert several.count("----") == 2 and several.count("She ") >= 3
    assert main([*words, "--out", str(tmp_path / "x.txt")]) == 0
    assert (tmp_path / "x.txt").read_text() == one
    stop = one[12:14]
    assert main([*words, "--stop", stop]) == 0
    assert capsys.readouterr().out.split("\n", 1)[1].rstrip("\n") in one


@pytest.mark.parametrize("words, code, message", [
    (["--prompt", "xyzw"], 3, "'w', 'x', 'z': not among the"),
    (["--temperature", "-1"], 2, "temperature = -1.0"),
    (["--temperature", "nan"], 2, "temperature = nan"),
    (["--top-k", "0"], 2, "top_k = 0"),
    (["--top-p", "1.5"], 2, "top_p = 1.5"),
    (["--top-p", "0"], 2, "top_p = 0.0"),
    (["--stop", ""], 2, "stop is empty"),
    (["--length", "0"], 2, "1 to 1000000"),
    (["-n", "0"], 2, "-n"),
    (["--out", "x.png"], 2, "ends in .txt"),
])
def test_impossible_sampling_is_one_clear_line(place, capsys, words, code, message):
    assert message in fails(capsys, code, "sample", place / "run", *words)


@pytest.mark.parametrize("content, message", [
    (b"", "an empty text"), (b"\x00\x01\x02", "zero byte"), (b"\x89PNG\r\n", "not UTF-8"),
    (b"too short", "smaller --context"),
])
def test_a_bad_text_is_one_clear_line(tmp_path, capsys, content, message):
    (tmp_path / "bad.txt").write_bytes(content)
    words = "train", "gpt", "--text", tmp_path / "bad.txt", "--out", tmp_path / "run", "--quiet"
    assert message in fails(capsys, 3, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words, message", [
    (["gpt", "--data", "mnist"], "name one with --text"),
    (["vae", "--text", "austen"], "--text is for a gpt"),
    (["gan", "--context", "8"], "--context is for a gpt"),
    (["gpt", "--text", "austin"], "did you mean 'austen'?"),
    (["gpt", "--tokenizer", "words"], "no such tokenizer 'words'"),
    (["gpt", "--tokenizer", "characters", "--vocabulary", "300"], "--tokenizer bytes"),
    (["gpt", "--preset", "document"], "no preset 'document'"),
])
def test_options_that_do_not_fit_are_one_clear_line(tmp_path, capsys, words, message):
    assert message in fails(capsys, 2, "train", *words, "--out", tmp_path / "run", "--quiet")


def test_text_options_are_refused_for_images(tmp_path, capsys):
    from minigen.models import VAE

    VAE(hidden=(4,), latent=2).save(tmp_path / "vae.safetensors")
    assert "--prompt is for text" in fails(capsys, 2, "sample", tmp_path / "vae.safetensors", "--prompt", "a")


def test_a_swapped_model_is_a_checkpoint_error(place, capsys, tmp_path):
    """The weights of one run with the config, and so the tokenizer, of another."""
    from minigen import checkpoint

    arrays, metadata = checkpoint.load(place / "run" / "model.safetensors")
    metadata["config"] = metadata["config"].replace("She".lower(), "she")
    metadata["config"] = metadata["config"].replace(".;", ".;?")
    checkpoint.save(tmp_path / "swapped.safetensors", arrays, metadata)
    assert "tokens.weight" in fails(capsys, 4, "sample", tmp_path / "swapped.safetensors")


def test_evaluate_prints_the_figures_of_text_beside_those_of_held_out_text(place, capsys, tmp_path):
    words = ["evaluate", str(place / "run"), "--text", str(place / "shells.txt"), "-n", "3", "--out", str(tmp_path)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "perplexity" in told and "bits per character" in told and "held-out text" in told and "3 texts" in told
    found = json.loads((tmp_path / "evaluation.json").read_text())
    figures = found["sets"]["run"]
    assert found["samples"] == 3 and figures["ordinary_copy"] > figures["longest_copy"] >= 1  # one line, repeated
    assert 1 < figures["perplexity"] < 30 and 0 < figures["distinct_2"] <= 1 and 0 <= figures["self_bleu"] <= 1
    model = load(place / "run" / "model.safetensors")
    _, test = split_text(load_text(str(place / "shells.txt")), 16, model.tokenizer)
    assert np.log(figures["perplexity"]) == pytest.approx(model.evaluate(test.items)["loss"], rel=1e-5)


def test_what_evaluate_refuses_of_texts(place, capsys, tmp_path):
    run, text = place / "run", place / "shells.txt"
    assert "trained on shells.txt-train: say where that text is with --text FILE" in fails(capsys, 2, "evaluate", run)
    assert "--data is for images" in fails(capsys, 2, "evaluate", run, "--text", text, "--data", "mnist")
    VAE(image_shape=(4, 4), hidden=(4,)).save(tmp_path / "vae.safetensors")
    vae = tmp_path / "vae.safetensors"
    assert "evaluate them apart" in fails(capsys, 2, "evaluate", run, "--text", text, "--against", vae)
    assert "--text is for a gpt" in fails(capsys, 2, "evaluate", vae, "--text", text)
    assert "expected at least 2" in fails(capsys, 2, "evaluate", run, "--text", text, "-n", "1")
    assert "neither 'austen', 'tinyshakespeare' nor a text file" in fails(capsys, 2, "evaluate", run, "--text", "asten")
