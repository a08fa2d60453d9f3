"""minigen info: what a run was made of and what came of it; without a name, all runs."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import click

from .augment import pipeline_of
from .runs import ROOT, find_run, list_runs

__all__ = ["command"]


@click.command("info")
@click.argument("run", metavar="[RUN]", required=False)
def command(run: str | None) -> None:
    """Show what a run was made of, or list all runs under runs/."""
    if run is None:
        _list()
    elif Path(run).is_file():
        _show_model(Path(run))
    else:
        _show_run(find_run(run))


def _list() -> None:
    from ..errors import MinigenError

    runs = list_runs()
    if not runs:
        click.echo(f"no runs under {ROOT}/ yet: begin with minigen train gan")
    for path in runs:
        try:
            click.echo(f"{path}: {_summary(path)}")
        except MinigenError as error:
            click.echo(f"{path}: {error}")


def _summary(path: Path) -> str:
    from ..training import History, RunFolder
    from ..training.report import figures

    folder = RunFolder(path)
    record = folder.read_record()
    history = History.read_csv(folder.history) if folder.history.exists() else History()
    unit = record["data"].get("unit", "images")  # a run of before there was text does not say
    begun = f"{record['model']['kind']} on {record['data']['name']} ({record['data']['count']} {unit})"
    done = f"{len(history)} of {record['training']['epochs']} epochs"
    return f"{begun}, {done}  {figures({k: v[-1] for k, v in history.curves.items()})}".rstrip()


def _show_run(path: Path) -> None:
    from ..training import RunFolder

    record = RunFolder(path).read_record()
    pipeline = pipeline_of(record, str(RunFolder(path).config))
    record["data"].pop("pipeline", None)  # has lines of its own
    click.echo(f"{path}: {_summary(path)}")
    for part in ("model", "training", "data", "test_data", "versions", "machine"):
        _section(part.replace("_", " "), record.get(part))
    if pipeline is not None:
        click.echo("\n  ".join(("pipeline", *map(repr, pipeline.steps), f"seed {pipeline.seed}")))
    if "feedback" in record:
        _section("feedback", {entry.pop("controller"): entry for entry in record["feedback"]})
    if RunFolder(path).diagnosis.exists():
        _section_of_lines("diagnosis", RunFolder(path).diagnosis)
    files = sorted(p.name + ("/" if p.is_dir() else "") for p in path.iterdir() if not p.name.startswith("."))
    click.echo(f"files\n  {', '.join(files)}")
    if RunFolder(path).model.exists():
        _show_model(RunFolder(path).model)


def _section(title: str, values: Any) -> None:
    click.echo(title)
    for name, value in (values or {"": "none"}).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {shorten(str(item), 40)}" for key, item in value.items())
        click.echo(f"  {name:<12}{value}")


def _section_of_lines(title: str, path: Path) -> None:
    click.echo(title)
    for line in path.read_text("utf-8", errors="replace").splitlines():
        click.echo(f"  {line}")


def _show_model(path: Path) -> None:
    from ..models import load

    click.echo(f"layers\n{load(path).summary()}")
