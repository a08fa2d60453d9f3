"""Memory: one arena for all that a step makes, in which values whose lives do not meet share the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...autograd import Op
from ...backend import Array
from ..ir import Program, Value

__all__ = ["INTO", "VIEWS", "Block", "Plan", "plan_memory"]

VIEWS = {"reshape", "transpose", "swap_last", "broadcast_to", "index"}
"""Operations that show the memory of their input, where its order allows it."""

_FILLS = {"loop", "product", "normal", "uniform", "copy"}  # what is computed into memory that is given

INTO = {"cross_entropy", "cross_entropy_grad", "self_attention", "self_attention_grad"}
"""Operations that have a kernel which does so on the CPU: `self_attention_into`, and so on."""

_ALIGNMENT = 64  # bytes: a line of the cache, a vector


class Block(NamedTuple):
    """Bytes of the arena that are in use from one moment to another."""

    start: int
    bytes: int
    life: tuple[int, int]


@dataclass
class Plan:
    """`offsets` in bytes of the values that live in the arena, `fixed` the values whose memory never moves (state,
    constants, the arena and views of them), `size` of the arena, and `needed`, the most bytes alive at once."""

    offsets: dict[Value, int]
    fixed: set[Value]
    size: int
    needed: int


def plan_memory(program: Program, device: str = "cpu") -> Plan:
    """Decide where every value lives. Sets `base` and `ordered` of the views to what they are in that memory."""
    # The kinds of values whose memory is there before the step and never moves, and what fills memory of the arena.
    lasting, fills = ({"state", "constant"}, _FILLS | INTO) if device == "cpu" else (
        {"state", "constant", "argument"}, _FILLS)
    fixed = _fixed(program, lasting, fills)
    lives = {v: life for v, life in _lives(program).items() if v.root in fixed and v.root.kind == "result"}
    for flat in dict.fromkeys(v.base for v in lives if v.offset is not None and v.base is not None):
        lives[flat] = min(lives[p][0] for p in flat.parts), max(lives[p][1] for p in flat.parts)
    offsets: dict[Value, int] = {}
    taken: list[Block] = []
    for v in sorted((v for v in lives if v.offset is None), key=lambda v: (-v.bytes, lives[v])):
        start = offsets[v] = _free_place(v.bytes, lives[v], taken)
        # A part of a flat value that is not written yet lends its bytes to what is placed later.
        taken += [Block(start + (p.offset or 0) * p.dtype.itemsize, p.bytes, lives[p]) for p in v.parts or [v]]
    size = max((block.start + block.bytes for block in taken), default=0)
    moments = range(len(program.instructions) + 1)
    needed = max((sum(b.bytes for b in taken if b.life[0] <= n <= b.life[1]) for n in moments), default=0)
    return Plan(offsets, fixed, size, needed)


def _fixed(program: Program, lasting: set[str], fills: set[str]) -> set[Value]:
    shown: dict[Value, np.ndarray] = {}  # an array of the same layout

    def of(v: Value) -> np.ndarray:
        if v not in shown:
            if v.offset is not None or v.parts or v.tensor is None:
                shown[v] = np.empty(v.shape, v.dtype)
            else:
                shown[v] = _layout(v.tensor.data)
        return shown[v]

    fixed = {v for v in program.results() if v.kind in lasting}
    for i in program.instructions:
        for v in i.reads:
            if v.kind in lasting:
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
        elif i.name in fills and all(v.size for v in i.outputs):
            fixed.update(i.outputs)
    for v in list(fixed):
        fixed.add(v.root)
    return fixed


def _layout(array: Array) -> np.ndarray:
    """A NumPy array that lies in memory as this one does: itself, or for one on the gpu one of any content."""
    if isinstance(array, np.ndarray):
        return array
    spans = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True) if n]
    start = -sum(span for span in spans if span < 0)
    memory = np.empty(sum(map(abs, spans)) + array.itemsize, np.uint8)
    return np.ndarray(array.shape, array.dtype, memory, start, array.strides)


def _lives(program: Program) -> dict[Value, tuple[int, int]]:
    """First and last moment at which the memory of each value is in use; a part of a flat value has its own life."""
    lives: dict[Value, tuple[int, int]] = {}

    def use(v: Value, n: int) -> None:
        first, _ = lives.get(v.home, (n, n))
        lives[v.home] = first, n

    for n, i in enumerate(program.instructions):
        for v in (*i.needs, *i.outputs):
            use(v, n)
    for v in program.results():
        use(v, len(program.instructions))
    return lives


def _free_place(size: int, life: tuple[int, int], taken: list[Block]) -> int:
    """The lowest place that nothing alive at the same time takes up."""
    place = 0
    for block in sorted(b for b in taken if b.life[0] <= life[1] and life[0] <= b.life[1]):
        if place + size <= block.start:
            break
        place = max(place, -(-(block.start + block.bytes) // _ALIGNMENT) * _ALIGNMENT)
    return place
