"""minigen interpolate: from one sentence to another through the latent space of a text VAE."""

from __future__ import annotations

from typing import Any

import click

from ..errors import UsageError
from . import sentences, texts
from .options import Whole, device_option
from .runs import find_model

__all__ = ["command"]


@click.command("interpolate")
@click.argument("run", metavar="RUN")
@click.argument("first", metavar="SENTENCE")
@click.argument("last", metavar="SENTENCE")
@click.option("-n", "count", type=Whole(2, 1000), default=7, show_default=True, help="Sentences, both ends included.")
@device_option
def command(run: str, first: str, last: str, count: int, device: str) -> None:
    """Go from one sentence to another through the latent space of a text VAE.

    Both are encoded, and sentences are decoded from points evenly spaced on the straight line between them. What stands
    at the ends is what the decoder makes of the two, not the two themselves.
    """
    from ..models import load

    model: Any = load(find_model(run)[0], device)
    if model.kind != texts.TEXT_VAE:
        raise UsageError(f"{run} is a {model.kind}, and sentences are interpolated by a text-vae: train one with "
                         "minigen train text-vae")
    sentences.show(model.interpolate(first, last, count))
