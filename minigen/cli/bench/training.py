"""minigen bench training: whole training steps, eager and compiled, beside PyTorch and JAX."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from .report import Options, Report, bench_options, measured

if TYPE_CHECKING:
    from ...models import GenerativeModel
    from .table import Table

__all__ = ["command"]

NETS = {"GAN": "the document's GAN", "VAE-2": "the document's VAE", "VAE-20": "the VAE 784-400-20"}
BATCHES = (1, 16, 64, 256, 1024)
OURS = ("eager", "compiled")
CURVE = 10  # steps over which the losses must agree before anything is timed
ROUNDING = 2e-3  # of float32 over so many steps of Adam, relative


@dataclass(frozen=True)
class Cell:
    """One net, batch size and number of threads."""

    net: str
    batch: int
    threads: int


class _Peers(click.ParamType):
    """Names of peers: ("torch", "jax")."""

    name = "peers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        from ...peers import PEERS, installed

        names = tuple(name for name in str(value).split(",") if name)
        for name in names:
            if name not in PEERS:
                self.fail(f"{name!r} is no peer: choose from {', '.join(PEERS)}", param, ctx)
            if name not in installed():
                self.fail(f"{name!r} is not installed: pip install 'minigen[compare]'", param, ctx)
        return names


def _one_and_all() -> tuple[int, ...]:
    from ...threads import processors

    return tuple(sorted({1, min(2, processors())}))


@click.option("--peers", type=_Peers(), metavar="NAME[,NAME]",
              help="torch, torch.compile, jax. [default: what is there]")
def _measure(options: Options, peers: tuple[str, ...] | None) -> Report:
    """Time training steps of three nets: eager, compiled, and in the frameworks that are installed.

    Each is first held to the same loss curve, on the same batches and noise, and then timed by turns. The floor runs
    by turns with them: as many multiply-adds as the step's products have, in registers, and its bytes copied in the
    second cache; with more threads, one thread's share of both.
    """
    from ... import plots
    from ...peers import installed

    names = installed() if peers is None else list(peers)
    batches = BATCHES[1:3] if options.quick else BATCHES
    seconds = 0.1 if options.quick else 0.6
    cells = [Cell(net, batch, threads) for threads in options.threads for net in NETS for batch in batches]
    rows = _in_processes(cells, names, seconds)
    results = list(measured(rows, len(cells), lambda row: f"{row['net']}, batch {row['batch']}"))
    wrong = [f"{r['net']} at batch {r['batch']}: {line}" for r in results for line in r["wrong"]]
    summary = _summary(results)
    record = {"peers": names, "results": results, "summary": summary}
    return Report(record, _tables(results, summary), plots.draw_training(record), wrong)


command = bench_options("training", _one_and_all)(_measure)


# Measuring --------------------------------------------------------------------------------------------------------


def _in_processes(cells: Sequence[Cell], peers: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """The cells of each number of threads in a process of its own: frameworks fix that number once and for all."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    for threads, group in itertools.groupby(cells, lambda cell: cell.threads):
        with ProcessPoolExecutor(1, context, initializer=_only, initargs=(threads,)) as process:
            for cell in group:
                yield process.submit(measure_cell, cell, tuple(peers), seconds).result()


def _only(threads: int) -> None:
    """This process on so many processors and threads, before any framework looks."""
    import os

    from ...threads import set_threads

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    set_threads(threads)


def make_model(net: str) -> GenerativeModel:
    """One of `NETS`."""
    from ...models import GAN, VAE

    made = {"GAN": lambda: GAN.preset("document"), "VAE-2": lambda: VAE.preset("document"), "VAE-20": lambda: VAE()}
    return made[net]()


