"""The roof: how many multiply-adds a second this machine can do, and how many bytes it can copy.

A kernel that does I operations a byte (its arithmetic intensity) can do no more than

    min(peak, I * bandwidth)    operations a second

(Williams, Waterman & Patterson, Roofline: An Insightful Visual Performance Model, CACM 52(4), 2009). Both limits
are measured here and not read from a data sheet: a sheet knows neither the clock under vector load nor who else
is on the machine.

**Peak.** `cpu.limits.chains_for`: independent chains of vector multiply-adds that never leave the registers, on one
thread a core. What could fool it: too few chains (they would wait for each other), numbers that vanish (some
processors are slow on subnormal numbers: the chains converge to 2), constants (the compiler would compute the
result), two threads on one core (they share its units). The result is checked, and `instructions_per_ns` divides
the vectors out again: it must be a small whole number times the clock in GHz, or the figure is not to be believed.

**Bandwidth.** `cpu.limits.stream_copy` from one array to another, both of them together half of a cache (or three
times the last one: memory), over and over, each thread on arrays of its own. Counted are the bytes read and the
bytes written. What could fool it: memcpy in disguise (it would leave the cache out), passes that the compiler drops
(they are opaque to it), pages that exist only once they are written (they are written first), a cache that the
threads share (each then gets a share of its size). From memory, an ordinary store also reads the line it
overwrites, which is not counted: kernels that update in place avoid that, and may come out above the copy.

Reported is the fastest round, since a limit is what an undisturbed machine does; the spread is in the JSON.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cpu.limits import Chains, chains_for, stream_copy
from ..threads import processors
from .machine import Cache, caches
from .timing import Stopwatch, Timing, alternate

__all__ = ["Bandwidth", "Peak", "Roofline", "make_floor", "measure_bandwidth", "measure_peak", "measure_roofline",
           "thread_counts"]

Array = NDArray[Any]

_PEAK_SECONDS = 0.004, 0.02  # of one call on one thread, and on more: starting them takes a hundredth of it
_ROUNDS = 201  # at most; many short ones, so that some are undisturbed
_COPIED = 1 << 28, 1 << 31  # bytes that one call reads and writes, on one thread and on more, for the same reason
_MEMORY = 3  # times the last cache
_PAGE = 4096
"""Bytes whose addresses a processor compares first: a load half a page off never waits for a store beside it."""


@dataclass(frozen=True)
class Peak:
    """The limit of arithmetic for a dtype on so many threads."""

    dtype: str
    threads: int
    vector: int  # numbers
    flops: int  # of one call
    timing: Timing

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations a second, a multiply-add being two."""
        return self.flops / self.timing.best / 1e9

    @property
    def instructions_per_ns(self) -> float:
        """Vector multiply-adds a nanosecond and thread: a whole number times the clock in GHz."""
        return self.gflops / (2 * self.vector * self.threads)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"dtype": self.dtype, "threads": self.threads, "gflops": self.gflops,
                "instructions_per_ns": self.instructions_per_ns, "seconds": self.timing.record()}  # fmt: skip


@dataclass(frozen=True)
class Bandwidth:
    """The limit of copying within a level, on so many threads; `working_set` is that of each thread."""

    level: str
    threads: int
    working_set: int  # bytes
    moved: int  # bytes of one call, read and written, by all threads
    timing: Timing

    @property
    def gbytes(self) -> float:
        """10^9 bytes a second, those read and those written."""
        return self.moved / self.timing.best / 1e9

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"level": self.level, "threads": self.threads, "working_set": self.working_set,
                "gbytes": self.gbytes, "seconds": self.timing.record()}  # fmt: skip


@dataclass(frozen=True)
class Roofline:
    """All limits of a machine."""

    peaks: tuple[Peak, ...]
    bandwidths: tuple[Bandwidth, ...]

    def peak(self, dtype: str, threads: int) -> Peak:
        """The one for this dtype and number of threads; KeyError if it was not measured."""
        return {(p.dtype, p.threads): p for p in self.peaks}[dtype, threads]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"peaks": [p.record() for p in self.peaks], "bandwidths": [b.record() for b in self.bandwidths]}


def thread_counts() -> tuple[int, ...]:
    """1, 2, 4 ... and all cores."""
    most = processors()
    return tuple(sorted({most, *(1 << i for i in range(most.bit_length()) if 1 << i <= most)}))


