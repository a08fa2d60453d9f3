"""Memory on the GPU and the start of a kernel: what the kernels of this package need from CuPy besides its compiler."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import compile as cuda_compile
from .launch import ELEMENTWISE_THREADS, FLOAT32, FLOAT64, Launch

__all__ = ["C_NAMES", "NOTHING", "add_at", "address", "capability", "contiguous", "empty", "overlap", "processors",
           "require_float", "run", "run_by_fours"]  # fmt: skip

NOTHING = np.uint64(0)
"""A null pointer, where a kernel takes an array or none."""

C_NAMES: dict[np.dtype, str] = {FLOAT32: "float", FLOAT64: "double"}


def empty(shape: Sequence[int], dtype: DTypeLike) -> Any:
    """A C-contiguous array on the current GPU, its contents arbitrary."""
    import cupy

    return cupy.empty(shape, dtype)


def contiguous(x: Any) -> Any:
    """x row by row: itself, or a copy."""
    return x if x.flags.c_contiguous else x.copy(order="C")


def address(x: Any) -> int:
    """Where the first element of an array lies."""
    return int(x.data.ptr)


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays have a number in common: no matter that the columns of one lie between those of the other."""
    return bool(a.size and b.size) and np.shares_memory(_layout(a), _layout(b))


def _layout(x: Any) -> np.ndarray:
    """An array that claims to lie where x does, for its addresses alone: to read it would crash."""
    place = {"version": 3, "shape": x.shape, "typestr": x.dtype.str, "strides": x.strides, "data": (address(x), True)}
    return np.asarray(SimpleNamespace(__array_interface__=place))


def capability() -> tuple[int, int]:
    """The current GPU's compute capability, (major, minor)."""
    import cupy

    digits = cupy.cuda.Device().compute_capability
    return int(digits[:-1]), int(digits[-1])


def processors() -> int:
    """How many multiprocessors the current GPU has."""
    import cupy

    return _processors_of(cupy.cuda.Device().id)


@functools.cache
def _processors_of(gpu: int) -> int:
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(gpu)["multiProcessorCount"])


def add_at(target: Any, places: Any, values: Any) -> None:
    """target[places] += values by CuPy: atomic additions, in any order."""
    import cupy

    cupy.add.at(target, places, values)


def run(
    source: str,
    name: str,
    launch: Launch,
    arguments: Sequence[Any],
    arithmetic: tuple[str, ...] = cuda_compile.FAST,
) -> None:
    """Start the kernel `name` of a source, unless there is nothing to compute. Returns before it has finished.

    An argument is an array on the GPU, or a NumPy scalar of exactly the parameter's type.
    """
    if launch.empty:
        return
    kernel = cuda_compile.load(source, launch.defines, arithmetic).get_function(name)
    kernel(launch.grid, launch.block, tuple(arguments))


def run_by_fours(source: str, name: str, n: int, arguments: Sequence[Any], defines: tuple[str, ...] = ()) -> None:
    """Start a kernel that works on n numbers by four.cuh, and takes n last.

    As many blocks as that takes, not as many as a GPU holds at once, which depends on the kernel's registers: one that
    is done makes room for the next, so that no multiprocessor is left with less to do than the others.
    """
    blocks = -(-n // (4 * ELEMENTWISE_THREADS))
    launch = Launch((blocks, 1, 1), (ELEMENTWISE_THREADS, 1, 1), defines=defines)
    run(source, name, launch, [*arguments, np.int64(n)])


def require_float(name: str, array: Any) -> np.dtype:
    """The array's dtype; a TypeError unless it is float32 or float64."""
    if array.dtype not in C_NAMES:
        raise TypeError(f"{name}: expected an array of float32 or float64, got {array.dtype}")
    return array.dtype
