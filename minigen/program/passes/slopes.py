"""Slopes: the derivative of an activation, while the forward loop is at it."""

from __future__ import annotations

from ...autograd import OPS
from ..ir import Instruction, Program, Value

__all__ = ["keep_slopes"]


def keep_slopes(program: Program) -> None:
    """g gelu'(x) of the backward pass becomes g s, with s = gelu'(x) computed beside gelu(x).

    The two share the exponential and the polynomial in one loop, which is most of their time; s takes the place of x
    among what is kept for the backward pass.
    """
    overwritten = {v.root for i in program.instructions for v in i.writes}
    kept: dict[Value, Value] = {}
    for i in [i for i in program.instructions if i.name == "gelu"]:
        x = i.inputs[0]
        users = [u for u in program.instructions if u.name == "gelu_slope" and u.inputs[1] is x
                 and u.output.shape == x.shape]
        if not users or x in kept or x.root in overwritten:
            continue
        slope = kept[x] = Value(program.made("slope"), x.shape, x.dtype)
        at = program.instructions.index(i)
        says = "s = Phi(x) + x phi(x), the slope of gelu, kept for the backward pass"
        program.instructions[at + 1:at + 1] = [
            Instruction(OPS["gelu_slope"], (1.0, x), {}, [slope], (), i.phase, i.site, says)]
        for u in users:
            u.op, u.inputs = OPS["mul"], (u.inputs[0], slope)
