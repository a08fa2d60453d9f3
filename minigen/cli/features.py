"""minigen features: train the feature net that minigen evaluate measures with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DataError, UsageError
from .options import Place, Whole, data_options, device_option, hold_out, load_split, seed_option

if TYPE_CHECKING:
    import numpy as np

    from ..data import Dataset

__all__ = ["command"]

LEAST = 12  # images of a file, of which a sixth is held out


@click.command("features")
@data_options("mnist")
@click.option("--epochs", type=Whole(1), default=30, show_default=True, metavar="N", help="Passes over the images.")
@seed_option(0, "weights, order and shifts. [default: 0]")
@click.option("--out", type=Place(Path), metavar="FILE", help="[default: NAME-features.safetensors]")
@device_option
def command(data: str, data_dir: str | None, epochs: int, seed: int, out: Path | None, device: str) -> None:
    """Train the feature net that `minigen evaluate` measures with.

    A classifier of any labelled set: MNIST, for which one comes with minigen, made by this very command, or a .npz
    file with images and labels. Of a file, a sixth of the images is held out to measure the accuracy.
    """
    from ..metrics.classifier import save_classifier
    from ..metrics.fit import Progress, accuracy, fit_classifier
    from ..training import RunFolder

    out = out or Path(f"{Path(data).stem}-features.safetensors")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors")
    RunFolder(out.parent).require_writable()
    dataset = load_split(data, data_dir, "train")
    assert dataset is not None  # only a test split can be missing
    test = load_split(data, data_dir, "test", download=not dataset.is_sample)
    click.echo(dataset.note)
    if dataset.labels is None:
        raise DataError(f"{dataset.name} has no labels: a feature net learns from them; save them as 'labels' beside "
                        "'images' in the .npz file")
    if len(dataset) < LEAST:
        raise DataError(f"{dataset.name}: {len(dataset)} images are too few to train on and to measure with; give "
                        f"{LEAST} or more")
    seen, unseen = (dataset, test) if test is not None else hold_out(dataset)
    start = time.monotonic()

    def report(done: Progress) -> None:
        click.echo(f"epoch {done.epoch}/{epochs}  loss {done.loss:.4f}  accuracy {done.accuracy:.4f}  "
                   f"{time.monotonic() - start:.0f} s")

    held_out = _labelled(unseen)
    net = fit_classifier(*_labelled(seen), held_out, epochs=epochs, seed=seed, device=device, report=report)
    save_classifier(out, net, {"data": dataset.name, "data.sha256": dataset.sha256})
    click.echo(f"{out}: {accuracy(net, *held_out):.2%} of {len(held_out[1])} held-out images right, as saved (float16)")


def _labelled(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    assert dataset.labels is not None
    return dataset.images, dataset.labels
