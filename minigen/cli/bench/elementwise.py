"""minigen bench elementwise: what streams through memory, beside a copy of as many bytes and beside NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ...errors import UsageError
from ..suggest import Name, did_you_mean
from .report import Options, Report, bench_options, measured, percent

if TYPE_CHECKING:
    from ...kernels.bench.streaming import Machine, Result
    from .table import Table

__all__ = ["command"]


@bench_options("elementwise", lambda: (1,))
@click.option("--kernel", "names", multiple=True, metavar="NAME", help="Only this kernel; may be repeated.")
@click.option("--device", type=Name("device", lambda: ("cpu", "gpu")), default="cpu", metavar="cpu|gpu")
def command(options: Options, names: Sequence[str], device: str) -> Report:
    """Measure elementwise kernels, optimizer steps and random numbers, on one thread or on a GPU.

    `of floor` is the time of copying as many bytes as the kernel reads and writes over the kernel's own: 100 % is as
    fast as memory allows. `in the cache` all arrays fit in half of the second level; `from memory` they are large
    and many, so that none is in any cache when its turn comes, and on a GPU they are always that.
    """
    from ... import plots
    from ...kernels.bench.streaming import measure

    if options.threads != (1,):
        raise UsageError("the elementwise kernels run on one thread: --threads 1, or leave it out")
    machine = _machine(device)
    known = [row.name for row in machine.rows]
    for name in names:
        if name not in known:
            raise UsageError(f"no such kernel {name!r}: choose from {', '.join(known)}{did_you_mean(name, known)}")
    rows = [row for row in machine.rows if not names or row.name in names]
    places = machine.places[:1] if options.quick else machine.places
    dtypes = ("float32",) if options.quick else ("float32", "float64")
    going = measure(rows, machine=machine, dtypes=dtypes, places=places, seconds=0.02 if options.quick else 0.2)
    total = len(places) * sum(sum(d in dtypes or d == "uint32" for d in row.dtypes) for row in rows)
    results = list(measured(going, total, lambda r: f"{r.row.name} {r.dtype} in {r.place}"))
    record: dict[str, Any] = {"device": device, "results": [result.record() for result in results]}
    if device == "gpu":
        record["gpu"] = _gpu_name()
    wrong = [f"{r.row.name} {r.dtype} ({r.wrong})" for r in results if r.wrong]
    return Report(record, [_table(place, results) for place in places], plots.draw_streaming(record), wrong)


def _machine(device: str) -> Machine:
    from ...backend import require_device
    from ...kernels.bench.streaming import cpu, gpu

    require_device(device)
    return cpu() if device == "cpu" else gpu()


def _gpu_name() -> str:
    from ...kernels.cuda.stopwatch import gpu_name

    return gpu_name()


def _table(place: str, results: Sequence[Result]) -> Table:
    from .table import Table

    rows = [_cells(result) for result in results if result.place == place]
    columns = ("kernel", "dtype", "bytes", "numbers", "ns/number", "quartiles", "GB/s", "of floor", "over NumPy")
    title = {"cache": "In the cache", "memory": "From memory"}[place]
    return Table(title, columns, rows, 2, ("`bytes`: read and written for each number.",), folded=place == "memory")


def _cells(result: Result) -> list[str]:
    said = [result.row.name, result.dtype, str(result.row.bytes_moved(1, result.dtype)), f"{result.numbers}"]
    if result.wrong:
        return [*said, "WRONG", "-", "-", "-", "-"]
    low, high = (seconds / result.numbers * 1e9 for seconds in result.timings["ours"].quartiles)
    over = f"{result.over_numpy:.2f}x" if result.over_numpy else "-"
    return [*said, f"{result.ns_per_number:.3f}", f"{low:.3f} to {high:.3f}", f"{result.gbytes:.1f}",
            percent(result.of_floor), over]  # fmt: skip
