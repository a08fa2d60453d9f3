"""What all controllers have in common: settings that a run records, a state that a checkpoint keeps, and actions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...errors import UsageError

__all__ = ["Action", "Controller", "require"]


class Action(NamedTuple):
    """A measurement, and what it made a controller do: `setting` is now `to`."""

    measured: str
    value: float
    setting: str
    to: float


@dataclass
class Controller:
    """A rule that looks at what a run measures and moves one setting of it.

    A subclass is a dataclass. The fields that its maker gives are settings; those with `init=False` are its state,
    plain numbers, which the checkpoint keeps. It overrides `after_step` or `after_epoch`, and what moves its setting:
    `apply` for one of the model's, `factor` for a learning rate.
    """

    name: ClassVar[str]  # in the log and in config.json
    settles: ClassVar[bool] = True  # moves a little at every step towards a set point; else acts now and then

    def attach(self, model: Any) -> None:
        """Before the first step; UsageError where the model has not what this controller moves."""

    def detach(self, model: Any) -> None:
        """When the run ends: the model is as it was before `attach`."""

    def after_step(self, measured: Mapping[str, float], images: int) -> Action | None:
        """`measured` is what the training step on that many images returned."""

    def after_epoch(self, row: Mapping[str, float]) -> Action | None:
        """`row` is the epoch's row of the history."""

    def apply(self, model: Any) -> None:
        """Give the model the setting as it is now."""

    def factor(self, optimizer: str) -> float:
        """What the learning rate of the optimizer called so is multiplied by."""
        return 1.0

    @property
    def set_point(self) -> float | None:
        """What the measured figure should become."""
        return getattr(self, "target", None)

    def says(self, action: Action) -> str:
        """The action in words, for the line after an epoch."""
        wanted = f"{action.measured} {action.value:.4g}, wanted {self.set_point:g}"
        return f"{wanted}: {action.setting} is now {action.to:.4g}"

    def settings(self) -> dict[str, Any]:
        """What makes this controller again, ready for JSON."""
        return {"controller": self.name, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}}

    def state(self) -> dict[str, float]:
        """The numbers that an exact continuation needs."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.init}

    def load(self, state: Mapping[str, float]) -> None:
        """Continue from a `state()`."""
        for name, value in self.state().items():
            setattr(self, name, type(value)(state[name]))


def require(controller: Controller, name: str, expected: str, fits: Callable[[Any], bool], kind: type = float) -> None:
    """Make the setting called so a Python number of that kind, or raise UsageError unless it is one that fits."""
    value = getattr(controller, name)
    exact = (int, np.integer) if kind is int else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, exact) or not math.isfinite(value) or not fits(value):
        raise UsageError(f"{type(controller).__name__}: {name} = {value!r}, expected {expected}")
    setattr(controller, name, kind(value))
