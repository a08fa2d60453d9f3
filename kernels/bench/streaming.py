"""Elementwise kernels, optimizer steps and random numbers, under the bandwidth that bounds them.

Each of these reads some arrays once and writes some once, so it can be no faster than copying as many bytes. That
copy (`cpu.limits.stream_copy`) is timed by turns with the kernel and with what NumPy offers for the same, on the same
inputs; `of_floor` is the copy's time over the kernel's, 1 at the roof. A kernel with much arithmetic (erf, random
numbers) stays below it by right; one that updates in place may exceed it in memory, because the copy must first
read the lines that it overwrites.

Two places: `cache`, where everything stays in the second level, as the activations of a small net do; and `memory`,
where the inputs are many and large and come in turn, so that none is in any cache when its turn comes. A kernel
that returns a new array pays for its memory here as it does in use, and so does NumPy's version.

On a GPU there is `memory` alone; the copy is the driver's, and the clock the GPU's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..cpu import elementwise, optimizers, random
from ..cpu.limits import stream_copy
from .check import elementwise_fault
from .machine import caches, last_cache
from .timing import Stopwatch, Timing, alternate, rotate, wall

__all__ = ["PLACES", "ROWS", "Machine", "Result", "Row", "cpu", "gpu", "measure"]

Array = NDArray[Any]
Arrays = tuple[Array, ...]

PLACES = ("cache", "memory")

_SLOPE = 0.2
_SGD: dict[str, Any] = dict(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.01)
_PLAIN_SGD = _SGD | {"momentum": 0.0}  # then there is no buffer: it is neither read nor written
_ADAM: dict[str, Any] = dict(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, step=3, weight_decay=0.01, decoupled=False)
_RMSPROP = dict(lr=1e-3, rho=0.9, eps=1e-8, weight_decay=0.01)
_EMA = dict(decay=0.999)
_DRAW = (1, 2)  # seed and draw
_MEMORY_NUMBERS, _GPU_NUMBERS = 1 << 22, 1 << 25


@dataclass(frozen=True)
class Row:
    """A kernel, what it moves, and what it is held against.

    `ours(*arrays)` returns the result or updates the arrays, which are the machine's; `expected` does the same by
    `reference` on arrays of float64, unless `exact`, when it gets the same arrays; `numpy(*arrays)` is NumPy's best for
    it, None where it has nothing. `read` and `written` are arrays of n numbers each. A random kernel has no input: it
    gets an empty array of n numbers, for size and dtype. `prepare` makes the inputs fit for the kernel.
    """

    name: str
    group: str
    read: int
    written: int
    arrays: int
    ours: Callable[..., Any]
    expected: Callable[..., Any]
    numpy: Callable[..., Any] | None
    in_place: bool = False
    exact: bool = False
    dtypes: tuple[str, ...] = ("float32", "float64")
    prepare: Callable[[Array], Array] = field(default=lambda x: x)

    def bytes_moved(self, n: int, dtype: str) -> int:
        """Those read and those written, for n numbers."""
        return (self.read + self.written) * n * np.dtype(dtype).itemsize

    def inputs(self, n: int, dtype: str, seed: int) -> Arrays:
        """Arrays of standard normal numbers, or what `prepare` makes of them."""
        rng = np.random.default_rng(seed)
        return tuple(self.prepare(rng.standard_normal(n, np.float32)).astype(dtype) for _ in range(self.arrays))


def _unary(
    elementwise: Any, name: str, numpy: Callable[..., Any] | None, prepare: Callable[[Array], Array] = lambda x: x
) -> Row:
    ours, expected = getattr(elementwise, name), getattr(reference, name)
    return Row(name, "elementwise", 1, 1, 1, ours, expected, numpy, prepare=prepare)


def _update(
    optimizers: Any, name: str, kernel: str, arrays: int, written: int, settings: Mapping[str, Any]
) -> Row:
    ours, plain = getattr(optimizers, kernel), getattr(reference, kernel)
    return Row(
        name, "optimizer", arrays, written, arrays, lambda *xs: ours(*xs, **settings),
        lambda *xs: plain(*xs, **settings), lambda *xs: plain(*xs, **settings), in_place=True, prepare=np.abs,
    )  # fmt: skip


def _random(
    random: Any, name: str, numpy: Callable[[np.random.Generator, Array], Any], dtypes: tuple[str, ...]
) -> Row:
    ours, plain = getattr(random, name), getattr(reference, name)
    generator = np.random.default_rng(0)

    def with_size(function: Callable[..., Any]) -> Callable[[Array], Any]:
        if name == "random_bits":
            return lambda x: function(*_DRAW, x.size)
        return lambda x: function(*_DRAW, x.shape, x.dtype)

    return Row(name, "random", 0, 1, 1, with_size(ours), with_size(plain), lambda x: numpy(generator, x),
               exact=True, dtypes=dtypes)  # fmt: skip


def _numpy_bernoulli_nll(logit: Array, x: Array) -> Array:
    return np.maximum(logit, 0) - x * logit + np.log1p(np.exp(-np.abs(logit)))


def _numpy_gate(g: Array, x: Array) -> Array:
    number = x.dtype.type
    return g * ((x > 0) * number(1 - _SLOPE) + number(_SLOPE))  # half the time of `where`, which cannot guess


def _rows(elementwise: Any, optimizers: Any, random: Any) -> tuple[Row, ...]:
    """Every kernel that streams, of a device's modules, with NumPy's nearest."""
    return (
        _unary(elementwise, "exp", np.exp),
        _unary(elementwise, "log", np.log, np.abs),
        _unary(elementwise, "log1p", np.log1p, np.abs),
        _unary(elementwise, "tanh", np.tanh),
        _unary(elementwise, "sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        _unary(elementwise, "softplus", lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
        _unary(elementwise, "erf", None),
        _unary(elementwise, "gelu", None),
        Row("gelu_slope", "elementwise", 2, 1, 2, elementwise.gelu_slope, reference.gelu_slope, None),
        Row("leaky_relu", "elementwise", 1, 1, 1, lambda x: elementwise.leaky_relu(x, _SLOPE),
            lambda x: reference.leaky_relu(x, _SLOPE), lambda x: np.maximum(x, _SLOPE * x)),
        Row("gate", "elementwise", 2, 1, 2, lambda g, x: elementwise.gate(g, x, _SLOPE),
            lambda g, x: reference.gate(g, x, _SLOPE), _numpy_gate),
        Row("bernoulli_nll", "elementwise", 2, 1, 2, elementwise.bernoulli_nll, reference.bernoulli_nll,
            _numpy_bernoulli_nll),
        Row("sgd", "optimizer", 2, 1, 2, lambda p, g: optimizers.sgd(p, g, p, **_PLAIN_SGD),
            lambda p, g: reference.sgd(p, g, p, **_PLAIN_SGD), lambda p, g: reference.sgd(p, g, p, **_PLAIN_SGD),
            in_place=True),
        _update(optimizers, "momentum", "sgd", 3, 2, _SGD),
        _update(optimizers, "rmsprop", "rmsprop", 3, 2, _RMSPROP),
        _update(optimizers, "adam", "adam", 4, 3, _ADAM),
        _update(optimizers, "adamw", "adam", 4, 3, _ADAM | {"decoupled": True}),
        _update(optimizers, "ema", "ema", 2, 1, _EMA),
        _random(random, "random_bits", lambda rng, x: rng.integers(0, 1 << 32, x.size, np.uint32), ("uint32",)),
        _random(random, "uniform", lambda rng, x: rng.random(x.size, x.dtype), ("float32", "float64")),
        _random(random, "normal", lambda rng, x: rng.standard_normal(x.size, x.dtype), ("float32", "float64")),
    )  # fmt: skip


ROWS = _rows(elementwise, optimizers, random)
"""The CPU's."""


