"""minigen bench devices: from which size the GPU wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .report import Options, Report, bench_options, measured

if TYPE_CHECKING:
    from ...kernels.bench.devices import Comparison
    from .table import Table

__all__ = ["command"]


def _all_cores() -> tuple[int, ...]:
    from ...threads import processors

    return (processors(),)


@bench_options("devices", _all_cores)
def command(options: Options) -> Report:
    """Measure the CPU, on all its cores, against the GPU: products of cubes, and whole training steps of the VAE.

    Kernel, transfer and compilation are timed apart, and the size from which the GPU wins is found twice: with
    operands that are on the GPU already, and with operands that come and go. Without a GPU: exit code 5.
    """
    from ... import plots
    from ...backend import require_device
    from ...kernels.bench.device import cpu, gpu
    from ...kernels.bench.devices import BATCHES, SIZES, measure_matmul, measure_steps

    require_device("gpu")
    sizes, batches = (SIZES[:4], BATCHES[:2]) if options.quick else (SIZES, BATCHES)
    seconds = 0.02 if options.quick else 0.3
    here, there = cpu(), gpu()
    products = measure_matmul(here, there, sizes=sizes, threads=options.threads[-1], seconds=seconds)
    steps = measure_steps(here, there, training_step, batches=batches, seconds=seconds)
    found = [*measured(products, len(sizes), lambda c: f"{c.size} cubed"),
             *measured(steps, len(batches), lambda c: f"step, batch {c.size}")]  # fmt: skip
    record = findings(found)
    record["gpu"] = _gpu_name()
    return Report(record, tables(found, record), plots.draw_crossover(record))


def _gpu_name() -> str:
    from ...kernels.cuda.stopwatch import gpu_name

    return gpu_name()


def training_step(device: str, batch: int) -> tuple[Callable[[], Any], Any]:
    """The default VAE's step on a batch of the embedded sample, and the batch."""
    import numpy as np

    from ...data import load_mnist
    from ...models import VAE

    images = load_mnist("train", download=False).images
    images = np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:])))
    model: Any = VAE(seed=0)
    if device != "cpu":
        model = model.to(device)
    return lambda: model.train_step(images), images


def findings(found: Sequence[Comparison]) -> dict[str, Any]:
    """The measurements, and the sizes from which the GPU wins, for JSON; None where it never does."""
    from ...kernels.bench.devices import crossover

    crossovers = {}
    for what in dict.fromkeys(c.what for c in found):
        rows = [c for c in found if c.what == what]
        sizes, cpu = [c.size for c in rows], [c.cpu.median for c in rows]
        crossovers[what] = {
            "alone": crossover(sizes, cpu, [c.gpu_alone for c in rows]),
            "with_transfer": crossover(sizes, cpu, [c.gpu_with_transfer for c in rows]),
            "first": sizes[0],
        }
    return {"results": [c.record() for c in found], "crossovers": crossovers}


def tables(found: Sequence[Comparison], record: dict[str, Any]) -> list[Table]:
    """One for each thing compared, with a sentence that says from where the GPU wins."""
    from .table import Table

    titles = {"matmul": "Products of n x n matrices, float32", "step": "A training step of the VAE"}
    columns = {"matmul": "n", "step": "batch"}
    made = []
    for what, crossovers in record["crossovers"].items():
        rows = [
            [str(c.size), *(f"{1e6 * s:.1f}" for s in (c.cpu.median, c.gpu_alone, c.transfer.median)),
             f"{c.compile:.2f}", f"{c.cpu.median / c.gpu_alone:.2f}", f"{c.cpu.median / c.gpu_with_transfer:.2f}"]
            for c in found if c.what == what
        ]  # fmt: skip
        headings = (columns[what], "CPU us", "GPU us", "transfer us", "compile s", "CPU / GPU", "with transfer")
        notes = [
            f"Operands on the GPU: {_from(crossovers['alone'], crossovers['first'])}. "
            f"Operands that come and go: {_from(crossovers['with_transfer'], crossovers['first'])}."
        ]
        made.append(Table(titles[what], headings, rows, 1, notes))
    return made


def _from(size: float | None, first: int) -> str:
    if size is None:
        return "the GPU does not win at the largest size measured"
    return f"the GPU wins from {size:.0f} on" if size > first else f"the GPU wins from {first} on, the first measured"
