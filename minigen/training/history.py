"""What happened, epoch by epoch: rows in memory and as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoint import atomic_file
from ..errors import CheckpointError, OutputError, UsageError

__all__ = ["TIMING", "History", "Row"]

Row = dict[str, float]

TIMING = ("images_per_second", "seconds")
"""The columns that differ between two runs that are otherwise equal to the last bit."""

_COUNTS = ("epoch", "step")


@dataclass
class History:
    """One row an epoch: epoch and step (counted from 1), the mean of each loss over the epoch's images, the figures
    on the test set (`test_...`), images (of a text: windows) per second and seconds of training.

    >>> history = History([{"epoch": 1, "step": 79, "loss": 181.5}, {"epoch": 2, "step": 158, "loss": 133.0}])
    >>> history["loss"]
    [181.5, 133.0]
    """

    rows: list[Row] = field(default_factory=list)
    begun: int = field(default=0, compare=False)  # steps that were done before this call of `train`

    def __len__(self) -> int:
        """The number of whole epochs."""
        return len(self.rows)

    def __getitem__(self, column: str) -> list[float]:
        """One column, a value an epoch."""
        if self.rows and column not in self.rows[0]:
            raise UsageError(f"history has no column {column!r}: it has {', '.join(self.columns)}")
        return [row[column] for row in self.rows]

    @property
    def columns(self) -> list[str]:
        """The names of the columns; none before the first epoch is done."""
        return list(self.rows[0]) if self.rows else []

    @property
    def curves(self) -> dict[str, list[float]]:
        """The columns that are losses or figures: what a plot shows."""
        return {name: self[name] for name in self.columns if name not in (*_COUNTS, *TIMING)}

    def until(self, step: int) -> History:
        """The rows of the epochs that were complete at `step`."""
        return History([row for row in self.rows if row["step"] <= step])

    def write_csv(self, path: str | Path) -> None:
        """Write all rows; floats in the shortest form that reads back to the same bits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_written(name, row[name]) for name in self.columns] for row in self.rows)
        with atomic_file(Path(path)) as stream:
            stream.write(text.getvalue().encode())

    @classmethod
    def read_csv(cls, path: str | Path) -> History:
        """What `write_csv` wrote; CheckpointError where it is damaged."""
        try:
            with open(path, encoding="utf-8", newline="") as stream:
                lines = list(csv.reader(stream))
        except OSError as error:
            raise OutputError(f"{path}: cannot be read ({error}); a run needs its history to go on") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise _damaged(path, error) from error
        header = lines[0] if lines else []
        if header and not set(_COUNTS) <= set(header):
            raise _damaged(path, f"columns {', '.join(header)}, expected {' and '.join(_COUNTS)} among them")
        return cls([_read_row(header, line, number, path) for number, line in enumerate(lines[1:], start=2)])


def _written(name: str, value: float) -> str:
    return str(int(value)) if name in _COUNTS else repr(float(value))


def _read_row(header: Sequence[str], line: Sequence[str], number: int, path: str | Path) -> Row:
    try:
        row = dict(zip(header, line, strict=True))
        return {name: int(row[name]) if name in _COUNTS else float(row[name]) for name in header}
    except ValueError as error:
        raise _damaged(f"{path}, line {number}", error) from error


def _damaged(where: str | Path, reason: object) -> CheckpointError:
    return CheckpointError(f"{where}: damaged ({reason}); restore it, or train anew")