@dataclass(frozen=True)
class Machine:
    """What the kernels run on: `put` and `get` copy there and back; `copy(target, source)` is the floor beneath them.

    `numbers(row, dtype, place)` is how many are worked on, `last_cache()` what is to be outgrown, in bytes.
    """

    rows: Sequence[Row]
    places: Sequence[str]
    copy: Callable[[Any, Any], Any]
    numbers: Callable[[Row, str, str], int]
    last_cache: Callable[[], int]
    stopwatch: Stopwatch
    put: Callable[[Array], Any] = lambda x: x
    get: Callable[[Any], Array] = lambda x: x


def cpu() -> Machine:
    """One thread, and NumPy's memory."""
    return Machine(ROWS, PLACES, lambda target, source: stream_copy(target, source, 1), _numbers, last_cache, wall())


def gpu() -> Machine:
    """CUDA's kernels, timed by its events, and CuPy's memory."""
    from .. import cuda
    from ..cuda import stopwatch

    rows = [replace(row, numpy=None) for row in _rows(cuda, cuda, cuda)]
    return Machine(rows, ("memory",), stopwatch.copy, lambda row, dtype, place: _GPU_NUMBERS, stopwatch.last_cache,
                   stopwatch.elapsed, stopwatch.to_device, stopwatch.to_host)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One kernel in one dtype and place: the times of `ours`, `copy` and `numpy`, or why there are none."""

    row: Row
    dtype: str
    place: str
    numbers: int
    timings: Mapping[str, Timing]
    wrong: str | None = None

    @property
    def ns_per_number(self) -> float:
        """Nanoseconds for each of the n numbers, by the median."""
        return self.timings["ours"].median / self.numbers * 1e9

    @property
    def gbytes(self) -> float:
        """10^9 bytes a second, read and written."""
        return self.row.bytes_moved(self.numbers, self.dtype) / self.timings["ours"].median / 1e9

    @property
    def of_floor(self) -> float:
        """The time of copying the same bytes over the kernel's: 1 where the kernel is as fast as the copy."""
        return self.timings["ours"].times_as_fast_as(self.timings["copy"])

    @property
    def over_numpy(self) -> float | None:
        """How many times as fast as NumPy's version; None where there is none."""
        return self.timings["ours"].times_as_fast_as(self.timings["numpy"]) if "numpy" in self.timings else None

    def record(self) -> dict[str, Any]:
        """For JSON."""
        said = {"kernel": self.row.name, "group": self.row.group, "dtype": self.dtype, "place": self.place,
                "numbers": self.numbers, "bytes": self.row.bytes_moved(self.numbers, self.dtype)}  # fmt: skip
        if self.wrong is not None:
            return {**said, "wrong": self.wrong}
        measured = {"ns_per_number": self.ns_per_number, "gbytes": self.gbytes, "of_floor": self.of_floor,
                    "over_numpy": self.over_numpy}  # fmt: skip
        return {**said, **measured, "seconds": {name: t.record() for name, t in self.timings.items()}}


