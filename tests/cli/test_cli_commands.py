"""What every command does when all is well."""

import contextlib
import csv
import io
import json
import runpy
import shlex

import numpy as np
import pytest
from PIL import Image

from minigen.cli import main
from minigen.cli.app import COMMANDS
from minigen.cli.runs import latest_run, new_run
from minigen.data import Dataset
from minigen.models import MODELS, load


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """command("train", "vae") -> (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    return run


@pytest.fixture
def images(tmp_path):
    """A file with 40 images of 6 x 6 and labels."""
    pixels = (np.arange(40 * 36).reshape(40, 6, 6) * 37 % 251).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.arange(40) % 10)
    return tmp_path / "images.npz"


def train(command, images, *words):
    return command("train", *words, "--data", images, "--batch-size", 16)


def test_train_then_everything_else(command, images, tmp_path):
    code, out, err = train(command, images, "vae", "--preset", "document", "--epochs", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "images.npz: 40 images of 6 x 6, uint8 in 0..255, with labels 0 to 9"
    assert "training vae on 40 images: 2 epochs of 3 steps with batches of 16" in lines
    assert any(line.startswith("epoch 2/2  step 6  loss ") for line in lines)
    assert "pictures in runs/vae-document: latent.png, losses.png, manifold.png, reconstructions.png" in out
    assert lines[-3:] == [
        "  minigen sample runs/vae-document --seed 1",
        f"  minigen reconstruct runs/vae-document --data {images}",
        f"  minigen train vae --resume --out runs/vae-document --epochs 4 --data {images}",
    ]
    for line in lines[-3:]:
        assert command(*shlex.split(line)[1:])[0] == 0, line
    run = tmp_path / "runs" / "vae-document"
    assert json.loads((run / "config.json").read_text())["model"]["config"]["latent"] == 2

    code, out, _ = command("sample", "vae-document", "-n", 9, "--seed", 1)
    assert code == 0 and out == "9 samples in runs/vae-document/sample-9-seed-1.png\n"
    with Image.open(run / "sample-9-seed-1.png") as picture:
        assert picture.size == (2 * (3 * 7 + 1),) * 2
    assert command("sample", run / "model.safetensors", "-n", 3, "--out", "numbers.npy")[0] == 0
    numbers = np.load(tmp_path / "numbers.npy", allow_pickle=False)
    assert numbers.tobytes() == load(run / "model.safetensors").sample(3, seed=0).tobytes()

    assert command("sample", "vae-document", "-n", 1)[1] == "1 sample in runs/vae-document/sample-1-seed-0.png\n"
    code, out, _ = command("reconstruct", "runs/vae-document", "-n", 1, "--data", images, "--out", "one.png")
    assert code == 0 and out == "1 image of images.npz and its reconstruction in one.png\n"
    code, out, _ = command("reconstruct", "runs/vae-document", "-n", 5, "--data", images, "--out", "r.png")
    assert code == 0 and out == "5 images of images.npz and their reconstructions in r.png\n"
    assert (tmp_path / "r.png").exists()

    code, out, _ = command("info", "vae-document")
    assert code == 0
    for part in ("vae on images.npz (40 images), 4 of 4 epochs", "hidden [64, 32]", "batch_size  16", "encoder"):
        assert part in out, part
    code, out, _ = command("info", run / "model.safetensors")
    assert code == 0 and "encoder.layers.0" in out
    code, out, _ = command("info")
    assert code == 0 and out.startswith("runs/vae-document: vae on images.npz (40 images), 4 of 4 epochs  loss ")


def test_a_run_that_is_done_says_that_nothing_is_left(command, images):
    assert train(command, images, "vae", "--epochs", 1, "--out", "run")[0] == 0
    code, out, err = command("train", "vae", "--resume", "--out", "run", "--data", images)
    assert (code, err) == (0, "")
    assert "nothing left to do: 1 of 1 epochs are done; epochs = 2 goes on\n" in out
    assert "training vae" not in out and "trained vae, 1 epoch, before: loss " in out
    assert f"minigen train vae --resume --out run --epochs 2 --data {images}" in out


def test_resume_takes_the_latest_run_and_its_settings(command, images, tmp_path):
    first = ("gan", "--preset", "document", "--epochs", 1, "--seed", 7, "--lr", 0.01)
    assert train(command, images, *first)[0] == 0
    assert train(command, images, *first)[0] == 0
    runs = tmp_path / "runs"
    assert sorted(p.name for p in runs.iterdir()) == ["gan-document", "gan-document-2"]
    weights = [(p / "model.safetensors").read_bytes() for p in sorted(runs.iterdir())]
    assert weights[0] == weights[1]
    code, out, err = command("train", "gan", "--preset", "document", "--resume", "--epochs", 3, "--data", images)
    assert (code, err) == (0, "") and "training gan on 40 images from step 3: 3 epochs" in out
    with open(runs / "gan-document-2" / "history.csv", newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3"]
    config = json.loads((runs / "gan-document-2" / "config.json").read_text())
    assert config["training"] == {"epochs": 3, "batch_size": 16, "seed": 7, "compiled": True}
    assert (config["model"]["config"]["seed"], config["model"]["config"]["lr"]) == (7, 0.01)
    assert command("train", "gan", "--epochs", 3, "--data", images, "--batch-size", 16, "--out", "whole",
                   "--preset", "document", "--seed", 7, "--lr", 0.01)[0] == 0  # fmt: skip
    for name in ("model.safetensors", "samples.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (runs / "gan-document-2" / name).read_bytes()
    code, out, _ = command("train", "gan", "--resume", "--out", "whole", "--data", images)
    assert code == 0 and "nothing left to do: 3 of 3 epochs are done" in out


def test_resume_runs_the_step_as_before_or_says_what_changed(command, images, tmp_path):
    first = ("gan", "--preset", "document", "--epochs", 1, "--out", "eager", "--no-compile")
    assert train(command, images, *first)[0] == 0
    again = ("train", "gan", "--preset", "document", "--resume", "--data", images, "--out", "eager")
    code, out, _ = command(*again, "--epochs", 2)
    assert code == 0 and "note: " not in out
    code, out, _ = command(*again, "--epochs", 3, "--compile")
    assert code == 0 and "note: the run began with compiled False, goes on with True" in out


def test_quiet_prints_the_last_lines_only(command, images):
    code, out, err = train(command, images, "vae", "--epochs", 1, "--quiet", "--out", "here")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("trained vae, 1 epoch, ") and "images/s" not in out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_terminal_there_is_a_bar(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("minigen.cli.progress._REDRAW", 0.0)
    assert main(["train", "vae", "--data", str(images), "--epochs", "2", "--batch-size", "16"]) == 0
    shown = screen.getvalue()
    for part in ("training vae on 40 images, 2 epochs", "epoch 2/2", "100%", "images/s", "\x1b[", "pictures in"):
        assert part in shown, part
    assert "epoch 1  loss " in shown and "epoch 2  loss " in shown


def test_compilation_is_announced_once(capsys, monkeypatch):
    from minigen.cli.progress import announcing
    from minigen.kernels.cpu import jit
    from minigen.training import PlainReporter

    @contextlib.contextmanager
    def announce(tell):
        tell("adam")
        yield

    monkeypatch.setattr(jit, "announce_compilation", announce)
    with announcing(PlainReporter()):
        pass
    assert capsys.readouterr().out == "compiling kernels (first run only) ...\n"


def test_mnist_comes_from_where_data_dir_says(command, tmp_path, monkeypatch):
    asked, source = [], "data-dir"

    def load_mnist(split, *, data_dir=None, download=True):
        asked.append((split, data_dir, download))
        pixels = (np.arange(40 * 784).reshape(40, 28, 28) % 251).astype(np.uint8)
        return Dataset(pixels, np.arange(40, dtype=np.uint8) % 10, f"mnist-{split}", source, "", "a note")

    monkeypatch.setattr("minigen.data.load_mnist", load_mnist)
    code, out, err = command("train", "vae", "--preset", "document", "--epochs", 1, "--data-dir", "there",
                             "--batch-size", 20)  # fmt: skip
    assert (code, err) == (0, "") and out.startswith("a note\n")
    assert asked == [("train", "there", False), ("test", "there", True)]
    assert out.splitlines()[-1].endswith(" --resume --out runs/vae-document --epochs 2 --data-dir there")
    assert "trained vae, 1 epoch" in out and "test_negative_elbo" in out
    assert command("reconstruct", "vae-document")[0] == 0
    asked.clear()
    source = "sample"
    code, out, err = command("train", "vae", "--preset", "document", "--epochs", 1, "--out", "run")
    assert (code, err) == (0, "") and out.startswith("MNIST is not here yet: trying to download it ...\na note\n")
    assert asked == [("train", None, False), ("train", None, True), ("test", None, False)]


def test_a_few_images_make_one_batch_unless_it_is_asked_for_more(command, tmp_path):
    np.savez(tmp_path / "two.npz", images=np.eye(6)[None].repeat(2, 0))
    code, out, _ = command("train", "gan", "--data", "two.npz", "--epochs", 1)
    assert code == 0 and "1 epoch of 1 step with batches of 2" in out


def test_labels_that_are_of_no_use_do_not_stop_the_training(command, tmp_path):
    np.savez(tmp_path / "own.npz", images=np.eye(6)[None].repeat(2, 0), labels=np.array([0.5, 1.5]))
    code, out, _ = command("train", "vae", "--preset", "document", "--data", "own.npz", "--epochs", 1)
    assert code == 0 and "without its labels: they are float64" in out and "latent.png" not in out


@pytest.mark.parametrize("kind", MODELS)
def test_the_length_of_training_is_the_presets(kind):
    from minigen.cli.train import _schedule

    for preset, plan in MODELS[kind].TRAINING.items():
        given = {"preset": preset, "epochs": None, "batch_size": None}
        for count in (10_000, 60_000):
            epochs, batch_size = _schedule(MODELS[kind], given, count)
            assert batch_size == plan["batch_size"]
            batches = -(-count // batch_size)
            if "steps" in plan:
                assert (epochs - 1) * batches < plan["steps"] <= epochs * batches
            else:
                assert epochs == plan["epochs"]
        assert _schedule(MODELS[kind], given, 7)[1] == 7
        assert _schedule(MODELS[kind], {**given, "epochs": 2, "batch_size": 9}, 100) == (2, 9)


def test_new_and_latest_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(new_run("gan-default")) == "runs/gan-default"
    for number in ("", "-2", "-10", "-other"):
        folder = tmp_path / "runs" / f"gan-default{number}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "training.safetensors").touch()
    (tmp_path / "runs" / "gan-default-20").mkdir()
    (tmp_path / "runs" / "gan-default-20" / "config.json").write_text("{}")  # which stopped before its first checkpoint
    assert str(new_run("gan-default")) == "runs/gan-default-3"
    assert str(latest_run("gan-default")) == "runs/gan-default-10"
    (tmp_path / "runs" / "gan-default-3").mkdir()
    assert str(new_run("gan-default")) == "runs/gan-default-3", "an empty folder is free"


def test_gradcheck_prints_a_table(command):
    code, out, err = command("gradcheck", "tanh", "sign", "matmul")
    assert (code, err) == (0, "")
    header, *rows, last = out.splitlines()
    assert header.split() == ["operation", "cases", "orders", "value", "gradient"]
    assert [row.split()[0] for row in rows] == ["tanh", "sign", "matmul"]
    assert rows[0].split()[2] == "2" and rows[1].split()[2] == "-"
    assert last == "all 3 operations are right"


def test_info_without_runs_and_with_a_broken_one(command, tmp_path):
    assert command("info")[1] == "no runs under runs/ yet: begin with minigen train gan\n"
    broken = tmp_path / "runs" / "broken"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{")
    code, out, _ = command("info")
    assert code == 0 and "runs/broken: runs/broken/config.json: damaged" in out


def test_doctor_says_what_is_there_and_what_to_do(command, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_DATA", str(tmp_path / "nowhere"))
    code, out, err = command("doctor")
    assert (code, err) == (0, "")
    found = {line[7:22].strip(): line for line in out.splitlines()[:-1]}
    for subject in ("Python", "numpy", "numba", "llvmlite", "CPU", "threads", "kernel cache", "runs"):
        assert found[subject].startswith("ok"), subject
    assert found["MNIST"].startswith("to do") and "correct or unset MINIGEN_DATA" in found["MNIST"]
    assert "compiler" in found and "GPU" in found
    assert "to do: " in out.splitlines()[-1]


def test_doctor_without_a_writable_folder(command, tmp_path, monkeypatch):
    monkeypatch.setattr("minigen.cli.doctor._writable", lambda folder: False)
    monkeypatch.setattr("minigen.cli.doctor._PACKAGES", ("no-such-package",))
    out = command("doctor")[1]
    for advice in ("pip install no-such-package", "set MINIGEN_CACHE_DIR", "train with --out DIR"):
        assert advice in out


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help(command, words):
    code, out, err = command(*words, "--help")
    assert code == 0 and err == "" and "Usage: minigen" in out and "Error" not in out


def test_python_dash_m(command, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["minigen", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("minigen", run_name="__main__")
    assert caught.value.code == 0 and capsys.readouterr().out.startswith("minigen")


def test_a_model_without_a_run_is_tried_on_mnist(command, images, tmp_path):
    assert train(command, images, "vae", "--preset", "document", "--epochs", 1, "--out", "run")[0] == 0
    (tmp_path / "alone").mkdir()
    (tmp_path / "run" / "model.safetensors").rename(tmp_path / "alone" / "m.safetensors")
    code, _, err = command("reconstruct", "alone/m.safetensors", "--data-dir", tmp_path)
    assert code == 3 and "holds neither t10k-images" in err
    assert command("reconstruct", "alone/m.safetensors", "--data", images)[0] == 0
    assert (tmp_path / "alone" / "reconstructions.png").exists()


def test_version(command):
    code, out, _ = command("--version")
    assert code == 0 and out.startswith("minigen")
