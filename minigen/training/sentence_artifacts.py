"""What a run on sentences leaves beside its weights: samples, reconstructions, and ways from one to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoint import atomic_file
from ..data import SentenceDataset
from .feedback import Feedback
from .feedback.drawn import panels_and_marks
from .folder import RunFolder
from .history import History

__all__ = ["draw_run", "write_epoch"]

_TOLD, _KEPT = 3, 20  # sentences told as it learns, and in the files at the end
_WAYS = 5  # in interpolations.txt


def write_epoch(model: Any, folder: RunFolder, epoch: int, seed: int, shown: SentenceDataset) -> str:
    """What it makes of the same latents and sentences after `epoch` epochs, written down; also what to tell."""
    text = "\n".join(_samples(model, _TOLD, seed) + _pairs(model, shown, _TOLD) + _way(model, shown))
    with atomic_file(folder.sample(epoch).with_suffix(".txt")) as stream:
        stream.write((text + "\n").encode("utf-8", "replace"))
    return f"after epoch {epoch}:\n  " + text.replace("\n", "\n  ") + "\n"


def draw_run(
    model: Any, folder: RunFolder, history: History, shown: SentenceDataset, seed: int, feedback: Feedback
) -> list[Path]:
    """Samples, reconstructions and interpolations of the state that the run is in, and its losses as a picture."""
    from .. import plots

    path = folder.path
    ways = [line for first in range(min(_WAYS, len(shown))) for line in _way(model, shown, first)]
    kept = {"samples.txt": _samples(model, _KEPT, seed), "reconstructions.txt": _pairs(model, shown, _KEPT),
            "interpolations.txt": ways}
    for name, lines in kept.items():
        with atomic_file(path / name) as stream:
            stream.write(("\n".join(lines) + "\n").encode("utf-8", "replace"))
    drawn = [path / name for name in kept]
    if history.rows:
        controls, marks = panels_and_marks(feedback, history)
        plots.save_losses(history.curves, path / "losses.png", controls=controls, marks=marks)
        drawn.append(path / "losses.png")
    return drawn


def _samples(model: Any, count: int, seed: int) -> list[str]:
    return ["samples", *(f"  {text}" for text in model.sample(count, seed=seed))]


def _pairs(model: Any, shown: SentenceDataset, count: int) -> list[str]:
    """Held-out sentences, evenly spread, each with its reconstruction beneath."""
    texts = shown.texts[::max(1, len(shown) // count)][:count]
    lines = ["reconstructions"]
    for text, copy in zip(texts, model.reconstruct(texts), strict=True):
        lines += [f"  {text}", f"  -> {copy}"]
    return lines


def _way(model: Any, shown: SentenceDataset, first: int = 0) -> list[str]:
    a, b = shown.texts[first], shown.texts[-1 - first]
    return [f"from {a!r} to {b!r}", *(f"  {text}" for text in model.interpolate(a, b, 5))]
