"""Runs with feedback: compiled as eager, stopped and resumed as not stopped, and every action written down."""

import csv
import json

import numpy as np
import pytest
from fake_model import FakeModel, pictures
from test_training_resume import Killed, StopAt, assert_same_run

from minigen import feedback, metrics
from minigen.data import CharacterTokenizer, RawText, load_mnist, split_text
from minigen.errors import CheckpointError, UsageError
from minigen.models import GAN, GPT, VAE, load
from minigen.training import History, Interrupted, Silent, train
from minigen.training.diverged import Recall
from minigen.training.feedback import (
    AdaptiveAugmentation,
    Balance,
    Feedback,
    KeepBest,
    KLTarget,
    Log,
    OnPlateau,
    StopEarly,
    controllers_of,
)
from minigen.training.feedback.log import Entry

IMAGES = pictures()


def vae(**settings):
    return VAE(image_shape=(4, 4), latent=2, hidden=(5,), seed=3, **settings)


def gan(**settings):
    return GAN(image_shape=(4, 4), latent=3, generator=(5,), discriminator=(5,), seed=3, **settings)


def every_controller(kind):
    if kind == "vae":
        return [KLTarget(1.0, ki=0.01), OnPlateau("test_negative_elbo", patience=1), KeepBest("test_kl"),
                StopEarly("kl", patience=30)]
    return [AdaptiveAugmentation(images=500), Balance(0.6, gain=0.1), KeepBest("test_generator_loss"),
            OnPlateau("generator_loss", patience=1)]


MODELS = {"vae": vae, "gan": gan}


def run(kind, out=None, **options):
    arguments = {"epochs": 3, "batch_size": 16, "seed": 3, "checkpoint_seconds": 0.0, "test_images": pictures(20),
                 "feedback": every_controller(kind), **options}
    model = MODELS[kind]()
    return model, train(model, IMAGES, out=out, **arguments)


