"""The loop: what it computes, writes and refuses."""

import io
import json
import os

import numpy as np
import pytest
from fake_model import FakeModel, pictures
from PIL import Image

from minigen import checkpoint
from minigen.data import Dataset, Loader
from minigen.errors import CheckpointError, DataError, DivergedError, OutputError, UsageError
from minigen.models import GAN, VAE, load
from minigen.training import History, PlainReporter, RunFolder, Silent, StepReport, train
from minigen.training.artifacts import SAMPLES, _read_grid


class Recorder(Silent):
    def __init__(self):
        self.events = []

    def begin(self, plan):
        self.plan = plan
        self.events.append("begin")

    def step(self, done):
        self.events.append(done)

    def epoch(self, row):
        self.events.append(row)

    def end(self):
        self.events.append("end")


def test_history_holds_the_means_over_the_images_of_each_epoch():
    reporter, model, twin = Recorder(), FakeModel(), FakeModel()
    history = train(model, pictures(), epochs=2, batch_size=16, seed=1, test_images=pictures(20), report=reporter)
    losses = [
        (len(batch), twin.train_step(pictures()[batch])["loss"])
        for epoch in range(2)
        for batch in Loader(50, 16, seed=1).epoch(epoch)
    ]
    assert [count for count, _ in losses] == [16, 16, 16, 2] * 2
    for epoch in range(2):
        part = losses[4 * epoch : 4 * epoch + 4]
        assert history["loss"][epoch] == pytest.approx(sum(n * loss for n, loss in part) / 50, rel=1e-12)
    assert history.columns == ["epoch", "step", "loss", "size", "test_loss", "images_per_second", "seconds"]
    assert list(history.curves) == ["loss", "size", "test_loss"]
    assert history["step"] == [4, 8] and len(history) == 2
    assert history["test_loss"][-1] == model.evaluate(pictures(20))["loss"]
    with pytest.raises(UsageError, match="no column 'los': it has epoch, step, loss"):
        history["los"]
    steps = [event for event in reporter.events if isinstance(event, StepReport)]
    assert [s.step for s in steps] == list(range(1, 9)) and [s.epoch for s in steps] == [1] * 4 + [2] * 4
    assert steps[3].losses["loss"] == history["loss"][0]
    assert reporter.events[0] == "begin" and reporter.events[-1] == "end"
    assert (reporter.plan.steps, reporter.plan.batches, reporter.plan.out) == (8, 4, None)


def test_evaluation_and_pictures_do_not_change_the_training(tmp_path):
    plain, watched = FakeModel(), FakeModel()
    train(plain, pictures(), epochs=2, batch_size=16)
    train(watched, pictures(), epochs=2, batch_size=16, test_images=pictures(9), out=tmp_path / "run")
    assert plain.mean.tobytes() == watched.mean.tobytes()


def test_what_a_run_leaves_on_disk(tmp_path):
    labels = np.arange(20, dtype=np.uint8) % 10
    vae = VAE(image_shape=(4, 4), latent=2, hidden=(5,))
    train(vae, pictures(), epochs=2, batch_size=16, out=tmp_path, test_images=pictures(20), test_labels=labels)
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert names == [
        "config.json", "history.csv", "latent.png", "losses.png", "manifold.png", "model.safetensors",
        "reconstructions.png", "samples.gif", "samples.png", "samples/epoch_0000.png", "samples/epoch_0001.png",
        "samples/epoch_0002.png", "training.safetensors",
    ]  # fmt: skip
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["model"]["kind"] == "vae" and record["model"]["config"]["image_shape"] == [4, 4]
    assert record["training"] == {"epochs": 2, "batch_size": 16, "seed": 0, "compiled": False}
    data = Dataset(pictures(), None, "", "", "", "")
    assert record["data"]["sha256"] == data.sha256 and record["data"]["count"] == 50
    assert record["test_data"]["count"] == 20
    assert {"minigen", "numpy", "numba"} == record["versions"].keys()
    assert {"python", "platform", "processors", "threads", "device"} == record["machine"].keys()
    assert str(tmp_path) not in (tmp_path / "config.json").read_text()
    again = load(tmp_path / "model.safetensors")
    assert again.sample(3, seed=1).tobytes() == vae.sample(3, seed=1).tobytes()
    last = (tmp_path / "samples" / "epoch_0002.png").read_bytes()
    assert last == (tmp_path / "samples.png").read_bytes()
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames == 3


