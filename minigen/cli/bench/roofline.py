"""minigen bench roofline: the limits of this machine, and where the ladder stands under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .report import Options, Report, bench_options, measured, percent

if TYPE_CHECKING:
    from ...kernels.bench.roofline import Roofline
    from .table import Table

__all__ = ["command"]

SHAPES = ("1x784x400", "64x784x128", "256x784x400", "1024x1024x1024")


def _all_threads() -> tuple[int, ...]:
    from ...kernels.bench.roofline import thread_counts

    return thread_counts()


@bench_options("roofline", _all_threads)
def command(options: Options) -> Report:
    """Measure the limits of this machine and draw the matmul ladder under them.

    Peak: chains of vector multiply-adds in registers, float32 and float64, which no kernel can exceed. Bandwidth:
    copies within each level of the cache and in memory, bytes read and written. Both for each number of threads.
    """
    from ... import plots
    from ...kernels.bench.ladder import measure, parse_shape
    from ...kernels.bench.roofline import measure_roofline

    seconds = 0.1 if options.quick else 1.0
    roof = measure_roofline(options.threads, seconds=seconds)
    cases = [parse_shape(text) for text in (SHAPES[:2] if options.quick else SHAPES)]
    counts = sorted({options.threads[0], options.threads[-1]})
    results = measure(cases, dtypes=("float32",), threads=counts, seconds=seconds / 5)
    points = [
        {"rung": rung, "shape": result.case.name, "threads": result.threads, "dtype": result.dtype,
         "intensity": result.case.intensity(result.dtype), "gflops": result.gflops(rung)}
        for result in measured(results, len(cases) * len(counts), lambda r: r.case.name)
        for rung in result.timings
    ]  # fmt: skip
    record = {**roof.record(), "points": points}
    tables = [_peaks(roof), _bandwidths(roof, options.threads), _points(roof, points)]
    return Report(record, tables, plots.draw_roofline(record))


def _peaks(roof: Roofline) -> Table:
    from .table import Table

    rows = []
    for peak in roof.peaks:
        low, high = (peak.flops / q / 1e9 for q in reversed(peak.timing.quartiles))
        rows.append([peak.dtype, str(peak.threads), f"{peak.gflops:.1f}", f"{low:.1f} to {high:.1f}",
                     f"{peak.instructions_per_ns:.2f}"])  # fmt: skip
    columns = ("dtype", "threads", "GFLOP/s", "quartiles", "FMA/ns a thread")
    note = (
        "The fastest round, and the middle half of the rounds. FMA/ns: vector multiply-adds a nanosecond and thread, "
        "a whole number times the clock in GHz."
    )
    return Table("Peak: multiply-adds in registers", columns, rows, 2, (note,))


def _bandwidths(roof: Roofline, threads: Sequence[int]) -> Table:
    from .table import Table

    found = {(b.level, b.threads): b for b in roof.bandwidths}
    rows = []
    for level in dict.fromkeys(b.level for b in roof.bandwidths):
        of_level = [found[level, count] for count in threads]
        rows.append([level, f"{of_level[0].working_set >> 10} KiB", *(f"{b.gbytes:.1f}" for b in of_level)])
    columns = ("level", "working set", *(f"GB/s, {_threads(count)}" for count in threads))
    note = "Bytes read and bytes written. Threads that share a cache share the working set."
    return Table("Bandwidth: copies", columns, rows, 2, (note,))


def _points(roof: Roofline, points: Sequence[dict[str, Any]]) -> Table:
    from .table import Table

    shapes = {point["shape"]: point["intensity"] for point in points}
    by_rung: dict[tuple[str, int], dict[str, float]] = {}
    for point in points:
        by_rung.setdefault((point["rung"], point["threads"]), {})[point["shape"]] = point["gflops"]
    rows = []
    for (rung, threads), gflops in by_rung.items():
        peak = roof.peak("float32", threads).gflops
        cells = [f"{gflops[shape]:.1f} ({percent(gflops[shape] / peak)})" if shape in gflops else "-"
                 for shape in shapes]  # fmt: skip
        rows.append([rung, str(threads), *cells])
    columns = ("rung", "threads", *(f"{shape}, {intensity:.3g} FLOP/byte" for shape, intensity in shapes.items()))
    return Table("The ladder under the roof: GFLOP/s in float32 (of the peak)", columns, rows, 2)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
