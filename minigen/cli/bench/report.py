"""What all benchmarks share: their options, and what becomes of what they measured."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import MinigenError, UsageError
from ..options import Place
from ..runs import new_run

if TYPE_CHECKING:
    from .table import Table

__all__ = ["Options", "Report", "bench_options", "conclude", "measured", "percent"]

T = TypeVar("T")


class _Threads(click.ParamType):
    """Numbers of threads, 1,2 for instance, each at most the number of cores: (1, 2)."""

    name = "threads"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        from ...threads import processors

        with contextlib.suppress(ValueError):
            counts = tuple(sorted({int(part) for part in str(value).split(",")}))
            if all(1 <= count <= processors() for count in counts):
                return counts
        self.fail(f"{value!r} is not a number of threads, or several as in 1,2; each from 1 to {processors()}, "
                  "the cores there are", param, ctx)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What every benchmark is told."""

    name: str
    threads: tuple[int, ...]
    quick: bool
    out: Path
    form: str  # table, json or markdown


@dataclass(frozen=True)
class Report:
    """What a benchmark found: for JSON, for the eye (`figure` is Matplotlib's), and what was wrong, a line each."""

    record: Mapping[str, Any]
    tables: Sequence[Table]
    figure: Any
    wrong: Sequence[str] = ()


def bench_options(
    name: str, threads: Callable[[], tuple[int, ...]]
) -> Callable[[Callable[..., Report]], click.Command]:
    """A benchmark as a command: `function(options, ...)` measures, after it is known that its findings can be kept.

    `threads` gives the default.
    """

    def decorate(function: Callable[..., Report]) -> click.Command:
        @click.command(name)
        @click.option("--threads", type=_Threads(), metavar="N[,N]", help="Numbers of threads to measure with.")
        @click.option("--quick", is_flag=True, help="Fewer sizes and rounds: a look, not a measurement.")
        @click.option("--out", type=Place(Path), metavar="DIR", help=f"Where to write. [default: runs/bench-{name}]")
        @click.option("--json", "as_json", is_flag=True, help="Print the JSON instead of tables.")
        @click.option("--markdown", "as_markdown", is_flag=True, help="Print the shorter tables as Markdown.")
        @functools.wraps(function)
        def command(
            out: Path | None, quick: bool, as_json: bool, as_markdown: bool, **given: Any
        ) -> None:
            from ...training import RunFolder

            if as_json and as_markdown:
                raise UsageError("--json and --markdown are two ways to print: choose one")
            form = "json" if as_json else "markdown" if as_markdown else "table"
            counts = given.pop("threads") or threads()
            options = Options(name, counts, quick, out or new_run(f"bench-{name}"), form)
            conclude(options, lambda: function(options, **given), RunFolder(options.out).require_writable)

        return command

    return decorate


def conclude(options: Options, measure: Callable[[], Report], require_writable: Callable[[], None]) -> None:
    """Measure, keep, print: nothing is measured that could not be kept.

    Raises MinigenError, after all is written, if something was wrong.
    """
    from ...checkpoint import atomic_file
    from ...kernels.bench.machine import describe
    from ...kernels.cpu.jit import announce_compilation

    require_writable()
    with announce_compilation(lambda _: click.echo("compiling kernels (first run only) ...", err=True)):
        report = measure()
    machine = {**describe(), **({"gpu": report.record["gpu"]} if "gpu" in report.record else {})}
    asked = {"threads": list(options.threads), "quick": options.quick}
    record = {"benchmark": options.name, "asked": asked, "machine": machine, **report.record}
    text = json.dumps(record, indent=1) + "\n"
    written = options.out / f"{options.name}.json", options.out / f"{options.name}.png"
    with atomic_file(written[0]) as stream:
        stream.write(text.encode())
    with atomic_file(written[1]) as stream:
        report.figure.savefig(stream, format="png", metadata={"Software": None})
    _show(options, report, machine, text, written)
    if report.wrong:
        raise MinigenError(f"bench {options.name}: {len(report.wrong)} wrong and not timed: {'; '.join(report.wrong)}")


def _show(options: Options, report: Report, machine: dict[str, Any], text: str, written: Sequence[Path]) -> None:
    from rich.console import Console

    from ...kernels.bench.machine import in_words

    if options.form == "json":
        click.echo(text, nl=False)
        return
    quick = " Measured with --quick: a look, not a measurement." if options.quick else ""
    if options.form == "markdown":
        click.echo(f"{in_words(machine)}.{quick}\n")
        click.echo("\n".join(table.markdown() for table in report.tables if not table.long))
        return
    click.echo(f"{in_words(machine)}{quick and f'{chr(10)}{quick.strip()}'}\n")
    # In a file or a pipe no screen is too narrow.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    for table in report.tables:
        table.show(console)
    click.echo(f"written: {', '.join(map(str, written))}")


def measured(results: Iterable[T], total: int, what: Callable[[T], str]) -> Iterator[T]:
    """The results as they come, with a bar on a terminal that says what was measured last."""
    if not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(bar_width=30), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn()
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        for result in results:
            bar.update(task, advance=1, description=what(result))
            yield result


def percent(share: float | None) -> str:
    """0.973 as "97 %"; a dash for None."""
    return "-" if share is None else f"{100 * share:.0f} %"
