"""Outer products: a column times a row is a multiplication of numbers, which a loop can hold."""

from __future__ import annotations

from ...autograd import OPS
from ..formulas import fits_in_a_loop
from ..ir import Program

__all__ = ["write_out_outer"]


def write_out_outer(program: Program) -> None:
    """A product over one term becomes `mul`, where whatever reads it can stand in the same loop.

    The gradient of a layer with one output is one, a cotangent for each row times that output's weights: as many
    numbers as the layer before has activations are then neither written nor read again. A product is a sum from +0 on,
    in which -0 is lost; here it is not.
    """
    for i in program.instructions:
        if i.name != "matmul" or any(len(v.shape) != 2 for v in i.reads) or i.reads[0].shape[1] != 1:
            continue
        users = [u for u in program.instructions if i.output in u.reads]
        if i.output not in program.results() and users and all(map(fits_in_a_loop, users)):
            i.op, i.says = OPS["mul"], f"{i.says or 'Y = A B'}, a column times a row"
