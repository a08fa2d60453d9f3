"""What the matmul tests share: shapes, operands in every layout, and how a rung is run on a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigen.kernels.cuda import compile as cuda_compile
from minigen.kernels.cuda.launch import Launch, Rung, matmul_launch, operand

# (m, n, k), ragged around the tiles of 16, 32, 64, 128 and the depths of 8, 16, 32; empty; single; long in one way; the
# last ones in fours, so that loads of 16 bytes are allowed, over the edge of a tile, with a last panel whole and not.
SHAPES = [
    (0, 0, 0), (0, 5, 3), (4, 0, 3), (3, 4, 0), (1, 1, 1), (1, 1, 31), (1, 33, 1), (33, 1, 2), (2, 3, 4),
    (1, 127, 31), (127, 1, 33), (31, 33, 7), (33, 31, 8), (32, 32, 32), (16, 16, 9), (17, 15, 65), (63, 65, 16),
    (64, 64, 17), (65, 63, 15), (5, 130, 12), (130, 4, 20), (127, 127, 3), (128, 128, 16), (129, 131, 5),
    (36, 68, 48), (4, 4, 16), (100, 132, 40), (64, 4, 64), (68, 64, 100),
]  # fmt: skip

NOTHING = np.uint64(0)  # a null pointer

Run = Callable[..., None]


def matrices(m: int, n: int, k: int, dtype: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


def arguments(rung: Rung, a: Any, b: Any, c: Any, bias: Any = None, accumulate: bool = False) -> list[Any]:
    """The kernel's arguments; a is (m, k), b (k, n), c (m, n), each with any strides but c's rows are contiguous."""
    (m, k), n = a.shape, b.shape[1]
    left, right, out = operand(a), operand(b), operand(c)
    given = [*map(np.int32, (m, n, k)), a, *map(np.int64, (left.row_stride, left.col_stride))]
    given += [b, *map(np.int64, (right.row_stride, right.col_stride)), c, np.int64(out.row_stride)]
    return [*given, NOTHING if bias is None else bias, np.int32(accumulate)] if rung.epilogue else given


def launch_of(rung: Rung, a: Any, b: Any, **keywords: Any) -> Launch:
    (m, k), n = a.shape, b.shape[1]
    return matmul_launch(rung, m, n, k, operand(a), operand(b), a.dtype, **keywords)


def require(machine: Any, rung: Rung) -> None:
    """Skips the test on a GPU that is too old for the rung."""
    if rung.capability > machine.capability:
        pytest.skip(f"{rung.name} needs compute capability {rung.capability}, this GPU has {machine.capability}")


def source(rung: Rung) -> str:
    return cuda_compile.read(f"matmul/{rung.name}.cu")


def rounded(x: np.ndarray, rung: Rung) -> np.ndarray:
    """The operand as the rung's matrix instructions see it, in float64."""
    bits = x.astype(np.float32).view(np.uint32)
    if rung.name.endswith("tf32"):
        bits = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    elif rung.name.endswith("bf16"):
        bits = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    else:
        return x.astype(np.float64)
    return np.where(np.isnan(x), np.nan, bits.view(np.float32).astype(np.float64))


def assert_product(c: np.ndarray, a: np.ndarray, b: np.ndarray, rung: Rung, plus: Any = 0.0) -> None:
    """c = a b + plus, within (k + 2) roundings of the sum of the terms' sizes (Higham 2002, equation 3.13)."""
    left, right = rounded(a, rung), rounded(b, rung)
    expected = left @ right + plus
    bound = (a.shape[1] + 2) * np.finfo(c.dtype).eps * (abs(left) @ abs(right) + abs(np.asarray(plus)))
    assert np.isfinite(c).all()
    np.testing.assert_array_less(abs(c - expected), bound + np.finfo(c.dtype).tiny)
