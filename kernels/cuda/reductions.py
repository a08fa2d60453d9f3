"""Reductions on the GPU: sums, softmax and its relatives, over any axes of any layout.

The order of a sum follows from shape and axes alone, so a result is the same on every GPU and in every run. The
kernels are those of reductions.cu: they take a C-contiguous matrix and reduce its rows, its columns or all of it. The
functions named ..._rows, sum_cols and sum_all are these, one launch each; the others bring x (float32 or float64)
into that form, by a copy where its layout asks for one, and the result back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import scalar, scalar64
from . import compile as cuda_compile
from . import device
from .launch import FLOAT32, MOST_BLOCKS_Y, Launch, reduction_launch
from .translate import Translator

__all__ = ["log_softmax", "log_softmax_rows", "logsumexp", "logsumexp_rows", "max_rows", "normalise", "normalise_rows",
           "softmax", "softmax_rows", "source", "sum", "sum_all", "sum_cols", "sum_rows"]  # fmt: skip

Array = Any  # cupy.ndarray
Axes = int | Sequence[int] | None

_PARTS = 64  # of the rows in a long sum along columns
_ROWS_A_PART = 64
_CHUNK = 4096  # numbers of a row in a sum over all
_WIDTH = 32  # columns of a block, as in sums.cuh
MOST_COLUMNS = _WIDTH * MOST_BLOCKS_Y
"""Of a sum along columns; what has more is summed along rows, after a copy."""


@functools.cache
def source(dtype: np.dtype) -> str:
    """The CUDA source for a dtype: the formulas of exp and log, then reductions.cu."""
    translator = Translator()
    for name in ("exp", "log"):
        translator.add((scalar if dtype == FLOAT32 else scalar64).FORMULAS[name], [device.C_NAMES[dtype]])
    return f"{translator.source}\n{cuda_compile.read('reductions.cu')}"


# --- over any axes ----------------------------------------------------------------------------------------------


def sum(x: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    """y = the sum of x over `axis`, all axes by default."""
    reduced = _axes(x.ndim, axis)
    if len(reduced) == x.ndim:
        y = sum_all(device.contiguous(x))
    elif (reduced == tuple(range(len(reduced))) and x.flags.c_contiguous
          and (columns := math.prod(x.shape[len(reduced) :])) <= MOST_COLUMNS):
        y = sum_cols(x.reshape(math.prod(x.shape[: len(reduced)]), columns))
    else:
        y = sum_rows(_as_rows(x, reduced))
    return y.reshape(_reduced_shape(x.shape, reduced, keepdims))


def logsumexp(x: Array, axis: int = -1, keepdims: bool = False) -> Array:
    """y = ln sum_i e^(x_i) along `axis`, finite wherever x is; -inf of nothing."""
    reduced = _axes(x.ndim, axis)
    return logsumexp_rows(_as_rows(x, reduced)).reshape(_reduced_shape(x.shape, reduced, keepdims))


def softmax(x: Array, axis: int = -1) -> Array:
    """y_i = e^(x_i) / sum_j e^(x_j) along `axis`."""
    reduced = _axes(x.ndim, axis)
    return _back(softmax_rows(_as_rows(x, reduced)), x.shape, reduced)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """y_i = x_i - ln sum_j e^(x_j) along `axis`."""
    reduced = _axes(x.ndim, axis)
    return _back(log_softmax_rows(_as_rows(x, reduced)), x.shape, reduced)


def normalise(x: Array, axis: Axes, eps: float) -> Array:
    """y = (x - m) / sqrt(v + eps), m the mean and v the mean of (x - m)^2 over `axis`."""
    reduced = _axes(x.ndim, axis)
    return _back(normalise_rows(_as_rows(x, reduced), eps), x.shape, reduced)


def _axes(ndim: int, axis: Axes) -> tuple[int, ...]:
    """The axes as non-negative numbers in order; all of them for None."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, Sequence) else (axis,)
    if wrong := [a for a in axes if not -ndim <= a < ndim]:
        raise ValueError(f"axis {wrong[0]} does not exist in an array of {ndim} axes")
    if len(found := {a % ndim for a in axes}) < len(axes):
        raise ValueError(f"axis {axis} names an axis twice")
    return tuple(sorted(found))


def _order(ndim: int, reduced: tuple[int, ...]) -> list[int]:
    """The axes that stay, then those that go."""
    return [i for i in range(ndim) if i not in reduced] + list(reduced)


