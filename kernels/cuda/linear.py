"""Matrix products on the GPU, by a rung of the ladder in matmul/."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from .. import scalar
from . import compile as cuda_compile
from . import device
from .launch import BEST, RUNGS, Rung, matmul_launch, operand
from .translate import FLOAT, Translator

__all__ = ["matmul"]

Array = Any  # cupy.ndarray

_SLOPES = {"relu": 0.0, "leaky_relu": 0.2}


def matmul(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
    activation: str | None = None,
    out: Array | None = None,
    accumulate: bool = False,
    rung: str = "best",
) -> Array:
    """out = activation(a b + bias), or with `accumulate` activation(a b + bias + out).

    Shapes: a (m, k), b (k, n), either transposed where asked; bias (n,); out (m, n), its rows contiguous, new
    unless given, overlapping with no operand. Any strides: nothing is copied. `activation` is the name of a formula
    of one number in `scalar`, or "relu". Rungs: those of `launch.RUNGS`; bias, activation and accumulate need one
    with an epilogue. The tensor-core rungs round the operands to TF32 or bfloat16.

    Raises ValueError for shapes that do not match, an unknown rung or activation, and what a rung lacks; TypeError
    for dtypes that differ or that the rung does not compute in.
    """
    dtype = device.require_float("matmul", a)
    chosen = _rung_named(BEST[dtype] if rung == "best" else rung)
    (m, k), (k_of_b, n) = _shape(a, transpose_a), _shape(b, transpose_b)
    if k != k_of_b:
        raise ValueError(f"matmul: shapes {(m, k)} and {(k_of_b, n)} do not match: {k} columns, {k_of_b} rows")
    if accumulate and out is None:
        raise ValueError("matmul: accumulate=True needs an `out` to add to")
    if (bias is not None or accumulate) and not chosen.epilogue:
        raise ValueError(f"matmul rung {chosen.name!r} has no epilogue: bias and accumulate need another")
    prelude, expression = _activation(activation)
    left, right = operand(a, transpose_a), operand(b, transpose_b)
    launch = matmul_launch(chosen, m, n, k, left, right, dtype, expression)
    result = device.empty((m, n), dtype) if out is None else out
    _require("b", b, dtype, b.shape)
    _require_rows("out", result, dtype, (m, n))
    if bias is not None:
        _require_rows("bias", bias, dtype, (n,))
    given = [*map(np.int32, (m, n, k)), a, np.int64(left.row_stride), np.int64(left.col_stride)]
    given += [b, np.int64(right.row_stride), np.int64(right.col_stride), result, np.int64(operand(result).row_stride)]
    if chosen.epilogue:
        given += [device.NOTHING if bias is None else bias, np.int32(accumulate)]
    device.run(prelude + cuda_compile.read(f"matmul/{chosen.name}.cu"), "matmul", launch, given)
    return result


def _rung_named(name: str) -> Rung:
    if name not in RUNGS:
        raise ValueError(f"matmul: unknown rung {name!r}: use 'best' or one of {', '.join(RUNGS)}")
    return RUNGS[name]


def _shape(x: Array, transpose: bool) -> tuple[int, int]:
    if x.ndim != 2:
        raise ValueError(f"matmul: matrices expected, got shape {x.shape}")
    return x.shape[::-1] if transpose else x.shape


def _require(name: str, x: Array, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if x.dtype != dtype:
        raise TypeError(f"matmul: `{name}` of {dtype} expected, as `a` is, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(f"matmul: `{name}` of shape {shape} expected, got {x.shape}")


def _require_rows(name: str, x: Array, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """As above, and neighbours in a row must be neighbours in memory."""
    _require(name, x, dtype, shape)
    if x.size and shape[-1] > 1 and x.strides[-1] != x.itemsize:
        raise ValueError(f"matmul: `{name}` must have contiguous rows, got strides {x.strides}")


def _activation(name: str | None) -> tuple[str, str | None]:
    """The source of the formula, and what the macro ACTIVATION(x) stands for."""
    if name is None:
        return "", None
    formula = scalar.FORMULAS.get("leaky_relu" if name in _SLOPES else name)
    if formula is None or (name not in _SLOPES and len(inspect.signature(formula).parameters) != 1):
        raise ValueError(f"matmul: unknown activation {name!r}")
    translator = Translator()
    slope = f", {_SLOPES[name]}f" if name in _SLOPES else ""
    signature = translator.add(formula, [FLOAT] * (2 if slope else 1))
    return translator.source + "\n", f"formula::{signature.name}(x{slope})"
