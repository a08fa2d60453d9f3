"""Constant folding: what depends on nothing that changes is computed once, now."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...host import Number
from ..ir import Instruction, Program, Value, leaves

__all__ = ["fold_constants"]

_RANDOM = {"normal", "uniform", "dropout_mask"}  # constant only if the seed were


def fold_constants(program: Program) -> None:
    """Compute instructions over constants, read constants that are one number everywhere as that number, and drop
    what changes nothing: x * 1, x / 1, x - 0 and a cast to the type that is there (but not x + 0, which makes 0 of -0).
    """
    same: dict[Value, Any] = {}
    overwritten = {v.root for i in program.instructions for v in i.writes}
    leaving = set(program.results())
    kept = []
    for i in program.instructions:
        i.inputs = tuple(same.get(x, x) if isinstance(x, Value) else x for x in i.inputs)
        if i.mutates or any(v.root in overwritten for v in (*i.reads, *i.outputs)):
            kept.append(i)
        elif _is_constant(i):
            _evaluate(i)
        elif (source := _unchanged(i)) is not None and not (i.output in leaving and source.kind != "result"):
            same[i.output] = source
        else:
            i.inputs = tuple(_as_number(x, i) for x in i.inputs)
            kept.append(i)
    program.instructions = kept
    program.replace(same)


def _is_constant(i: Instruction) -> bool:
    moves = any(isinstance(x, Number) for x in leaves((i.inputs, i.attrs)))
    if i.name in _RANDOM or isinstance(i.op, str) or not i.own or moves:
        return False
    return i.name == "full_like" or all(v.kind == "constant" for v in i.reads)


def _evaluate(i: Instruction) -> None:
    v = i.output
    if i.name == "full_like":
        array = np.full(v.shape, i.attrs["value"], v.dtype)
    else:
        assert not isinstance(i.op, str)
        numbers = [x.array if isinstance(x, Value) else x for x in i.inputs]
        array = i.op.forward(*(numbers if i.reads else (np.asarray(x, np.float32) for x in numbers)), **i.attrs)
    v.kind, v.array, v.base, v.ordered = "constant", np.array(array, v.dtype, order="C"), None, True


def _unchanged(i: Instruction) -> Value | None:
    """The input that the output equals, if the instruction changes nothing."""
    v = i.output
    match i.name, i.inputs:
        case ("mul" | "div", (Value() as x, other)) if _number(other) == 1:
            pass
        case ("mul", (other, Value() as x)) if _number(other) == 1:
            pass
        case ("sub", (Value() as x, other)) if str(_number(other)) in ("0", "0.0"):
            pass
        case ("astype", (Value() as x,)):
            pass
        case (("reshape" | "broadcast_to" | "sum_to"), (Value() as x,)):
            pass
        case _:
            return None
    return x if (x.shape, x.dtype) == (v.shape, v.dtype) else None


def _number(x: Any) -> Any:
    return x.number if isinstance(x, Value) else None if isinstance(x, Number) else x


# Operations that broadcast: a constant that is one number everywhere may stand there as a Python number, if another
# input has the shape and type of the result.
_BROADCAST = {"add", "sub", "mul", "div", "maximum", "minimum", "where", "less", "less_equal", "equal", "not_equal"}


def _as_number(x: Any, i: Instruction) -> Any:
    if not isinstance(x, Value) or x.number is None or i.name not in _BROADCAST or x.dtype.kind != "f":
        return x
    others = [v for v in i.reads if v is not x and v.shape == i.output.shape and v.dtype == x.dtype]
    return x.number if others else x
