"""The pictures of a run. Matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset, to_unit
from .feedback import Feedback
from .feedback.drawn import in_nats, panels_and_marks
from .folder import RunFolder
from .history import History
from .model import Trainable

__all__ = ["draw_epoch", "draw_run"]

SAMPLES = 100
COLUMNS = 10
SCALE = 2
_FRAMES = 60  # at most, in the animation
_PAIRS = 20
_POINTS = 10_000  # at most, in the picture of the latent plane


def draw_epoch(model: Trainable, folder: RunFolder, epoch: int, seed: int) -> None:
    """The samples after `epoch` epochs, from noise that is the same every time."""
    from .. import plots

    plots.save_grid(model.sample(SAMPLES, seed=seed), folder.sample(epoch), columns=COLUMNS, scale=SCALE)


def draw_run(
    model: Trainable, folder: RunFolder, history: History, shown: Dataset, seed: int, feedback: Feedback
) -> list[Path]:
    """All pictures of the state that the run is in; `shown` is encoded and reconstructed. What was drawn."""
    from .. import plots

    path = folder.path
    images = model.sample(SAMPLES, seed=seed)
    plots.save_grid(images, path / "samples.png", columns=COLUMNS, scale=SCALE)
    drawn = [path / "samples.png"]
    if history.rows:
        controls, marks = panels_and_marks(feedback, history)
        plots.save_losses(in_nats(history), path / "losses.png", controls=controls, marks=marks)
        drawn.append(path / "losses.png")
        drawn += _draw_motion(folder, history, images.shape[1:])
    return drawn + draw_latent(model, path, shown)


def draw_latent(model: Any, path: Path, shown: Dataset) -> list[Path]:
    """Reconstructions, and the plane of a two-dimensional latent, for a model that has them."""
    from .. import plots

    if not hasattr(model, "reconstruct"):
        return []
    originals = to_unit(shown.images[:_PAIRS])
    plots.save_reconstructions(originals, model.reconstruct(shown.images[:_PAIRS]), path / "reconstructions.png")
    drawn = [path / "reconstructions.png"]
    if getattr(model.config, "latent", 0) == 2:
        plots.save_manifold(model.decode(plots.manifold_points()), path / "manifold.png")
        drawn.append(path / "manifold.png")
        if shown.labels is not None and shown.labels.max() <= 9:  # as many colours as can be told apart
            codes = model.encode(shown.images[:_POINTS])
            plots.save_latent_scatter(codes, shown.labels[:_POINTS], path / "latent.png")
            drawn.append(path / "latent.png")
    return drawn


def _draw_motion(folder: RunFolder, history: History, shape: tuple[int, ...]) -> list[Path]:
    """The animation, from the pictures on disk: so a resumed run shows the epochs before it too."""
    from .. import plots

    epochs = [epoch for epoch in range(len(history) + 1) if folder.sample(epoch).exists()]
    if len(epochs) > _FRAMES:
        epochs = [epochs[i] for i in np.linspace(0, len(epochs) - 1, _FRAMES).round().astype(int)]
    frames = {}
    for epoch in epochs:
        with contextlib.suppress(OSError, SyntaxError, ValueError):  # a picture that was damaged is no loss
            frames[f"epoch {epoch}"] = _read_grid(folder.sample(epoch), shape)
    if not frames:
        return []
    path = folder.path / "samples.gif"
    plots.save_gif(list(frames.values()), path, captions=list(frames), columns=COLUMNS, scale=SCALE)
    return [path]


def _read_grid(path: str | os.PathLike[str], shape: tuple[int, ...]) -> np.ndarray:
    """The images of a grid that `draw_epoch` wrote: (SAMPLES, H, W) in [0, 1]."""
    from PIL import Image

    height, width = shape
    with Image.open(path) as picture:
        grid = np.asarray(picture)[::SCALE, ::SCALE]
    rows = SAMPLES // COLUMNS
    tiles = grid[: rows * (height + 1), : COLUMNS * (width + 1)].reshape(rows, height + 1, COLUMNS, width + 1)
    images = tiles[:, 1:, :, 1:].transpose(0, 2, 1, 3).reshape(SAMPLES, height, width)
    return to_unit(images)
