"""Timing on the GPU, and what a benchmark needs besides: copies there and back, the library's product, a name.

A kernel's start returns at once, so a clock on the wall sees only the start. Two events in the stream, recorded by
the GPU itself, enclose what ran between them. That takes a GPU which is never idle between the two: Python needs tens
of microseconds to start a kernel, and many a kernel is done sooner. So the calls stand in line behind one that waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import compile as cuda_compile
from . import device
from .launch import Launch

__all__ = ["ROUNDED", "copy", "cublas", "cublas_rounded", "elapsed", "empty", "free_memory", "gpu_name", "last_cache",
           "require_cublas", "synchronize", "to_device", "to_host"]  # fmt: skip

_MOST = 200  # calls in a line: a stream takes about a thousand kernels, then the host waits
_LONGEST, _BETWEEN = 0.05, 2e-4  # seconds of holding the GPU up: at most, and for what the host does besides the calls


def elapsed(call: Callable[[], Any], times: int) -> float:
    """The seconds that the GPU spent from the first of `times` calls in a row to the end of the last.

    One more call, before, tells how long it takes to start them; so long the GPU is held up, and a little longer. Of
    more than 200 calls so many are made, and the time of all is reckoned from theirs.
    """
    import cupy

    made = min(times, _MOST)
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    begun = time.perf_counter()
    call()
    _hold(min(_LONGEST, _BETWEEN + 1.5 * made * (time.perf_counter() - begun)))
    start.record()
    for _ in range(made):
        call()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(start, end) / 1e3 * times / made  # it gives milliseconds


def _hold(seconds: float) -> None:
    launch = Launch((1, 1, 1), (1, 1, 1))
    device.run(cuda_compile.read("hold.cu"), "hold", launch, [np.uint64(seconds * 1e9)])


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


def copy(target: Any, source: Any) -> None:
    """target = source, contiguous arrays on the GPU of one shape and dtype, by the driver: as fast as its memory is."""
    import cupy

    cupy.copyto(target, source)


def free_memory() -> int:
    """Bytes on the GPU that are nobody's."""
    import cupy

    return int(cupy.cuda.Device().mem_info[0])


def last_cache() -> int:
    """Bytes in the cache that all multiprocessors share."""
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["l2CacheSize"])


def require_cublas() -> None:
    """ImportError where CuPy cannot load NVIDIA's library of products: it is there without, and all else works."""
    from cupy.cuda import cublas  # noqa: F401


def cublas(a: Any, b: Any, out: Any) -> None:
    """out = a b by NVIDIA's library, in float32 without TF32 unless CUPY_TF32 is set."""
    import cupy

    cupy.matmul(a, b, out=out)


ROUNDED = {"tf32": "CUBLAS_COMPUTE_32F_FAST_TF32", "bf16": "CUBLAS_COMPUTE_32F_FAST_16BF"}
"""How cuBLAS is allowed to round the operands of a float32 product, for the tensor cores: its names.

The operands are float32 in memory, as those of our rungs are: of bfloat16 there, it would read half as many bytes.
"""


def cublas_rounded(a: Any, b: Any, out: Any, rounding: str) -> None:
    """out = a b by NVIDIA's library in float32, the operands rounded on their way to the tensor cores: see `ROUNDED`.

    a (m, k) and b (k, n) contiguous along either axis, out (m, n) row by row. cuBLAS counts along columns: what it is
    given is out^T = b^T a^T.
    """
    from cupy.cuda import cublas, runtime
    from cupy.cuda.device import get_cublas_handle

    (m, k), n = a.shape, b.shape[1]
    one, zero = np.ones((), np.float32), np.zeros((), np.float32)
    operands = [x for matrix in (b, a) for x in (matrix.data.ptr, runtime.CUDA_R_32F, _leading(matrix))]
    turned = [cublas.CUBLAS_OP_N if x.flags.c_contiguous else cublas.CUBLAS_OP_T for x in (b, a)]
    cublas.gemmEx(get_cublas_handle(), *turned, n, m, k, one.ctypes.data, *operands, zero.ctypes.data, out.data.ptr,
                  runtime.CUDA_R_32F, n, getattr(cublas, ROUNDED[rounding]), cublas.CUBLAS_GEMM_DEFAULT)  # fmt: skip


def _leading(x: Any) -> int:
    """From a row to the next, or from a column to the next, whichever the matrix is made of."""
    return max(1, x.shape[1] if x.flags.c_contiguous else x.shape[0])


def gpu_name() -> str:
    """The GPU's own name for itself."""
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array on the GPU, full of NaN: a number that a kernel leaves out shows."""
    return to_device(np.full(shape, np.nan, dtype))