def measure(
    rows: Sequence[Row] | None = None,
    *,
    machine: Machine | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    places: Sequence[str] | None = None,
    seconds: float = 0.1,
    stopwatch: Stopwatch | None = None,
) -> Iterator[Result]:
    """Every row in each of its dtypes and places, as it is done, all of the CPU's by default; `seconds` for each of the
    competitors.

    The words of `random_bits` count as of 32 bits, and are measured where float32 is.
    """
    machine = machine or cpu()
    if stopwatch is not None:
        machine = replace(machine, stopwatch=stopwatch)
    for place in machine.places if places is None else places:
        for row in machine.rows if rows is None else rows:
            for dtype in row.dtypes:
                if dtype in dtypes or dtype == "uint32":
                    yield _measure(machine, row, dtype, place, seconds)


def _measure(machine: Machine, row: Row, dtype: str, place: str, seconds: float) -> Result:
    n = machine.numbers(row, dtype, place)
    if reason := _wrong(row, dtype, machine=machine):
        return Result(row, dtype, place, n, {}, reason)
    moved = row.bytes_moved(n, dtype)
    sets = 1 if place == "cache" else max(2, -(-2 * machine.last_cache() // moved))
    inputs = [tuple(map(machine.put, row.inputs(n, dtype, seed))) for seed in range(sets)]
    half = np.ones(sets * moved // 2, np.uint8).reshape(sets, -1)
    copies = [(machine.put(np.zeros_like(source)), machine.put(source)) for source in half]
    calls = {"ours": rotate(row.ours, inputs), "copy": rotate(machine.copy, copies)}
    if row.numpy is not None:
        calls["numpy"] = rotate(row.numpy, inputs)
    with np.errstate(all="ignore"):
        return Result(row, dtype, place, n, alternate(calls, seconds=seconds, stopwatch=machine.stopwatch))


def _numbers(row: Row, dtype: str, place: str) -> int:
    """In memory, `_MEMORY_NUMBERS`; in the cache, as many as let all arrays fit in half of the second level."""
    if place == "memory":
        return _MEMORY_NUMBERS
    second = caches()[0][min(1, len(caches()[0]) - 1)].size
    return second // 2 // ((max(row.arrays, row.read + row.written)) * np.dtype(dtype).itemsize) // 64 * 64


def _wrong(row: Row, dtype: str, n: int = 1003, machine: Machine | None = None) -> str | None:
    """What is wrong with the kernel, on a few numbers that fill no vector."""
    machine = machine or cpu()
    inputs = row.inputs(n, dtype, seed=7)
    theirs = tuple(x.copy() if row.exact else x.astype(np.float64) for x in inputs)
    given = tuple(map(machine.put, inputs))
    result, expected = row.ours(*given), row.expected(*theirs)
    pairs = zip(given, theirs, strict=True) if row.in_place else [(result, expected)]
    return next((reason for ours, right in pairs if (reason := elementwise_fault(machine.get(ours), right))), None)
