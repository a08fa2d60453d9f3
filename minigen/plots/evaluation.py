"""The picture of an evaluation: what was generated, how its figures compare, and what it may have copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data import to_unit
from ..metrics import Verdict
from .runs import image_grid
from .style import DPI, PALETTE, open_axes, save_figure

__all__ = ["Shown", "save_evaluation"]

SAMPLES = 60
PAIRS = 10
MANIFOLD = ("precision", "recall", "density", "coverage")
_FLOOR = "#000000"
_MARKERS = "osD^vP*X"
_OVER_LINES: dict[str, Any] = {"fontsize": 8, "framealpha": 0.9, "edgecolor": "none"}  # a legend that curves may cross


class Shown(NamedTuple):
    """What is drawn of one run beside its figures: images (N, H, W) in [0, 1], and training images (M, H, W)."""

    name: str
    images: np.ndarray
    training: np.ndarray


def save_evaluation(verdicts: Mapping[str, Verdict], shown: Shown, sizes: Sequence[int], floor: str,
                    runs: Sequence[str], path: str | Path) -> None:
    """Write the picture of `verdicts`, a set of images each, as PNG.

    sizes: the numbers of samples of `Verdict.frechet_over_n`. floor: the name of the real images among the verdicts,
    drawn in black. runs: which of them are models; the rest are drawn with broken lines.
    """
    figure = Figure(figsize=(13, 8.5), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, 3, width_ratios=(1, 1.1, 1.1))
    looks = {name: _look(i, name, floor, runs) for i, name in enumerate(verdicts)}
    _draw_samples(axes[0, 0], shown)
    _draw_nearest(axes[1, 0], shown, verdicts[shown.name])
    _draw_frechet(axes[0, 1], verdicts, sizes, looks)
    _draw_manifold(axes[0, 2], verdicts, looks)
    _draw_classes(axes[1, 1], {name: verdicts[name] for name in runs}, looks)
    _draw_distances(axes[1, 2], verdicts, looks)
    save_figure(figure, path)


def _look(number: int, name: str, floor: str, runs: Sequence[str]) -> dict[str, Any]:
    colour = _FLOOR if name == floor else PALETTE[number % len(PALETTE)]
    return {"color": colour, "linestyle": "-" if name in runs or name == floor else "--", "label": name}


def _picture(axes: Axes, grid: np.ndarray, title: str) -> None:
    axes.imshow(grid, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)


def _draw_samples(axes: Axes, shown: Shown) -> None:
    _picture(axes, image_grid(shown.images[:SAMPLES], columns=10), f"{shown.name}: the first {SAMPLES} samples")


def _draw_nearest(axes: Axes, shown: Shown, verdict: Verdict) -> None:
    """Pairs of rows: the samples that lie nearest to a training image, each above that image."""
    order = np.argsort(verdict.copies.distance, kind="stable")[:2 * PAIRS]
    rows = []
    for start in range(0, len(order), PAIRS):
        chosen = order[start:start + PAIRS]
        rows += [shown.images[chosen], to_unit(shown.training[verdict.copies.which[chosen]])]
    columns = min(PAIRS, len(order))
    _picture(axes, image_grid(np.concatenate(rows), columns=columns),
             f"of {len(verdict.copies.which)}, those nearest to training\nimages, each above that image")


def _draw_frechet(axes: Axes, verdicts: Mapping[str, Verdict], sizes: Sequence[int], looks: Mapping[str, Any]) -> None:
    for name, verdict in verdicts.items():
        axes.plot(sizes, np.maximum(verdict.frechet_over_n, 1e-12), marker="o", markersize=4, **looks[name])
    axes.set(xscale="log", yscale="log", xlabel="samples", title="Frechet distance over N")
    axes.set_xticks(sizes, map(str, sizes))
    axes.minorticks_off()
    open_axes(axes)
    axes.legend(**_OVER_LINES)


def _draw_manifold(axes: Axes, verdicts: Mapping[str, Verdict], looks: Mapping[str, Any]) -> None:
    places = np.arange(len(MANIFOLD))
    for number, (name, verdict) in enumerate(verdicts.items()):
        estimates = np.array([verdict.figures[figure] for figure in MANIFOLD])
        offset = 0.7 * ((number + 0.5) / len(verdicts) - 0.5)
        errors = np.abs(estimates[:, 1:] - estimates[:, :1]).T
        axes.errorbar(places + offset, estimates[:, 0], errors, fmt=_MARKERS[number % len(_MARKERS)], markersize=5,
                      color=looks[name]["color"], label=name)
    axes.axhline(1, color="#999999", linewidth=0.8, zorder=0)
    axes.set_xticks(places, MANIFOLD)
    axes.set(title="quality and variety, with intervals")
    axes.set_ylim(bottom=-0.03)
    open_axes(axes)
    axes.legend(frameon=False, fontsize=8)


def _draw_classes(axes: Axes, verdicts: Mapping[str, Verdict], looks: Mapping[str, Any]) -> None:
    real = next(iter(verdicts.values())).classes.real
    places, width = np.arange(len(real)), 0.8 / (len(verdicts) + 1)
    axes.bar(places - 0.4 + width / 2, real, width, color="#999999", label="data")
    for number, (name, verdict) in enumerate(verdicts.items(), 1):
        axes.bar(places - 0.4 + width * (number + 0.5), verdict.classes.samples, width, color=looks[name]["color"],
                 label=name)
    axes.set_xticks(places[::max(1, len(places) // 10)])
    axes.set(title="share of each class", xlabel="class")
    open_axes(axes)
    axes.legend(frameon=False, fontsize=8)


def _draw_distances(axes: Axes, verdicts: Mapping[str, Verdict], looks: Mapping[str, Any]) -> None:
    """How far samples are from their nearest training image: the share that is nearer than x."""
    for name, verdict in verdicts.items():
        distance = np.sort(verdict.copies.distance)
        axes.step(distance, np.arange(1, len(distance) + 1) / len(distance), where="post", **looks[name])
    axes.set(title="share nearer to a training image than x", xlabel="Euclidean distance of pixels in [0, 1]")
    open_axes(axes)
    axes.legend(**_OVER_LINES)
