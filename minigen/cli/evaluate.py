"""minigen evaluate: figures of what a model generates, beside those of real images and of cheats."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..errors import DataError, UsageError
from . import sentences, texts
from .options import (
    MNIST,
    Place,
    Whole,
    data_of_run,
    data_options,
    device_option,
    hold_out,
    load_split,
    seed_option,
    source_of_run,
)
from .runs import find_model

if TYPE_CHECKING:
    import numpy as np

    from ..data import Dataset
    from ..metrics import Classifier, Judge, VAEFigures, Verdict

__all__ = ["command"]

FLOOR = "real"
IMAGES = 10_000
TEXTS = 20
VAE_IMAGES = 1000
VAE_SAMPLES = 100

# How the figures are named in the table, and which way is better.
TITLES = {
    "frechet": "Frechet distance (low)",
    "kernel": "kernel distance (low)",
    "inception": "Inception Score (high)",
    "precision": "precision (high)",
    "recall": "recall (high)",
    "density": "density (near 1)",
    "coverage": "coverage (high)",
    "classes": "class histogram off by",
    "copies": "near copies (1 % is usual)",
    "parzen": "Parzen, not to be trusted",
}
PERCENT = ("classes", "copies")
NOTES = (
    "Features are those of a small classifier of this data set, not Inception's: compare within this table only, never "
    "with published scores.",
    "real: held-out images, what a perfect model gets. copies: training images. centroids: images replaced by the mean "
    "of their cluster. pixels: each drawn on its own. ±: half the 95 % interval.",
)


class Contestant(NamedTuple):
    """A run that is judged: its name in the table, its folder, and its model."""

    name: str
    folder: Path
    model: Any


@click.command("evaluate")
@click.argument("run", metavar="RUN")
@click.option("--against", multiple=True, metavar="RUN", help="Another run to compare with; may be given again.")
@click.option("-n", "count", type=Whole(1), metavar="N", help="How many samples. [default: 10000 images, 20 texts]")
@seed_option(0, "samples, reference and intervals. [default: 0]")
@data_options(None)
@click.option("--text", type=Place(str), metavar="FILE", help="The text of a gpt or text-vae that learned from a file.")
@click.option("--features", type=Place(str), metavar="FILE", help="Feature net, for data other than MNIST.")
@click.option("--out", type=Place(Path), metavar="DIR", help="Folder for evaluation.json and .png. [default: RUN's]")
@device_option
def command(run: str, against: tuple[str, ...], count: int | None, seed: int, data: str | None, data_dir: str | None,
            text: str | None, features: str | None, out: Path | None, device: str) -> None:
    """Measure how good, how varied and how new a trained model's images or texts are.

    Prints a table and leaves evaluation.json in the run folder, of images also evaluation.png. Every figure of images
    stands beside that of real ones, which no model can be expected to beat, and of three cheats, which none should lose
    to. For a gpt it prints how well held-out text is predicted, and how varied and how copied its own is, beside
    held-out text; for a text-vae also what z tells its decoder, and whether its posterior has collapsed.
    """
    from ..checkpoint import atomic_file
    from ..training import RunFolder

    start = time.monotonic()
    contestants = _contestants((run, *against), device)
    out = out or contestants[0].folder
    RunFolder(out).require_writable()
    if any(c.model.kind in texts.KINDS for c in contestants):
        _require_texts(contestants, {"data": data, "features": features})
        evaluate = texts.evaluate if contestants[0].model.kind == texts.GPT else sentences.evaluate
        evaluate(contestants, count or TEXTS, seed, text, data_dir, out)
        return
    if text is not None:
        raise UsageError("--text is for a gpt or a text-vae, but these models make images: leave it out")
    count = count or IMAGES
    source = data or source_of_run(contestants[0].folder)
    training, held_out = _real_images(source, data_dir, contestants)
    net, net_name = _feature_net(source, features)
    judge = _judge(net, training, held_out, count, seed)
    if judge.count < count:
        click.echo(f"note: {judge.count} samples instead of {count}: {len(training)} training and {len(held_out)} "
                   "held-out images allow no more real ones beside them")
    vaes = _vae_figures(contestants, held_out.images[:VAE_IMAGES], seed)
    sets = {}
    verdicts = {}
    for name, images in _all_sets(contestants, judge, seed):
        verdicts[name] = judge.examine(images)
        sets[name] = images
        _progress(f"examined {name}, {time.monotonic() - start:.1f} s")
    _progress("")
    _print(verdicts, vaes, min(VAE_IMAGES, len(held_out)))
    record = _record(judge, training, net_name, seed, verdicts, vaes)
    with atomic_file(out / "evaluation.json") as stream:
        stream.write((json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    _draw(contestants, sets, verdicts, judge, out / "evaluation.png")
    click.echo(f"{judge.count} samples each, {time.monotonic() - start:.1f} s; picture and numbers in "
               f"{out / 'evaluation.png'} and evaluation.json")


def _require_texts(contestants: list[Contestant], given: dict[str, str | None]) -> None:
    kinds = {contestant.model.kind for contestant in contestants}
    if len(kinds) > 1:
        raise UsageError(f"these runs are of different kinds ({', '.join(sorted(kinds))}): evaluate them apart")
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name} is for images, but a {kinds.pop()} makes texts: leave it out")


def _contestants(names: tuple[str, ...], device: str) -> list[Contestant]:
    from ..models import load

    found: list[Contestant] = []
    taken = {FLOOR, "copies", "centroids", "pixels"}
    for text in names:
        model_file, folder = find_model(text)
        name = Path(text).resolve().name
        while name in taken:
            name += "'"
        taken.add(name)
        found.append(Contestant(name, folder, load(model_file, device)))
    return found


def _feature_net(source: str, features: str | None) -> tuple[Classifier, str]:
    from ..metrics import load_classifier, mnist_classifier

    if features is not None:
        return load_classifier(features)[0], Path(features).name
    if source == MNIST:
        return mnist_classifier(), "mnist, shipped with minigen"
    name = f"{Path(source).stem}-features.safetensors"
    raise UsageError(f"there is no feature net for {source}: train one with `minigen features --data {source}`, then "
                     f"evaluate with --features {name}")


def _real_images(source: str, data_dir: str | None, contestants: list[Contestant]) -> tuple[Dataset, Dataset]:
    """Training and held-out images; of a file, a sixth is held out, although the model has seen it."""
    from ..training.checks import as_dataset

    training = load_split(source, data_dir, "train")
    assert training is not None  # only a test split can be missing
    held_out = load_split(source, data_dir, "test", download=not training.is_sample)
    for contestant in contestants:
        if not hasattr(contestant.model.config, "image_shape"):
            raise UsageError(f"{contestant.name} is a {contestant.model.kind}, which makes no images to evaluate")
        as_dataset(training, contestant.model, f"{contestant.name}: {training.name}")
        if (data := data_of_run(contestant.folder)) and data["sha256"] != training.sha256:
            click.echo(f"note: {contestant.name} was trained on other images ({data['name']}) than these "
                       f"({training.name}): what it copied is not seen here")
    if held_out is None:
        click.echo("note: a file has no held-out images: a sixth stands for them, though the model was trained on it")
        return hold_out(training)
    if training.is_sample:
        click.echo(f"note: {training.note}")
    return training, held_out


def _judge(net: Classifier, training: Dataset, held_out: Dataset, count: int, seed: int) -> Judge:
    from ..metrics import Judge

    if training.images.shape[1:] != net.config.image_shape:
        raise DataError(f"{training.name}: images {training.images.shape}, but the feature net was trained on (N, "
                        f"{', '.join(map(str, net.config.image_shape))}): train one with `minigen features`")
    return Judge(net, training.images, held_out.images, count, seed)


def _all_sets(contestants: list[Contestant], judge: Judge, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, images) of everything that is judged, each made when its turn comes."""
    import numpy as np

    for name, _, model in contestants:
        images = model.sample(judge.count, seed=seed)
        if bad := int(np.count_nonzero(~np.isfinite(images).all(axis=(1, 2)))):
            raise DataError(f"{name}: {bad} of {len(images)} samples hold NaN or infinite pixels, its weights are "
                            "broken; train it anew with a smaller learning rate (--lr)")
        yield name, images
    yield FLOOR, judge.floor()
    yield from judge.cheats().items()


