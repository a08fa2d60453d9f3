"""Memory: one arena for all that a step makes, in which values whose lives do not meet share the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...autograd import Op
from ..ir import Program, Value

__all__ = ["VIEWS", "Plan", "plan_memory"]

VIEWS = {"reshape", "transpose", "swap_last", "broadcast_to", "index"}
"""Operations that show the memory of their input, where its order allows it."""

_FILLS = {"loop", "product", "normal", "uniform", "copy"}  # what is computed into memory that is given
_ALIGNMENT = 64  # bytes: a line of the cache, a vector


@dataclass
class Plan:
    """`offsets` in bytes of the values that live in the arena, `fixed` the values whose memory never moves (state,
    constants, the arena and views of them), `size` of the arena, and `needed`, the most bytes alive at once."""

    offsets: dict[Value, int]
    fixed: set[Value]
    size: int
    needed: int


def plan_memory(program: Program) -> Plan:
    """Decide where every value lives. Sets `base` and `ordered` of the views to what they are in that memory."""
    fixed = _fixed(program)
    owners = [v for v in dict.fromkeys(v.root for i in program.instructions for v in (*i.reads, *i.outputs))
              if v in fixed and v.kind == "result"]
    lives = _lives(program, owners)
    offsets: dict[Value, int] = {}
    for v in sorted(owners, key=lambda v: (-v.bytes, lives[v])):
        offsets[v] = _free_place(v, offsets, lives)
    size = max((offset + v.bytes for v, offset in offsets.items()), default=0)
    moments = range(len(program.instructions) + 1)
    needed = max((sum(v.bytes for v in owners if lives[v][0] <= n <= lives[v][1]) for n in moments), default=0)
    return Plan(offsets, fixed, size, needed)


def _fixed(program: Program) -> set[Value]:
    shown: dict[Value, np.ndarray] = {}  # an array of the same layout

    def of(v: Value) -> np.ndarray:
        if v not in shown:
            if v.offset is not None or v.parts or v.tensor is None:
                shown[v] = np.empty(v.shape, v.dtype)
            else:
                shown[v] = v.tensor.data
        return shown[v]

    fixed: set[Value] = set()
    for i in program.instructions:
        for v in i.reads:
            if v.kind in ("state", "constant"):
                fixed.add(v)
        if i.name in VIEWS and i.reads[0] in fixed:
            v = i.output
            assert isinstance(i.op, Op)
            source = i.reads[0]
            array = i.op.forward(of(source), **i.attrs)
            if np.may_share_memory(array, of(source)) and array.size:
                shown[v] = array
                v.base, v.ordered = source, array.flags.c_contiguous
                fixed.add(v)
            else:
                v.base = None
        elif i.name in _FILLS and all(v.size for v in i.outputs):
            fixed.update(i.outputs)
    for v in list(fixed):
        fixed.add(v.root)
    return fixed


def _lives(program: Program, owners: list[Value]) -> dict[Value, tuple[int, int]]:
    """First and last moment at which the memory of each value is in use."""
    lives: dict[Value, tuple[int, int]] = {}
    end = len(program.instructions)

    def use(v: Value, n: int) -> None:
        first, _ = lives.get(v.root, (n, n))
        lives[v.root] = first, n

    for n, i in enumerate(program.instructions):
        for v in (*i.reads, *i.outputs):
            use(v, n)
    for v in program.results():
        use(v, end)
    return {v: lives[v] for v in owners}


def _free_place(v: Value, offsets: dict[Value, int], lives: dict[Value, tuple[int, int]]) -> int:
    """The lowest place that nothing alive at the same time takes up."""
    first, last = lives[v]
    taken = sorted((o, o + other.bytes) for other, o in offsets.items()
                   if lives[other][0] <= last and first <= lives[other][1])
    place = 0
    for start, stop in taken:
        if place + v.bytes <= start:
            break
        place = max(place, -(-stop // _ALIGNMENT) * _ALIGNMENT)
    return place
