"""minigen train: from images to a run folder."""

from __future__ import annotations

import contextlib
import math
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import sentences, texts
from .augment import augment_option, pipeline_of, steps
from .feedback import controllers, feedback_options
from .options import (
    MNIST,
    Place,
    Positive,
    Whole,
    data_options,
    device_option,
    load_split,
    seed_option,
    source_of_run,
    text_options,
)
from .runs import latest_run, new_run
from .settings import changes, set_option
from .suggest import Name, did_you_mean

if TYPE_CHECKING:
    from ..data import Dataset
    from ..training import History, Trainable
    from ..training.checks import Data

__all__ = ["command"]


def _kinds() -> list[str]:
    from ..models import MODELS

    return list(MODELS)


@click.command("train")
@click.argument("kind", type=Name("model", _kinds), metavar="{gan,vae,gpt,text-vae}")
@click.option("--preset", metavar="NAME", help="Of gan and vae: document, the text's networks. Of gpt: nanogpt, of "
              "text-vae: plain. [default: default]")
@click.option("--epochs", type=Whole(1, 1_000_000), metavar="N", help="Passes over the data. [default: the preset's]")
@click.option("--batch-size", type=Whole(1), metavar="N",
              help="Images, windows or sentences a step. [default: the preset's]")
@seed_option(None, "weights, order and noise. [default: 0]")
@click.option("--lr", type=Positive(), metavar="F", help="Learning rate of Adam. [default: the preset's]")
@set_option
@data_options(None)
@augment_option
@text_options
@feedback_options
@click.option("--out", type=Place(Path), metavar="DIR", help="Run folder. [default: runs/KIND-PRESET]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or the latest of that name.")
@device_option
@click.option("--compile/--no-compile", "compiled", default=None,
              help="Run the step as a compiled program, or as it is written. [default: compile on the cpu]")
@click.option("--doctor/--no-doctor", default=True, help="gan: say what goes wrong, and since when. [default: doctor]")
@click.option("--quiet", is_flag=True, help="Print nothing but the last lines.")
def command(kind: str, out: Path | None, resume: bool, device: str, quiet: bool, **given: Any) -> None:
    """Train a GAN or a VAE on images, a GPT or a VAE on text, and show what it learned.

    Ctrl-C stops after the step and saves; the same command with --resume goes on, to the same result.
    """
    from ..backend import require_device
    from ..data import Pipeline
    from ..training import RunFolder, train
    from ..training.feedback import controllers_of
    from .progress import announcing, make_reporter

    require_device(device)
    _require_preset(kind, given["preset"])
    texts.require_fit(kind, given)
    feedback = controllers(given)
    augment = steps(given["augment"]) if given["augment"] is not None else []
    pipeline = None
    name = f"{kind}-{given['preset'] or 'default'}"
    if resume:
        out = out or latest_run(name)
        record = RunFolder(out).read_record()
        given = _as_before(record, kind, out, given)
        feedback = feedback or controllers_of(record.get("feedback", []))
        pipeline = pipeline_of(record, str(out / "config.json"))
    if augment:
        pipeline = Pipeline(*augment, seed=given["seed"] or 0)
    out = out or new_run(name)
    reporter = make_reporter(quiet)
    with _not_left_empty(out), announcing(reporter):
        if not resume:
            RunFolder(out).require_free()
        data, test = texts.load(kind, given, reporter) if kind in texts.KINDS else _load(given, reporter)
        model = _build(kind, given, data)
        epochs, batch_size = _schedule(model, given, len(data))
        start = time.monotonic()
        history = train(
            model,
            data,
            epochs=epochs,
            batch_size=batch_size,
            seed=given["seed"] or 0,
            out=out,
            test_images=test,
            pipeline=pipeline,
            resume=resume,
            report=reporter,
            compile=device == "cpu" if given["compiled"] is None else given["compiled"],
            doctor=given["doctor"],
            device=device,
            feedback=feedback,
        )
    _conclude(model, out, history, time.monotonic() - start)
    _suggest(kind, out, epochs, given, device)


def _require_preset(kind: str, name: str | None) -> None:
    from ..models import MODELS

    known = MODELS[kind].PRESETS
    if name is not None and name not in known:
        raise UsageError(f"a {kind} has no preset {name!r}: choose from {', '.join(known)}{did_you_mean(name, known)}")


@contextlib.contextmanager
def _not_left_empty(folder: Path) -> Iterator[None]:
    """A folder that was made for a run which never began goes again."""
    was_there = folder.exists()
    try:
        yield
    finally:
        if not was_there:
            with contextlib.suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()


