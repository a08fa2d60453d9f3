"""How a run tells about itself: a small protocol, and two reporters that need no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from .history import TIMING, Row

__all__ = ["Interrupted", "PlainReporter", "Plan", "Reporter", "Silent", "StepReport", "figures"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the step was finished and everything saved (if there is a run folder, `out`)."""

    def __init__(self, step: int, out: Path | None) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step
        self.out = out


@dataclass(frozen=True)
class Plan:
    """What is about to happen. `first_step` is above 0 in a resumed run."""

    kind: str
    images: int
    epochs: int
    batches: int  # in an epoch
    batch_size: int
    first_step: int
    out: Path | None
    unit: str = "images"  # what `images` counts: of a text "windows"

    @property
    def steps(self) -> int:
        """Steps in all epochs together."""
        return self.epochs * self.batches

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: a run that was resumed after its end."""
        return self.first_step >= self.steps

    @property
    def nothing_left(self) -> str:
        """What is said then."""
        return f"nothing left to do: {self.epochs} of {self.epochs} epochs are done; epochs = {2 * self.epochs} goes on"


@dataclass(frozen=True)
class StepReport:
    """After one step: `step` and `epoch` counted from 1, the means of the losses over the epoch so far."""

    step: int
    epoch: int
    losses: Mapping[str, float]
    images_per_second: float


class Reporter(Protocol):
    """Called by the loop, in its own thread. An error raised here ends the run."""

    def begin(self, plan: Plan) -> None:
        """Once, before the first step."""

    def step(self, done: StepReport) -> None:
        """After every step: be quick."""

    def epoch(self, row: Row) -> None:
        """After every epoch, with its row of the history."""

    def notice(self, text: str) -> None:
        """A line that a person should see."""

    def end(self) -> None:
        """Once, however the run ended."""


class Silent:
    """Reports nothing."""

    def begin(self, plan: Plan) -> None:
        """Nothing."""

    def step(self, done: StepReport) -> None:
        """Nothing."""

    def epoch(self, row: Row) -> None:
        """Nothing."""

    def notice(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class PlainReporter:
    """Plain lines: one an epoch, and one about every `seconds` in between."""

    def __init__(self, stream: TextIO | None = None, seconds: float = 10.0) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._seconds = seconds
        self._last = time.monotonic()
        self._plan: Plan | None = None

    def begin(self, plan: Plan) -> None:
        """One line: what is trained on what, and for how long."""
        self._plan = plan
        if plan.finished:
            self._line(plan.nothing_left)
            return
        start = f" from step {plan.first_step}" if plan.first_step else ""
        self._line(
            f"training {plan.kind} on {plan.images} {plan.unit}{start}: {_count(plan.epochs, 'epoch')} of "
            f"{_count(plan.batches, 'step')} with batches of {plan.batch_size}"
        )

    def step(self, done: StepReport) -> None:
        """A line when it is time for one."""
        if time.monotonic() - self._last >= self._seconds:
            speed = f"{done.images_per_second:,.0f} {self._unit}/s"
            self._line(f"{self._where(done.epoch, done.step)}  {figures(done.losses)}  {speed}")

    def epoch(self, row: Row) -> None:
        """A line with the epoch's means and test figures."""
        shown = {name: row[name] for name in row if name not in ("epoch", "step", *TIMING)}
        speed = f"{row['images_per_second']:,.0f} {self._unit}/s"
        self._line(f"{self._where(int(row['epoch']), int(row['step']))}  {figures(shown)}  {speed}")

    def notice(self, text: str) -> None:
        """The line."""
        self._line(text)

    def end(self) -> None:
        """Nothing."""

    @property
    def _unit(self) -> str:
        return self._plan.unit if self._plan else "images"

    def _where(self, epoch: int, step: int) -> str:
        epochs = f"/{self._plan.epochs}" if self._plan else ""
        return f"epoch {epoch}{epochs}  step {step}"

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        print(text, file=self._stream, flush=True)


def figures(values: Mapping[str, float]) -> str:
    """`loss 104.2  kl 25.31`: names and four digits."""
    return "  ".join(f"{name} {value:#.4g}" for name, value in values.items())


def _count(n: int, what: str) -> str:
    """1 epoch, 2 epochs."""
    return f"{n} {what}{'' if n == 1 else 's'}"
