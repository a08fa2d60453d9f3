"""minigen reconstruct: images or sentences beside what a VAE makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from . import sentences, texts
from .options import Place, Whole, data_options, device_option, load_split, source_of_run
from .runs import find_model

__all__ = ["command"]


@click.command("reconstruct")
@click.argument("run", metavar="RUN")
@click.option("-n", "count", type=Whole(1, 10_000), default=20, show_default=True, help="How many.")
@data_options(None)
@click.option("--text", type=Place(str), metavar="FILE", help="The text of a text-vae that learned from a file.")
@click.option("--out", type=Place(Path), metavar="FILE",
              help="A .png, by default in the run folder; of sentences a .txt.")
@device_option
def command(run: str, count: int, data: str | None, data_dir: str | None, text: str | None, out: Path | None,
            device: str) -> None:
    """Encode and decode held-out images or sentences with a trained VAE.

    The images are MNIST's test set, or those of --data; the sentences are of the last tenth of the text.
    """
    from .. import plots
    from ..data import to_unit
    from ..models import load
    from ..training.checks import as_dataset

    model_file, folder = find_model(run)
    model: Any = load(model_file, device)
    if model.kind == texts.TEXT_VAE:
        if data is not None:
            raise UsageError(f"--data is for images, but {run} is a {model.kind}: name a text with --text")
        sentences.reconstruct(model, folder, count, text, data_dir, out)
        return
    if text is not None:
        raise UsageError(f"--text is for a text-vae, but {run} is a {model.kind}: leave it out")
    if not hasattr(model, "reconstruct"):
        raise UsageError(f"{run} is a {model.kind}, which has no encoder: try minigen sample {run}")
    out = out or folder / "reconstructions.png"
    if out.suffix != ".png":
        raise UsageError(f"--out {out}: expected a name that ends in .png")
    source = data or source_of_run(folder)
    dataset = load_split(source, data_dir, "test") or load_split(source, data_dir, "train")
    assert dataset is not None
    images: Any = as_dataset(dataset, model, dataset.name).items[:count]
    plots.save_reconstructions(to_unit(images), model.reconstruct(images), out)
    what = ("1 image", "its reconstruction") if len(images) == 1 else (f"{len(images)} images", "their reconstructions")
    click.echo(f"{what[0]} of {dataset.name} and {what[1]} in {out}")
