"""The epilogue: the activation, applied to a block of C while it is still in the cache.

Reading and writing C once more after the product would cost as much as the product itself where k is small.
The formulas are those of `scalar` and `scalar64`, on vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import elementwise
from ..jit import CONTRACT, jit_part

__all__ = ["ACTIVATIONS", "LEAKY", "activate", "make_epilogue"]

Array = NDArray[Any]

LEAKY = 1
ACTIVATIONS = {None: 0, "relu": LEAKY, "leaky_relu": LEAKY, "tanh": 2, "sigmoid": 3, "gelu": 4, "softplus": 5}
"""The numbers by which compiled code knows the activations; relu is leaky_relu with slope 0, which the micro-kernel
applies itself."""


def make_epilogue(dtype: np.dtype) -> Callable[..., None]:
    """epilogue(c, i0, i1, j0, j1, activation, slope): C[i0:i1, j0:j1] = activation(C[i0:i1, j0:j1])."""
    names = ("leaky_relu", "tanh", "sigmoid", "gelu", "softplus")
    leaky_relu, tanh, sigmoid, gelu, softplus = (elementwise.row_of(name, dtype) for name in names)

    @jit_part(CONTRACT)
    def epilogue(c: Array, i0: int, i1: int, j0: int, j1: int, activation: int, slope: float) -> None:
        n = c.shape[1]
        flat = c.reshape(c.size)
        whole = j1 - j0 == n  # then the rows are one long row: fewer ends within a vector, and none waits for another
        for i in range(i0, i0 + 1 if whole else i1):
            row = flat[i * n : i1 * n] if whole else flat[i * n + j0 : i * n + j1]
            if activation == LEAKY:
                leaky_relu(row, slope, row)
            elif activation == 2:
                tanh(row, row)
            elif activation == 3:
                sigmoid(row, row)
            elif activation == 4:
                gelu(row, row)
            elif activation == 5:
                softplus(row, row)

    return epilogue


def activate(c: Array, activation: str | None, slope: float) -> None:
    """C = activation(C), for the rungs that have no epilogue of their own."""
    if activation in ("relu", "leaky_relu"):
        c[...] = elementwise.leaky_relu(c, slope)
    elif activation is not None:
        c[...] = getattr(elementwise, activation)(c)
