"""A run that was stopped and resumed is bitwise the one that was not: weights, moments, history, pictures."""

import csv
import os
import signal

import numpy as np
import pytest
from fake_model import FakeModel, pictures

from minigen import checkpoint
from minigen.data import Dataset
from minigen.errors import CheckpointError, DataError, UsageError
from minigen.models import GAN, VAE
from minigen.training import Interrupted, RunFolder, Silent, interrupt, train
from minigen.training.history import TIMING

EPOCHS, BATCH = 3, 16  # 50 images: 4 batches an epoch, the last of 2


class Killed(Exception):
    """Stands for a lost power supply: nothing is saved on the way out."""


class StopAt(Silent):
    def __init__(self, step, how):
        self.at, self.how, self.notices = step, how, []

    def step(self, done):
        if done.step == self.at:
            if self.how == "kill":
                raise Killed
            signal.raise_signal(signal.SIGINT)

    def notice(self, text):
        self.notices.append(text)


def models():
    return {
        "fake": lambda: FakeModel(seed=3),
        "gan": lambda: GAN(
            image_shape=(4, 4), latent=3, generator=(5,), discriminator=(5,), batch_norm=True, dropout=0.3, seed=3
        ),
        "vae": lambda: VAE(image_shape=(4, 4), latent=2, hidden=(5,), seed=3),
    }


def run(name, out, **options):
    arguments = {"epochs": EPOCHS, "batch_size": BATCH, "seed": 3, "checkpoint_seconds": 0.0, **options}
    labels = np.arange(20, dtype=np.uint8) % 10
    return train(models()[name](), pictures(), out=out, test_images=pictures(20), test_labels=labels, **arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of each model."""
    folders = {}
    for name in models():
        folders[name] = tmp_path_factory.mktemp("whole") / name
        run(name, folders[name])
    return folders


def without_timing(path):
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


def assert_same_run(one, other):
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert without_timing(one / "history.csv") == without_timing(other / "history.csv")
    first, _ = checkpoint.load(one / "training.safetensors")
    second, _ = checkpoint.load(other / "training.safetensors")
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name
    same = [f for f in files if f.suffix in (".png", ".gif") or f.name in ("model.safetensors", "config.json")]
    assert len(same) > EPOCHS
    for file in same:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.parametrize("step", [1, 2, 4, 5, 8, 11])
@pytest.mark.parametrize("how", ["kill", "interrupt"])
def test_stopped_anywhere_and_resumed(whole, tmp_path, step, how):
    expected = 0 if (how, step) == ("kill", 1) else step - (how == "kill")
    with pytest.raises(Killed if how == "kill" else Interrupted):
        run("fake", tmp_path / "run", report=StopAt(step, how))
    if expected == 0:
        with pytest.raises(CheckpointError, match="stopped before its first checkpoint, nothing to resume"):
            run("fake", tmp_path / "run", resume=True)
        return
    saved, _ = checkpoint.load(tmp_path / "run" / "training.safetensors")
    assert saved["loop.counts"][1] == expected
    run("fake", tmp_path / "run", resume=True)
    assert_same_run(whole["fake"], tmp_path / "run")


@pytest.mark.parametrize("name", ["gan", "vae"])
def test_real_models_too_stopped_twice(whole, tmp_path, name):
    for step, how in ((3, "interrupt"), (7, "kill")):
        with pytest.raises((Killed, Interrupted)):
            run(name, tmp_path / "run", resume=step > 3, report=StopAt(step, how))
    run(name, tmp_path / "run", resume=True)
    assert_same_run(whole[name], tmp_path / "run")


def test_an_interrupted_run_says_where_and_leaves_pictures(tmp_path):
    with pytest.raises(Interrupted) as caught:
        run("vae", tmp_path / "run", report=StopAt(5, "interrupt"))
    assert caught.value.step == 5 and caught.value.out == tmp_path / "run"
    drawn = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"samples.png", "samples.gif", "losses.png", "reconstructions.png", "manifold.png", "latent.png"} <= drawn
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_interrupts_in_a_moment_are_one(tmp_path):
    class Twice(Silent):
        def step(self, done):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        run("fake", tmp_path / "run", report=Twice())
    assert RunFolder(tmp_path / "run").holds_checkpoint()


def test_only_one_process_trains_in_a_folder(whole, tmp_path):
    folder = RunFolder(tmp_path / "run")

    class Another(StopAt):
        def step(self, done):
            with pytest.raises(UsageError, match="run: another process trains in it; wait for its end"):
                run("fake", folder.path, resume=True)
            super().step(done)

    with pytest.raises(Interrupted):
        run("fake", folder.path, report=Another(7, "interrupt"))
    run("fake", folder.path, resume=True)
    assert_same_run(whole["fake"], folder.path)


def test_a_later_interrupt_stops_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(interrupt, "_TWICE", -1.0)

    class Twice(Silent):
        def step(self, done):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        run("fake", None, report=Twice())
    assert not isinstance(caught.value, Interrupted)


def test_a_run_may_be_made_longer(whole, tmp_path):
    run("fake", tmp_path / "run", epochs=1)
    history = run("fake", tmp_path / "run", resume=True)
    assert history["epoch"] == [1, 2, 3]
    assert_same_run(whole["fake"], tmp_path / "run")
    before = (tmp_path / "run" / "training.safetensors").read_bytes()
    assert len(run("fake", tmp_path / "run", resume=True)) == 3, "nothing is left to do, and that is no error"
    assert (tmp_path / "run" / "training.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match="has been trained for 3 epochs already, more than the 2 asked for"):
        run("fake", tmp_path / "run", resume=True, epochs=2)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(whole, tmp_path):
    with pytest.raises(Interrupted):
        run("fake", tmp_path / "run", report=StopAt(7, "interrupt"))
    path = tmp_path / "run" / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    reporter = StopAt(None, "")
    run("fake", tmp_path / "run", resume=True, report=reporter)
    assert "damaged checkpoint" in reporter.notices[0] and "going on from the one before it" in reporter.notices[0]
    assert_same_run(whole["fake"], tmp_path / "run")


def test_a_crash_between_history_and_checkpoint_costs_nothing(whole, tmp_path, monkeypatch):
    """The row of an epoch is on disk, the checkpoint of its end is not: the epoch's end is done again."""
    real = RunFolder.save

    def save(folder, model, state):
        if state.step == 8:
            raise Killed
        real(folder, model, state)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "save", save)
        run("fake", tmp_path / "run")
    assert len(without_timing(tmp_path / "run" / "history.csv")) == 2
    run("fake", tmp_path / "run", resume=True)
    assert_same_run(whole["fake"], tmp_path / "run")


