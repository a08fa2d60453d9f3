"""Options that several commands have, and the data that they name."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .suggest import Name, did_you_mean

if TYPE_CHECKING:
    from ..data import Dataset

__all__ = ["MNIST", "Place", "Positive", "Whole", "data_of_run", "data_options", "device_option", "hold_out",
           "load_split", "seed_option", "source_of_run", "text_options"]

MNIST = "mnist"

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Whole(click.ParamType):
    """A whole number from `low` to `high`."""

    name = "number"

    def __init__(self, low: int, high: int | None = None) -> None:
        self.low = low
        self.high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        with contextlib.suppress(ValueError):
            number = int(value)
            if self.low <= number and (self.high is None or number <= self.high):
                return number
        bounds = f"{self.low} or more" if self.high is None else f"from {self.low} to {self.high}"
        self.fail(f"{value!r} is not a whole number, {bounds}", param, ctx)


class Positive(click.ParamType):
    """A finite number above 0."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        with contextlib.suppress(ValueError):
            if 0 < float(value) < math.inf:
                return float(value)
        self.fail(f"{value!r} is not a number above 0", param, ctx)


class Place(click.ParamType):
    """The name of a file or folder, as `kind`. Not an empty one, which an unset variable of the shell gives."""

    name = "path"

    def __init__(self, kind: type[str] | type[Path]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        if not str(value).strip():
            self.fail("it is empty; name a place, or leave the option out", param, ctx)
        return self.kind(value)


def seed_option(default: int | None, what: str) -> Decorator:
    """--seed: any number that a 64-bit counter-based generator takes."""
    return click.option(
        "--seed", type=Whole(0, 2**64 - 1), default=default, metavar="N", help=f"Seed of {what}"
    )


def device_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--device: where the model is."""
    return click.option(
        "--device", type=Name("device", lambda: ("cpu", "gpu")), default="cpu", metavar="cpu|gpu",
        help="Where to compute. [default: cpu]",
    )(command)  # fmt: skip


def data_options(default: str | None) -> Decorator:
    """--data and --data-dir."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        folder = click.option(
            "--data-dir", type=Place(str), metavar="DIR", help="Folder with the MNIST files. [default: $MINIGEN_DATA]"
        )
        return click.option(
            "--data", type=Place(str), default=default, metavar="mnist|FILE",
            help="MNIST, or images in a .npy or .npz file.",
        )(folder(command))  # fmt: skip

    return decorate


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--text, --tokenizer, --vocabulary and --context; of a text VAE also what works against the collapse."""
    for option in (
        click.option("--word-dropout", type=float, metavar="F",
                     help="text-vae: share of the decoder's input that is blanked. [default: the preset's]"),
        click.option("--free", type=float, metavar="F",
                     help="text-vae: nats that each latent dimension may carry without cost. [default: the preset's]"),
        click.option("--anneal", type=Whole(0), metavar="N",
                     help="text-vae: steps over which the weight of the KL rises. [default: two thirds of all]"),
        click.option("--context", type=Whole(1), metavar="N",
                     help="Text: tokens that it sees, or of the longest sentence. [default: the preset's]"),
        click.option("--vocabulary", type=Whole(257, 65536), metavar="N",
                     help="Text: symbols of the byte pairs. [default: gpt 512, text-vae 2048]"),
        click.option("--tokenizer", type=Name("tokenizer", lambda: TOKENIZERS), metavar="characters|bytes",
                     help="Text: characters, or byte pairs. [default: gpt characters, text-vae bytes]"),
        click.option("--text", type=Place(str), metavar="austen|tinyshakespeare|FILE",
                     help="Text: what it learns from; a file is UTF-8. [default: austen]"),
    ):  # fmt: skip
        command = option(command)
    return command


TOKENIZERS = ("characters", "bytes")


def load_split(data: str, data_dir: str | None, split: str, download: bool = True) -> Dataset | None:
    """One split of MNIST, or the images in a file; a file has no test split: None."""
    from ..data import load_images, load_mnist

    if data == MNIST:
        return load_mnist(split, data_dir=data_dir, download=download)
    if data_dir is not None:
        raise UsageError(f"--data-dir is where MNIST lies, but --data is {data}: leave one of them out")
    if not Path(data).suffix and not Path(data).exists():
        raise UsageError(f"{data}: neither 'mnist' nor a .npy or .npz file{did_you_mean(data, [MNIST])}")
    return load_images(data) if split == "train" else None


def hold_out(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """(the rest, a sixth) of the images of a file, which has no test split: chosen at random, and always the same ones.

    At random, because a file may be sorted, or repeat its classes in turn.
    """
    from ..data import permutation

    order = permutation(len(dataset), seed=0, epoch=0)
    return dataset.part(order[len(order) // 6:]), dataset.part(order[:len(order) // 6])


def data_of_run(folder: Path) -> dict[str, Any] | None:
    """What a run was trained on; None where the folder has a model alone."""
    from ..training import RunFolder

    return RunFolder(folder).read_record()["data"] if RunFolder(folder).config.exists() else None


def source_of_run(folder: Path) -> str:
    """MNIST, unless the run's record tells of a file, whose place it does not: UsageError."""
    data = data_of_run(folder)
    if data is None:  # a model without a run: MNIST, if the shape fits
        return MNIST
    if data["source"] in ("file", "array"):
        raise UsageError(f"{folder} was trained on {data['name']}: say where such images are with --data FILE")
    return MNIST
