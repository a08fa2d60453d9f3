"""A picture of a program: before the passes and after them, side by side."""

from __future__ import annotations

import os

from ..draw import Edges, Labels, render
from .ir import Instruction, Program, Value

__all__ = ["draw_program"]


def draw_program(before: list[Instruction], program: Program, path: str | os.PathLike[str] | None = None) -> str:
    """Boxes are operations with the shape of their result, ellipses what they are given; returns the dot text."""
    labels: Labels = {}
    edges: Edges = []
    for instructions in (before, program.instructions):
        _add(instructions, labels, edges)
    return render(labels, edges, path)


def _add(instructions: list[Instruction], labels: Labels, edges: Edges) -> None:
    number: dict[Value, int] = {}
    for i in instructions:
        sources = []
        for v in dict.fromkeys(i.reads):
            if v not in number:
                number[v] = len(labels)
                labels[number[v]] = (f"{v.name}\n{v.shape}", False)
            sources.append(number[v])
        mine = len(labels)
        labels[mine] = (f"{_title(i)}\n{', '.join(str(v.shape) for v in i.outputs or i.writes[:1])}", True)
        edges += [(source, mine) for source in sources]
        number.update(dict.fromkeys(i.outputs, mine))


def _title(i: Instruction) -> str:
    if i.name == "loop":
        members = [m.name for m in i.attrs["loop"].members]
        return " ".join(members[:4]) + (f" and {len(members) - 4} more" if len(members) > 4 else "")
    return f"{i.name} {i.attrs['activation'] or ''}".strip() if i.name == "product" else i.name