def _as_rows(x: Array, reduced: tuple[int, ...]) -> Array:
    """x as a C-contiguous matrix whose rows hold what is reduced."""
    columns = math.prod(x.shape[i] for i in reduced)
    rows = math.prod(n for i, n in enumerate(x.shape) if i not in reduced)
    return device.contiguous(x.transpose(_order(x.ndim, reduced)).reshape(rows, columns))


def _back(y: Array, shape: tuple[int, ...], reduced: tuple[int, ...]) -> Array:
    """A matrix of `_as_rows` in the shape that x had, in C order."""
    order = _order(len(shape), reduced)
    inverse = sorted(range(len(shape)), key=order.__getitem__)
    return device.contiguous(y.reshape([shape[i] for i in order]).transpose(inverse))


def _reduced_shape(shape: tuple[int, ...], reduced: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    return tuple(1 if i in reduced else n for i, n in enumerate(shape) if keepdims or i not in reduced)


# --- a launch each ----------------------------------------------------------------------------------------------


def sum_rows(x: Array) -> Array:
    """y_i = sum over j of x_ij, shape (m,)."""
    return _of_rows("sum_rows", x, x.shape[:1])


def max_rows(x: Array) -> Array:
    """y_i = the largest x_ij, shape (m,); NaN where there is one. Raises ValueError for rows without a number."""
    _require("max_rows", x)
    if x.shape[1] == 0:
        raise ValueError(f"max_rows: an empty row has no largest number, got shape {x.shape}")
    return _of_rows("max_rows", x, x.shape[:1])


def logsumexp_rows(x: Array) -> Array:
    """y_i = ln sum over j of e^x_ij, shape (m,): without overflow, and -inf for an empty row."""
    return _of_rows("logsumexp_rows", x, x.shape[:1])


def softmax_rows(x: Array) -> Array:
    """y_ij = e^x_ij / sum over k of e^x_ik, shape (m, n)."""
    return _of_rows("softmax_rows", x, x.shape)


def log_softmax_rows(x: Array) -> Array:
    """y_ij = x_ij - ln sum over k of e^x_ik, shape (m, n)."""
    return _of_rows("log_softmax_rows", x, x.shape)


def normalise_rows(x: Array, eps: float) -> Array:
    """y_ij = (x_ij - m_i) / sqrt(v_i + eps), m_i and v_i mean and variance of row i, shape (m, n)."""
    return _of_rows("normalise_rows", x, x.shape, eps)


def sum_cols(x: Array) -> Array:
    """y_j = sum over i of x_ij, shape (n,): the gradient of a bias."""
    _require("sum_cols", x)
    while True:
        m, n = x.shape
        parts = min(_PARTS, max(1, m // _ROWS_A_PART))
        out = device.empty((parts, n), x.dtype)
        _start("sum_cols", x, out, reduction_launch(parts, -(-n // _WIDTH)), m, n)
        if parts == 1:
            return out.reshape(n)
        x = out


def sum_all(x: Array) -> Array:
    """y = the sum of all x, shape (): in chunks of 4096, then the chunks' sums likewise."""
    _require("sum_all", x, ndim=None)
    flat = x.reshape(-1)
    while flat.size > _CHUNK:
        whole = flat.size // _CHUNK
        parts = device.empty((whole + (flat.size % _CHUNK > 0),), x.dtype)
        body, tail = flat[: whole * _CHUNK], flat[whole * _CHUNK :]
        _start("sum_rows", body, parts[:whole], reduction_launch(whole), _CHUNK)
        if tail.size:
            _start("sum_rows", tail, parts[whole:], reduction_launch(1), tail.size)
        flat = parts
    out = device.empty((1,), x.dtype)
    _start("sum_rows", flat, out, reduction_launch(1), flat.size)
    return out.reshape(())


def _of_rows(name: str, x: Array, shape: tuple[int, ...], *numbers: float) -> Array:
    _require(name, x)
    out = device.empty(shape, x.dtype)
    _start(name, x, out, reduction_launch(x.shape[0]), x.shape[1], numbers=numbers)
    return out


def _start(name: str, x: Array, out: Array, launch: Launch, *sizes: int, numbers: Sequence[float] = ()) -> None:
    if x.dtype != FLOAT32:
        launch = launch.with_defines("REAL=double")
    device.run(source(x.dtype), name, launch, [x, out, *map(x.dtype.type, numbers), *map(np.int64, sizes)])


def _require(name: str, x: Array, ndim: int | None = 2) -> None:
    device.require_float(name, x)
    if ndim is not None and x.ndim != ndim:
        raise ValueError(f"{name}: a matrix expected, got shape {x.shape}")
    if not x.flags.c_contiguous:
        raise ValueError(f"{name}: a C-contiguous array expected, got strides {x.strides} for shape {x.shape}")
