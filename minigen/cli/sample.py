"""minigen sample: new images from a trained model."""

from __future__ import annotations

import math
from pathlib import Path

import click

from .options import Place, Whole, device_option, seed_option
from .runs import find_model

__all__ = ["command"]


@click.command("sample")
@click.argument("run", metavar="RUN")
@click.option("-n", "count", type=Whole(1, 10_000), default=64, show_default=True, help="How many images.")
@seed_option(0, "the noise. [default: 0]")
@click.option("--out", type=Place(Path), metavar="FILE", help="A .png, or .npy for the numbers.")
@device_option
def command(run: str, count: int, seed: int, out: Path | None, device: str) -> None:
    """Draw new images from a trained model.

    RUN is a run folder, its name under runs/, or a .safetensors file.
    """
    from .. import plots
    from ..models import load

    model_file, folder = find_model(run)
    out = out or folder / f"sample-{count}-seed-{seed}.png"
    if out.suffix not in (".png", ".npy"):
        raise click.UsageError(f"--out {out}: expected a name that ends in .png or .npy")
    images = load(model_file, device).sample(count, seed=seed)
    if out.suffix == ".png":
        plots.save_grid(images, out, columns=math.ceil(math.sqrt(count)))
    else:
        _save_array(images, out)
    click.echo(f"{count} samples in {out}")


def _save_array(images: object, out: Path) -> None:
    import numpy as np

    from ..checkpoint import atomic_file

    with atomic_file(out) as stream:
        np.save(stream, np.asarray(images), allow_pickle=False)
