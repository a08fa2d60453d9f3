"""Launches recorded once and started as a whole: a CUDA graph, by CuPy's stream capture.

A graph starts in microseconds what Python starts in milliseconds. It is a list of kernels with their arguments, frozen:
the addresses too. So memory that is taken while the launches are recorded must stay theirs (`Tape`), and nothing may
wait for the GPU, copy from the host, load a kernel or allocate meanwhile; a run before, not recorded, has done that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Tape", "record"]


class Tape:
    """Memory by turns: the n-th array that is made while the tape plays lies where the n-th lay the last time.

    Within one run no memory is used twice, so that it does not matter when an array is let go.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[int, Any]] = []
        self._turn = 0
        self._recording = False

    @contextlib.contextmanager
    def playing(self, recording: bool = False) -> Iterator[None]:
        """Arrays of this thread are made on the tape, from its start; while `recording`, RuntimeError for a new one."""
        import cupy

        self._turn, self._recording = 0, recording
        with cupy.cuda.using_allocator(self._next):
            yield

    def _next(self, size: int) -> Any:
        import cupy

        turn = self._turn
        self._turn += 1
        if turn < len(self._blocks) and self._blocks[turn][0] == size:
            return self._blocks[turn][1]
        if self._recording:
            raise RuntimeError(f"array {turn + 1} of the step is made of {size} bytes, and was not in the run before")
        del self._blocks[turn:]
        self._blocks.append((size, cupy.get_default_memory_pool().malloc(size)))
        return self._blocks[turn][1]


def record(work: Callable[[], Any], tape: Tape) -> Callable[[], None]:
    """What `work` starts, as one start: it is recorded, not run. It must have run on the tape before.

    Raises RuntimeError, of CUDA's or CuPy's or ours, where it does what cannot be recorded; nothing has been done then.
    """
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, tape.playing(recording=True):
        stream.begin_capture()
        try:
            work()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # that the recording is void, which we know
                stream.end_capture()
            raise
        graph = stream.end_capture()
    return lambda: graph.launch()
