"""Clipping: gradients that lie side by side for an optimizer are measured, and scaled, in one pass each."""

from __future__ import annotations

from ...autograd import OPS
from ..ir import Instruction, Program, Value
from .flat import placed

__all__ = ["flatten_clipping"]

_STEPS = {"adam", "sgd", "rmsprop"}


def flatten_clipping(program: Program) -> None:
    """Where all gradients of an optimizer are c g with one number c, they become c G, G being all of the g in one
    array; and `sum_of_squares`, of which c may be made, reads G too. What it still reads one by one is written out."""
    for update in [i for i in program.instructions if i.name in _STEPS]:
        scalings = _scalings(program, update.inputs[1])
        if scalings:
            _join(program, update.inputs[1], scalings)
    for i in [i for i in program.instructions if i.name == "sum_of_squares"]:
        at = program.instructions.index(i)
        program.instructions[at:at + 1] = _written_out(program, i)


def _scalings(program: Program, gradients: Value) -> list[Instruction]:
    """The multiplications by one number that make the parts, if such are all, and nobody else reads a part."""
    made = {v: i for i in program.instructions for v in i.outputs}
    found = [made.get(p) for p in gradients.parts]
    scalings = [i for i in found if i is not None and i.name == "mul" and i.inputs[0] is not i.inputs[1]]
    if len(scalings) < len(found) or len(found) < 2 or len({i.inputs[1] for i in scalings}) > 1:
        return []
    number = scalings[0].inputs[1]
    read = {v for i in program.instructions for v in i.reads} | set(program.results())
    if (isinstance(number, Value) and number.shape != ()) or not read.isdisjoint(gradients.parts) or any(
            not isinstance(i.inputs[0], Value) or i.inputs[0].shape != i.output.shape for i in scalings):
        return []
    return scalings


def _join(program: Program, gradients: Value, scalings: list[Instruction]) -> None:
    whole, copies = placed(program, "gradients", [(i.inputs[0], i) for i in scalings])
    of = {i.inputs[0]: n for n, i in enumerate(scalings)}
    last = scalings[-1]
    last.inputs, last.outputs = (whole, last.inputs[1]), [gradients]
    last.says = f"{last.says}, {len(scalings)} gradients at once"
    gradients.parts = []
    gone = set(scalings[:-1])
    program.instructions = [i for i in program.instructions if i not in gone]
    first = last
    for i in program.instructions:
        if i.name == "sum_of_squares" and of.keys() <= set(i.inputs):
            i.inputs = (*(v for v in i.inputs if v not in of), whole)
            first = i
            break
    at = program.instructions.index(first)
    program.instructions[at:at] = copies


def _written_out(program: Program, i: Instruction) -> list[Instruction]:
    """The sum of squares of some arrays as multiplications, sums and additions, which loops can hold."""
    written: list[Instruction] = []
    total: Value | None = None

    def add(name: str, inputs: tuple[Value, ...], output: Value, says: str = "") -> Value:
        written.append(Instruction(OPS[name], inputs, {}, [output], (), i.phase, i.site, says))
        return output

    for v in i.reads:
        square = add("mul", (v, v), Value(program.made("square"), v.shape, v.dtype))
        last = v is i.reads[-1]
        if total is None:
            total = add("sum", (square,), i.output if last else Value(program.made("sum"), (), v.dtype), i.says)
        else:
            part = add("sum", (square,), Value(program.made("sum"), (), v.dtype))
            total = add("add", (total, part), i.output if last else Value(program.made("sum"), (), v.dtype))
    return written