def test_a_gan_and_a_wider_latent_draw_what_they_have(tmp_path):
    gan = GAN(image_shape=(4, 4), latent=3, generator=(5,), discriminator=(5,))
    train(gan, pictures(), epochs=1, batch_size=16, out=tmp_path / "gan")
    drawn = sorted(p.name for p in (tmp_path / "gan").iterdir() if p.suffix in (".png", ".gif"))
    assert drawn == ["losses.png", "samples.gif", "samples.png"]
    vae = VAE(image_shape=(4, 4), latent=3, hidden=(5,))
    train(vae, pictures(), epochs=1, batch_size=16, out=tmp_path / "vae")
    assert (tmp_path / "vae" / "reconstructions.png").exists() and not (tmp_path / "vae" / "manifold.png").exists()


def test_the_animation_reads_back_what_was_drawn(tmp_path):
    model = FakeModel(image_shape=(4, 6))
    images = pictures().reshape(-1, 16)[:, :12].repeat(2, 1).reshape(-1, 4, 6)
    train(model, images, epochs=1, batch_size=16, seed=5, out=tmp_path)
    frame = _read_grid(tmp_path / "samples" / "epoch_0001.png", (4, 6))
    assert frame.shape == (SAMPLES, 4, 6)
    assert np.abs(frame - model.sample(SAMPLES, seed=5)).max() <= 0.5 / 255 + 1e-6


def test_a_long_run_has_a_short_animation(tmp_path):
    train(FakeModel(), pictures(8), epochs=70, batch_size=8, out=tmp_path)
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames <= 60


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((5, 16), np.uint8), r"images: shape \(5, 16\), expected \(N, 4, 4\)"),
        (np.zeros((0, 4, 4), np.uint8), r"shape \(0, 4, 4\), expected"),
        (np.zeros((5, 4, 5), np.uint8), r"shape \(5, 4, 5\), expected"),
        (np.zeros((5, 4, 4), np.int64), "elements are int64, expected uint8 or floats"),
        (np.full((5, 4, 4), np.nan), "80 values are NaN or infinite"),
        (np.where(np.eye(4) > 0, np.inf, np.zeros((5, 4, 4))), "20 values are NaN or infinite"),
        (np.full((5, 4, 4), 255.0), r"values from 255 to 255, expected \[0, 1\]; divide by 255"),
        (np.full((5, 4, 4), -0.5), "values from -0.5 to -0.5, expected"),
    ],
)
def test_garbage_is_not_trained_on(images, message, tmp_path):
    with pytest.raises(DataError, match=message):
        train(FakeModel(), images, batch_size=2, out=tmp_path / "run")
    with pytest.raises(DataError, match=message.replace("images:", "test_images:")):
        train(FakeModel(), pictures(), batch_size=2, out=tmp_path / "run", test_images=images)
    assert not (tmp_path / "run").exists()


def test_bad_arguments_are_refused_before_anything_is_written(tmp_path):
    for message, arguments in (
        ("batch size 51 is larger than the 50 items", {"batch_size": 51}),
        ("epochs = 0: expected at least 1", {"epochs": 0}),
        ("seed -1: expected", {"seed": -1}),
        ("batch_size = 5.0: expected a whole number, such as 10", {"batch_size": 5.0}),
        ("epochs = 1.5: expected a whole number", {"epochs": 1.5}),
        ("seed = 0.5: expected a whole number", {"seed": 0.5}),
        ("epochs = '3': expected a whole number", {"epochs": "3"}),
    ):
        with pytest.raises(UsageError, match=message):
            train(FakeModel(), pictures(), out=tmp_path / "run", **{"batch_size": 8, **arguments})
    with pytest.raises(DataError, match=r"test_images: 20 images with labels of shape \(3,\)"):
        train(FakeModel(), pictures(), batch_size=8, test_images=pictures(20), test_labels=np.zeros(3, np.uint8))
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers(tmp_path):
    train(FakeModel(), pictures(), epochs=np.int64(1), batch_size=np.uint8(16), seed=np.int64(0), out=tmp_path)
    training = RunFolder(tmp_path).read_record()["training"]
    assert training == {"epochs": 1, "batch_size": 16, "seed": 0, "compiled": False}


