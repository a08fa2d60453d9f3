"""The log as what a picture shows: panels and marks over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..history import History
from .attached import Feedback
from .frechet import FRECHET
from .log import Entry
from .metric import KeepBest

if TYPE_CHECKING:
    from ...plots import Control, Mark

__all__ = ["in_nats", "panels_and_marks"]


def in_nats(history: History) -> dict[str, list[float]]:
    """The curves that are losses: not the figures that only a controller asks for."""
    return {name: values for name, values in history.curves.items() if name != FRECHET and not name.endswith("_sign")}


def panels_and_marks(feedback: Feedback, history: History) -> tuple[list[Control], list[Mark]]:
    """A panel for each controller with a set point, and for the Frechet distance; a mark for every other action.

    Of the best epochs only the last is marked.
    """
    from ...plots import Control, Mark

    batches = history.rows[-1]["step"] / history.rows[-1]["epoch"]
    panels: list[Control] = []
    marks: list[Mark] = []
    for controller in feedback.controllers:
        entries = [entry for entry in feedback.log.entries if entry.controller == controller.name]
        if controller.settles and entries:
            panels.append(_panel(entries, batches, controller.set_point))
        elif not controller.settles:
            shown = entries[-1:] if isinstance(controller, KeepBest) else entries
            marks += [Mark(e.step / batches, f"{e.setting} {e.to:.4g}".replace("_", " ")) for e in shown]
    if FRECHET in history.columns:
        panels.append(Control("Frechet distance", "", history["epoch"], history[FRECHET], [], None))
    return panels, marks


def _panel(entries: Sequence[Entry], batches: float, target: float | None) -> Control:
    from ...plots import Control

    x = [entry.step / batches for entry in entries]
    first = entries[0]
    return Control(first.measured, first.setting.replace("_", " "), x, [e.value for e in entries],
                   [e.to for e in entries], target)
