"""Kernels over the rows of a matrix on the GPU: gradients of normalisation and cross-entropy; rows added to others.

The functions of `kernels.cpu.rows`, for arrays on the GPU; the kernels are those of rows.cu.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import compile as cuda_compile
from . import device, reductions
from .launch import FLOAT32, REDUCTION_THREADS, Launch, reduction_launch

__all__ = ["MOST_PLACES", "add_rows", "cross_entropy", "cross_entropy_grad", "normalise_rows_grad", "source"]

Array = Any  # cupy.ndarray

MOST_PLACES = 16384
"""Of `add_rows`, whose time grows with their square where all differ: an estimate, to be measured."""


@functools.cache
def source(dtype: np.dtype) -> str:
    """The CUDA source for a dtype: that of the reductions, then rows.cu."""
    return f"{reductions.source(dtype)}\n{cuda_compile.read('rows.cu')}"


def normalise_rows_grad(g: Array, x: Array, eps: float) -> Array:
    """dL/dx = r (g - mean(g) - y mean(g y)), row by row: r = (v + eps)^(-1/2), y = `normalise`(x)."""
    _require("normalise_rows_grad", x, g, x.shape)
    return _start("normalise_rows_grad", x.shape, x, [g, x], eps)


def cross_entropy(logits: Array, targets: Array) -> Array:
    """y_i = ln sum_j e^(logits_ij) - logits_i,targets_i, in nats; 0 where the target is negative.

    logits (M, n), targets (M,) int64 below n, which is not checked here: that would wait for the GPU.
    """
    _require("cross_entropy", logits)
    return _start("cross_entropy", targets.shape, logits, [logits, _targets(logits, targets)])


def cross_entropy_grad(g: Array, logits: Array, targets: Array) -> Array:
    """dL/dlogits_ij = g_i (softmax(logits_i)_j - [j = targets_i]), 0 where the target is negative; g (M,)."""
    _require("cross_entropy_grad", logits, g, targets.shape)
    return _start("cross_entropy_grad", logits.shape, logits, [g, logits, _targets(logits, targets)])


def add_rows(target: Array, places: Array, values: Array) -> None:
    """target[places[i]] += values[i] for each i in order, where a row that is named twice gets both: the CPU's bits.

    target (M, n), C-contiguous and written to; places (K,) integers from -M to M - 1; values (K, n). Beyond MOST_PLACES
    they are added by CuPy, atomically, in any order. A place outside is not an error: asking would wait for the GPU.
    Raises ValueError for shapes and TypeError for dtypes that do not fit.
    """
    m, n = target.shape
    if values.shape != (places.size, n) or not target.flags.c_contiguous:
        raise ValueError(f"add_rows: values {(places.size, n)} and a contiguous target expected, got {values.shape}")
    if values.dtype != device.require_float("add_rows", target):
        raise TypeError(f"add_rows: values of {target.dtype} expected, as the target is, got {values.dtype}")
    if places.size > MOST_PLACES:
        device.add_at(target, places, values)
        return
    launch = reduction_launch(places.size, -(-n // REDUCTION_THREADS))
    arrays = [target, device.contiguous(places.astype(np.int64, copy=False)), device.contiguous(values)]
    _run("add_rows", target.dtype, launch, [*arrays, np.int64(m), np.int64(n), np.int64(places.size)])


def _targets(logits: Array, targets: Array) -> Array:
    if targets.shape != logits.shape[:1] or targets.dtype.kind not in "iu":
        raise ValueError(f"cross_entropy: {len(logits)} whole numbers expected as targets, got {targets.shape} "
                         f"{targets.dtype}")
    return targets.astype(np.int64, copy=False)


def _start(name: str, shape: tuple[int, ...], x: Array, arrays: list[Array], eps: float | None = None) -> Array:
    out = device.empty(shape, x.dtype)
    rest = [] if eps is None else [x.dtype.type(eps)]
    given = [device.contiguous(a) for a in arrays]
    _run(name, x.dtype, reduction_launch(x.shape[0] if x.size else 0), [*given, out, np.int64(x.shape[1]), *rest])
    return out


def _run(name: str, dtype: np.dtype, launch: Launch, arguments: list[Any]) -> None:
    if dtype != FLOAT32:
        launch = launch.with_defines("REAL=double")
    device.run(source(dtype), name, launch, arguments)


def _require(name: str, x: Array, g: Array | None = None, shape: tuple[int, ...] = ()) -> None:
    device.require_float(name, x)
    if x.ndim != 2:
        raise ValueError(f"{name}: a matrix expected, got shape {x.shape}")
    if g is not None and g.shape != shape:
        raise ValueError(f"{name}: g of shape {shape} expected, got {g.shape}")
    if g is not None and g.dtype != x.dtype:
        raise TypeError(f"{name}: g of {x.dtype} expected, got {g.dtype}")
