"""minigen bench matmul: the ladder, rung by rung and shape by shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ...errors import DeviceError
from ..options import Positive
from ..suggest import Name, did_you_mean
from .report import Options, Report, bench_options, measured, percent

if TYPE_CHECKING:
    from ...kernels.bench.device import Device
    from ...kernels.bench.ladder import Case, Result
    from .table import Table

__all__ = ["command"]

SHOWN = ("64x784x128 NN", "512x512x512 NN", "2048x2048x2048 NN")
"""The shapes of the ladder's table and picture, where all are measured."""

Peaks = Mapping[tuple[str, int], float]


class _Shape(click.ParamType):
    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Case:
        from ...kernels.bench.ladder import parse_shape

        try:
            return parse_shape(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _one_and_all() -> tuple[int, ...]:
    from ...threads import processors

    return tuple(sorted({1, processors()}))


@bench_options("matmul", _one_and_all)
@click.option("--shape", "shapes", type=_Shape(), multiple=True, metavar="MxKxN[:tn]",
              help="A shape of your own instead of the suite; may be repeated. :tn, :nt: an operand lies transposed.")
@click.option("--rung", "rungs", multiple=True, metavar="NAME", help="Only this rung, beside BLAS; may be repeated.")
@click.option("--dtype", "dtypes", type=Name("dtype", lambda: ("float32", "float64")), multiple=True,
              metavar="float32|float64", help="Only this one.")
@click.option("--budget", type=Positive(), default=3.0, show_default=True, metavar="SECONDS",
              help="Leave out a rung that would take longer for one call.")
@click.option("--device", type=Name("device", lambda: ("cpu", "gpu")), default="cpu", metavar="cpu|gpu")
def command(
    options: Options, shapes: Sequence[Case], rungs: Sequence[str], dtypes: Sequence[str], budget: float, device: str
) -> Report:
    """Measure every rung of the matmul ladder beside BLAS (on a GPU, cuBLAS) and under the measured peak.

    Shapes: the layers of a GAN and a VAE on MNIST at batch 1, 64 and 256, forward (NN), weight gradient (TN) and
    input gradient (NT); cubes; ragged ones. On one thread every rung takes part, on more those that use them. Each
    product is held against one in float64 first. `over BLAS` is the median over rounds in which both took their turn.
    """
    from ... import plots
    from ...kernels.bench.ladder import cases, measure
    from ...kernels.bench.roofline import measure_peak

    place = _device(device)
    _require_rungs(rungs, list(place.products))
    chosen = list(shapes) or cases(options.quick)
    dtypes = tuple(dict.fromkeys(dtypes)) or (("float32",) if options.quick else ("float32", "float64"))
    threads = options.threads if device == "cpu" else (1,)
    peaks: dict[tuple[str, int], float] = {}
    if device == "cpu":
        measured_peaks = measure_peak(threads, dtypes=dtypes, seconds=0.1 if options.quick else 0.5)
        peaks = {(peak.dtype, peak.threads): peak.gflops for peak in measured_peaks}
    going = measure(chosen, device=place, dtypes=dtypes, threads=threads, rungs=rungs or None, budget=budget,
                    seconds=0.02 if options.quick else 0.15)  # fmt: skip
    total = len(chosen) * len(dtypes) * len(threads)
    results = list(measured(going, total, lambda r: f"{r.case.name} {r.dtype}, threads: {r.threads}"))
    record: dict[str, Any] = {
        "device": device, "budget": budget, "peaks": [[*key, value] for key, value in peaks.items()],
        "results": [result.record(peaks) for result in results],
    }  # fmt: skip
    if device == "gpu":
        record["gpu"] = _gpu_name()
    record["shown"] = _shown(results)
    wrong = [f"{rung} on {r.case.name} {r.dtype} ({reason})" for r in results for rung, reason in r.wrong.items()]
    return Report(record, list(_tables(results, peaks, record["shown"])), plots.draw_ladder(record), wrong)


def _device(name: str) -> Device:
    from ...backend import require_device
    from ...kernels.bench.device import cpu, gpu

    require_device(name)
    if name == "gpu":
        _require_cublas()
    return cpu() if name == "cpu" else gpu()


def _require_cublas() -> None:
    from ...kernels.cuda.stopwatch import require_cublas

    try:
        require_cublas()
    except ImportError as error:
        raise DeviceError(f"bench matmul: the products are held against cuBLAS, which CuPy cannot load ({error}): "
                          "pip install 'cupy-cuda12x[ctk]', or 13x, to match the CUDA driver") from None  # fmt: skip


def _gpu_name() -> str:
    from ...kernels.cuda.stopwatch import gpu_name

    return gpu_name()


def _require_rungs(rungs: Sequence[str], known: Sequence[str]) -> None:
    for rung in rungs:
        if rung not in known:
            raise click.UsageError(f"no such rung {rung!r}: choose from {', '.join(known)}{did_you_mean(rung, known)}")


def _shown(results: Sequence[Result]) -> list[str]:
    names = list(dict.fromkeys(result.case.name for result in results))
    usual = [name for name in SHOWN if name in names]
    return (usual if len(usual) > 1 else names)[:3]


def _tables(results: Sequence[Result], peaks: Peaks, shown: Sequence[str]) -> Iterator[Table]:
    yield _ladder(results, peaks, shown)
    yield _beside_blas(results)
    yield _best(results, peaks)
    for dtype, threads in dict.fromkeys((r.dtype, r.threads) for r in results):
        yield _every_rung([r for r in results if (r.dtype, r.threads) == (dtype, threads)])


def _ladder(results: Sequence[Result], peaks: Peaks, shown: Sequence[str]) -> Table:
    """A row for each rung on one thread, then those that use more on most."""
    from .table import Table

    dtype = results[0].dtype
    rows = []
    for threads in sorted({results[0].threads, results[-1].threads}):
        found = {r.case.name: r for r in results if (r.dtype, r.threads) == (dtype, threads)}
        for rung in dict.fromkeys(rung for r in found.values() for rung in (*r.timings, *r.left_out, *r.wrong)):
            cells = [_cell(found[name], rung, peaks.get((dtype, threads))) for name in shown]
            rows.append([rung, str(threads), *cells])
    title = f"The ladder: GFLOP/s in {dtype} (of the measured peak)"
    return Table(title, ("rung", "threads", *shown), rows, 2, _notes(results, peaks))


_ROUNDED = ("`blas_tf32` and `blas_bf16` are cuBLAS on the operands of the rungs, float32 in memory, and allowed to "
            "round them: GemmEx with CUBLAS_COMPUTE_32F_FAST_TF32 and _FAST_16BF.")  # fmt: skip


def _notes(results: Sequence[Result], peaks: Peaks) -> tuple[str, ...]:
    rounded = any("blas_bf16" in result.timings for result in results)
    return (*_doubt(results, peaks), *([_ROUNDED] if rounded else []))


def _doubt(results: Sequence[Result], peaks: Peaks) -> tuple[str, ...]:
    """No kernel is faster than the peak: where one is, it is the peak that was not measured well."""
    for result in results:
        peak = peaks.get((result.dtype, result.threads))
        if peak and any(result.gflops(rung) > 1.03 * peak for rung in result.timings):
            return ("More than 100 % of the peak: the machine was busy when the peak was measured. Measure again.",)
    return ()


def _cell(result: Result, rung: str, peak: float | None) -> str:
    if rung in result.wrong:
        return "WRONG"
    if rung not in result.timings:
        return "left out"
    rate = result.gflops(rung)
    return f"{rate:.1f} ({percent(rate / peak)})" if peak else f"{rate:.1f}"


def _beside_blas(results: Sequence[Result]) -> Table:
    from ...kernels.bench.ladder import means
    from .table import Table

    found = means(results)
    settings = list(dict.fromkeys((r.dtype, r.threads) for r in results))
    rows = []
    for group in dict.fromkeys(key[0] for key in found):
        cells = ["{:.2f} ({:.2f})".format(*found[group, *setting][:2]) if (group, *setting) in found else "-"
                 for setting in settings]  # fmt: skip
        shapes = max(count for key, (_, _, count) in found.items() if key[0] == group)
        rows.append([group, str(shapes), *cells])
    columns = ("shapes", "number", *(_setting(*setting) for setting in settings))
    note = "Geometric mean of how many times as fast as BLAS the rung `best` is, and the lowest of the ratios."
    return Table("Beside BLAS", columns, rows, 1, (note,))


def _best(results: Sequence[Result], peaks: Peaks) -> Table:
    """One row a shape, for the README: `best` in each setting."""
    from .table import Table

    settings = list(dict.fromkeys((r.dtype, r.threads) for r in results))
    found = {(r.case.name, r.dtype, r.threads): r for r in results}
    rows = []
    for group, name in dict.fromkeys((r.case.group, r.case.name) for r in results):
        cells = []
        for setting in settings:
            result = found[name, *setting]
            over = f", {result.over_blas('best'):.2f}x" if {"best", "blas"} <= result.timings.keys() else ""
            cells.append(_cell(result, "best", peaks.get(setting)) + over)
        rows.append([group, name, *cells])
    columns = ("group", "shape", *(_setting(*setting) for setting in settings))
    return Table("Every shape: GFLOP/s of `best` (of the peak), times BLAS", columns, rows, 2, folded=True)


def _every_rung(results: Sequence[Result]) -> Table:
    """All rungs of one setting, GFLOP/s."""
    from .table import Table

    rungs = list(dict.fromkeys(rung for r in results for rung in (*r.timings, *r.left_out, *r.wrong)))
    rows = []
    for result in results:
        cells = [_cell(result, rung, None) for rung in rungs]
        if {"best", "blas"} <= result.timings.keys():
            ratios = sorted(b / a for a, b in zip(result.timings["best"].seconds, result.timings["blas"].seconds,
                                                  strict=True))  # fmt: skip
            spread = f"{ratios[len(ratios) // 4]:.2f} to {ratios[3 * len(ratios) // 4]:.2f}"
            cells += [f"{result.over_blas('best'):.2f}", spread]
        else:
            cells += ["-", "-"]
        rows.append([result.case.group, result.case.name, *cells])
    left_out = [f"left out: {rung} on {r.case.name}, {why}" for r in results for rung, why in r.left_out.items()]
    title = f"Every rung, {_setting(results[0].dtype, results[0].threads)}: GFLOP/s"
    return Table(title, ("group", "shape", *rungs, "best / BLAS", "quartiles"), rows, 2, left_out, long=True)


def _setting(dtype: str, threads: int) -> str:
    return f"{dtype}, {threads} thread{'s' if threads > 1 else ''}"
