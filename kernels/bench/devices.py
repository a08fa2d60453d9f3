"""CPU against GPU: kernel, transfer and compilation apart, and the size from which the GPU wins.

A GPU does a large product many times as fast and a small one not at all: starting a kernel takes microseconds, and
operands that lie on the other side of a bus must first cross it. So there are two answers, one for operands that are
on the GPU already, as in training, and one for operands that come and go.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..threads import processors
from .check import product_fault
from .device import Device
from .ladder import Case
from .machine import blas_threads
from .timing import Stopwatch, Timing, alternate, wall

__all__ = ["BATCHES", "SIZES", "Comparison", "crossover", "measure_matmul", "measure_steps"]

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Of cubes."""

BATCHES = (16, 64, 256, 1024, 4096)
"""Of the training step."""

Step = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """One size: the CPU's time, the GPU's with the start of its kernels, and what it takes besides to bring operands
    there and results back.

    `compile` is how much longer the first call took, in seconds: compilation, or reading it from a cache. A training
    step brings its batch there itself: its time on the GPU `includes_transfer`.
    """

    what: str
    size: int
    cpu: Timing
    kernel: Timing
    transfer: Timing
    compile: float
    includes_transfer: bool = False

    @property
    def gpu_alone(self) -> float:
        """Seconds on the GPU, operands being there."""
        if not self.includes_transfer:
            return self.kernel.median
        return max(1e-9, self.kernel.median - self.transfer.median)  # two medians: their difference may miss

    @property
    def gpu_with_transfer(self) -> float:
        """Seconds with operands that come and results that go."""
        return self.kernel.median if self.includes_transfer else self.kernel.median + self.transfer.median

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"what": self.what, "size": self.size, "cpu": self.cpu.record(), "kernel": self.kernel.record(),
                "transfer": self.transfer.record(), "compile": self.compile, "gpu_alone": self.gpu_alone,
                "gpu_with_transfer": self.gpu_with_transfer}  # fmt: skip


def crossover(sizes: Sequence[float], cpu: Sequence[float], gpu: Sequence[float]) -> float | None:
    """The size from which the GPU takes less time than the CPU, and goes on to; None where it never does.

    Between two sizes both times are taken to be powers of the size: straight lines on paper with logarithmic axes.
    The first size, where the GPU wins from there on: the true one may be smaller.
    """
    ahead = [math.log(c / g) for c, g in zip(cpu, gpu, strict=True)]  # above 0, the GPU wins
    losses = [i for i, a in enumerate(ahead) if a <= 0]
    if not losses:
        return float(sizes[0]) if sizes else None
    last = losses[-1]
    if last == len(sizes) - 1:
        return None
    share = -ahead[last] / (ahead[last + 1] - ahead[last])
    return math.exp(math.log(sizes[last]) + share * math.log(sizes[last + 1] / sizes[last]))


def measure_matmul(
    cpu: Device, gpu: Device, *, sizes: Sequence[int] = SIZES, dtype: str = "float32", threads: int | None = None,
    seconds: float = 0.2, clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Comparison]:  # fmt: skip
    """The best product of each device on cubes, as each is done.

    The GPU is timed on the wall, as in `measure_steps`: who asks from which size it wins must start its kernels, too.

    Raises ArithmeticError for a product that is wrong.
    """
    threads = threads or processors()
    for size in sizes:
        case = Case("cubes", size, size, size)
        a, b = case.operands(dtype)
        there = gpu.put(a), gpu.put(b)
        out, result = cpu.full_of_nan((size, size), dtype), gpu.full_of_nan((size, size), dtype)
        run_cpu = _bound(cpu, a, b, out, threads)
        run_gpu = _bound(gpu, *there, result, threads)
        first = _first(run_gpu, gpu, clock)
        run_cpu()
        expected = a.astype("float64") @ b.astype("float64")
        for device, product in (("CPU", out), ("GPU", gpu.get(result))):
            if reason := product_fault(product, a, b, expected):
                raise ArithmeticError(f"the {device}'s product of {size} cubed is wrong: {reason}; nothing is timed")

        def transfer(a: Any = a, b: Any = b, result: Any = result) -> None:
            gpu.put(a)
            gpu.put(b)
            gpu.get(result)

        with blas_threads(threads):
            yield _compared("matmul", size, cpu, run_cpu, run_gpu, transfer, first, seconds, _waiting(gpu, clock))


def _bound(device: Device, a: Any, b: Any, out: Any, threads: int) -> Step:
    best = device.products["best"]
    return lambda: best.call(a, b, out, threads)


def measure_steps(
    cpu: Device, gpu: Device, make_step: Callable[[str, int], tuple[Step, Any]], *, batches: Sequence[int] = BATCHES,
    seconds: float = 0.5, clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Comparison]:  # fmt: skip
    """A whole training step of each device by batch size: `make_step(device name, batch)` gives it, and the batch.

    Here the GPU is timed on the wall, with a wait at the end: in a step of many small kernels, the program that starts
    them is part of the cost. The transfer is that of the batch, which the step includes.
    """
    for batch in batches:
        here, _ = make_step("cpu", batch)
        there, images = make_step("gpu", batch)
        first = _first(there, gpu, clock)

        def transfer(images: Any = images) -> None:
            gpu.put(images)

        found = _compared("step", batch, cpu, here, there, transfer, first, seconds, _waiting(gpu, clock))
        yield dataclasses.replace(found, includes_transfer=True)


def _first(call: Step, gpu: Device, clock: Callable[[], float]) -> float:
    start = clock()
    call()
    gpu.wait()
    return clock() - start


def _waiting(gpu: Device, clock: Callable[[], float]) -> Stopwatch:
    """A clock on the wall that waits for the GPU."""
    measure = wall(clock)

    def stopwatch(call: Step, times: int) -> float:
        def and_wait() -> None:
            for _ in range(times):
                call()
            gpu.wait()

        return measure(and_wait, 1)

    return stopwatch


def _compared(
    what: str, size: int, cpu: Device, run_cpu: Step, run_gpu: Step, transfer: Step, first: float, seconds: float,
    waiting: Stopwatch,
) -> Comparison:  # fmt: skip
    """The two devices have stopwatches of their own and disturb each other little, so they go one after the other."""

    def timed(call: Step, watch: Stopwatch) -> Timing:
        return alternate({what: call}, seconds=seconds, stopwatch=watch)[what]

    kernel, moved = timed(run_gpu, waiting), timed(transfer, waiting)
    return Comparison(what, size, timed(run_cpu, cpu.stopwatch), kernel, moved, max(0.0, first - kernel.median))
