"""Common subexpressions: what has been computed is not computed again."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...host import Number
from ..ir import Instruction, Program, Value

__all__ = ["share_common"]


def share_common(program: Program) -> None:
    """Replace an instruction by an earlier one with the same operation, inputs and attributes.

    Not where memory that they read, or show, is overwritten anywhere in the step, nor of a user's operation: then the
    two may differ.
    """
    overwritten = {v.root for i in program.instructions for v in i.writes}
    first: dict[Any, Instruction] = {}
    same: dict[Value, Any] = {}
    kept = []
    for i in program.instructions:
        i.inputs = tuple(same.get(x, x) if isinstance(x, Value) else x for x in i.inputs)
        touched = i.mutates or not i.own or any(v.root in overwritten for v in (*i.reads, *i.outputs))
        key = None if touched else (i.op, tuple(map(_key, i.inputs)), _key(i.attrs))
        if key is None or key not in first:
            kept.append(i)
            if key is not None:
                first[key] = i
        else:
            same.update(zip(i.outputs, first[key].outputs, strict=True))
    program.instructions = kept
    program.replace(same)


def _key(x: Any) -> Any:
    """Equal for equal inputs; 0 and -0, 1 and 1.0 and True are different."""
    if isinstance(x, Value):
        return id(x)
    if isinstance(x, Number):
        return "number", x.text
    if isinstance(x, np.ndarray):
        return x.shape, str(x.dtype), x.tobytes()
    if isinstance(x, tuple | list):
        return tuple(map(_key, x))
    if isinstance(x, dict):
        return tuple((k, _key(v)) for k, v in sorted(x.items()))
    return type(x), repr(x)
