"""How long a call takes: competitors by turns in one run, medians with their spread.

A machine drifts: its clock rises and falls, other work comes and goes. So no competitor is timed alone. In each round
every one runs once, in an order that turns from round to round, and a ratio is taken within the round, where both
met the same machine; the median over the rounds is what is reported.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["SPREAD", "Stopwatch", "Timing", "alternate", "geometric_mean", "rotate", "wall"]

Call = Callable[[], Any]
_LEAST = 1e-7  # seconds: about what it takes Python to call anything
SPREAD = 0.15
"""Seconds that the system may take to give each of several threads a core. Where another pool of threads was at work
before, the new ones begin two on a core: for some 0.1 s, as measured, a product on two threads took as long as on one.
A training step has no such neighbours, so that this is no part of its time."""
Stopwatch = Callable[[Call, int], float]
"""stopwatch(call, times): the seconds that `times` calls in a row took together."""


def wall(clock: Callable[[], float] = time.perf_counter) -> Stopwatch:
    """A stopwatch by a clock on the wall, which counts in seconds."""

    def measure(call: Call, times: int) -> float:
        repeated = range(times)
        start = clock()
        for _ in repeated:
            call()
        return clock() - start

    return measure


@dataclass(frozen=True)
class Timing:
    """Seconds a call took: one number a round, each the mean of `calls` calls in a row."""

    seconds: tuple[float, ...]
    calls: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """The fastest round: what the machine does when nothing disturbs it."""
        return min(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the rounds was faster than the first, a quarter slower than the second."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    def times_as_fast_as(self, other: Timing) -> float:
        """The median over the rounds of other / self: above 1, this one is faster. Both from one `alternate`."""
        return statistics.median(b / a for a, b in zip(self.seconds, other.seconds, strict=True))

    def record(self) -> dict[str, Any]:
        """For JSON: seconds, and how many rounds of how many calls."""
        low, high = self.quartiles
        spread = {"median": self.median, "quartiles": [low, high], "best": self.best}
        return {**spread, "rounds": len(self.seconds), "calls": self.calls}


def alternate(
    competitors: Mapping[str, Call],
    *,
    seconds: float,
    least: int = 5,
    most: int = 51,
    settle: float = 0.0,
    stopwatch: Stopwatch | None = None,
) -> dict[str, Timing]:
    """Time the competitors by turns, for about `seconds` each, in `least` to `most` rounds.

    Each is called once to warm up (compilation, caches, the clock of the processor) and once to find out how often it
    must be called for a round to be long beside the resolution of the clock. `settle`: for so many seconds it is called
    at the beginning of each turn without being counted, which `SPREAD` is a reason for.
    """
    measure = stopwatch or wall()
    names = list(competitors)
    for call in competitors.values():
        call()
    once = {name: max(measure(competitors[name], 1), _LEAST) for name in names}
    # A round takes the same time for each: about a `most`-th of its share, or one call where that is longer.
    calls = {name: max(1, round(seconds / most / once[name])) for name in names}
    slowest = max((once[name] * calls[name] for name in names), default=seconds)
    rounds = min(most, max(least, round(seconds / slowest)))
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names) if names else 0
        for name in names[turn:] + names[:turn]:
            if calls[name] > 1 or once[name] < settle:
                _repeat(competitors[name], settle)  # what the one before left in the cache, and its threads, settle
            taken[name].append(measure(competitors[name], calls[name]) / calls[name])
    return {name: Timing(tuple(taken[name]), calls[name]) for name in names}


def _repeat(call: Call, seconds: float) -> None:
    """Once, and again until the time is up."""
    end = time.perf_counter() + seconds
    call()
    while time.perf_counter() < end:
        call()


def rotate(function: Callable[..., Any], inputs: Sequence[tuple[Any, ...]]) -> Call:
    """A call that takes the next of the inputs each time, so that none is still in the cache from the last.

    For that, the inputs together must be larger than the cache. With one set of inputs the cache stays warm.
    """
    if len(inputs) == 1:
        (only,) = inputs
        return lambda: function(*only)
    following = itertools.cycle(inputs)
    return lambda: function(*next(following))


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean for ratios: twice as fast and half as fast make 1. NaN of none."""
    return statistics.geometric_mean(ratios) if ratios else float("nan")
