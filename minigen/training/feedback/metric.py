"""What looks at a figure after each epoch, the lower the better: learning rate on a plateau, the best kept, the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...errors import UsageError
from ...optim import Plateau
from .controller import Action, Controller, require

__all__ = ["KeepBest", "OnPlateau", "StopEarly"]


@dataclass
class OnPlateau(Controller):
    """Every learning rate times `shrink` when `metric` has not improved for `patience` epochs (`optim.Plateau`)."""

    metric: str
    patience: int = 5
    shrink: float = 0.5
    best: float = field(default=math.inf, init=False)
    waited: int = field(default=0, init=False)
    scale: float = field(default=1.0, init=False)

    name: ClassVar[str] = "on_plateau"
    settles: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self, "patience", "a whole number from 1", lambda v: v >= 1, int)
        require(self, "shrink", "a number between 0 and 1", lambda v: 0 < v < 1)

    def attach(self, model: Any) -> None:
        if hasattr(model, "schedule"):
            raise UsageError(f"OnPlateau moves the learning rate, and a {model.kind} has a schedule of its own: leave "
                             "it out")
        if not hasattr(model, "optimizers"):
            raise UsageError(f"OnPlateau moves the learning rate of `optimizers`, and a {model.kind} has none: leave "
                             "it out")

    def update(self, value: float) -> float:
        """Take in the figure, return the factor that now holds."""
        plateau = Plateau(self.patience, self.shrink)
        plateau.best, plateau.waited, plateau.factor = self.best, self.waited, self.scale
        plateau.update(value)
        self.best, self.waited, self.scale = plateau.best, plateau.waited, plateau.factor
        return self.scale

    def after_epoch(self, row: Mapping[str, float]) -> Action | None:
        before = self.scale
        after = self.update(row[self.metric])
        return None if after == before else Action(self.metric, row[self.metric], "learning_rate_factor", after)

    def factor(self, optimizer: str) -> float:
        return self.scale

    def says(self, action: Action) -> str:
        return (f"{self.metric} {action.value:.4g} has not improved on {self.best:.4g} for {_epochs(self.patience)}, "
                f"learning rate now times {action.to:g}")


@dataclass
class KeepBest(Controller):
    """The model with the lowest `metric` of all epochs, in best.safetensors of the run folder, beside the last."""

    metric: str
    best: float = field(default=math.inf, init=False)
    epoch: int = field(default=0, init=False)

    name: ClassVar[str] = "keep_best"
    settles: ClassVar[bool] = False

    def after_epoch(self, row: Mapping[str, float]) -> Action | None:
        value = row[self.metric]
        if not value < self.best:
            return None
        self.best, self.epoch = value, int(row["epoch"])
        return Action(self.metric, value, "best_epoch", self.epoch)

    def says(self, action: Action) -> str:
        return f"{self.metric} {action.value:.4g} is the lowest so far: kept as best.safetensors"


@dataclass
class StopEarly(Controller):
    """The run ends when `metric` has not fallen below its lowest for `patience` epochs.

    Prechelt 1998, *Early Stopping - But When?*, criterion UP in its plainest form.
    """

    metric: str
    patience: int = 10
    best: float = field(default=math.inf, init=False)
    waited: int = field(default=0, init=False)

    name: ClassVar[str] = "stop_early"
    settles: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self, "patience", "a whole number from 1", lambda v: v >= 1, int)

    @property
    def stopped(self) -> bool:
        """Whether the run is over."""
        return self.waited >= self.patience

    def after_epoch(self, row: Mapping[str, float]) -> Action | None:
        value = row[self.metric]
        self.best, self.waited = (value, 0) if value < self.best else (self.best, self.waited + 1)
        return Action(self.metric, value, "last_epoch", int(row["epoch"])) if self.stopped else None

    def says(self, action: Action) -> str:
        return (f"{self.metric} {action.value:.4g} has not fallen below {self.best:.4g} for {_epochs(self.patience)}: "
                f"the run ends with epoch {int(action.to)}")


def _epochs(n: int) -> str:
    """1 epoch, 2 epochs."""
    return f"{n} epoch{'' if n == 1 else 's'}"
