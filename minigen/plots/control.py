"""What controllers did, beside the losses: a panel for each that holds a set point, a line for what happened once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from .style import PALETTE, open_axes

__all__ = ["Control", "Mark", "draw_control", "draw_marks"]

_SMOOTH_FROM = 200  # as for losses: from here on a curve is drawn pale, with its running mean on top

_MARKED_TO = 30  # as for losses: until here each point is marked, without which one alone cannot be seen


class Control(NamedTuple):
    """A figure and the setting that it moves, at the places `x`; `to` is empty where nothing is moved."""

    measured: str
    setting: str
    x: Sequence[float]
    values: Sequence[float]
    to: Sequence[float]
    target: float | None


class Mark(NamedTuple):
    """Something that happened once."""

    x: float
    text: str


def draw_control(axes: Axes, control: Control) -> None:
    """What was measured on the left with its target dashed, the setting on the right."""
    x, values = np.asarray(control.x, np.float64), np.asarray(control.values, np.float64)
    colour = PALETTE[0]
    smooth = len(x) >= _SMOOTH_FROM
    axes.plot(x, values, color=colour, alpha=0.25 if smooth else 1, linewidth=0.8 if smooth else 1.5,
              marker="o" if len(x) <= _MARKED_TO else None, markersize=4)
    if smooth:
        window = len(x) // 50
        start = (window - 1) // 2
        mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
        axes.plot(x[start:start + len(mean)], mean, color=colour)
    if control.target is not None:
        axes.axhline(control.target, color=colour, linestyle="--", linewidth=0.8)
    axes.set_ylabel(control.measured, color=colour)
    open_axes(axes)
    if len(control.to):
        other = axes.twinx()
        other.step(x, control.to, where="post", color=PALETTE[5], linewidth=1.5)
        other.set_ylabel(control.setting, color=PALETTE[5])
        other.spines["top"].set_visible(False)


def draw_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """A dotted line for each, with its text along it."""
    for mark in marks:
        axes.axvline(mark.x, color=PALETTE[6], linestyle=":", linewidth=1)
        axes.text(mark.x, 0.98, f"{mark.text} ", transform=axes.get_xaxis_transform(), rotation=90, ha="right",
                  va="top", fontsize=8, color=PALETTE[6])
