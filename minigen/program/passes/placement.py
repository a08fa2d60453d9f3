"""Placement: a program for the gpu has all its values there; its arguments are brought into memory that never moves."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import OPS
from ...backend import is_array, to_device
from ...errors import DeviceError, GraphError
from ..ir import Instruction, Program, Value, rebuilt

__all__ = ["place_on_gpu"]


def place_on_gpu(program: Program) -> None:
    """Drop the crossings to the gpu, which happen before the step, and write what only the CPU's forward can do in
    operations that a loop can hold. Raises DeviceError for state on the cpu, GraphError for a crossing back."""
    for v in program.states():
        if v.tensor is not None and v.tensor.device != "gpu":
            raise DeviceError(f"{v.name}, which the step uses, lies on the cpu, and others on the gpu: move it with "
                              ".to('gpu'), or pass it as an argument")
    for v in program.arguments:
        v.ordered = True
    overwritten = {v.root for i in program.instructions for v in i.writes}
    there: dict[Value, Any] = {}
    placed: list[Instruction] = []
    for i in program.instructions:
        i.attrs = rebuilt(i.attrs, lambda x: to_device(x, "cpu") if is_array(x) else x)
        i.inputs = tuple(there.get(x, x) if isinstance(x, Value) else x for x in i.inputs)
        if i.name == "to_device":
            _cross(i, i.reads[0].root in overwritten, there, placed)
        elif i.name == "dropout_mask":
            placed += _mask(program, i)
        else:
            placed.append(i)
    program.instructions = placed
    program.replace(there)


def _cross(i: Instruction, changes: bool, there: dict[Value, Any], placed: list[Instruction]) -> None:
    if i.attrs["device"] != "gpu":
        raise GraphError(f"{i.site}: a step that is compiled for the gpu brings an array to the cpu: return the tensor "
                         "and bring it there outside the step")
    if changes:
        i.op, i.attrs = "copy", {}
        placed.append(i)
    else:
        there[i.output] = i.reads[0]


def _mask(program: Program, i: Instruction) -> list[Instruction]:
    """A dropout mask as a draw, a comparison and a multiplication."""
    rate, out = i.attrs["rate"], i.output
    drawn, kept, ones = (Value(program.made(name), out.shape, dtype) for name, dtype in (
        ("uniform", out.dtype), ("kept", _BOOL), ("ones", out.dtype)))

    def made(name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], output: Value, says: str) -> Instruction:
        return Instruction(OPS[name], inputs, attrs, [output], (), i.phase, i.site, says)

    draw = {k: x for k, x in i.attrs.items() if k != "rate"}
    return [made("uniform", (), draw, drawn, i.says),
            made("less_equal", (rate, drawn), {}, kept, "y = (rate <= u)"),
            made("astype", (kept,), {"dtype": out.dtype}, ones, "y = 1 or 0"),
            made("mul", (ones, 1 / (1 - rate)), {}, out, "y / (1 - rate)")]


_BOOL = np.dtype(bool)
