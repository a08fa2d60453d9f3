"""Learning-rate schedules: functions from the step (0, 1, 2, ...) to a factor that multiplies the base rate.

They hold no state, so a resumed run needs nothing but its step; only Plateau, which looks at a metric, does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UsageError
from ..host import cos

__all__ = ["Cosine", "Plateau", "Schedule", "StepDecay", "Warmup"]

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class StepDecay:
    """factor^(step // every)."""

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"StepDecay needs every >= 1, got {self.every}")

    def __call__(self, step: int) -> float:
        return self.factor ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """floor + (1 - floor) (1 + cos(pi step / total)) / 2, then floor. arXiv:1608.03983, equation 5."""

    total: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.total < 1:
            raise UsageError(f"Cosine needs total >= 1, got {self.total}")

    def __call__(self, step: int) -> float:
        done = min(step / self.total, 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + cos(math.pi * done))


@dataclass(frozen=True)
class Warmup:
    """(step + 1) / steps up to `steps`, then the schedule `then`, counted from there. arXiv:1706.02677, section 2.2."""

    steps: int
    then: Schedule = lambda step: 1.0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"Warmup needs steps >= 0, got {self.steps}")

    def __call__(self, step: int) -> float:
        return (step + 1) / self.steps if step < self.steps else self.then(step - self.steps)


class Plateau:
    """Multiplies the factor by `shrink` when a metric, the lower the better, has not improved `patience` times."""

    def __init__(self, patience: int = 5, shrink: float = 0.5, threshold: float = 1e-4) -> None:
        if patience < 1 or not 0 < shrink < 1:
            raise UsageError(f"Plateau needs patience >= 1 and 0 < shrink < 1, got {patience} and {shrink}")
        self.patience, self.shrink, self.threshold = patience, shrink, threshold
        self.best = math.inf
        self.waited = 0
        self.factor = 1.0

    def update(self, metric: float) -> float:
        """Take in a new value of the metric and return the factor that now holds."""
        if metric < self.best - self.threshold * abs(self.best if math.isfinite(self.best) else 0.0):
            self.best, self.waited = metric, 0
        else:
            self.waited += 1
        if self.waited >= self.patience:
            self.factor *= self.shrink
            self.waited = 0
        return self.factor
