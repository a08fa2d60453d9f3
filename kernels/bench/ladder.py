"""The matmul ladder: every rung on every shape, beside BLAS and under the measured peak.

Operands stay where they were between two calls, in whatever cache holds them, as a layer's weights and activations do
between two steps of training. Before a rung is timed on a shape its product is held against one in float64; a rung
that is wrong is reported and not timed. A rung that would take longer than the budget for one call is left out, and
the report says so; `best` and `blas` are always there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .check import product_fault
from .device import BOTH, Device, Product, cpu
from .machine import blas_threads
from .timing import SPREAD, Timing, alternate, geometric_mean

__all__ = ["BATCHES", "Case", "Result", "cases", "means", "measure", "parse_shape"]

Array = NDArray[Any]

BATCHES = (1, 64, 256)
LAYERS = ((100, 128), (128, 784), (784, 128), (784, 400), (400, 784), (400, 40))
"""The layers of a GAN and a VAE on MNIST: (numbers in, numbers out)."""

CUBES = (128, 256, 512, 1024, 2048, 4096)
RAGGED = (
    (31, 31, 31), (33, 33, 33), (127, 127, 127), (1000, 1000, 1000), (31, 33, 127), (33, 127, 31), (1, 1000, 127),
    (1000, 1, 127), (1000, 127, 1), (127, 1000, 33), (1000, 31, 33), (1000, 127, 1000),
)  # fmt: skip
"""(m, k, n)"""

_LARGEST = 16384  # of a side: three matrices of a gigabyte
_PROBE = 96  # a cube by which the speed of a rung is known before its first shape


@dataclass(frozen=True)
class Case:
    """C (m, n) = A (m, k) B (k, n). A transposed operand lies in memory as its transpose, in rows of k or of n."""

    group: str
    m: int
    k: int
    n: int
    transpose_a: bool = False
    transpose_b: bool = False

    @property
    def layout(self) -> str:
        """NN, TN or NT: which operand is transposed."""
        return ("T" if self.transpose_a else "N") + ("T" if self.transpose_b else "N")

    @property
    def name(self) -> str:
        return f"{self.m}x{self.k}x{self.n} {self.layout}"

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each of the m k n pairs."""
        return 2 * self.m * self.k * self.n

    def intensity(self, dtype: str) -> float:
        """Operations a byte, each operand read and the product written once."""
        return self.flops / (np.dtype(dtype).itemsize * (self.m * self.k + self.k * self.n + self.m * self.n))

    def operands(self, dtype: str, seed: int = 0) -> tuple[Array, Array]:
        """A (m, k) and B (k, n), standard normal, transposed views where that is asked."""
        rng = np.random.default_rng(seed)
        a, b = (
            rng.standard_normal(shape[::-1] if transposed else shape, np.float32).astype(dtype)
            for shape, transposed in (((self.m, self.k), self.transpose_a), ((self.k, self.n), self.transpose_b))
        )
        return a.T if self.transpose_a else a, b.T if self.transpose_b else b


def cases(quick: bool = False) -> list[Case]:
    """The shapes: the MNIST suite forward (NN), weight gradient (TN) and input gradient (NT); cubes; ragged ones."""
    batches = (64,) if quick else BATCHES
    suite = [case for batch in batches for layer in LAYERS for case in _steps_of_layer(batch, *layer)]
    cubes = [Case("cubes", size, size, size) for size in (CUBES[:3] if quick else CUBES)]
    return suite + cubes + [Case("ragged", *shape) for shape in (RAGGED[:3] if quick else RAGGED)]


def _steps_of_layer(batch: int, inputs: int, outputs: int) -> Iterator[Case]:
    group = f"batch {batch}"
    yield Case(group, batch, inputs, outputs)
    yield Case(group, inputs, batch, outputs, transpose_a=True)
    yield Case(group, batch, outputs, inputs, transpose_b=True)


def parse_shape(text: str) -> Case:
    """"64x784x128" is m x k x n; with ":tn" or ":nt" an operand lies transposed. ValueError for anything else."""
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?::(nn|tn|nt|tt))?", text.strip().lower())
    m, k, n = (int(size) for size in match.groups()[:3]) if match else (0, 0, 0)
    if match is None or not all(1 <= size <= _LARGEST for size in (m, k, n)):
        raise ValueError(f"{text!r} is no shape: expected MxKxN, 1 to {_LARGEST} each, as 64x784x128 or 64x784x128:tn")
    layout = match[4] or "nn"
    return Case("own", m, k, n, transpose_a=layout[0] == "t", transpose_b=layout[1] == "t")