def _vae_figures(contestants: list[Contestant], images: np.ndarray, seed: int) -> dict[str, VAEFigures]:
    from ..metrics import vae_figures

    found = {}
    for name, _, model in contestants:
        if model.kind == "vae":
            try:
                found[name] = vae_figures(model, images, samples=VAE_SAMPLES, seed=seed)
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
    return found


def _progress(line: str) -> None:
    """A line in a terminal, which the next one replaces."""
    if sys.stdout.isatty():
        click.echo(f"\r\x1b[K{line}", nl=False)


def _print(verdicts: Mapping[str, Verdict], vaes: Mapping[str, VAEFigures], images: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    table = Table()
    table.add_column("")
    for name in verdicts:
        table.add_column(name, justify="right", style="bold" if name == FLOOR else "")
    for figure, title in TITLES.items():
        table.add_row(title, *(_cell(verdict.figures[figure], figure in PERCENT) for verdict in verdicts.values()))
    console.print(table)
    for note in NOTES:
        console.print(note, style="dim", soft_wrap=True)
    for name, vae in vaes.items():
        terms = ", ".join(f"{title} {_cell(getattr(vae, title.replace(' ', '_')))}"
                          for title in ("reconstruction", "kl", "negative elbo"))
        console.print(f"{name}, {images} held-out images, nats: {terms}, log p(x) at least {_cell(vae.bound)} (from "
                      f"{vae.samples} samples), {vae.active_units} active units", soft_wrap=True)


def _cell(estimate: Any, percent: bool = False) -> str:
    """The figure with half its interval, to the digits that the interval leaves meaning."""
    value, half = estimate.value, (estimate.high - estimate.low) / 2
    if percent:
        return f"{value:.1%} ±{half:.1%}"
    digits = min(max(1 - math.floor(math.log10(half)), 0), 8) if half else 3
    return f"{value:.{digits}f} ±{half:.{digits}f}"


def _record(judge: Judge, training: Dataset, net: str, seed: int, verdicts: Mapping[str, Verdict],
            vaes: Mapping[str, VAEFigures]) -> dict[str, Any]:
    def estimate(e: Any) -> dict[str, float]:
        return {"value": e.value, "low": e.low, "high": e.high}

    return {
        "samples": judge.count,
        "seed": seed,
        "data": training.record(),
        "feature_net": net,
        "comparable": NOTES[0],
        "frechet_over_n_sizes": judge.sizes,
        "sets": {name: {
            "figures": {figure: estimate(e) for figure, e in verdict.figures.items()},
            "classes": verdict.classes.samples.tolist(),
            "frechet_over_n": verdict.frechet_over_n,
        } for name, verdict in verdicts.items()},
        "classes_of_the_data": next(iter(verdicts.values())).classes.real.tolist(),
        "vae": {name: {**{figure: estimate(e) for figure, e in vae._asdict().items() if isinstance(e, tuple)},
                       "samples": vae.samples, "active_units": vae.active_units} for name, vae in vaes.items()},
    }  # fmt: skip


def _draw(contestants: list[Contestant], sets: Mapping[str, np.ndarray], verdicts: Mapping[str, Verdict],
          judge: Judge, path: Path) -> None:
    from ..plots import Shown, save_evaluation

    first = contestants[0].name
    shown = Shown(first, sets[first], judge.training)
    save_evaluation(verdicts, shown, judge.sizes, FLOOR, [c.name for c in contestants], path)
