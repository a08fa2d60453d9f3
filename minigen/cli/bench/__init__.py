"""minigen bench: how fast the kernels are and how fast they could be, one file a benchmark.

Each measures through `minigen.kernels.bench`, then prints tables, writes JSON and draws (`report.py`). Another
benchmark is a file here, with a `command`, and a line in `BENCHMARKS`.
"""

from __future__ import annotations

import importlib

import click

from ..suggest import did_you_mean

__all__ = ["BENCHMARKS", "command"]

BENCHMARKS = {
    "roofline": "The limits of this machine: multiply-adds a second, bytes copied a second.",
    "matmul": "Every rung of the matmul ladder on every shape, beside BLAS and under the peak.",
    "elementwise": "Elementwise kernels, optimizers and random numbers, beside a copy and NumPy.",
    "training": "Whole training steps, eager and compiled, beside PyTorch and JAX.",
    "devices": "CPU against GPU: kernel, transfer and compilation, and from where the GPU wins.",
}


class _Benchmarks(click.Group):
    """As the commands themselves: imported when called, their helps known before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(BENCHMARKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in BENCHMARKS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in BENCHMARKS and not args[0].startswith("-"):
            ctx.fail(f"no such benchmark {args[0]!r}: choose from {', '.join(BENCHMARKS)}"
                     f"{did_you_mean(args[0], BENCHMARKS)}")  # fmt: skip
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Benchmarks"):
            formatter.write_dl(list(BENCHMARKS.items()))


@click.group("bench", cls=_Benchmarks)
def command() -> None:
    """Measure the kernels: each is checked first, and a wrong one is reported and not timed.

    Times are medians of rounds in which the competitors take turns. A busy machine widens the spread and blurs the
    ratios of several threads most: measure on a quiet one.
    """
