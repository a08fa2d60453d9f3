"""A clock that stands still until somebody works, and kernels that take as long as they are told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigen.kernels.bench.device import Device, Product
from minigen.kernels.bench.timing import Timing, wall


class Clock:
    """`clock()` is the time; `work` lets it pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds

    def taking(self, seconds: float, function: Callable[..., Any] = lambda *_: None) -> Callable[..., Any]:
        """The function, as if it took so long."""

        def call(*arguments: Any) -> Any:
            self.work(seconds)
            return function(*arguments)

        return call


def timing(*seconds: float, calls: int = 1) -> Timing:
    return Timing(seconds, calls)


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray, threads: int) -> None:
    np.matmul(a, b, out=out)


def device(clock: Clock, products: dict[str, Product], name: str = "fake", **changes: Any) -> Device:
    """NumPy's memory, and a stopwatch by the clock."""
    settings: dict[str, Any] = dict(
        put=lambda x: x, get=lambda x: x, full_of_nan=lambda shape, dtype: np.full(shape, np.nan, dtype),
        stopwatch=wall(clock),
    )  # fmt: skip
    return Device(name, products, **(settings | changes))
