"""feedback.csv: every action of every controller, with the measurement that caused it.

Rows are appended before each checkpoint. A run that goes on drops those that came after it: they come again.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

from ...checkpoint import atomic_file
from ...errors import CheckpointError, OutputError
from .controller import Action

__all__ = ["Entry", "Log"]


class Entry(NamedTuple):
    """After step number `step` (from 1) `controller` measured `value` and set `setting` to `to`."""

    step: int
    controller: str
    measured: str
    value: float
    setting: str
    to: float


class Log:
    """The entries of a run, in order; the first `written` of them are on disk."""

    def __init__(self, entries: list[Entry] | None = None) -> None:
        self.entries = entries or []
        self.written = 0

    def add(self, step: int, controller: str, action: Action) -> None:
        """One more."""
        self.entries.append(Entry(step, controller, *action))

    def append_to(self, path: Path) -> None:
        """Write what is new at the end of the file."""
        text = _lines(self.entries[self.written:], header=not self.written)
        if self.written == len(self.entries) > 0:
            return
        try:
            with open(path, "a" if self.written else "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
        self.written = len(self.entries)

    @classmethod
    def resumed(cls, path: Path, step: int) -> Log:
        """The entries until `step`, of which the file then has no others; CheckpointError where it is damaged.

        A last line without its end is from a crash, and was not yet counted on.
        """
        try:
            lines = path.read_text("utf-8").splitlines(keepends=True)
            rows = list(csv.reader(line for line in lines if line.endswith("\n")))
            if not rows or rows[0] != list(Entry._fields):
                raise ValueError(f"its first line is not {','.join(Entry._fields)}")
            entries = [_entry(row) for row in rows[1:]]
        except (OSError, ValueError, csv.Error) as error:
            raise CheckpointError(f"{path}: damaged ({error}); restore it, or train anew") from error
        log = cls([entry for entry in entries if entry.step <= step])
        with atomic_file(path) as stream:
            stream.write(_lines(log.entries, header=True).encode())
        log.written = len(log.entries)
        return log


def _lines(entries: list[Entry], header: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(Entry._fields)
    writer.writerows([*entry[:3], repr(float(entry.value)), entry.setting, repr(float(entry.to))] for entry in entries)
    return text.getvalue()


def _entry(row: list[str]) -> Entry:
    step, controller, measured, value, setting, to = row
    return Entry(int(step), controller, measured, float(value), setting, float(to))
