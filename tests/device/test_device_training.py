"""The trainer and the command line on the GPU, and how a run leaves it: interrupted, diverged, out of memory."""

from __future__ import annotations

import gc
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigen as mg
from minigen.backend import to_device
from minigen.cli import main
from minigen.errors import DivergedError, OutOfMemoryError, UsageError
from minigen.training import Interrupted

SHAPE = (6, 5)
IMAGES = np.random.default_rng(3).integers(0, 256, (40, *SHAPE)).astype(np.uint8)


def vae(**more: Any) -> Any:
    return mg.models.VAE(image_shape=SHAPE, latent=2, hidden=(16,), **more)


def gan(**more: Any) -> Any:
    return mg.models.GAN(image_shape=SHAPE, latent=3, generator=(12,), discriminator=(12,), r1_every=2, **more)


def run(model: Any, out: Path | None = None, epochs: int = 2, **more: Any) -> Any:
    return mg.train(model, IMAGES, epochs=epochs, batch_size=16, out=out, test_images=IMAGES[:10], **more)


class Notices:
    """A reporter that keeps what it is told, and stops the run at a step by Ctrl-C where asked."""

    def __init__(self, stop_at: int = 0) -> None:
        self.lines: list[str] = []
        self.stop_at = stop_at

    def begin(self, plan: Any) -> None:
        pass

    def step(self, done: Any) -> None:
        if done.step == self.stop_at:
            signal.raise_signal(signal.SIGINT)

    def epoch(self, row: Any) -> None:
        pass

    def notice(self, text: str) -> None:
        self.lines.append(text)

    def end(self) -> None:
        pass


@pytest.mark.parametrize("make", [vae, gan])
def test_the_history_is_the_cpus(gpu: str, make: Any, tmp_path: Path) -> None:
    ours, theirs = make(), make()
    a, b = run(ours, tmp_path / "a", device=gpu), run(theirs)
    assert (ours.device, theirs.device) == ("gpu", "cpu")
    for column in a.curves:
        np.testing.assert_allclose(a[column], b[column], rtol=2e-3, err_msg=column)
    record = json.loads((tmp_path / "a" / "config.json").read_text())
    assert record["machine"]["device"] == "gpu"
    assert {"samples.png", "losses.png", "model.safetensors"} <= {p.name for p in (tmp_path / "a").iterdir()}


@pytest.mark.parametrize("make", [vae, gan])
def test_a_compiled_run_has_the_same_history(gpu: str, make: Any) -> None:
    """Of batches of 16, 16 and 8, three epochs long, so that each program is recorded and replayed."""
    a, b = run(make(), epochs=3, device=gpu, compile=True), run(make(), epochs=3, device=gpu)
    for column in a.curves:
        np.testing.assert_allclose(a[column], b[column], rtol=2e-3, err_msg=column)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handling of SIGINT, which a process in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("make", [vae, gan])
def test_a_run_goes_on_bitwise_on_the_same_device(standin: Any, make: Any, tmp_path: Path) -> None:
    whole = make()
    run(whole, tmp_path / "whole", device="gpu")
    with pytest.raises(Interrupted):
        run(make(), tmp_path / "parts", device="gpu", report=Notices(stop_at=2))
    resumed, notices = make(device="gpu"), Notices()
    run(resumed, tmp_path / "parts", resume=True, report=notices)
    assert notices.lines == []
    for name, array in resumed.training_state().items():
        np.testing.assert_array_equal(array, whole.training_state()[name], err_msg=name)


@pytest.mark.parametrize("there, here", [("gpu", "cpu"), ("cpu", "gpu")])
def test_a_run_goes_on_on_the_other_device(gpu: str, there: str, here: str, tmp_path: Path) -> None:
    run(vae(), tmp_path, epochs=1, device=there)
    resumed, notices = vae(), Notices()
    history = run(resumed, tmp_path, resume=True, device=here, report=notices)
    assert resumed.device == here and len(history) == 2
    assert notices.lines == [f"note: the run began with device {there}, goes on with {here}: it continues, but need "
                             "not be bitwise what it would have been"]
    np.testing.assert_allclose(history["loss"], run(vae())["loss"], rtol=2e-3)


def test_in_training_only_batches_go_up(standin: Any) -> None:
    model = vae(device="gpu")
    standin.log.clear()
    mg.train(model, IMAGES, epochs=1, batch_size=16)
    assert standin.log.up == [16 * 30, 16 * 30, 8 * 30]
    # What comes down is the state: one that is kept for a run that breaks, one that is checked at the epoch's end.
    tensors = 3 * len(model.parameters())
    assert len(standin.log.down) == 2 * tensors


