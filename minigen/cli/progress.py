"""What a person sees while a run is under way: a bar in a terminal, lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..training import PlainReporter, Plan, Reporter, Silent, StepReport
from ..training.history import TIMING, Row
from ..training.report import figures

__all__ = ["announcing", "make_reporter"]

_REDRAW = 0.1  # seconds


def make_reporter(quiet: bool) -> Reporter:
    """The one that fits where stdout goes."""
    if quiet:
        return Silent()
    return _Bar() if sys.stdout.isatty() else PlainReporter()


@contextlib.contextmanager
def announcing(reporter: Reporter) -> Iterator[None]:
    """Within the context the user is told before the first kernel is compiled."""
    from ..kernels.cpu.jit import announce_compilation

    with announce_compilation(lambda name: reporter.notice("compiling kernels (first run only) ...")):
        yield


class _Display(Progress):
    """A bar with a line of losses under it."""

    losses = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.losses:
            yield Text(f"  {self.losses}", overflow="ellipsis", no_wrap=True)


class _Bar:
    """A reporter for a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, stderr=False)
        self._display = _Display(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._plan: Plan | None = None
        self._shown_at = 0.0

    def begin(self, plan: Plan) -> None:
        """Show the bar."""
        self._plan = plan
        if plan.finished:
            self._say(plan.nothing_left)
            return
        self._say(f"training {plan.kind} on {plan.images} {plan.unit}, {plan.epochs} epochs, in {plan.out}")
        self._display.add_task("epoch", total=plan.steps, completed=plan.first_step, speed="")
        self._display.start()

    def step(self, done: StepReport) -> None:
        """Move the bar now and then: drawing it costs more than a step."""
        now = time.monotonic()
        if now - self._shown_at < _REDRAW or self._plan is None:
            return
        self._shown_at = now
        self._display.losses = figures(done.losses)
        self._display.update(
            self._display.task_ids[0],
            completed=done.step,
            description=f"epoch {done.epoch}/{self._plan.epochs}",
            speed=f"{done.images_per_second:,.0f} {self._plan.unit}/s",
        )

    def epoch(self, row: Row) -> None:
        """A line above the bar."""
        shown = {name: value for name, value in row.items() if name not in ("epoch", "step", *TIMING)}
        self._say(f"epoch {int(row['epoch'])}  {figures(shown)}")

    def notice(self, text: str) -> None:
        """A line above the bar."""
        self._say(text)

    def end(self) -> None:
        """Take the bar away."""
        self._display.stop()

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

