"""Whatever goes wrong: one line that says what came, what was expected and what to do; the right exit code."""

import functools
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minigen.cli import failure, main
from minigen.data.mnist import SAMPLE_FOLDER
from minigen.errors import MinigenError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fails(tmp_path, monkeypatch, capsys):
    """fails(code, "part of the message", "train", ...): runs in an empty folder, checks the shape of the answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)
    monkeypatch.delenv("MINIGEN_DATA", raising=False)

    def run(code, message, *words):
        capsys.readouterr()
        came = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert came == code, captured.err
        lines = captured.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("minigen: error: "), captured.err
        assert message in lines[0], lines[0]
        assert "Traceback" not in captured.err + captured.out

    return run


def data_file(folder, name="images.npz", **arrays):
    pixels = (np.arange(40 * 36).reshape(40, 6, 6) * 37 % 251).astype(np.uint8)
    np.savez(folder / name, **(arrays or {"images": pixels}))
    return folder / name


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A VAE trained on images.npz, in the folder `run`."""
    monkeypatch.chdir(tmp_path)
    words = ("train", "vae", "--data", data_file(tmp_path), "--epochs", 1, "--batch-size", 16, "--out", "run")
    assert main([str(word) for word in words]) == 0
    return tmp_path / "run"


@pytest.mark.parametrize(
    "words, message",
    [
        ("trian gan", "no such command 'trian'; did you mean 'train'?"),
        ("xyzzy", "no such command 'xyzzy' (minigen --help"),
        ("train gam", "no such model 'gam': choose from gan, vae, gpt, text-vae; did you mean 'gan'?"),
        ("train", "missing argument '{gan,vae,gpt,text-vae}' (minigen train --help"),
        ("train gan --preset documnt", "a gan has no preset 'documnt': choose from default, document; did you mean"),
        ("train gan --preset nanogpt", "a gan has no preset 'nanogpt': choose from default, document"),
        ("train gan --epohcs 3", "no such option --epohcs; did you mean '--epochs'?"),
        ("train gan --device cup", "no such device 'cup': choose from cpu, gpu; did you mean 'cpu'?"),
        ("train gan --epochs three", "invalid value for '--epochs': 'three' is not a whole number, from 1 to 1000000"),
        ("train gan --epochs 0", "'0' is not a whole number, from 1 to 1000000"),
        ("train gan --epochs 99999999999999999999", "is not a whole number, from 1 to 1000000"),
        ("train gan --batch-size -4", "'-4' is not a whole number, 1 or more"),
        ("train gan --seed -1", "'-1' is not a whole number, from 0 to 18446744073709551615"),
        ("train gan --lr fast", "invalid value for '--lr': 'fast' is not a number above 0"),
        ("train gan --lr nan", "invalid value for '--lr': 'nan' is not a number above 0"),
        ("train gan --lr 0", "invalid value for '--lr': '0' is not a number above 0"),
        ("train gan --data mnits", "mnits: neither 'mnist' nor a .npy or .npz file; did you mean 'mnist'?"),
        ("train gan --data a.npz --data-dir there", "--data-dir is where MNIST lies, but --data is a.npz"),
        ("train gan --data=", "invalid value for '--data': it is empty; name a place, or leave the option out"),
        ("train gan --data-dir=", "invalid value for '--data-dir': it is empty"),
        ("train gan --out=", "invalid value for '--out': it is empty"),
        ("sample run --out=", "invalid value for '--out': it is empty"),
        ("train gan extra", "got unexpected extra argument (extra)"),
        ("gradcheck tanh tahn", "no such operation 'tahn'; did you mean 'tanh'?"),
        ("sample", "missing argument 'RUN'"),
    ],
)
def test_usage(fails, words, message):
    fails(2, message, *words.split())