def test_a_run_that_diverges_says_where(gpu: str) -> None:
    with pytest.raises(DivergedError, match="diverged at step 2: loss is nan; the first layer that is not finite is"):
        run(vae(lr=1e20), device=gpu)


def test_a_model_of_ones_own_must_be_able_to_move(standin: Any) -> None:
    class Plain:
        kind = "plain"
        config = type("Config", (), {"image_shape": SHAPE})()

    with pytest.raises(UsageError, match=r"device = 'gpu': a plain has no method `to\(device\)`"):
        mg.train(Plain(), IMAGES, device="gpu", batch_size=16)  # type: ignore[arg-type]


# Memory ----------------------------------------------------------------------------------------------------------


def limit(standin: Any, monkeypatch: Any, size: int) -> None:
    """So many bytes are left beside what is in use."""
    gc.collect()
    standin.memory.free_all_blocks()
    monkeypatch.setattr(standin.memory, "limit", standin.memory.used + size)


def need(standin: Any, make: Any, images: int) -> int:
    """The bytes that a step with so many images needs at its peak, beside what the model keeps."""
    model = make(device="gpu")
    gc.collect()
    standin.memory.peak = before = standin.memory.used
    model.train_step(IMAGES[:images])
    return int(standin.memory.peak - before)


@pytest.mark.parametrize("make", [vae, gan])
def test_out_of_memory_at_once(standin: Any, make: Any, monkeypatch: Any, tmp_path: Path) -> None:
    little, much = need(standin, make, 8), need(standin, make, 16)
    assert little < much
    model = make(device="gpu")
    start = model.training_state()
    # a hundred samples need more than a step
    monkeypatch.setattr("minigen.training.artifacts.draw_epoch", lambda *_: None)
    limit(standin, monkeypatch, (little + much) // 2)
    with pytest.raises(OutOfMemoryError, match=(
        r"^step 1: .* needs more than the 0 MiB that are free of the gpu's 0 MiB: .*; batches of 16 do not fit, 8 fit: "
        r"train with --batch-size 8; .*run is saved and can go on, with --resume --device cpu or when memory is free$"
    )):
        run(model, tmp_path / "run")
    for name, array in model.training_state().items():
        np.testing.assert_array_equal(array, start[name], err_msg=name)
    monkeypatch.setattr(standin.memory, "limit", 2**62)
    again, whole = make(device="gpu"), make(device="gpu")
    run(again, tmp_path / "run", resume=True)
    run(whole)
    for name, array in again.training_state().items():
        np.testing.assert_array_equal(array, whole.training_state()[name], err_msg=name)


def test_out_of_memory_later_saves_the_step_before(standin: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """Another process takes memory during the run: the fourth step fails half-way, the discriminator's update done."""
    model, whole = gan(device="gpu"), gan(device="gpu")
    run(whole)
    steps = 0

    def step(images: np.ndarray, original: Any = model.train_step) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            update = model._update

            def last(player: str, loss: Any) -> None:
                update(player, loss)
                model._update = update
                raise OutOfMemoryError("no more")

            model._update = last
        return original(images)

    monkeypatch.setattr(model, "train_step", step)
    with pytest.raises(OutOfMemoryError, match="^step 4: no more; batches of 16 do not fit, 8 fit: "):
        run(model, tmp_path / "run")
    again = gan(device="gpu")
    run(again, tmp_path / "run", resume=True)
    for name, array in again.training_state().items():
        np.testing.assert_array_equal(array, whole.training_state()[name], err_msg=name)


def test_out_of_memory_for_a_single_image(standin: Any, monkeypatch: Any) -> None:
    model = vae(device="gpu")
    limit(standin, monkeypatch, 2500)
    with pytest.raises(OutOfMemoryError, match="do not fit, nor does a single image: take a smaller model$"):
        run(model)


def test_out_of_memory_for_the_state_itself(standin: Any, monkeypatch: Any) -> None:
    model = vae(device="gpu")
    limit(standin, monkeypatch, 40)
    with pytest.raises(OutOfMemoryError, match="^step 1: a copy to the gpu .*; the last checkpoint stays as it was$"):
        run(model)


# The command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """command("train", ...) -> (exit code, stdout, stderr), in a folder with images.npy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)
    np.save("images.npy", IMAGES)

    def run(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(line.split())
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    return run


def test_a_run_from_the_command_line(gpu: str, command: Any, tmp_path: Path) -> None:
    words = "train vae --preset document --data images.npy --batch-size 16 --out run"
    code, out, err = command(f"{words} --epochs 1 --device gpu")
    assert (code, err) == (0, "")
    assert "  minigen train vae --resume --out run --epochs 2 --data images.npy --device gpu" in out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["machine"]["device"] == "gpu"
    code, out, err = command(f"{words} --epochs 2 --resume --device cpu")
    assert (code, err) == (0, "") and "note: the run began with device gpu, goes on with cpu" in out
    for device in ("gpu", "cpu"):
        assert command(f"sample run -n 4 --out {device}.npy --device {device}")[0] == 0
    np.testing.assert_allclose(np.load("gpu.npy"), np.load("cpu.npy"), atol=1e-5)
    assert command("reconstruct run --data images.npy --device gpu")[0] == 0


def test_a_run_is_evaluated_from_the_command_line(gpu: str, command: Any) -> None:
    labels = np.arange(1200) % 3
    images = np.random.default_rng(5).integers(0, 100, (1200, *SHAPE)).astype(np.uint8)
    for row in range(3):
        images[labels == row, 2 * row:2 * row + 2] += 140
    np.savez("bars.npz", images=images, labels=labels)
    learned = [command(f"features --data bars.npz --epochs 1 --device {device} --out {device}.safetensors")
               for device in (gpu, "cpu")]
    assert [code for code, _, _ in learned] == [0, 0]
    accuracies = [re.search(r"accuracy ([0-9.]+)", out).group(1) for _, out, _ in learned]
    assert float(accuracies[0]) == pytest.approx(float(accuracies[1]), abs=0.02)
    assert command("train vae --preset document --data bars.npz --epochs 1 --out run")[0] == 0
    found = {}
    for device in (gpu, "cpu"):
        words = f"evaluate run -n 200 --data bars.npz --features {device}.safetensors --device {device}"
        code, _, err = command(words)
        assert (code, err) == (0, "")
        found[device] = json.loads(Path("run/evaluation.json").read_text())["vae"]["run"]
    assert found[gpu]["bound"]["value"] == pytest.approx(found["cpu"]["bound"]["value"], rel=1e-4)


def test_gradcheck_and_doctor(gpu: str, command: Any) -> None:
    code, out, err = command("gradcheck gate take --device gpu")
    assert (code, err) == (0, "") and out.endswith("all 2 operations are right\n")
    code, out, _ = command("doctor")
    assert code == 0 and "\nok     GPU            " in out and "CuPy" in out


def test_out_of_memory_is_exit_code_5_and_one_line(standin: Any, command: Any, monkeypatch: Any) -> None:
    limit(standin, monkeypatch, 60_000)
    code, _, err = command("train gan --data images.npy --batch-size 16 --device gpu --out run")
    assert code == 5 and err.count("\n") == 1
    assert err.startswith("minigen: error: ") and "needs more than the" in err


def test_arrays_of_the_device_have_a_host_copy_only_on_purpose(gpu: str) -> None:
    assert type(to_device(vae(device=gpu).mu.weight.data, "cpu")) is np.ndarray


def test_controllers_move_the_same_settings_on_the_gpu(gpu: str) -> None:
    """Augmented images, signs, learning rates and beta: the CPU's numbers."""
    images = np.random.default_rng(3).integers(0, 256, (24, 6, 6)).astype(np.uint8)
    for make, controllers in (
        (lambda: mg.models.GAN(image_shape=(6, 6), latent=3, generator=(5,), discriminator=(5,), seed=1),
         [mg.feedback.AdaptiveAugmentation(target=-0.9, images=100, every=1), mg.feedback.Balance(0.55, gain=0.3)]),
        (lambda: mg.models.VAE(image_shape=(6, 6), latent=2, hidden=(5,), seed=1),
         [mg.feedback.KLTarget(0.01, ki=0.5)]),
    ):
        ours, theirs = (mg.train(make(), images, epochs=2, batch_size=8, device=device, feedback=controllers).rows
                        for device in (gpu, "cpu"))
        for a, b in zip(ours, theirs, strict=True):
            for name in set(a) - {"seconds", "images_per_second"}:
                assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-4), name
