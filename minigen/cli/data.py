"""minigen data inspect: what is in a file of images, what is wrong with it, and what a run would see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DataError, UsageError
from .options import MNIST, Place, Whole, load_split
from .suggest import did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from ..data import CleaningReport

__all__ = ["command"]

_NEGATIVE = 0.01  # share of pixels below 0 from which floats are taken for [-1, 1]


class _Group(click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}{did_you_mean(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group("data", cls=_Group)
def command() -> None:
    """Look at data before a model does."""


@command.command("inspect", short_help="What a file of images holds, and what is wrong with it.")
@click.argument("file", metavar="mnist|FILE")
@click.option("--data-dir", type=Place(str), metavar="DIR", help="Where MNIST lies. [default: $MINIGEN_DATA]")
@click.option("--classes", type=Whole(1), metavar="N", help="Labels must be 0 to N - 1. [default: any from 0]")
@click.option("--out", type=Place(Path), metavar="FILE.png", help="The picture. [default: NAME-inspection.png]")
@click.option("--clean", type=Place(Path), metavar="FILE.npz", help="Save the images that are fit to be learned from.")
def inspect(file: str, data_dir: str | None, classes: int | None, out: Path | None, clean: Path | None) -> None:
    """Say what a .npy or .npz file of images holds and what is wrong with it, and draw it.

    Dropped are images that are not finite, out of range, constant, mislabelled, or the same as an earlier one; also
    from files that train refuses as a whole. Where nothing is left, or numbers could mean two things, it says what to
    do about it.
    """
    from ..data import Clean, to_unit
    from ..data.files import to_pixels
    from ..plots import save_inspection

    out = out or Path(f"{Path(file).stem}-inspection.png")
    for path, suffix in ((out, ".png"), (clean, ".npz")):
        if path is not None and path.suffix != suffix:
            raise UsageError(f"{path}: expected a name that ends in {suffix}")
    if clean is not None and clean.exists():
        same = Path(file).exists() and clean.samefile(file)
        what = "is the file that is inspected, and what is dropped" if same else "exists, and what it holds"
        raise UsageError(f"--clean {clean}: {what} would be lost: give another name")
    images, labels = _load(file, data_dir)
    low = _lowest(images)
    for line in _describe(file, images, labels, low):
        click.echo(line)
    try:
        kept, kept_labels, report = Clean(classes=classes, low=low).apply(images, labels)
    except DataError:  # nothing is left: what ails the file as a whole is said with what to do about it
        to_pixels(images, file)
        raise
    for line in report.lines():
        click.echo(line)
    pixels, _ = to_pixels(kept, file)
    save_inspection(to_unit(pixels), kept_labels, _dropped(images, report, low), out)
    click.echo(f"picture in {out}")
    if clean is not None:
        _save(clean, pixels, kept_labels)
        click.echo(f"{len(kept)} images in {clean}")


def _load(file: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    from ..data import load_raw

    if file != MNIST and Path(file).suffix:
        return load_raw(file)
    dataset = load_split(file, data_dir, "train")
    assert dataset is not None  # only a test split can be missing
    return dataset.images, dataset.labels


def _lowest(images: np.ndarray) -> float:
    """-1 for floats that use the range below 0, else 0."""
    return -1.0 if images.dtype.kind == "f" and (images < 0).mean() > _NEGATIVE else 0.0


def _describe(file: str, images: np.ndarray, labels: np.ndarray | None, low: float) -> list[str]:
    import numpy as np

    finite = images[np.isfinite(images)].astype(np.float64)
    values = (f"{finite.min():g} to {finite.max():g}, mean {finite.mean():.4g}, standard deviation {finite.std():.4g}"
              if finite.size else "none of them finite")
    lines = [f"{file}: {len(images)} images of {images.shape[1]} x {images.shape[2]}, {images.dtype}, {values}"]
    if low < 0:
        lines.append("the scale is taken to be [-1, 1]")
    if labels is None or labels.dtype.kind not in "uif":
        return [*lines, f"labels: {'none' if labels is None else labels.dtype}"]
    found, counts = np.unique(labels, return_counts=True)
    shown = ", ".join(f"{label:g}: {count}" for label, count in list(zip(found, counts, strict=True))[:20])
    return [*lines, f"labels: {shown}{' ...' if len(found) > 20 else ''}"]


def _dropped(images: np.ndarray, report: CleaningReport, low: float) -> dict[str, np.ndarray]:
    """Some of the images that were dropped, by reason, scaled to [0, 1] as far as they can be."""
    import numpy as np

    scale = 255 if images.dtype == np.uint8 else 1 - low
    return {reason: (images[rows[:10]].astype(np.float64) - low) / scale
            for reason, rows in report.dropped.items() if len(rows) and reason != "wrong shape"}


def _save(path: Path, images: np.ndarray, labels: np.ndarray | None) -> None:
    import numpy as np

    from ..checkpoint import atomic_file

    arrays = {"images": images}
    if labels is not None:  # whole numbers all, since those that are none were dropped
        arrays["labels"] = labels.astype(np.int64) if labels.dtype.kind == "f" else labels
    with atomic_file(path) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