def measure_cell(cell: Cell, peers: Sequence[str], seconds: float) -> dict[str, Any]:
    """Check the curves, then time whoever passed, and the floor: flops and bytes are those of the compiled program."""
    import numpy as np

    from ...data import load_mnist
    from ...kernels.bench.roofline import make_floor
    from ...kernels.bench.timing import SPREAD, alternate
    from ...peers import losses_of, make_peer, noise_of
    from ...program import compile
    from ...program.report import bytes_of, flops_of

    images = load_mnist("train", download=False).images
    batches = np.resize(images, (CURVE, cell.batch, *images.shape[1:]))
    compiled_model, eager_model, teacher = (make_model(cell.net) for _ in range(3))
    step = compile(compiled_model.train_step)
    steps: dict[str, Callable[..., float]] = {
        "eager": lambda x, noise=None: losses_of(eager_model.train_step(x)),
        "compiled": lambda x, noise=None: losses_of(step(x)),
        **{name: make_peer(name, make_model(cell.net), cell.threads) for name in peers},
    }
    wrong = []
    off = dict.fromkeys(steps, 0.0)
    for batch in batches:
        noise = noise_of(teacher, batch)
        expected = losses_of(teacher.train_step(batch))
        for name, one in steps.items():
            off[name] = max(off[name], abs(one(batch, noise) - expected) / abs(expected))
    for name, difference in off.items():
        if not difference <= ROUNDING:
            wrong.append(f"the losses of {name} are {difference:.1e} off: not the same computation")
            del steps[name]
    given = itertools.cycle(batches)
    instructions = step.last.program.instructions
    flops, moved = sum(map(flops_of, instructions)), sum(map(bytes_of, instructions))
    calls: dict[str, Callable[[], Any]] = {
        **{name: functools.partial(_next, one, given) for name, one in steps.items()},
        "floor": make_floor(flops // cell.threads, moved // cell.threads),
    }
    rounds, settle = (51, 0.0) if cell.threads == 1 else (9, SPREAD)
    timings = alternate(calls, seconds=seconds, most=rounds, settle=settle)
    floor, ours = timings.pop("floor"), timings.get("compiled")
    return {
        **asdict(cell), "wrong": wrong, "off": off, "flops": flops, "bytes": moved,
        "seconds": {name: timing.record() for name, timing in timings.items()},
        "ratios": {name: ours.times_as_fast_as(t) for name, t in timings.items()} if ours else {},
        "floor": floor.record(), "over_floor": floor.times_as_fast_as(ours) if ours else None,
    }  # fmt: skip


def _next(step: Callable[..., float], batches: Iterator[Any]) -> float:
    return step(next(batches))


# Reporting --------------------------------------------------------------------------------------------------------


def _lead(row: dict[str, Any]) -> float | None:
    """How many times as fast the compiled step is as the fastest peer."""
    peers = [ratio for name, ratio in row["ratios"].items() if name not in OURS]
    return min(peers) if peers else None


def _summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    from ...kernels.bench.timing import geometric_mean

    leads = [lead for row in results if (lead := _lead(row)) is not None]
    return {"geometric_mean": geometric_mean(leads) if leads else None, "least": min(leads, default=None)}


def _tables(results: Sequence[dict[str, Any]], summary: dict[str, Any]) -> list[Table]:
    from .table import Table

    tables = []
    for threads, group in itertools.groupby(results, lambda row: row["threads"]):
        rows = list(group)
        names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
        lines = [
            [f"{row['net']}, batch {row['batch']}",
             *(f"{1e6 * row['seconds'][n]['median']:.0f}" if n in row["seconds"] else "-" for n in names),
             f"{1e6 * row['floor']['median']:.0f}", f"{row['over_floor']:.2f}" if row["over_floor"] else "-",
             "-" if (lead := _lead(row)) is None else f"{lead:.2f}"]
            for row in rows
        ]  # fmt: skip
        headings = ("net", *(f"{n} us" for n in names), "floor us", "over floor", "over fastest peer")
        tables.append(Table(f"Training steps on {threads} thread{'s' if threads > 1 else ''}", headings, lines, 1))
    if summary["least"] is not None:
        note = (f"Compiled over the fastest peer: {summary['geometric_mean']:.2f} in the geometric mean, "
                f"{summary['least']:.2f} at least.")  # fmt: skip
        tables[-1] = Table(tables[-1].title, tables[-1].columns, tables[-1].rows, 1, [note])
    return tables
