"""What the tests of the matmul ladder share: ragged shapes, layouts, and the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from kernel_cases import JIT

from minigen.kernels import reference
from minigen.kernels.cpu.matmul import RUNGS

RAGGED = [
    (1, 1, 1), (0, 3, 2), (3, 0, 2), (2, 3, 0), (0, 0, 0), (1, 31, 33), (31, 1, 33), (33, 31, 1), (1, 1, 17),
    (1, 127, 8), (2, 33, 127), (3, 17, 65), (4, 16, 64), (5, 7, 129), (7, 40, 15), (8, 48, 48), (9, 64, 49),
    (16, 15, 16), (31, 33, 127), (33, 33, 33), (64, 100, 10), (65, 31, 1), (127, 31, 33),
]  # fmt: skip
"""(m, k, n)"""

LARGE = [(64, 784, 128), (1, 784, 400), (1000, 31, 33), (130, 600, 200), (127, 1000, 127)]
"""With several blocks of k, of rows and of columns; a second for an interpreter."""

SMALL = [shape for shape in RAGGED if shape[0] * shape[1] * shape[2] < 3000]
SHAPES = RAGGED + LARGE if JIT else SMALL
OWN = tuple(name for name in RUNGS if name != "blas")
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "gelu", "softplus")

_FORMULAS = {
    "relu": lambda x: reference.leaky_relu(x, 0.0),
    "leaky_relu": lambda x: reference.leaky_relu(x, 0.01),
    **{name: getattr(reference, name) for name in ("tanh", "sigmoid", "gelu", "softplus")},
}


def oracle(a: np.ndarray, b: np.ndarray, bias: Any = None, activation: str | None = None, old: Any = 0.0) -> np.ndarray:
    """The definition, in float64."""
    with np.errstate(all="ignore"):
        y = a.astype(np.float64) @ b.astype(np.float64) + old
        y = y if bias is None else y + bias
        return y if activation is None else _FORMULAS[activation](y)


def error_bound(a: np.ndarray, b: np.ndarray, *others: Any) -> np.ndarray:
    """How far a sum in the dtype of `a` may be off (Higham 2002, section 3.1): (k + 2) u |A| |B|, u for rounding."""
    size = abs(a.astype(np.float64)) @ abs(b.astype(np.float64)) + sum(abs(x) for x in others)
    return (a.shape[1] + 8) * np.finfo(a.dtype).eps * (size + 1e-3)


def assert_close(y: np.ndarray, expected: np.ndarray, bound: np.ndarray) -> None:
    """NaN and infinity in the same places, everything else within the bound."""
    assert y.shape == expected.shape
    finite = np.isfinite(expected)
    assert (np.isfinite(y) == finite).all()
    assert (abs(y[finite] - expected[finite]) <= bound[finite]).all()


def matrix(rng: np.random.Generator, rows: int, columns: int, dtype: Any) -> np.ndarray:
    return rng.standard_normal((rows, columns)).astype(dtype)


def strided(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The same numbers in memory in other ways; read-only where that costs nothing."""
    rows, columns = x.shape
    wide = np.full((rows, columns + 3), np.nan, x.dtype)
    wide[:, 1 : columns + 1] = x
    yield "rows apart", wide[:, 1 : columns + 1]
    yield "rows reversed", np.ascontiguousarray(x[::-1])[::-1]
    yield "columns reversed", np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    sparse = np.full((2 * rows, 3 * columns), np.nan, x.dtype)
    sparse[::2, ::3] = x
    sparse.flags.writeable = False
    yield "every other", sparse[::2, ::3]
    odd = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    yield "unaligned", odd
