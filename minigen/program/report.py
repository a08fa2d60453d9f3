"""What a program costs: each line's work and time, against what the machine could do it in."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..backend import is_array, to_device
from .ir import Instruction, rows_of
from .passes.memory import VIEWS

if TYPE_CHECKING:
    from .runnable import Runnable

__all__ = ["bytes_of", "explain", "flops_of"]

_ROUNDS = 30

_PRODUCTS = {"self_attention": 2, "self_attention_grad": 5}
"""Of matrices, each of as many multiplications a number of width as a query sees keys: S = Q K^T and P V; in the
gradient S once more, dP, dQ, dK and dV."""


def flops_of(i: Instruction) -> int:
    """Floating-point operations of the matrix products: a multiplication and an addition for each."""
    if i.name in _PRODUCTS:
        n, t, width = i.inputs[-2].shape
        return _PRODUCTS[i.name] * 2 * n * (t * (t + 1) // 2 if i.attrs["causal"] else t * t) * width // 3
    if i.name != "product":
        return 0
    (m, k), n = rows_of(i.inputs[0]), i.inputs[1].shape[1]
    return 2 * m * n * k


def bytes_of(i: Instruction) -> int:
    """Bytes that must be read and written, each array once; none for a view, which only shows them."""
    if i.name in VIEWS and i.output.base is not None:
        return 0
    written = [v for v in i.writes if v not in i.outputs]
    read = {v: None for v in i.reads if v.offset is None or i.name in ("loop", "product")}
    return sum(v.bytes for v in (*read, *i.outputs, *written))


def explain(program: Runnable) -> str:
    """The program's lines in a table: shape, flops, bytes, the median time of a run, and its share of the floor.

    On the gpu each line is waited for: what that costs, and a CUDA graph saves, is part of the times.

    The floor of a line is its flops at the measured peak, plus its bytes at the measured bandwidth. Measuring runs
    the program, on copies of its state.
    """
    peak, bandwidth = _limits(program.device)
    seconds = _measured(program)
    rows = [("line", "phase", "shape", "kflop", "KiB", "us", "floor", "what")]
    total = total_floor = 0.0
    for number, i in program.emitted.lines.items():
        floor = flops_of(i) / peak + bytes_of(i) / bandwidth
        total, total_floor = total + seconds[number], total_floor + floor
        shape = "x".join(map(str, (i.outputs or i.writes)[0].shape)) or "1"
        rows.append((str(number), i.phase, shape, f"{flops_of(i) / 1e3:.0f}", f"{bytes_of(i) / 1024:.1f}",
                     f"{seconds[number] * 1e6:.1f}", f"{floor / max(seconds[number], 1e-9):.0%}",
                     f"{i.name}, {i.site}"))
    plan = program.plan
    recorded = [] if program.recorded is None else [program.recorded]
    return "\n".join([
        program.program.name,
        *_table(rows),
        f"{len(program.traced)} operations became {len(rows) - 1} lines; arena {plan.size / 1024:.0f} KiB, "
        f"of which {plan.needed / 1024:.0f} are in use at once",
        f"{total * 1e6:.0f} us, the floor {total_floor * 1e6:.0f} us "
        f"({peak / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s)",
        *recorded,
    ])


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns side by side: words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = (1, 2, 7)
    return ["  ".join(cell.ljust(w) if k in words else cell.rjust(w)
                      for k, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]


_SIDE = {"cpu": 256, "gpu": 2048}  # of a square matrix: what fits in the cache there, what fills a gpu
_COPIED = 1 << 28  # bytes that are copied on the gpu: many times what its last cache holds
_CALLS, _TURNS = 10, 5


def _limits(device: str) -> tuple[float, float]:
    """Flops a second of a product, bytes a second of a copy: within the cache, the product on as many threads as are
    allowed, the copy on one; or on the gpu, by its own clock, the copy in its memory. Each is the best that was seen.
    """
    side = _SIDE[device]
    a, b, c = (to_device(np.ones((side, side), np.float32), device) for _ in range(3))

    def product() -> None:
        kernels.matmul(a, b, out=c)

    if device == "gpu":
        return 2 * side**3 / _fastest_there(product), _bandwidth_there()
    return 2 * side**3 / _fastest(product), 2 * a.nbytes / _fastest(lambda: np.copyto(c, a))


def _bandwidth_there() -> float:
    from ..kernels.cuda import stopwatch

    size = min(_COPIED, stopwatch.free_memory() // 4)
    source, target = (to_device(np.ones(size, np.uint8), "gpu") for _ in range(2))
    return 2 * size / _fastest_there(lambda: stopwatch.copy(target, source))


def _fastest(work: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _fastest_there(work: Callable[[], None]) -> float:
    from ..kernels.cuda.stopwatch import elapsed

    return min(elapsed(work, _CALLS) for _ in range(_TURNS)) / _CALLS


def _waiting(device: str) -> Callable[[], None]:
    """What waits until the device has done all that was begun."""
    if device == "cpu":
        return lambda: None
    from ..kernels.cuda.stopwatch import synchronize

    return synchronize


def _measured(program: Runnable) -> dict[int, float]:
    """Seconds of each line of the source, the median of some runs on copies of the state."""
    times: dict[int, list[float]] = {number: [] for number in program.emitted.lines}
    last = 0.0
    wait = _waiting(program.device)

    def mark(number: int) -> None:
        nonlocal last
        wait()
        if number:
            times[number].append(time.perf_counter() - last)
        last = time.perf_counter()

    lines = []
    for number, line in enumerate(program.emitted.source.splitlines(), 1):
        lines.append(line)
        if line.startswith("    def step("):
            lines.append("        mark(0)")
        if number in times:
            lines.append(f"        mark({number})")
    namespace: dict[str, Any] = {"__name__": "minigen.program.generated", "mark": mark}
    exec(compile("\n".join(lines), f"<{program.program.name}, timed>", "exec"), namespace)
    state = {name: array.copy() for name, array in program.state().items()}
    step = program.bind(state, namespace["bind"])
    if program.device == "gpu":
        step.why_not = "it is timed line by line"  # type: ignore[attr-defined]
    called = [x.copy() if is_array(x) else x for x in program.arguments()]
    for _ in range(_ROUNDS):
        step(*called)
    return {number: statistics.median(found) for number, found in times.items()}