def make_floor(flops: int, moved: int) -> Callable[[], None]:
    """A call that does so many operations in float32, and copies so many bytes, as fast as one thread can.

    The operations are multiply-adds that never leave the registers; the bytes, those read and those written, go to
    and fro in the second cache. Timed by turns with a piece of work that needs as many of both, it is the least that
    the same machine could take at that moment.
    """
    chains = chains_for(np.dtype(np.float32))
    add = _chain(chains, "float32", -(-flops // chains.flops(1)))
    levels = {level.name: level.size for level in caches()[0]}
    most = levels.get("L2", min(levels.values())) // 2  # of two arrays, as in `measure_bandwidth`
    times = max(1, -(-moved // most))
    copy = _copier(max(1, moved // (2 * times)), times)

    def run() -> None:
        add()
        copy()

    return run


def measure_roofline(
    threads: Sequence[int], *, dtypes: Sequence[str] = ("float32", "float64"), seconds: float = 0.5,
    stopwatch: Stopwatch | None = None,
) -> Roofline:  # fmt: skip
    """Peaks and bandwidths for each number of threads, about `seconds` for each figure."""
    peaks = measure_peak(threads, dtypes=dtypes, seconds=seconds, stopwatch=stopwatch)
    return Roofline(peaks, measure_bandwidth(threads, seconds=seconds, stopwatch=stopwatch))


def measure_peak(
    threads: Sequence[int], *, dtypes: Sequence[str] = ("float32", "float64"), seconds: float = 0.5,
    stopwatch: Stopwatch | None = None,
) -> tuple[Peak, ...]:  # fmt: skip
    """The peak of each dtype on each number of threads, all by turns.

    Raises ArithmeticError where the chains do not give what they must.
    """
    with _Team(max(threads)) as team:
        calls: dict[tuple[str, int], Callable[[], None]] = {}
        flops = {}
        for dtype in dtypes:
            chains = chains_for(np.dtype(dtype))
            for count in threads:
                rounds = _rounds(chains, dtype, _PEAK_SECONDS[count > 1])
                calls[dtype, count] = team.call(count, [_chain(chains, dtype, rounds) for _ in range(count)])
                flops[dtype, count] = count * chains.flops(rounds)
        named = {f"{dtype} {count}": call for (dtype, count), call in calls.items()}
        timings = alternate(named, seconds=seconds, most=_ROUNDS, stopwatch=stopwatch)
    return tuple(
        Peak(dtype, count, chains_for(np.dtype(dtype)).width, flops[dtype, count], timings[f"{dtype} {count}"])
        for dtype, count in calls
    )


def _chain(chains: Chains, dtype: str, rounds: int) -> Callable[[], None]:
    """One thread's work: x <- x / 2 + 1. It ends at 2, wherever it began."""
    state, half, one = np.zeros(chains.numbers, dtype), np.full(chains.width, 0.5, dtype), np.ones(chains.width, dtype)

    def run() -> None:
        chains.run(state, half, one, rounds)

    chains.run(state, half, one, 100)
    if not (np.abs(state - 2) < 1e-6).all():
        raise ArithmeticError(f"the chains of multiply-adds in {dtype} end at {state[0]}, not at 2: nothing is timed")
    return run


def _rounds(chains: Chains, dtype: str, seconds: float) -> int:
    """How many rounds take so long at 100 GFLOP/s in float32, which is about what a core has today."""
    per_second = 100e9 * 4 / np.dtype(dtype).itemsize
    return max(1, round(seconds * per_second / chains.flops(1)))


def measure_bandwidth(
    threads: Sequence[int], *, seconds: float = 0.5, levels: Sequence[Cache] | None = None,
    stopwatch: Stopwatch | None = None,
) -> tuple[Bandwidth, ...]:  # fmt: skip
    """The copy bandwidth in each cache and in memory, on each number of threads.

    Raises ArithmeticError where a copy is not one.
    """
    found = caches()[0] if levels is None else levels
    memory = Cache("memory", 2 * _MEMORY * found[-1].size, found[-1].shared_by)
    measured = []
    with _Team(max(threads)) as team:
        for level in (*found, memory):
            calls, facts = {}, {}
            for count in threads:
                size = level.size // 4 // min(count, level.shared_by)  # of one array: both are half of the share
                times = -(-_COPIED[count > 1] // (2 * size))
                calls[f"{count}"] = team.call(count, [_copier(size, times) for _ in range(count)])
                facts[count] = (2 * size, 2 * size * times * count)
            timings = alternate(calls, seconds=seconds, most=_ROUNDS, stopwatch=stopwatch)
            measured += [Bandwidth(level.name, n, *facts[n], timings[f"{n}"]) for n in threads]
    return tuple(measured)


def _copier(size: int, times: int) -> Callable[[], None]:
    """One thread's work: an array of `size` bytes copied so many times."""
    pages = -(-size // _PAGE) * _PAGE
    memory = np.ones(2 * pages + 2 * _PAGE, np.uint8)  # writing brings the pages into being
    start = -memory.ctypes.data % _PAGE
    source = memory[start : start + size]
    source[:] = np.arange(size, dtype=np.uint8)  # the low bytes
    target = memory[start + pages + _PAGE // 2 :][:size]
    stream_copy(target, source, 1)
    if not np.array_equal(target, source):
        raise ArithmeticError(f"the copy of {size} bytes differs from its source: nothing is timed")
    return lambda: stream_copy(target, source, times)


class _Team:
    """Threads that begin together. They run side by side because the compiled loops let go of Python's lock."""

    def __init__(self, size: int) -> None:
        self._pool = ThreadPoolExecutor(size)

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def call(self, count: int, tasks: Sequence[Callable[[], None]]) -> Callable[[], None]:
        """A call that ends when all the tasks, each in a thread of its own, have ended."""
        if count == 1:
            return tasks[0]
        barrier = threading.Barrier(count)

        def task(work: Callable[[], None]) -> None:
            barrier.wait()
            work()

        def together() -> None:
            for future in [self._pool.submit(task, work) for work in tasks]:
                future.result()

        return together