def test_usage_that_depends_on_data_and_runs(fails, run, tmp_path):
    images = tmp_path / "images.npz"
    fails(2, "invalid value for '--lr': '-1' is not a number above 0", "train", "gan", "--data", images, "--lr", -1)
    fails(2, "batch size 41 is larger than the 40 items there are: give 40 or less",
          "train", "gan", "--data", images, "--batch-size", 41)  # fmt: skip
    fails(2, "run holds a run already: resume it (--resume)", "train", "vae", "--data", images, "--out", "run")
    fails(2, "expected a name that ends in .png or .npy", "sample", "run", "--out", "a.jpg")
    fails(2, "expected a name that ends in .png", "reconstruct", "run", "--out", "a.jpg")
    where = "run was trained on images.npz: say where such images are with --data FILE"
    fails(2, where, "reconstruct", "run")
    fails(2, where, "train", "vae", "--resume", "--out", "run", "--epochs", 2)
    again = ("train", "vae", "--data", images, "--out", "run", "--resume")
    fails(2, "run was trained with batch size 16, this call has 8", *again, "--batch-size", 8)
    fails(2, "run was trained with seed 0, this call has 1", *again, "--seed", 1)
    quick = ["--data", str(images), "--epochs", "1", "--batch-size", "16"]
    main(["train", "gan", "--preset", "document", *quick, "--out", "gan"])
    fails(2, "gan is a gan, which has no encoder: try minigen sample gan", "reconstruct", "gan")


def test_a_run_that_never_began_leaves_no_folder_and_is_not_resumed(fails, run, tmp_path):
    np.save("bad.npy", np.full((40, 6, 6), np.nan, np.float32))
    fails(3, "NaN", "train", "vae", "--data", "bad.npy", "--out", "new")
    assert not Path("new").exists()
    quick = ["train", "vae", "--data", str(tmp_path / "images.npz"), "--batch-size", "16", "--set", "hidden=8"]
    assert main([*quick, "--epochs", "1"]) == 0
    Path("runs/vae-default-2").mkdir()
    shutil.copy("runs/vae-default/config.json", "runs/vae-default-2")
    fails(2, "vae-default-2 holds a run that stopped before its first checkpoint: name another folder (--out)",
          *quick, "--out", "runs/vae-default-2")  # fmt: skip
    assert main([*quick, "--epochs", "2", "--resume"]) == 0
    assert len(Path("runs/vae-default/history.csv").read_text().splitlines()) == 3


def test_closed_streams_are_no_failure(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["gradcheck", "tanh"]) == 0 and main(["gradcheck", "tahn"]) == 2


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"images": np.full((9, 6, 6), np.nan)}, "324 values are NaN or infinite"),
        ({"images": np.zeros((9, 6, 6, 3), np.uint8)}, "turn colour into grey first"),
        ({"images": np.zeros(9, np.uint8)}, "shape (9,), expected (N, H, W)"),
        ({"images": np.arange(72.0).reshape(2, 6, 6)}, "floats from 0 to 71, expected [0, 1] or [-1, 1]"),
        ({"pictures": np.zeros((9, 6, 6))}, "holds pictures; expected the images under one of"),
        ({"images": np.eye(6)[None].repeat(4, 0), "labels": np.arange(3)}, "labels of shape (3,), expected (4,)"),
    ],
)
def test_bad_images(fails, tmp_path, arrays, message):
    fails(3, message, "train", "vae", "--data", data_file(tmp_path, "bad.npz", **arrays))
    assert not any((tmp_path / "runs").rglob("*.*"))


def test_bad_image_files(fails, tmp_path):
    fails(3, "nope.npz: cannot be read (No such file or directory)", "train", "gan", "--data", "nope.npz")
    (tmp_path / "bad.npz").write_bytes(b"garbage")
    fails(3, "bad.npz: damaged", "train", "gan", "--data", "bad.npz")
    (tmp_path / "bad.txt").write_text("garbage")
    fails(3, "expected a .npy or .npz file", "train", "gan", "--data", "bad.txt")


