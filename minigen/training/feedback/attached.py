"""The controllers of one run, attached to its model, and the figures that they ask for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CheckpointError, UsageError
from ..checks import Data
from ..history import Row
from .augmentation import AdaptiveAugmentation
from .balance import Balance
from .controller import Action, Controller
from .frechet import FRECHET, Frechet
from .kl import KLTarget
from .log import Log
from .metric import KeepBest, OnPlateau, StopEarly

__all__ = ["KINDS", "Feedback", "controllers_of"]

KINDS: dict[str, type[Controller]] = {
    kind.name: kind for kind in (KLTarget, AdaptiveAugmentation, Balance, OnPlateau, KeepBest, StopEarly)}


def controllers_of(record: Sequence[Mapping[str, Any]]) -> list[Controller]:
    """The controllers that `Controller.settings` described; CheckpointError where it describes none."""
    try:
        settings = [dict(entry) for entry in record]
        return [KINDS[entry.pop("controller")](**entry) for entry in settings]
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise CheckpointError(f"{record!r} describes no feedback ({error}); restore the run's config.json") from error


class Feedback:
    """What `mg.train` drives: `after_step` and `after_epoch`, and the model with its own settings again at `detach`.

    The controllers are copied, so that those of the caller stay as they are. Raises UsageError for two of one kind, one
    that does not fit the model, or a figure that the run has not.
    """

    def __init__(self, controllers: Sequence[Controller], model: Any, data: Data, test: Data | None) -> None:
        self.controllers: list[Controller] = []
        self.model = model
        self.log = Log()
        self._rates = {name: optimizer.lr for name, optimizer in getattr(model, "optimizers", {}).items()}
        self._frechet: Frechet | None = None
        try:
            for controller in controllers:
                self._attach(controller)
            self._require_figures(data, test)
            self._apply()
        except BaseException:
            self.detach()
            raise

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.controllers)

    def detach(self) -> None:
        """The model's settings are its own again."""
        for controller in self.controllers:
            controller.detach(self.model)
        self._set_rates(lambda name: 1.0)

    def settings(self) -> list[dict[str, Any]]:
        """What the run's record keeps."""
        return [controller.settings() for controller in self.controllers]

    @property
    def keeps(self) -> bool:
        """Whether a best model is to be kept on disk."""
        return any(isinstance(controller, KeepBest) for controller in self.controllers)

    @property
    def stopped(self) -> bool:
        """Whether a controller has ended the run."""
        return any(isinstance(controller, StopEarly) and controller.stopped for controller in self.controllers)

    def measure(self) -> Row:
        """The figures of this epoch that controllers ask for and the model does not give by itself."""
        return {} if self._frechet is None else {FRECHET: self._frechet.of(self.model)}

    def move(self, losses: Mapping[str, float], images: int) -> list[tuple[Controller, Action]]:
        """Show a step's losses to every controller, and give the model the settings that come of it."""
        acted = [(c, action) for c in self.controllers if (action := c.after_step(losses, images)) is not None]
        if acted:
            self._apply()
        return acted

    def after_step(self, step: int, losses: Mapping[str, float], images: int) -> None:
        """`move`, written down."""
        for controller, action in self.move(losses, images):
            self.log.add(step, controller.name, action)

    def after_epoch(self, row: Row) -> list[str]:
        """Show an epoch's row to every controller; what they did, a line each."""
        lines = []
        for controller in self.controllers:
            action = controller.after_epoch(row)
            if action is not None:
                self.log.add(int(row["step"]), controller.name, action)
                lines.append(f"feedback: {controller.says(action)}")
            elif controller.settles and (action := self._last(controller)) is not None:
                lines.append(f"feedback: {controller.says(action)}")
        self._apply()
        return lines

    def improved(self, epoch: int) -> bool:
        """Whether this epoch's model is the best, and is to be kept."""
        return any(isinstance(c, KeepBest) and c.epoch == epoch for c in self.controllers)

    def state(self) -> dict[str, np.ndarray]:
        """All controllers' state, as arrays by name."""
        return {f"{c.name}.{name}": np.array(value, np.float64)
                for c in self.controllers for name, value in c.state().items()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a `state()`; CheckpointError where it is of other controllers."""
        if state.keys() != self.state().keys():
            differ = sorted(state.keys() ^ self.state().keys())
            raise CheckpointError(f"the saved state of the feedback does not fit: {', '.join(differ)} differ; restore "
                                  "the run's config.json, or train anew")
        for c in self.controllers:
            c.load({name: float(state[f"{c.name}.{name}"]) for name in c.state()})
        self._apply()

    def resume(self, state: Mapping[str, np.ndarray], path: Path, step: int) -> None:
        """`load`, and the log until `step` that lies at `path`."""
        self.load(state)
        if self.controllers:
            self.log = Log.resumed(path, step)

    def _attach(self, controller: Controller) -> None:
        if not isinstance(controller, Controller):
            raise UsageError(f"feedback: {controller!r} is no controller: choose from "
                             f"{', '.join(kind.__name__ for kind in KINDS.values())}")
        if any(c.name == controller.name for c in self.controllers):
            raise UsageError(f"feedback: two of {type(controller).__name__}, expected one")
        fresh = dataclasses.replace(controller)  # the settings alone: its state begins anew
        fresh.attach(self.model)
        self.controllers.append(fresh)

    def _apply(self) -> None:
        for controller in self.controllers:
            controller.apply(self.model)
        self._set_rates(lambda name: math.prod(c.factor(name) for c in self.controllers))

    def _set_rates(self, factor: Callable[[str], float]) -> None:
        """Learning rates, where a controller moves any: a model may have a schedule of its own."""
        if any(type(c).factor is not Controller.factor for c in self.controllers):
            for name, rate in self._rates.items():
                self.model.optimizers[name].lr = rate * factor(name)

    def _last(self, controller: Controller) -> Action | None:
        for entry in reversed(self.log.entries):
            if entry.controller == controller.name:
                return Action(*entry[2:])
        return None

    def _require_figures(self, data: Data, test: Data | None) -> None:
        """Every `metric` is a column that the history will have: known now, not after an hour of training."""
        asked = [metric for c in self.controllers if (metric := getattr(c, "metric", None)) is not None]
        if not asked:
            return
        real = data if test is None else test
        if FRECHET in asked:
            self._frechet = Frechet(real)
        known = [FRECHET] if Frechet.knows(real) else []
        if test is not None:
            known += [f"test_{name}" for name in self.model.evaluate(test.items[:2])]
        if not set(asked) <= set(known):
            known += self._losses(data)
        for metric in asked:
            if metric not in known:
                raise UsageError(f"feedback: this run has no figure {metric!r}: choose from {', '.join(known)}")

    def _losses(self, data: Data) -> list[str]:
        """What a training step returns, by name: found by one, which is undone."""
        before = self.model.training_state()
        names = list(self.model.train_step(data.batch(np.arange(min(2, len(data))), 0)))
        self.model.load_training_state(before)
        return names
