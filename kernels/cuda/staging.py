"""From the host into an array on the GPU, while Python goes on.

A copy is begun and not waited for only where the driver may read the host's memory whenever it likes: memory that the
system does not move, "pinned". From any other, more than 64 KB may have to wait until the stream has done what was
begun before (CUDA Driver API, "API synchronization behavior").
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Staging"]


class Staging:
    """The way into one array on the GPU: `send(x)` begins a copy of x, which may change as soon as it returns.

    Two pinned buffers take turns. An event says when the copy from each is over: it is waited for where the host is
    two copies ahead.
    """

    def __init__(self, target: Any) -> None:
        import cupy

        self._target = target
        self._turns = itertools.cycle([(_pinned(target), cupy.cuda.Event(disable_timing=True)) for _ in range(2)])

    def send(self, x: NDArray[Any]) -> None:
        """TypeError or ValueError unless x has the array's dtype and shape."""
        import cupy

        if x.shape != self._target.shape:
            raise ValueError(f"an array of shape {self._target.shape} expected, got {x.shape}")
        buffer, over = next(self._turns)
        over.synchronize()
        np.copyto(buffer, x, casting="no")
        self._target.set(buffer)
        over.record(cupy.cuda.get_current_stream())


def _pinned(like: Any) -> NDArray[Any]:
    """An array of its own memory: what comes from CuPy's pool goes back there, and to others, while it is copied."""
    import cupy

    memory = cupy.cuda.PinnedMemoryPointer(cupy.cuda.PinnedMemory(max(1, like.nbytes)), 0)
    return np.ndarray(like.shape, like.dtype, memory)