def _as_before(record: dict[str, Any], kind: str, out: Path, given: dict[str, Any]) -> dict[str, Any]:
    """For a resumed run, what was not said this time is as it was."""
    from ..models import rebuild
    from ..training.record import require_same_kind

    require_same_kind(record, kind, str(out))
    rebuild(kind, record["model"]["config"], str(out / "config.json"))
    training = record["training"]
    before: dict[str, Any] = {name: training[name] for name in ("epochs", "batch_size", "seed")}
    before["compiled"] = training.get("compiled")
    before["lr"] = record["model"]["config"].get("lr")
    if kind in texts.KINDS:
        before.update(texts.as_before(record, given))
    else:
        before["data"] = given["data"] or source_of_run(out)
    if given["preset"] is None:
        before["settings"] = record["model"]["config"]
    return {**before, **{name: value for name, value in given.items() if value is not None or name not in before}}


def _load(given: dict[str, Any], reporter: Any) -> tuple[Dataset, Dataset | None]:
    source = given["data"] or MNIST
    data = load_split(source, given["data_dir"], "train", download=False)
    assert data is not None  # only a test split can be missing
    if data.is_sample:
        reporter.notice("MNIST is not here yet: trying to download it ...")
        data = load_split(source, given["data_dir"], "train")
        assert data is not None
    reporter.notice(data.note)
    # Where the download failed it is not tried again: both splits come from the sample.
    return data, load_split(source, given["data_dir"], "test", download=not data.is_sample)


def _build(kind: str, given: dict[str, Any], data: Data) -> Trainable:
    from ..data import Dataset
    from ..models import MODELS

    make: Any = MODELS[kind]
    changed = changes(given["changes"], make.Config, given)
    changed |= {name: given[name] for name in ("seed", "lr") if given[name] is not None}
    if "settings" in given:
        return make(**{**given["settings"], **changed})
    if not isinstance(data, Dataset):
        epochs, batch_size = _schedule(make, given, len(data))
        steps = epochs * math.ceil(len(data) / batch_size)
        changed = texts.settings(kind, given, data, steps) | changed
    else:
        changed = {"image_shape": data.images.shape[1:]} | changed
    return make.preset(given["preset"] or "default", **changed)


def _schedule(model: Any, given: dict[str, Any], images: int) -> tuple[int, int]:
    """(epochs, batch size). A preset that counts in steps takes as long on a sample as on the full set."""
    preset = model.TRAINING[given["preset"] or "default"]
    batch_size = given["batch_size"] or min(preset["batch_size"], images)
    if given["epochs"]:
        return given["epochs"], batch_size
    if "epochs" in preset:
        return preset["epochs"], batch_size
    return math.ceil(preset["steps"] / math.ceil(images / batch_size)), batch_size


def _conclude(model: Any, out: Path, history: History, seconds: float) -> None:
    """What came of it, in two lines; of a text VAE in one more, whether its posterior has collapsed."""
    from ..training.report import figures

    last, epochs = history.rows[-1], len(history)
    shown = {name: value for name, value in last.items() if name.startswith("test_")} or {
        name: value for name, value in last.items() if name not in ("epoch", "step", "images_per_second", "seconds")
    }
    files = sorted(path.name for path in out.iterdir() if path.suffix in (".png", ".gif", ".txt"))
    took = "before" if history.begun == last["step"] else f"{seconds:.1f} s"
    click.echo(f"trained {model.kind}, {epochs} epoch{'s' if epochs > 1 else ''}, {took}: {figures(shown)}")
    if model.kind == texts.TEXT_VAE:
        click.echo(sentences.verdict(model, {name.removeprefix("test_"): value for name, value in last.items()}))
    texts_too = " and texts" if any(name.endswith(".txt") for name in files) else ""
    click.echo(f"pictures{texts_too} in {out}: {', '.join(files)}")


def _suggest(kind: str, out: Path, epochs: int, given: dict[str, Any], device: str) -> None:
    """Commands to go on with, which can be pasted as they are: a run keeps no path of the user's data."""
    run = shlex.quote(str(out))
    options = {"--data": given["data"] if given["data"] != MNIST else None, "--data-dir": given["data_dir"],
               "--device": device if device != "cpu" else None}  # fmt: skip
    if kind in texts.KINDS:
        options["--data"] = None
        options["--text"] = given["text"]
    data = "".join(f" {option} {shlex.quote(value)}" for option, value in options.items() if value)
    click.echo("next, for example:")
    click.echo(f"  minigen sample {run} --seed 1{' --temperature 0.8' if kind == texts.GPT else ''}")
    if kind in ("vae", texts.TEXT_VAE):
        click.echo(f"  minigen reconstruct {run}{data}")
    if kind == texts.TEXT_VAE:
        click.echo(f"  minigen interpolate {run} 'I am very happy.' 'She was not at home.'")
    click.echo(f"  minigen train {kind} --resume --out {run} --epochs {2 * epochs}{data}")
