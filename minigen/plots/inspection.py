"""The picture of a data set: what its images look like, how bright they are, and what the pipeline's steps do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data import Elastic, Flip, Noise, Pipeline, Rotate, Scale, Shear, Shift
from .runs import image_grid
from .style import DPI, PALETTE, open_axes, save_figure

__all__ = ["save_inspection"]

SHOWN = 60
_NAMED = 20  # classes that all have their number under their bar
COPIES = 8  # of one image, a row for each step
STEPS = (Shift(2), Rotate(20), Scale(1.2), Shear(20), Elastic(), Noise(0.1), Flip())


def save_inspection(images: np.ndarray, labels: np.ndarray | None, dropped: Mapping[str, np.ndarray],
                    path: str | Path) -> None:
    """Write as PNG: clean images (N, H, W) in [0, 1], their labels, and some of those dropped, (M, H, W) by reason."""
    figure = Figure(figsize=(13, 8.5), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, 3)
    _grid(axes[0, 0], images[:SHOWN], f"the first {min(SHOWN, len(images))} of {len(images)}")
    _grid(axes[0, 1], images.mean(0, dtype=np.float64)[None], "their mean", columns=1)
    _draw_steps(axes[0, 2], images[0])
    _draw_pixels(axes[1, 0], images)
    _draw_classes(axes[1, 1], labels)
    _draw_dropped(axes[1, 2], dropped)
    save_figure(figure, path)


def _grid(axes: Axes, images: np.ndarray, title: str, columns: int = 10) -> None:
    axes.imshow(image_grid(images, columns=columns), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)


def _draw_steps(axes: Axes, image: np.ndarray) -> None:
    """A row for each step: the first image, and what the step makes of it in some epochs."""
    rows = [np.concatenate([image[None], *(Pipeline(step)(image[None], epoch=epoch) for epoch in range(COPIES - 1))])
            for step in STEPS]
    _grid(axes, np.concatenate(rows), "what steps of a pipeline do to the first", columns=COPIES)
    axes.set_yticks([(row + 0.5) * (image.shape[0] + 1) for row in range(len(STEPS))],
                    [type(step).__name__ for step in STEPS])
    axes.tick_params(length=0)


def _draw_pixels(axes: Axes, images: np.ndarray) -> None:
    counts, edges = np.histogram(images, bins=50, range=(0, 1))
    axes.stairs(counts / images.size, edges, fill=True, color=PALETTE[0])
    axes.set(title=f"pixels: mean {images.mean(dtype=np.float64):.3f}, std {images.std(dtype=np.float64):.3f}",
             xlabel="value", ylabel="share", yscale="log")
    open_axes(axes)


def _draw_classes(axes: Axes, labels: np.ndarray | None) -> None:
    if labels is None:
        _say(axes, "no labels")
        return
    values, counts = np.unique(labels, return_counts=True)
    axes.bar(values, counts, color=PALETTE[2])
    axes.set(title=f"labels: {len(values)} classes", xlabel="label", ylabel="images")
    if len(values) <= _NAMED:
        axes.set_xticks(values)
    open_axes(axes)


def _draw_dropped(axes: Axes, dropped: Mapping[str, np.ndarray]) -> None:
    """Up to ten of each reason, as far as they can be shown."""
    if not dropped:
        _say(axes, "nothing was dropped")
        return
    shape = next(iter(dropped.values())).shape[1:]
    columns = min(10, max(map(len, dropped.values())))
    rows = np.full((len(dropped), columns, *shape), 0.35)  # the grey between images, where there are fewer
    for row, images in zip(rows, dropped.values(), strict=True):
        row[:len(images[:columns])] = np.clip(np.nan_to_num(images[:columns].astype(np.float64), nan=0.5), 0, 1)
    _grid(axes, rows.reshape(-1, *shape), "dropped (NaN drawn grey)", columns=columns)
    axes.set_yticks([(i + 0.5) * (shape[0] + 1) for i in range(len(dropped))], list(dropped))
    axes.tick_params(length=0)


def _say(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color="#777777", transform=axes.transAxes)
