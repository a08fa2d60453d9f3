"""Where runs are kept, and how one is found by what a person types."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import CheckpointError
from .suggest import did_you_mean

__all__ = ["ROOT", "find_model", "find_run", "latest_run", "list_runs", "new_run"]

ROOT = Path("runs")


def new_run(name: str) -> Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3 ... where nothing is."""
    path, number = ROOT / name, 1
    while path.exists() and (not path.is_dir() or any(path.iterdir())):
        number += 1
        path = ROOT / f"{name}-{number}"
    return path


def latest_run(name: str) -> Path:
    """The last that `new_run(name)` gave and that has a checkpoint; CheckpointError where there is none."""
    pattern = re.compile(re.escape(name) + r"(?:-(\d+))?$")
    numbered = [(int(match[1] or 1), path) for path in list_runs()
                if (match := pattern.match(path.name)) and any(path.glob("training*.safetensors"))]
    if not numbered:
        raise CheckpointError(f"no run {ROOT / name} to resume; name its folder with --out, or leave out --resume")
    return max(numbered)[1]


def list_runs() -> list[Path]:
    """All runs, by name."""
    return sorted(path.parent for path in ROOT.glob("*/config.json"))


def find_run(text: str) -> Path:
    """The run folder that `text` names: a path, or a name under runs/."""
    for path in (Path(text), ROOT / text):
        if (path / "config.json").is_file() or (path / "model.safetensors").is_file():
            return path
    names = [path.name for path in list_runs()]
    hint = did_you_mean(Path(text).name, names) or "; minigen info lists the runs"
    what = "holds no run" if Path(text).exists() else "no such run"
    raise CheckpointError(f"{text}: {what}{hint}")


def find_model(text: str) -> tuple[Path, Path]:
    """(the model file, the folder for pictures of it): of a run, or of a single .safetensors file."""
    path = Path(text)
    if path.is_file():
        return path, path.parent
    folder = find_run(text)
    return folder / "model.safetensors", folder
