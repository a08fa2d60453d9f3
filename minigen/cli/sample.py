"""minigen sample: new images, or new text, from a trained model."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from . import sentences, texts
from .options import Place, Whole, device_option, seed_option
from .runs import find_model

__all__ = ["command"]

_IMAGES = 64
_TOKENS = 500
_SENTENCES = 10


@click.command("sample")
@click.argument("run", metavar="RUN")
@click.option("-n", "count", type=Whole(1, 10_000), metavar="N",
              help="How many. [default: 64 images, 1 text, 10 sentences]")
@seed_option(0, "the noise. [default: 0]")
@click.option("--out", type=Place(Path), metavar="FILE", help="A .png, or .npy for the numbers; of text a .txt.")
@click.option("--prompt", metavar="TEXT", help="Text: what it goes on from.")
@click.option("--length", type=Whole(1, 1_000_000), metavar="N", help=f"Text: tokens at most. [default: {_TOKENS}]")
@click.option("--temperature", type=float, metavar="F", help="Text: the lower, the likelier. [default: 1; text-vae 0]")
@click.option("--top-k", type=int, metavar="N", help="Text: only among the N likeliest tokens.")
@click.option("--top-p", type=float, metavar="F", help="Text: only among the likeliest that together reach F.")
@click.option("--stop", metavar="TEXT", help="Text: end before this.")
@device_option
def command(run: str, count: int | None, seed: int, out: Path | None, device: str, **text: Any) -> None:
    """Draw new images, or write new text, with a trained model.

    RUN is a run folder, its name under runs/, or a .safetensors file. One text streams to the terminal as it comes.
    """
    from ..models import load

    model_file, folder = find_model(run)
    model: Any = load(model_file, device)
    given = {name: value for name, value in text.items() if value is not None}
    if model.kind == texts.TEXT_VAE:
        sentences.sample(model, count or _SENTENCES, seed, out, given)
    elif hasattr(model, "stream"):
        _write_text(model.eval(), count or 1, seed, out, given)
    elif given:
        option = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{option} is for text, but {run} is a {model.kind}, which makes images: leave it out")
    else:
        count = count or _IMAGES
        _draw_images(model, count, seed, out or folder / f"sample-{count}-seed-{seed}.png")


def _draw_images(model: Any, count: int, seed: int, out: Path) -> None:
    from .. import plots

    if out.suffix not in (".png", ".npy"):
        raise click.UsageError(f"--out {out}: expected a name that ends in .png or .npy")
    images = model.sample(count, seed=seed)
    if out.suffix == ".png":
        plots.save_grid(images, out, columns=math.ceil(math.sqrt(count)))
    else:
        _save_array(images, out)
    click.echo(f"{count} sample{'s' if count > 1 else ''} in {out}")


def _write_text(model: Any, count: int, seed: int, out: Path | None, given: dict[str, Any]) -> None:
    from ..checkpoint import atomic_file
    from ..models import Sampling

    if out is not None and out.suffix != ".txt":
        raise click.UsageError(f"--out {out}: expected a name that ends in .txt")
    sampling = Sampling(given.get("temperature", 1.0), given.get("top_k"), given.get("top_p"))
    prompt = given.get("prompt", "")
    settings = {"seed": seed, "prompt": prompt, "length": given.get("length", _TOKENS), "sampling": sampling,
                "stop": given.get("stop")}
    if count == 1 and out is None:
        pieces = model.stream(**settings)
        first = next(pieces, "")  # a bad prompt is an error before anything is shown
        _show(prompt + first)
        for piece in pieces:
            _show(piece)
        _show("\n")
        return
    texts = [prompt + text for text in model.sample(count, **settings)]
    if out is None:
        _show("\n\n----\n\n".join(texts) + "\n")
        return
    with atomic_file(out) as stream:
        stream.write(("\n\n----\n\n".join(texts) + "\n").encode("utf-8", "replace"))
    click.echo(f"{count} text{'s' if count > 1 else ''} in {out}")


def _show(text: str) -> None:
    """To the terminal at once; what its encoding lacks becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), nl=False)
    sys.stdout.flush()


def _save_array(images: object, out: Path) -> None:
    import numpy as np

    from ..checkpoint import atomic_file

    with atomic_file(out) as stream:
        np.save(stream, np.asarray(images), allow_pickle=False)
