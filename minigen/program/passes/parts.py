"""Sums that a loop on the gpu cannot hold leave it, for the kernels of reductions."""

from __future__ import annotations

from ..cuda_loops import held_sums
from ..formulas import REDUCTIONS
from ..ir import Instruction, Program, Value

__all__ = ["part_sums"]


def part_sums(program: Program) -> None:
    """Take out of each loop the sums that are neither over all of it nor over its leading axes: those of rows, for one.

    Their terms become results of the loop, and they instructions of their own after it, which make arrays of their own:
    what has its place in a flat array is copied there.
    """
    parted: list[Instruction] = []
    for i in program.instructions:
        if i.name != "loop":
            parted.append(i)
            continue
        loop = i.attrs["loop"]
        held = held_sums(loop, i.outputs)
        out = [m for m in loop.body if m.name in REDUCTIONS and loop.domain and m.output not in held]
        if not out:
            parted.append(i)
            continue
        loop.body = [m for m in loop.body if m not in out]
        made = {m.output for m in loop.members}
        left = [v for v in i.outputs if v not in {m.output for m in out}]
        terms = [v for m in out for v in m.reads if v in made and v not in left]
        for v in terms:
            v.base, v.ordered = None, True
        i.inputs, i.outputs = tuple(loop.inputs), [*left, *dict.fromkeys(terms)]
        parted += [i, *out] if i.outputs else out
        parted += [_into_place(program, m) for m in out if m.output.offset is not None]
    program.instructions = parted


def _into_place(program: Program, m: Instruction) -> Instruction:
    part = m.output
    m.outputs = [Value(program.made(f"{part.name}_made"), part.shape, part.dtype)]
    return Instruction("copy", (m.output,), {}, [part], (), m.phase, m.site, "in its place")