@pytest.fixture
def stopped(tmp_path):
    with pytest.raises(Interrupted):
        run("fake", tmp_path / "run", report=StopAt(6, "interrupt"))
    return tmp_path / "run"


def go_on(out, model=None, images=None, **options):
    arguments = {"epochs": EPOCHS, "batch_size": BATCH, "seed": 3, "test_images": pictures(20), **options}
    images = pictures() if images is None else images
    return train(model or FakeModel(seed=3), images, out=out, resume=True, **arguments)


def test_a_run_is_not_continued_with_something_else(stopped):
    before = {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()}
    wide = {"image_shape": (2, 8), "seed": 3}
    for error, message, arguments in (
        (UsageError, "was trained with batch size 16, this call has 8: go on with 16", {"batch_size": 8}),
        (UsageError, "was trained with seed 3, this call has 4", {"seed": 4}),
        (CheckpointError, "another architecture or setting: seed is 3 there, 5", {"model": FakeModel(seed=5)}),
        (CheckpointError, "setting: lr is 0.1 there, 0.2", {"model": FakeModel(seed=3, lr=0.2)}),
        (CheckpointError, r"image_shape is \[4, 4\] there, \[2, 8\]",
         {"model": FakeModel(**wide), "images": pictures().reshape(-1, 2, 8), "test_images": None}),
        (CheckpointError, "holds a fake, not a vae", {"model": models()["vae"]()}),
        (DataError, r"training data images \(50 images.*this call images \(49 images", {"images": pictures(49)}),
        (DataError, "has as its test data test_images .*, this call none", {"test_images": None}),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            go_on(stopped, **arguments)
    assert {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()} == before


def test_the_same_data_under_another_name_will_do(stopped):
    go_on(stopped, images=Dataset(pictures(), None, "renamed.npz", "file", "", ""))


def test_damaged_runs_are_refused(stopped):
    folder = RunFolder(stopped)
    history = folder.history.read_text()
    folder.history.write_text(history.replace("\n1,4,", "\n1,four,"))
    with pytest.raises(CheckpointError, match="history.csv, line 2: damaged .*'four'"):
        go_on(stopped)
    folder.history.unlink()
    with pytest.raises(CheckpointError, match="0 epochs until step 6, expected 1; restore the file"):
        go_on(stopped)
    folder.history.write_text(history)
    config = folder.config.read_text()
    for damaged in ("{", "[]", "{}", config.replace('"seed": 3,', "", 1).replace('"seed": 3', '"sed": 3')):
        folder.config.write_text(damaged)
        with pytest.raises(CheckpointError, match="config.json: damaged"):
            go_on(stopped)
    folder.config.write_text(config)
    folder.training.write_bytes(folder.model.read_bytes())
    with pytest.raises(CheckpointError, match="not the state of a training run"):
        go_on(stopped)
    for path in (folder.training, checkpoint.previous_path(folder.training)):
        path.write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="neither does the one kept before it serve"):
        go_on(stopped)


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"batch_size": 8}, {"images": pictures()[::-1]}, {"model": FakeModel(lr=0.2, seed=3)}]
)
def test_the_state_of_another_run_is_refused(stopped, tmp_path, other):
    """It would fit in shape, and the run would go on to something that is neither."""
    arguments = {"model": FakeModel(seed=3), "images": pictures(), "epochs": 1, "batch_size": BATCH, "seed": 3}
    train(**{**arguments, **other}, out=tmp_path / "other")
    (tmp_path / "other" / "training.safetensors").replace(stopped / "training.safetensors")
    with pytest.raises(CheckpointError, match="training.safetensors: the state of another run than the one in config"):
        go_on(stopped)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="no run to be found, its config.json cannot be read"):
        go_on(tmp_path)
    with pytest.raises(UsageError, match="resume needs the folder"):
        go_on(None)


def test_a_change_of_surroundings_is_told(stopped):
    folder = RunFolder(stopped)
    folder.config.write_text(folder.config.read_text().replace('"numba": "', '"numba": "0.1.'))
    reporter = StopAt(None, "")
    go_on(stopped, report=reporter)
    assert len(reporter.notices) == 1 and "note: the run began with numba 0.1." in reporter.notices[0]


def test_signals_are_left_alone_outside_the_main_thread_and_where_handled(tmp_path):
    import threading

    thread = threading.Thread(target=run, args=("fake", tmp_path / "run"))
    thread.start()
    thread.join()
    assert (tmp_path / "run" / "samples.png").exists()
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        run("fake", None, report=StopAt(2, "interrupt"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
    assert os.path.exists(tmp_path / "run" / "model.safetensors")