@dataclass(frozen=True)
class Result:
    """One shape in one dtype on so many threads: the time of each rung, or why it has none."""

    case: Case
    dtype: str
    threads: int
    timings: Mapping[str, Timing]
    wrong: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def gflops(self, rung: str) -> float:
        """10^9 operations a second, by the median."""
        return self.case.flops / self.timings[rung].median / 1e9

    def over_blas(self, rung: str) -> float:
        """How many times as fast as BLAS, by the median of the rounds."""
        return self.timings[rung].times_as_fast_as(self.timings["blas"])

    def record(self, peaks: Mapping[tuple[str, int], float]) -> dict[str, Any]:
        """For JSON; `peaks` in GFLOP/s by (dtype, threads), where known."""
        peak = peaks.get((self.dtype, self.threads))
        rungs = {
            rung: {
                "gflops": self.gflops(rung),
                "of_peak": self.gflops(rung) / peak if peak else None,
                "over_blas": self.over_blas(rung) if "blas" in self.timings else None,
                "seconds": timing.record(),
            }
            for rung, timing in self.timings.items()
        }
        case = self.case
        return {"group": case.group, "m": case.m, "k": case.k, "n": case.n, "layout": case.layout, "dtype": self.dtype,
                "threads": self.threads, "rungs": rungs, "wrong": dict(self.wrong),
                "left_out": dict(self.left_out)}  # fmt: skip


def measure(
    chosen: Sequence[Case],
    *,
    device: Device | None = None,
    dtypes: Sequence[str] = BOTH,
    threads: Sequence[int] = (1,),
    rungs: Sequence[str] | None = None,
    seconds: float = 0.15,
    budget: float = 3.0,
) -> Iterator[Result]:
    """Each shape in each dtype on each number of threads, as it is done; `seconds` for each rung of each.

    `rungs` narrows the device's products down; `blas` always stays, to be compared with. `budget` is in seconds a
    call.
    """
    device = cpu() if device is None else device
    measurer = _Measurer(device, seconds, budget)
    for count in threads:
        for dtype in dtypes:
            names = _taking_part(device, dtype, count, rungs)
            with blas_threads(count):
                for case in chosen:
                    yield measurer.measure(case, dtype, count, names)


def _taking_part(device: Device, dtype: str, threads: int, rungs: Sequence[str] | None) -> list[str]:
    return [
        name
        for name, product in device.products.items()
        if dtype in product.dtypes
        and (product.serial if threads == 1 else product.threaded)
        and (rungs is None or name in rungs or name == "blas")
    ]


class _Measurer:
    """What is learned from one shape to the next: how fast each rung is, and so which is too slow for the next."""

    def __init__(self, device: Device, seconds: float, budget: float) -> None:
        self.device = device
        self.seconds = seconds
        self.budget = budget
        self.rates: dict[tuple[str, str, int], float] = {}  # operations a second, by rung, dtype and threads

    def measure(self, case: Case, dtype: str, threads: int, names: Sequence[str]) -> Result:
        a, b = case.operands(dtype)
        expected = a.astype(np.float64) @ b.astype(np.float64)
        on_device = self.device.put(a), self.device.put(b)
        calls, wrong, left_out = {}, {}, {}
        for name in names:
            product = self.device.products[name]
            predicted = case.flops / self._rate(name, dtype, threads)
            if not product.always and predicted > self.budget:
                left_out[name] = f"about {predicted:.1f} s a call, over the budget of {self.budget:g} s"
                continue
            call, out = self._call(product, *on_device, dtype, threads)
            call()
            if reason := product_fault(self.device.get(out), a, b, expected, product.rounding):
                wrong[name] = reason
            else:
                calls[name] = call
        rounds, settle = (51, 0.0) if threads == 1 else (7, SPREAD)
        timings = alternate(calls, seconds=self.seconds, least=3, most=rounds, settle=settle,
                            stopwatch=self.device.stopwatch)
        for name, timing in timings.items():
            self.rates[name, dtype, threads] = case.flops / timing.median
        return Result(case, dtype, threads, timings, wrong, left_out)

    def _call(self, product: Product, a: Any, b: Any, dtype: str, threads: int) -> tuple[Callable[[], None], Any]:
        out = self.device.full_of_nan((a.shape[0], b.shape[1]), dtype)
        return (lambda: product.call(a, b, out, threads)), out

    def _rate(self, name: str, dtype: str, threads: int) -> float:
        """Operations a second on the shape before this one; before the first, on a small cube."""
        key = name, dtype, threads
        if key not in self.rates:
            probe = Case("probe", _PROBE, _PROBE, _PROBE)
            a, b = map(self.device.put, probe.operands(dtype))
            call, _ = self._call(self.device.products[name], a, b, dtype, threads)
            timing = alternate({name: call}, seconds=0.005, least=3, stopwatch=self.device.stopwatch)[name]
            self.rates[key] = probe.flops / timing.median
        return self.rates[key]


def means(results: Sequence[Result], rung: str = "best") -> dict[tuple[str, str, int], tuple[float, float, int]]:
    """By (group, dtype, threads): the geometric mean of rung over BLAS, the lowest ratio, and of how many shapes."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for result in results:
        if rung in result.timings and "blas" in result.timings:
            key = result.case.group, result.dtype, result.threads
            groups.setdefault(key, []).append(result.over_blas(rung))
    return {key: (geometric_mean(ratios), min(ratios), len(ratios)) for key, ratios in groups.items()}
