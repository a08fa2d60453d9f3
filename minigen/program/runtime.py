"""What the source of a program calls, beside the kernels: memory, and its own loops made machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Array
from ..kernels.cpu.generated import compile_loop, plus
from ..tensor import Tensor

__all__ = ["Arena", "array", "flat", "loop", "ordered", "placed", "plus"]


class Arena:
    """Memory for the results of a program: `arena(offset, shape, dtype)` is an array in it, on a line of the cache."""

    def __init__(self, size: int) -> None:
        memory = np.empty(size + 64, np.uint8)
        start = -memory.ctypes.data % 64
        self._bytes = memory[start:start + size]

    def __call__(self, offset: int, shape: tuple[int, ...], dtype: str) -> Array:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._bytes[offset:offset + size].view(dtype).reshape(shape)


def loop(types: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the loop as machine code for arguments of these types."""
    return lambda function: compile_loop(function, types)


def ordered(x: Array) -> Array:
    """x row by row: itself, or a copy."""
    return np.ascontiguousarray(x)


def array(x: Any, dtype: str) -> Array:
    """The result of an operation's forward, as the engine makes it an array."""
    return np.asarray(x, dtype)


def flat(tensors: list[Tensor]) -> Array:
    """One array whose parts, one after the other, are the tensors' memory.

    Where they do not lie so yet, they are moved there: each tensor's `data` becomes a view of the flat array.
    """
    base = tensors[0].data.base
    if isinstance(base, np.ndarray) and base.ndim == 1 and base.flags.c_contiguous:
        place = base.ctypes.data
        for t in tensors:
            if t.data.base is not base or t.data.ctypes.data != place or not t.data.flags.c_contiguous:
                break
            place += t.data.nbytes
        else:
            if place == base.ctypes.data + base.nbytes:
                return base
    joined = np.concatenate([t.data.ravel() for t in tensors])
    start = 0
    for t in tensors:
        t.data = joined[start:start + t.size].reshape(t.shape)
        start += t.size
    return joined


def placed(constants: dict[str, Array]) -> dict[str, Array]:
    """The constants of a program, where it runs."""
    return constants
