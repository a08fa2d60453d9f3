"""Timing on the GPU, and what a benchmark needs besides: copies there and back, the library's product, a name.

A kernel's start returns at once, so a clock on the wall sees only the start. Two events in the stream, recorded by
the GPU itself, enclose what ran between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["capability", "cublas", "elapsed", "empty", "gpu_name", "synchronize", "to_device", "to_host"]


def elapsed(call: Callable[[], Any], times: int) -> float:
    """The seconds that the GPU spent from the first of `times` calls in a row to the end of the last."""
    import cupy

    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(start, end) / 1e3  # it gives milliseconds


def synchronize() -> None:
    """Wait until the GPU has done all that was begun."""
    import cupy

    cupy.cuda.get_current_stream().synchronize()


def to_device(array: NDArray[Any]) -> Any:
    """A copy on the GPU; the transpose of a contiguous matrix stays one."""
    import cupy

    turned = array.ndim == 2 and array.flags.f_contiguous and not array.flags.c_contiguous
    return cupy.asarray(array.T).T if turned else cupy.asarray(array)


def to_host(array: Any) -> NDArray[Any]:
    """A copy in NumPy's memory."""
    import cupy

    return cupy.asnumpy(array)


def cublas(a: Any, b: Any, out: Any) -> None:
    """out = a b by NVIDIA's library, in float32 without TF32 unless CUPY_TF32 is set."""
    import cupy

    cupy.matmul(a, b, out=out)


def gpu_name() -> str:
    """The GPU's own name for itself."""
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


def capability() -> tuple[int, int]:
    """The GPU's compute capability, (major, minor)."""
    import cupy

    digits = cupy.cuda.Device().compute_capability
    return int(digits[:-1]), int(digits[-1])


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array on the GPU, full of NaN: a number that a kernel leaves out shows."""
    return to_device(np.full(shape, np.nan, dtype))