def test_floats_of_any_width_and_layout_are_trained_on():
    images = pictures() / 255
    ones = [FakeModel() for _ in range(3)]
    for model, array in zip(ones, (images, images.astype(np.float32), np.asfortranarray(images)), strict=True):
        train(model, array, epochs=1, batch_size=16)
    assert len({model.mean.tobytes() for model in ones}) == 1


def test_unwritable_output_is_found_before_training(tmp_path, monkeypatch):
    model = FakeModel()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written .*; name another folder with --out"):
        train(model, pictures(), batch_size=16, out=tmp_path / "file" / "run")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="cannot be written .Permission denied."):
        train(model, pictures(), batch_size=16, out=tmp_path / "run")
    assert model.draw == 0


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    train(FakeModel(), pictures(), epochs=1, batch_size=16, out=tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="holds a run already: resume it .--resume., name another folder"):
        train(FakeModel(), pictures(), epochs=1, batch_size=16, out=tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_folder_with_other_files_is_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    train(FakeModel(), pictures(), epochs=1, batch_size=16, out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(DivergedError) as caught:
        train(FakeModel(break_at=7), pictures(), epochs=3, batch_size=16, out=tmp_path, checkpoint_seconds=0)
    message = str(caught.value)
    assert "diverged at step 7: loss is nan; the first layer that is not finite is 'mean'" in message
    assert "smaller learning rate" in message
    arrays, _ = checkpoint.load(tmp_path / "training.safetensors")
    assert arrays["loop.counts"][1] == 6 and np.isfinite(arrays["mean"]).all()
    assert np.isfinite(checkpoint.load(tmp_path / "model.safetensors")[0]["mean"]).all()
    assert len(History.read_csv(tmp_path / "history.csv")) == 1


@pytest.mark.parametrize("step", [6, 8])
def test_weights_that_break_under_a_finite_loss_are_not_saved(tmp_path, step):
    """In the middle of an epoch and at its end, before anything is drawn from them."""
    with pytest.raises(DivergedError, match=f"diverged at step {step}: mean has NaN or infinite values"):
        train(FakeModel(rot_at=step), pictures(), epochs=3, batch_size=16, out=tmp_path, checkpoint_seconds=0)
    arrays, _ = checkpoint.load(tmp_path / "training.safetensors")
    assert arrays["loop.counts"][1] == step - 1


def small_gan(**settings):
    return GAN(image_shape=(4, 4), latent=3, generator=(5, 6), discriminator=(5, 6), **settings)


@pytest.mark.parametrize(
    "model, message",
    [
        # After each of these breaks both networks are full of NaN: only the one that broke first is named.
        (small_gan(lr_discriminator=1e19), "step 1: generator_loss is nan; .* 'discriminator.layers.2'"),
        (small_gan(lr_discriminator=1e19, batch_norm=False), "step [12]: .* 'discriminator.layers.4'"),
        (small_gan(lr=1e19, lr_discriminator=1e-4), "step 2: discriminator_loss is nan; .* 'generator.layers.3'"),
        (VAE(image_shape=(4, 4), latent=2, hidden=(5,), lr=1e20), "step 2: loss is nan; .* is 'mu'"),
        (VAE(image_shape=(4, 4), latent=2, hidden=(5,), lr=1e38), "step 2: loss is nan; .* is 'encoder.layers.0'"),
    ],
)
def test_a_real_model_that_diverges_names_the_layer_that_broke_first(model, message):
    with pytest.raises(DivergedError, match=message):
        train(model, pictures(), epochs=50, batch_size=16)


def test_the_broken_step_is_found_again_from_any_state_that_was_kept(monkeypatch):
    messages = set()
    for seconds in (0.0, 1e9):
        monkeypatch.setattr("minigen.training.diverged.SECONDS", seconds)
        model = VAE(image_shape=(4, 4), latent=2, hidden=(5,))
        steps = []

        def train_step(images, model=model, steps=steps, step=model.train_step):
            if int(model.optimizers["all"].steps) == 6:
                model.decoder.layers[2].weight.data[0, 0] = np.inf
            steps.append(None)
            return step(images)

        model.train_step = train_step
        with pytest.raises(DivergedError) as caught:
            train(model, pictures(), epochs=3, batch_size=16)
        messages.add(str(caught.value))
        assert len(steps) == (8 if seconds == 0 else 14), "the steps done again"
        assert "forward" not in vars(model.decoder.layers[2])
    assert len(messages) == 1 and "step 7" in messages.pop()


def test_a_loss_that_overflows_by_itself_says_so():
    model = FakeModel()
    model.train_step = lambda images: {"loss": float("inf")}
    with pytest.raises(DivergedError, match="step 1: loss is inf; the result of every layer is finite, so the loss"):
        train(model, pictures(), batch_size=16)


def test_a_checkpoint_is_due_by_the_clock(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(RunFolder, "save", lambda folder, model, state: saved.append(state.step))
    model = FakeModel()
    monkeypatch.setattr("minigen.training.loop.time.monotonic", lambda: float(model.draw))  # a second a step
    train(model, pictures(64), epochs=2, batch_size=2, out=tmp_path, checkpoint_seconds=20.0)
    assert saved == [20, 32, 52, 64], "20 seconds after the last one, and at the end of an epoch already after 2"


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(VAE(image_shape=(4, 4), latent=2, hidden=(5,)), pictures(), epochs=1, batch_size=16)
    assert not list(tmp_path.iterdir())


def test_plain_lines():
    stream = io.StringIO()
    train(FakeModel(), pictures(), epochs=2, batch_size=16, report=PlainReporter(stream, seconds=0))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "training fake on 50 images: 2 epochs of 4 steps with batches of 16"
    assert len(lines) == 1 + 8 + 2
    assert lines[1].startswith("epoch 1/2  step 1  loss 0.") and lines[1].endswith(" images/s")
    quiet = io.StringIO()
    train(FakeModel(), pictures(), epochs=2, batch_size=16, report=PlainReporter(quiet, seconds=1e9))
    assert len(quiet.getvalue().splitlines()) == 3


def test_history_survives_its_file(tmp_path):
    rows = [(1, 4, 0.1 + 0.2, 1e-9), (2, 8, 1e300, 3.0)]
    history = History([dict(zip(("epoch", "step", "loss", "seconds"), row, strict=True)) for row in rows])
    history.write_csv(tmp_path / "h.csv")
    written = (tmp_path / "h.csv").read_text().splitlines()
    assert written[:2] == ["epoch,step,loss,seconds", "1,4,0.30000000000000004,1e-09"]
    assert History.read_csv(tmp_path / "h.csv") == history
    assert history.until(7).rows == history.rows[:1]
    History().write_csv(tmp_path / "empty.csv")
    assert History.read_csv(tmp_path / "empty.csv").columns == []
    (tmp_path / "h.csv").write_text("epoch,step\n1,2,3\n")
    with pytest.raises(CheckpointError, match="line 2: damaged"):
        History.read_csv(tmp_path / "h.csv")
    for content, message in (
        (b"epoch,loss\n1,2\n", "columns epoch, loss, expected epoch and step among them"),
        (b"step,loss\n1,2\n", "columns step, loss, expected epoch and step"),
        (b"\xff\xfe", "damaged .'utf-8' codec"),
    ):
        (tmp_path / "h.csv").write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            History.read_csv(tmp_path / "h.csv")
    os.unlink(tmp_path / "h.csv")
    with pytest.raises(OutputError, match="cannot be read"):
        History.read_csv(tmp_path / "h.csv")


def test_damaged_pictures_of_earlier_epochs_are_left_out_of_the_animation(tmp_path):
    train(FakeModel(), pictures(), epochs=4, batch_size=16, out=tmp_path)
    samples = RunFolder(tmp_path).sample
    samples(1).write_bytes(b"garbage")
    samples(2).write_bytes(samples(2).read_bytes()[:-40])
    Image.new("RGB", (3, 3)).save(samples(3))
    train(FakeModel(), pictures(), epochs=5, batch_size=16, out=tmp_path, resume=True)
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames == 3
    for epoch in range(6):
        samples(epoch).write_bytes(b"garbage")
    train(FakeModel(), pictures(), epochs=5, batch_size=16, out=tmp_path, resume=True)
