"""Matrix products on the GPU, by a rung of the ladder in matmul/."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

import numpy as np

from .. import scalar, scalar64
from . import compile as cuda_compile
from . import device
from .launch import BEST, FLOAT32, OLDEST, RUNGS, Rung, elementwise_launch, matmul_launch, operand, slices_of
from .translate import Translator

__all__ = ["ACTIVATIONS", "formula", "matmul"]

Array = Any  # cupy.ndarray

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "gelu", "softplus")


def matmul(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
    activation: str | None = None,
    slope: float = 0.01,
    out: Array | None = None,
    accumulate: bool = False,
    rung: str = "best",
    threads: int | None = None,
) -> Array:
    """out = activation(a b + bias), or with `accumulate` activation(out + a b + bias).

    Shapes: a (m, k), b (k, n), either transposed where asked; bias (n,); out (m, n), new unless given, overlapping
    with no operand. All of one dtype, float32 or float64; any strides. `activation`: relu, leaky_relu (which has
    the `slope`), tanh, sigmoid, gelu or softplus. `rung`: "best" or one of `launch.RUNGS`; those that have no
    epilogue of their own are followed by a kernel that does it. The tensor-core rungs round the operands to TF32 or
    bfloat16, and need a GPU of compute capability 8.0. `threads` is the CPU's. An empty sum (k = 0) is 0.

    Stacks of matrices, a (..., m, k) and b (..., k, n), are broadcast over their leading axes and multiplied one by
    one, a launch each (a stack times one matrix is one tall product); they take neither bias, activation nor out.

    Raises ValueError for shapes that do not match, an unknown rung or activation, a rung that the GPU is too old for,
    an `out` that overlaps or is missing for `accumulate`; TypeError for dtypes that differ or that the rung does not
    compute in.
    """
    if a.ndim != 2 or b.ndim != 2:
        if not (bias is activation is out is None) or accumulate or a.ndim < 2 or b.ndim < 2:
            raise ValueError(f"matmul: matrices expected, got shapes {a.shape} and {b.shape}")
        return _stacks(_turned(a, transpose_a), _turned(b, transpose_b), rung)
    if threads is not None and threads < 1:
        raise ValueError(f"matmul: threads must be at least 1, got {threads}")
    dtype = device.require_float("matmul", a)
    chosen = _rung_named(BEST[dtype] if rung == "best" else rung)
    (m, k), (k_of_b, n) = (x.shape[::-1] if turn else x.shape for x, turn in ((a, transpose_a), (b, transpose_b)))
    if k != k_of_b:
        raise ValueError(f"matmul: shapes {(m, k)} and {(k_of_b, n)} do not match: {k} columns, {k_of_b} rows")
    _require("b", b, dtype, b.shape)
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f"matmul: unknown activation {activation!r}: use one of {', '.join(ACTIVATIONS)}")
    if bias is not None:
        _require("bias", bias, dtype, (n,))
        bias = bias if bias.flags.c_contiguous else bias.copy()
    if accumulate and out is None:
        raise ValueError("matmul: accumulate=True needs an `out` to add to")
    c = device.empty((m, n), dtype) if out is None else _target(out, dtype, (m, n), accumulate, a, b, bias)
    slices = slices_of(chosen, m, n, k, device.processors())
    way = (chosen, slices, a, b, (m, n, k), (transpose_a, transpose_b))
    if slices == 1 and (chosen.epilogue or (bias is None and activation is None and not accumulate)):
        _multiply(*way, c, bias, activation, slope, accumulate)
    else:
        product = device.empty((slices * m, n), dtype)
        _multiply(*way, product)
        _finish(product, slices, c, bias, activation, slope, accumulate)
    if out is not None and c is not out:
        out[...] = c
    return c if out is None else out


def _turned(x: Array, transpose: bool) -> Array:
    return x.swapaxes(-1, -2) if transpose else x


def _stacks(a: Array, b: Array, rung: str) -> Array:
    """The products of stacks of matrices, of which `matmul` makes each."""
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = device.empty((*leading, a.shape[-2], b.shape[-1]), device.require_float("matmul", a))
    if b.ndim == 2 and a.flags.c_contiguous:
        rows = math.prod(out.shape[:-1])
        matmul(a.reshape(rows, a.shape[-1]), b, out=out.reshape(rows, out.shape[-1]), rung=rung)
        return out
    for place in np.ndindex(*leading):
        matmul(_at(a, place), _at(b, place), out=out[place], rung=rung)
    return out


def _at(x: Array, place: tuple[int, ...]) -> Array:
    """The matrix of a stack at a place of the stack that it is broadcast to."""
    axes = x.shape[:-2]
    return x[tuple(0 if n == 1 else i for n, i in zip(axes, place[len(place) - len(axes) :], strict=True))]


def _multiply(
    rung: Rung, slices: int, a: Array, b: Array, sizes: tuple[int, int, int], transposed: tuple[bool, bool], c: Array,
    bias: Array | None = None, activation: str | None = None, slope: float = 0.0, accumulate: bool = False,
) -> None:
    """c = a b on a rung, with the epilogue where the rung has one, or the slices of a b one below the other."""
    left, right = operand(a, transposed[0]), operand(b, transposed[1])
    prelude, expression = formula(activation, slope, a.dtype) if rung.epilogue else ("", None)
    launch = matmul_launch(rung, *sizes, left, right, a.dtype, expression, device.processors(), slices)
    given = [*map(np.int32, sizes), a, np.int64(left.row_stride), np.int64(left.col_stride)]
    given += [b, np.int64(right.row_stride), np.int64(right.col_stride), c, np.int64(operand(c).row_stride)]
    if rung.epilogue:
        given += [device.NOTHING if bias is None else bias, np.int32(accumulate)]
    device.run(_source(f"matmul/{rung.name}.cu", prelude), "matmul", launch, given)


def _finish(
    product: Array, slices: int, c: Array, bias: Array | None, activation: str | None, slope: float, accumulate: bool
) -> None:
    """c = activation(product + bias), or with c added, in a kernel of its own; the product is the sum of its slices."""
    prelude, expression = formula(activation, slope, c.dtype)
    launch = elementwise_launch(c.size, device.processors())
    launch = launch.with_defines(*([] if c.dtype == FLOAT32 else ["REAL=double"]))
    if expression is not None:
        launch = launch.with_defines(f"ACTIVATION(x)={expression}")
    given = [product, np.int32(slices), c, np.int64(operand(c).row_stride), device.NOTHING if bias is None else bias,
             np.int32(accumulate), np.int64(c.shape[1]), np.int64(c.size)]  # fmt: skip
    device.run(_source("epilogue.cu", prelude), "epilogue", launch, given)


@functools.cache
def _source(path: str, prelude: str) -> str:
    return prelude + cuda_compile.read(path)


def _rung_named(name: str) -> Rung:
    if name not in RUNGS:
        raise ValueError(f"matmul: unknown rung {name!r}: use 'best' or one of {', '.join(RUNGS)}")
    rung = RUNGS[name]
    if rung.capability > OLDEST and rung.capability > (gpu := device.capability()):
        needed, had = (".".join(map(str, version)) for version in (rung.capability, gpu))
        raise ValueError(
            f"matmul: rung {name!r} needs a GPU of compute capability {needed}, this one has {had}: use 'best'"
        )
    return rung


def _require(name: str, x: Array, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if x.dtype != dtype:
        raise TypeError(f"matmul: `{name}` of {dtype} expected, as `a` is, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(f"matmul: `{name}` of shape {shape} expected, got {x.shape}")


def _target(
    out: Array, dtype: np.dtype, shape: tuple[int, int], accumulate: bool, a: Array, b: Array, bias: Array | None
) -> Array:
    """The array with contiguous rows to compute into: `out` itself, or one to be copied there."""
    _require("out", out, dtype, shape)
    if any(x is not None and device.overlap(out, x) for x in (a, b, bias)):
        raise ValueError("matmul: `out` overlaps with an operand, which would change while it is read")
    if not out.size or shape[-1] == 1 or out.strides[-1] == out.itemsize:
        return out
    return out.copy(order="C") if accumulate else device.empty(shape, dtype)


@functools.cache
def formula(activation: str | None, slope: float, dtype: np.dtype) -> tuple[str, str | None]:
    """The source of the formula, and what the macro ACTIVATION(x) stands for."""
    if activation is None:
        return "", None
    leaky = activation in ("relu", "leaky_relu")
    function = (scalar if dtype == FLOAT32 else scalar64).FORMULAS["leaky_relu" if leaky else activation]
    translator = Translator()
    signature = translator.add(function, [device.C_NAMES[dtype]] * len(inspect.signature(function).parameters))
    number = repr(float(dtype.type(0.0 if activation == "relu" else slope))) + ("f" if dtype == FLOAT32 else "")
    return translator.source + "\n", f"formula::{signature.name}(x{f', {number}' if leaky else ''})"
