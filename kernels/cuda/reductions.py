"""Reductions on the GPU: sums, the largest of a row, softmax and ln sum exp.

All take a C-contiguous matrix x (m, n) on the GPU, float32 or float64, and return a new array of its dtype. The
order of a sum follows from the shape alone, so a result is the same on every GPU and in every run. The kernels are
those of reductions.cu.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import scalar, scalar64
from . import compile as cuda_compile
from . import device
from .launch import FLOAT32, Launch, reduction_launch
from .translate import Translator

__all__ = ["logsumexp_rows", "max_rows", "softmax_rows", "source", "sum_all", "sum_cols", "sum_rows"]

Array = Any  # cupy.ndarray

_PARTS = 64  # of the rows in a long sum along columns
_ROWS_A_PART = 64
_CHUNK = 4096  # numbers of a row in a sum over all


@functools.cache
def source(dtype: np.dtype) -> str:
    """The CUDA source for a dtype: the formulas of exp and log, then reductions.cu."""
    translator = Translator()
    for name in ("exp", "log"):
        translator.add((scalar if dtype == FLOAT32 else scalar64).FORMULAS[name], [device.C_NAMES[dtype]])
    return f"{translator.source}\n{cuda_compile.read('reductions.cu')}"


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


def sum_cols(x: Array) -> Array:
    """y_j = sum over i of x_ij, shape (n,): the gradient of a bias."""
    _require("sum_cols", x)
    while True:
        m, n = x.shape
        parts = min(_PARTS, max(1, m // _ROWS_A_PART))
        out = device.empty((parts, n), x.dtype)
        _start("sum_cols", x, out, reduction_launch(parts, -(-n // 32)), m, n)
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


def _of_rows(name: str, x: Array, shape: tuple[int, ...]) -> Array:
    _require(name, x)
    out = device.empty(shape, x.dtype)
    _start(name, x, out, reduction_launch(x.shape[0]), x.shape[1])
    return out


def _start(name: str, x: Array, out: Array, launch: Launch, *sizes: int) -> None:
    if x.dtype != FLOAT32:
        launch = launch.with_defines("REAL=double")
    device.run(source(x.dtype), name, launch, [x, out, *map(np.int64, sizes)])


def _require(name: str, x: Array, ndim: int | None = 2) -> None:
    device.require_float(name, x)
    if ndim is not None and x.ndim != ndim:
        raise ValueError(f"{name}: a matrix expected, got shape {x.shape}")
    if not x.flags.c_contiguous:
        raise ValueError(f"{name}: a C-contiguous array expected, got strides {x.strides} for shape {x.shape}")