def copy_sample(folder, change):
    folder.mkdir()
    for path in SAMPLE_FOLDER.glob("*.gz"):
        content = change(path.name, gzip.decompress(path.read_bytes()))
        if content is not None:
            (folder / path.name.removesuffix(".gz")).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda name, raw: None if "train-labels" in name else raw, "holds neither train-labels-idx1-ubyte nor"),
        (lambda name, raw: raw[:-1] if "train-images" in name else raw, "cut short"),
        (lambda name, raw: b"<!DOCTYPE html>" if "train-images" in name else raw, "not an IDX file"),
        (lambda name, raw: raw + b"!" if "train-labels" in name else raw, "goes on after"),
        (lambda name, raw: raw, "wrong hash"),
        (
            lambda name, raw: raw[:4] + (2000).to_bytes(4, "big") + raw[8:2008] if "train-labels" in name else raw,
            "were files of the training and the test set mixed?",
        ),
    ],
)
def test_bad_mnist_folders(fails, tmp_path, change, message):
    fails(3, message, "train", "gan", "--data-dir", copy_sample(tmp_path / "data", change))


def test_swapped_mnist_files(fails, tmp_path):
    folder = copy_sample(tmp_path / "data", lambda name, raw: raw)
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    images.rename(folder / "x")
    labels.rename(images)
    (folder / "x").rename(labels)
    fails(3, "looks like a labels file, expected an images file", "train", "gan", "--data-dir", folder)
    fails(3, "no such folder", "train", "gan", "--data-dir", tmp_path / "nowhere")


def test_bad_checkpoints(fails, run, tmp_path):
    fails(4, "nope: no such run; minigen info lists the runs", "sample", "nope")
    fails(4, "no run runs/gan-default to resume", "train", "gan", "--resume")
    fails(4, "no run to be found", "train", "gan", "--resume", "--out", "nope")
    fails(4, "not a minigen checkpoint", "sample", tmp_path / "images.npz")
    fails(4, "holds no run", "info", tmp_path)
    again = ("train", "vae", "--data", tmp_path / "images.npz", "--out", "run", "--resume")
    fails(4, "another architecture or setting: hidden is [400] there, [64, 32] in", *again, "--preset", "document")
    fails(4, "setting: lr is 0.001 there, 0.5 in this call", *again, "--lr", 0.5)
    fails(4, "run holds a vae, not a gan", "train", "gan", *again[2:])
    fails(4, "holds no model: its kind is 'training'", "sample", run / "training.safetensors")
    model = run / "model.safetensors"
    raw = bytearray(model.read_bytes())
    raw[-5] ^= 1
    model.write_bytes(raw)
    fails(4, "model.safetensors: damaged checkpoint", "sample", "run")
    (run / "training.safetensors").write_bytes(raw[:1000])
    fails(4, "training.safetensors: ", *again, "--epochs", 3)


@pytest.mark.parametrize(
    "part, value, message",
    [
        ("training.epochs", "many", "damaged (epochs is 'many', expected a whole number)"),
        ("training.epochs", True, "damaged (epochs is True, expected a whole number)"),
        ("training.batch_size", "8", "damaged (batch_size is '8'"),
        ("training.batch_size", 0, "damaged (batch_size is 0, expected 1 or more)"),
        ("training.seed", -5, "damaged (seed is -5, expected 0 or more)"),
        ("training.seed", None, "damaged (seed is None, expected a whole number)"),
        ("machine", [1], "damaged (machine is [1], expected names with values)"),
        ("versions", 1, "damaged (versions is 1"),
        ("test_data", 5, "damaged (test_data is 5"),
        ("test_data", True, "damaged (test_data is True"),
        ("data", {"sha256": 1}, "damaged (data lacks 'name')"),
        ("data.sha256", 1, "damaged (sha256 is 1, expected text)"),
        ("model.kind", None, "damaged (kind is None"),
        ("model.config", [], "damaged (config is [], expected names with values)"),
        ("model.config.latent", "two", "config makes no vae (latent = 'two': expected an integer)"),
        ("model.config.hidden", 5, "config makes no vae (hidden = 5"),
        ("model.config.lr", "x", "config makes no vae (lr = 'x'"),
        ("model.config.lr", None, "config makes no vae (lr = None"),
        ("model.config.seed", -1, "config makes no vae ("),
        ("model.config.colour", 3, "config makes no vae (VAE has no setting 'colour'"),
    ],
)
def test_a_damaged_record(fails, run, tmp_path, part, value, message):
    record = json.loads((run / "config.json").read_text())
    *names, last = part.split(".")
    functools.reduce(dict.__getitem__, names, record)[last] = value
    (run / "config.json").write_text(json.dumps(record))
    fails(4, message, "train", "vae", "--data", tmp_path / "images.npz", "--out", "run", "--resume", "--epochs", 2)
    if "damaged" in message:
        fails(4, message, "info", "run")
        fails(4, message, "reconstruct", "run")
    else:
        assert main(["info", "run"]) == 0


