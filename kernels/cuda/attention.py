"""Self-attention on the GPU, without the matrix of scores: the kernels of attention.cu.

The functions of `kernels.cpu.attention`, for arrays on the GPU and heads at most 128 wide.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .. import scalar, scalar64
from . import compile as cuda_compile
from . import device
from .launch import FLOAT32, Launch, reduction_launch
from .translate import Translator

__all__ = ["MOST_WIDE", "self_attention", "self_attention_grad", "source"]

Array = Any  # cupy.ndarray

MOST_WIDE = {4: 128, 8: 64}
"""The widest head by the bytes of a number: two tiles of 32 positions must fit into 48 KiB of shared memory."""

_POSITIONS = 8  # of a block


@functools.cache
def source(dtype: np.dtype) -> str:
    """The CUDA source for a dtype: the formula of exp, then attention.cu."""
    translator = Translator()
    translator.add((scalar if dtype == FLOAT32 else scalar64).FORMULAS["exp"], [device.C_NAMES[dtype]])
    return f"{translator.source}\n{cuda_compile.read('attention.cu')}"


def self_attention(qkv: Array, lengths: Array, *, heads: int, causal: bool,
                   queries: tuple[int, int] | None = None) -> Array:
    """y_i = sum_j p_ij v_j, p_i = softmax over the seen j of q_i . k_j / sqrt(D), by heads: see `kernels.reference`.

    qkv (N, T, 3 heads D) gives (N, T, heads D), or of `queries` (from, to) alone (N, to - from, heads D). lengths (N,)
    integers from 0 to T, which is not checked here: that would wait for the GPU. Raises ValueError for shapes that do
    not fit, TypeError for other dtypes.
    """
    n, time, width = _require("self_attention", qkv, lengths, heads)
    first, end = queries or (0, time)
    if not 0 <= first <= end <= time:
        raise ValueError(f"self_attention: queries from {first} to {end} of {time} positions")
    out = device.empty((n, end - first, heads * width), qkv.dtype)
    arrays = [device.contiguous(qkv), _wide(lengths), out]
    _start("self_attention", qkv, (n, time, heads, width), causal, arrays, (first, end))
    return out


def self_attention_grad(g: Array, qkv: Array, lengths: Array, *, heads: int, causal: bool) -> Array:
    """dL/d(qkv) of `self_attention` for the cotangent g (N, T, heads D)."""
    n, time, width = _require("self_attention_grad", qkv, lengths, heads)
    if g.shape != (n, time, heads * width) or g.dtype != qkv.dtype:
        raise ValueError(f"self_attention_grad: g of shape {(n, time, heads * width)} and {qkv.dtype} expected, got "
                         f"{g.shape} {g.dtype}")
    g, qkv = device.contiguous(g), device.contiguous(qkv)
    out = device.empty(qkv.shape, qkv.dtype)
    kept = [device.empty((n, heads, time), qkv.dtype) for _ in range(3)]
    for name in ("self_attention_grad_queries", "self_attention_grad_keys"):
        _start(name, qkv, (n, time, heads, width), causal, [g, qkv, _wide(lengths), out, *kept])
    return out


def _wide(lengths: Array) -> Array:
    return device.contiguous(lengths.astype(np.int64, copy=False))


def _start(name: str, qkv: Array, sizes: tuple[int, int, int, int], causal: bool, arrays: list[Array],
           queries: tuple[int, int] | None = None) -> None:
    n, time, heads, width = sizes
    first, end = queries or (0, time)
    launch: Launch = reduction_launch(n * heads if qkv.size and end > first else 0, -(-(end - first) // _POSITIONS))
    defines = [f"HEAD_WIDTH={width}"] + (["REAL=double"] if qkv.dtype != FLOAT32 else [])
    scale = qkv.dtype.type(1 / math.sqrt(max(width, 1)))
    numbers = [np.int64(time), np.int64(heads), np.int32(causal), scale, *map(np.int64, queries or ())]
    device.run(source(qkv.dtype), name, launch.with_defines(*defines), [*arrays, *numbers])


def _require(name: str, qkv: Array, lengths: Array, heads: int) -> tuple[int, int, int]:
    device.require_float(name, qkv)
    if qkv.ndim != 3 or heads < 1 or qkv.shape[2] % (3 * heads):
        raise ValueError(f"{name}: qkv (N, T, 3 C), C a multiple of {heads} heads, expected, got {qkv.shape}")
    if lengths.shape != qkv.shape[:1] or lengths.dtype.kind not in "iu":
        raise ValueError(f"{name}: one number of keys for each of {len(qkv)} sequences expected, got "
                         f"{lengths.shape} {lengths.dtype}")
    width, most = qkv.shape[2] // (3 * heads), MOST_WIDE[qkv.dtype.itemsize]
    if width > most:
        raise ValueError(f"{name}: heads {width} wide, at most {most} fit in {qkv.dtype}: use more heads")
    return qkv.shape[0], qkv.shape[1], width
