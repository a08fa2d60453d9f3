"""A table that a terminal shows through rich and a README takes as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

__all__ = ["Table"]

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the first `names` columns are names, the others numbers.

    `notes` follow below. A `folded` table is one that a reader of the README unfolds, a `long` one is not in it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    names: int = 1
    notes: Sequence[str] = field(default_factory=tuple)
    folded: bool = False
    long: bool = False

    def show(self, console: Console) -> None:
        """Print it."""
        table = RichTable(title=Text(self.title), title_justify="left", title_style="bold", header_style="bold")
        for number, heading in enumerate(self.columns):
            table.add_column(Text(heading), justify="left" if number < self.names else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        for note in self.notes:
            console.print(Text(note))
        console.print()

    def markdown(self) -> str:
        """The same for a README."""
        rule = ["---" if number < self.names else "---:" for number in range(len(self.columns))]
        lines = [_line(row) for row in (self.columns, rule, *self.rows)]
        body = "\n".join(lines + ["", *self.notes] if self.notes else lines)
        if self.folded:
            return f"<details><summary>{self.title}</summary>\n\n{body}\n\n</details>\n"
        return f"**{self.title}**\n\n{body}\n"


def _line(row: Row) -> str:
    return f"| {' | '.join(row)} |"
