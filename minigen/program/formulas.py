"""Operations that a fused loop can hold: each as an expression over one element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..host import Number
from .ir import Instruction, Value

__all__ = ["REDUCTIONS", "expression", "fits_in_a_loop"]

Constant = Callable[[Any], str]  # a number as a typed name of the loop

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "less": "<", "less_equal": "<=", "equal": "==",
          "not_equal": "!="}
_FUNCTIONS = {"exp", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "gelu", "gelu_slope", "bernoulli_nll"}
_COMPARISONS = {"less", "less_equal", "equal", "not_equal"}
_POWERS = {2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: "np.sqrt({0})", -0.5: "{1} / np.sqrt({0})", -1: "{1} / {0}"}
_OTHERS = {"neg", "abs", "sign", "sqrt", "maximum", "minimum", "clip", "where", "astype", "leaky_relu", "gate",
           "broadcast_to", "full_like", "pow"}
REDUCTIONS = {"sum", "sum_to"}
"""Operations that a loop over their input can end with."""


def fits_in_a_loop(i: Instruction) -> bool:
    """Whether a loop can compute this instruction, with NumPy's result."""
    name = i.name
    if i.mutates or name not in {*_INFIX, *_FUNCTIONS, *_OTHERS, *REDUCTIONS}:
        return False
    out = i.output.dtype
    floats = [v.dtype for v in i.reads if v.dtype.kind == "f"]
    if name == "astype":
        return out.kind == "f" and i.reads[0].dtype.kind in "fbu"
    if name == "where":
        return (out.kind == "f" and isinstance(i.inputs[0], Value) and i.inputs[0].dtype == bool
                and all(d == out for d in floats) and all(v.dtype == out for v in i.reads[1:]))
    if any(v.dtype.kind != "f" for v in i.reads) or len(set(floats)) > 1:
        return False
    if name == "clip" and not all(isinstance(i.attrs[k], int | float | Number) for k in ("low", "high")):
        return False
    if name == "pow":
        return not isinstance(i.inputs[1], Value | Number) and i.inputs[1] in _POWERS
    if name in _COMPARISONS:
        return bool(floats)
    return out.kind == "f" and (not floats or floats[0] == out)


def expression(i: Instruction, x: list[str], constant: Constant, module: str) -> str:
    """The value of one element, from the names of the inputs' elements. `module` holds the scalar formulas."""
    name, a = i.name, i.attrs
    if name in _INFIX:
        return f"{x[0]} {_INFIX[name]} {x[1]}"
    if name in _FUNCTIONS:
        return f"{module}.{name}({', '.join(x)})"
    if name == "pow":
        return _POWERS[i.inputs[1]].format(x[0], constant(1.0))
    if name in ("leaky_relu", "gate"):
        return f"{module}.{name}({', '.join(x)}, {constant(a['slope'])})"
    if name in ("broadcast_to", "sum", "sum_to"):
        return x[0]
    if name == "astype":
        return f"np.{np.dtype(i.output.dtype).name}({x[0]})"
    if name == "full_like":
        return constant(a["value"])
    if name == "clip":
        low, high = constant(a["low"]), constant(a["high"])
        raised = f"({low} if {x[0]} < {low} else {x[0]})"
        return f"{high} if {raised} > {high} else {raised}"
    if name == "sign":
        zero = constant(0.0)
        return f"{constant(1.0)} if {x[0]} > {zero} else ({constant(-1.0)} if {x[0]} < {zero} else {x[0]})"
    if name == "where":
        return f"{x[1]} if {x[0]} else {x[2]}"
    if name in ("maximum", "minimum"):
        sign = ">" if name == "maximum" else "<"
        return f"{x[0]} if {x[0]} {sign} {x[1]} or {x[0]} != {x[0]} else {x[1]}"
    return {"neg": "-{}", "abs": "abs({})", "sqrt": "np.sqrt({})"}[name].format(x[0])