def test_a_near_name_of_a_run_is_suggested(fails, tmp_path):
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    (tmp_path / "runs" / "digits" / "config.json").write_text("{}")
    fails(4, "digist: no such run; did you mean 'digits'?", "info", "digist")
    fails(4, "config.json: damaged", "info", "digits")


def test_other_data_is_not_resumed_on(fails, run, tmp_path):
    other = data_file(tmp_path, "other.npz", images=np.eye(6)[None].repeat(20, 0))
    fails(3, "run has as its training data images.npz (40 images", "train", "vae", "--out", "run", "--resume",
          "--data", other)  # fmt: skip


def test_no_gpu(fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    fails(5, "device 'gpu' needs CuPy, which is not installed", "train", "gan", "--device", "gpu")


def test_unwritable_output_is_found_before_the_data_are_even_read(fails, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    fails(6, "cannot be written", "train", "gan", "--data", "nope.npz", "--out", "file/run")
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryFile", lambda **_: (_ for _ in ()).throw(PermissionError(13, "Denied")))
        fails(6, "runs/gan-default: cannot be written (Denied); name another folder", "train", "gan")


def test_a_picture_that_cannot_be_written(fails, run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails(6, "cannot be written", "sample", "run", "--out", "file/a.png")
    fails(6, "cannot be written", "sample", "run", "--out", "file/a.npy")


def test_a_run_that_diverges(fails, run, tmp_path):
    """NumPy's own warnings stay away, here errors as all are in the tests."""
    fails(7, "diverged at step 2: loss is nan; the first layer that is not finite is 'mu'; train anew", "train", "vae",
          "--data", tmp_path / "images.npz", "--batch-size", 16, "--lr", 1e20, "--out", "wild")  # fmt: skip


def test_a_wrong_gradient(monkeypatch, capsys):
    from minigen import op_cases, ops
    from minigen.op_cases import Case

    x = np.array([0.5, 1.5])
    table = [
        Case("tanh", lambda t: ops.tanh(t), (x,), np.tanh),
        Case("value", lambda t: ops.tanh(t), (x,), np.sinh),
        Case("shape", lambda t: ops.tanh(t), (x,), lambda x: np.tanh(x)[:1]),
        Case("slope", lambda t: t + (t - ops.tanh(t).detach()) * 0, (x,), lambda x: x),
        Case("gradient", lambda t: ops.tanh(t.detach()) + t * 0, (x,), np.tanh),
    ]
    monkeypatch.setattr(op_cases, "cases", lambda: table)
    assert main(["gradcheck"]) == 1
    captured = capsys.readouterr()
    rows = {line.split()[0]: line for line in captured.out.splitlines()}
    assert "WRONG" not in rows["tanh"] and "WRONG" not in rows["slope"]
    assert "the result is off by" in rows["value"] and "the result has shape" in rows["shape"]
    assert "order 1, input 0" in rows["gradient"]
    assert captured.err == "minigen: error: gradcheck: 3 of 5 operations are wrong: value, shape, gradient\n"


@pytest.mark.parametrize(
    "error, code, message",
    [
        (ZeroDivisionError("division by zero"), 1, "unexpected: ZeroDivisionError: division by zero; a fault of"),
        (MemoryError(), 1, "out of memory"),
        (OSError(28, "No space left on device", "a.png"), 6, "a.png: No space left on device"),
        (MinigenError("as it says"), 1, "as it says"),
    ],
)
def test_what_nobody_foresaw(capsys, monkeypatch, error, code, message):
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)
    assert failure.exit_code_of(error) == code
    err = capsys.readouterr().err
    assert err.startswith("minigen: error: ") and message in err and err.count("\n") == 1
    monkeypatch.setenv("MINIGEN_TRACEBACK", "1")
    try:
        raise error
    except Exception as caught:
        assert failure.exit_code_of(caught) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_went_away(monkeypatch):
    """Also where the last lines are still in Python's buffer when the command is done."""

    class Closed(io.StringIO):
        def flush(self):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Closed())
    assert main(["--help"]) == failure.BROKEN_PIPE
    assert failure.exit_code_of(BrokenPipeError()) == failure.BROKEN_PIPE


def test_a_bare_command_shows_the_help(capsys):
    assert main([]) in (0, 2)  # 2 from click 8.2 on
    captured = capsys.readouterr()
    assert "Usage: minigen" in captured.out + captured.err


def test_an_interrupted_run_says_how_to_go_on(capsys, run, monkeypatch):
    monkeypatch.setattr("minigen.training.interrupt.Interrupt.requested", True, raising=False)
    monkeypatch.setattr("minigen.training.interrupt.Interrupt.__init__", lambda self: setattr(self, "_before", None))
    assert main(["train", "vae", "--data", "images.npz", "--batch-size", "16", "--out", "other"]) == 130
    saved = "saved in other, go on with the same command and --resume --out other\n"
    assert capsys.readouterr().err == f"minigen: interrupted after step 1; {saved}"


def test_interruptions_without_a_run(capsys):
    assert failure.exit_code_of(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "minigen: interrupted\n"


def shell(words, folder, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}
    environment.pop("MINIGEN_TRACEBACK", None)
    return subprocess.Popen([sys.executable, "-m", "minigen", *map(str, words)], cwd=folder, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # fmt: skip


def test_as_a_process_with_ctrl_c_and_resume(tmp_path):
    """The output is no terminal here: plain lines. Ctrl-C saves and exits 130; what follows is bitwise the same."""
    import signal

    images = data_file(tmp_path)
    words = ("train", "vae", "--data", images, "--epochs", 400, "--batch-size", 4)
    process = shell((*words, "--out", "stopped"), tmp_path)
    for line in process.stdout:
        if line.startswith("epoch 3/400  step 30  loss "):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "\x1b" not in out and "Traceback" not in err
    assert err.startswith("minigen: interrupted after step ")
    assert err.endswith("; saved in stopped, go on with the same command and --resume --out stopped\n")
    done = int(err.split()[4].rstrip(";"))
    epochs = done // 10 + 2
    for out_folder, more in (("stopped", ("--resume",)), ("whole", ())):
        process = shell((*words[:4], "--epochs", epochs, *words[6:], "--out", out_folder, *more), tmp_path)
        _, err = process.communicate(timeout=240)
        assert (process.returncode, err) == (0, "")
    whole, resumed = (tmp_path / name / "model.safetensors" for name in ("whole", "stopped"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_closed_pipe_is_no_news(tmp_path):
    process = shell(("gradcheck",), tmp_path)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=120) == failure.BROKEN_PIPE


def test_help_is_quick_and_needs_no_pictures(tmp_path):
    code = "import sys, minigen.cli.app; assert not {'matplotlib', 'rich', 'PIL'} & sys.modules.keys()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment).returncode == 0