def entries(folder):
    with open(folder / "feedback.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of each model."""
    folders = {kind: tmp_path_factory.mktemp("whole") / kind for kind in MODELS}
    for kind, folder in folders.items():
        run(kind, folder)
    return folders


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("stops", [((1, "interrupt"), (6, "kill")), ((4, "interrupt"), (9, "kill"))])
def test_stopped_twice_and_resumed_is_bitwise_the_same(whole, tmp_path, kind, stops):
    for n, (step, how) in enumerate(stops):
        with pytest.raises((Killed, Interrupted)):
            run(kind, tmp_path / "run", resume=n > 0, report=StopAt(step, how))
    run(kind, tmp_path / "run", resume=True)
    assert_same_run(whole[kind], tmp_path / "run")
    for name in ("feedback.csv", "best.safetensors", "losses.png"):
        assert (whole[kind] / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name


@pytest.mark.parametrize("kind", MODELS)
def test_compiled_is_eager_with_every_controller(whole, tmp_path, kind):
    _, history = run(kind, tmp_path / "run", compile=True, epochs=3)
    eager = History.read_csv(whole[kind] / "history.csv")
    for ours, theirs in zip(history.rows, eager.rows, strict=True):
        for name in set(ours) - {"seconds", "images_per_second"}:
            assert ours[name] == pytest.approx(theirs[name], rel=2e-3, abs=1e-5), name
    for ours, theirs in zip(entries(tmp_path / "run"), entries(whole[kind]), strict=True):
        assert [ours[k] for k in ("step", "controller", "setting")] == [theirs[k] for k in
                                                                       ("step", "controller", "setting")]
        assert float(ours["to"]) == pytest.approx(float(theirs["to"]), rel=2e-3)


def test_a_compiled_step_uses_the_beta_of_now(tmp_path):
    """One batch an epoch: its loss is reconstruction + beta kl with the beta of the epoch before."""
    history = train(vae(), IMAGES, epochs=6, batch_size=50, out=tmp_path, compile=True,
                    feedback=[KLTarget(0.001, ki=0.5)])
    betas = [0.0, *(float(e["to"]) for e in entries(tmp_path))]
    assert betas[-1] > betas[1] > 0.01
    for row, beta in zip(history.rows, betas, strict=False):
        assert row["loss"] == pytest.approx(row["reconstruction"] + beta * row["kl"], rel=1e-6)


def test_the_learning_rates_are_products_of_what_moves_them():
    model = gan(lr=0.01, lr_discriminator=0.03)
    on = Feedback([OnPlateau("generator_loss", patience=1), Balance(0.6, gain=0.1)], model, _data(), None)
    on.after_step(1, {"real_sign": 1.0, "fake_sign": -1.0}, 10)
    for step in (2, 3):
        on.after_epoch({"epoch": step, "step": step, "generator_loss": 1.0})
    assert model.optimizers["generator"].lr == pytest.approx(0.01 * 0.5)
    assert model.optimizers["discriminator"].lr == pytest.approx(0.03 * 0.5 * (1 - 0.1 * 0.4))
    on.detach()
    assert (model.optimizers["generator"].lr, model.optimizers["discriminator"].lr) == (0.01, 0.03)


@pytest.mark.parametrize("kind", MODELS)
def test_after_the_run_the_model_has_its_own_settings(kind):
    class Fails(Silent):
        def step(self, done):
            if done.step == 6:
                raise RuntimeError

    for report in (None, Fails()):
        model, given = MODELS[kind](), every_controller(kind)
        before = {name: optimizer.lr for name, optimizer in model.optimizers.items()}
        try:
            train(model, IMAGES, epochs=3, batch_size=16, feedback=given[:2], report=report,
                  test_images=pictures(20))
        except RuntimeError:
            assert report is not None
        assert {name: optimizer.lr for name, optimizer in model.optimizers.items()} == before
        if kind == "vae":
            assert model.beta == model.config.beta == 1.0
        else:
            assert model.augmentation is None and not model.watched
        assert given == every_controller(kind), "the caller's controllers stay as they were"


def test_without_feedback_nothing_of_it_is_left(tmp_path):
    history = train(gan(), IMAGES, epochs=1, batch_size=16, out=tmp_path)
    assert "real_sign" not in history.columns
    assert not (tmp_path / "feedback.csv").exists() and not (tmp_path / "best.safetensors").exists()
    assert "feedback" not in json.loads((tmp_path / "config.json").read_text())


def test_every_action_stands_in_the_log_with_what_caused_it(whole):
    rows = entries(whole["vae"])
    assert list(rows[0]) == ["step", "controller", "measured", "value", "setting", "to"]
    steady = [row for row in rows if row["controller"] == "kl_target"]
    assert [int(row["step"]) for row in steady] == list(range(1, 13))
    again = KLTarget(1.0, ki=0.01)
    for row in steady:
        assert (row["measured"], row["setting"]) == ("kl", "beta")
        assert again.update(float(row["value"])) == float(row["to"])
    best = [row for row in rows if row["controller"] == "keep_best"]
    with open(whole["vae"] / "history.csv", newline="") as stream:
        test_kl = [float(row["test_kl"]) for row in csv.DictReader(stream)]
    lowest = [e for e, value in enumerate(test_kl, 1) if value == min(test_kl[:e])]
    assert [(int(float(row["to"])), float(row["value"])) for row in best] == [(e, test_kl[e - 1]) for e in lowest]
    rows = entries(whole["gan"])
    assert [int(r["step"]) for r in rows if r["controller"] == "adaptive_augmentation"] == [4, 8, 12]
    assert {"balance", "keep_best"} <= {row["controller"] for row in rows}


def test_the_best_model_is_that_of_its_epoch(tmp_path):
    """A learning rate that spoils the model later on: the best is an early one."""
    model = VAE(image_shape=(4, 4), latent=2, hidden=(5,), lr=0.5, seed=3)
    history = train(model, IMAGES, epochs=4, batch_size=16, out=tmp_path, test_images=pictures(20), compile=True,
                    feedback=[KeepBest("test_negative_elbo")])
    figures = history["test_negative_elbo"]
    assert int(np.argmin(figures)) < 3, "the last is the best: this tests nothing"
    best = load(tmp_path / "best.safetensors").evaluate(pictures(20))["negative_elbo"]
    assert best == pytest.approx(min(figures), rel=1e-6) and best < figures[-1]


def test_a_run_that_ended_early_is_over(tmp_path):
    class Lines(Silent):
        def __init__(self):
            self.lines = []

        def notice(self, text):
            self.lines.append(text)

    def go(epochs, **options):
        report = Lines()
        history = train(FakeModel(lr=0.0), IMAGES, epochs=epochs, batch_size=16, out=tmp_path, report=report,
                        test_images=pictures(20), feedback=[StopEarly("test_loss", patience=2)], **options)
        return history, report.lines

    history, lines = go(9)
    assert history["epoch"] == [1, 2, 3]
    assert "has not fallen below" in lines[-1] and "for 2 epochs: the run ends with epoch 3" in lines[-1]
    assert (tmp_path / "losses.png").exists() and entries(tmp_path)[-1]["controller"] == "stop_early"
    history, lines = go(20, resume=True)
    assert len(history) == 3 and "nothing is left to do" in lines[0]


def test_steps_are_done_again_under_the_settings_that_they_had():
    """What `Recall` is for: the same states, not those that today's beta would lead to."""
    model = vae()
    on = Feedback([KLTarget(0.001, ki=0.1)], model, _data(), None)
    recall = Recall(model, on)
    recall.keep(0)
    batches = [IMAGES[i:i + 10] for i in range(0, 50, 10)]
    for step, batch in enumerate(batches, 1):
        on.after_step(step, model.train_step(batch), len(batch))
    state, beta = model.training_state(), model.beta
    assert beta > 0.01
    recall.go_back(batches)
    assert model.beta == beta and len(on.log.entries) == len(batches)
    for name, array in model.training_state().items():
        np.testing.assert_array_equal(array, state[name])


def test_the_frechet_distance_of_an_epoch_is_what_its_equation_says(tmp_path):
    images, held_out = load_mnist("train", download=False).images[:64], load_mnist("test", download=False).images[:300]
    model = GAN(latent=3, generator=(8,), discriminator=(8,), seed=1)
    history = train(model, images, epochs=1, batch_size=32, out=tmp_path, test_images=held_out,
                    feedback=[KeepBest(feedback.FRECHET)])
    net = metrics.mnist_classifier()
    ours, theirs = (net.describe_images(x)[0].astype(float) for x in (model.sample(1000, seed=0), held_out))
    a, b = np.cov(ours.T), np.cov(theirs.T)
    distance = ((ours.mean(0) - theirs.mean(0)) ** 2).sum() + np.trace(a + b)
    distance -= 2 * np.sqrt(np.linalg.eigvals(a @ b).real.clip(0)).sum()
    assert history["frechet"][0] == pytest.approx(distance, rel=1e-4)
    assert (tmp_path / "best.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def _data():
    from minigen.training.checks import as_dataset

    return as_dataset(IMAGES, vae(), "images")


@pytest.mark.parametrize("model, controllers, message", [
    (gan, [KLTarget(1.0)], "KLTarget moves the beta of a vae, and a gan has none"),
    (vae, [AdaptiveAugmentation()], "AdaptiveAugmentation is for a gan's discriminator, and a vae has none"),
    (vae, [Balance()], "Balance is for the two players of a gan"),
    (FakeModel, [OnPlateau("loss")], "OnPlateau moves the learning rate of `optimizers`, and a fake has none"),
    (lambda: vae(importance_samples=2), [KLTarget(1.0)], "no term of an importance-weighted vae's loss"),
    (vae, [StopEarly("los")], "this run has no figure 'los': choose from loss, reconstruction, kl$"),
    (vae, [StopEarly("test_kl")], "no figure 'test_kl'"),
    (vae, [StopEarly("frechet")], "'frechet' needs a feature net, and minigen has one for digits of 28 x 28 alone"),
    (vae, [StopEarly("kl"), StopEarly("loss")], "two of StopEarly, expected one"),
    (vae, [KeepBest("kl")], "KeepBest keeps a file in the run folder: give out"),
    (vae, [1.0], "1.0 is no controller: choose from KLTarget, AdaptiveAugmentation"),
])
def test_what_does_not_fit_is_refused_before_the_first_step(model, controllers, message):
    made = model()
    before = made.training_state()
    with pytest.raises(UsageError, match=message):
        train(made, IMAGES, epochs=1, batch_size=16, feedback=controllers)
    for name, array in made.training_state().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_text_run_keeps_its_best_and_ends_early(tmp_path):
    text = "she sells sea shells by the sea shore; " * 40
    tokenizer = CharacterTokenizer(text)
    data, test = split_text(RawText(text, "shells", "file", "", ""), 8, tokenizer)
    model = GPT(tokenizer=tokenizer.describe(), context=8, layers=1, heads=1, width=8, lr=1e-30, warmup=1, steps=50)
    history = train(model, data, epochs=5, batch_size=16, test_images=test, out=tmp_path,
                    feedback=[KeepBest("test_loss"), StopEarly("test_loss", patience=1)])
    assert len(history) < 5 and (tmp_path / "losses.png").exists()
    best = load(tmp_path / "best.safetensors").evaluate(test.items)["loss"]
    assert best == pytest.approx(min(history["test_loss"]), rel=1e-6)
    with pytest.raises(UsageError, match="'frechet' needs a feature net"):
        Feedback([StopEarly("frechet")], model, data, test)


def test_a_gpt_keeps_its_own_schedule():
    model = GPT(context=4, layers=1, heads=1, width=4)
    with pytest.raises(UsageError, match="a gpt has a schedule of its own"):
        OnPlateau("loss").attach(model)


def test_a_run_goes_on_with_the_same_feedback_only(whole, tmp_path):
    run("vae", tmp_path / "run", epochs=1)
    with pytest.raises(UsageError, match=r"the feedback \[\(controller kl_target, target .*\)\], this call has none"):
        run("vae", tmp_path / "run", resume=True, feedback=[])
    record = json.loads((tmp_path / "run" / "config.json").read_text())["feedback"]
    run("vae", tmp_path / "run", resume=True, feedback=controllers_of(record))
    assert (tmp_path / "run" / "feedback.csv").read_bytes() == (whole["vae"] / "feedback.csv").read_bytes()
    for damaged in ([{"controller": "kl"}], [{}], [{"controller": "kl_target", "target": -1}], 5, [1]):
        with pytest.raises(CheckpointError, match="describes no feedback"):
            controllers_of(damaged)


def test_a_log_is_cut_where_the_run_goes_on_and_refused_where_it_is_damaged(tmp_path):
    path = tmp_path / "feedback.csv"
    log = Log([Entry(1, "a", "kl", 0.1 + 0.2, "beta", 1e-9), Entry(2, "a", "kl", 1.0, "beta", 2.0)])
    log.append_to(path)
    first = path.read_bytes()
    log.append_to(path)
    assert path.read_bytes() == first
    log.entries.append(Entry(3, "b", "x", 1.0, "y", 2.0))
    log.append_to(path)
    assert path.read_bytes() == first + b"3,b,x,1.0,y,2.0\n"
    path.write_bytes(path.read_bytes() + b"4,b,x,1")  # a crash
    assert Log.resumed(path, 2).entries == log.entries[:2] and path.read_bytes() == first
    for damaged in (b"", b"step\n1\n", first + b"three,a,kl,1.0,beta,2.0\n", first + b"3,a\n", b"\xff\n"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"feedback.csv: damaged .*; restore it, or train anew"):
            Log.resumed(path, 2)
    path.unlink()
    with pytest.raises(CheckpointError, match="feedback.csv: damaged"):
        Log.resumed(path, 2)
