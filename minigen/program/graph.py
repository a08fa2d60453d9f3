"""What the source of a program for the gpu calls, beside the kernels: memory there, launches, and their recording."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import Array, namespace, out_of_memory, retrying, to_device
from ..kernels.cuda import capture, device
from ..kernels.cuda.launch import ELEMENTWISE_THREADS, Launch
from ..kernels.cuda.staging import Staging
from ..tensor import Tensor

__all__ = ["Arena", "Replayed", "array", "flat", "joined", "launcher", "ordered", "placed", "scalar_of"]


class Arena:
    """Memory on the gpu for the results of a program: `arena(offset, shape, dtype)` is an array in it; `buffer` is an
    array beside it, filled before each step."""

    def __init__(self, size: int) -> None:
        self._bytes = retrying(lambda: device.empty((size,), np.uint8), "the arena of a compiled step")

    def __call__(self, offset: int, shape: tuple[int, ...], dtype: str) -> Array:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._bytes[offset:offset + size].view(dtype).reshape(shape)

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Array:
        return retrying(lambda: device.empty(shape, dtype), "a buffer of a compiled step")


class Replayed:
    """A step on the gpu, called with arrays, for the buffers `arguments`, and with the numbers that `host` takes.

    `host(*numbers)` computes what goes into `given`, by the format of `struct`, and what the step leaves on the host;
    `step()` starts the kernels and names the results, which are copied for the caller. The first call runs it. The
    second records it as a CUDA graph, which is what runs from then on. Where it cannot be recorded, because an
    operation waits for the gpu or goes to a library that CuPy does not record, it runs launch by launch, with a
    warning; `why_not` is the reason.
    """

    def __init__(self, host: Callable[..., Any], step: Callable[[], tuple[Array, ...]], arguments: tuple[Array, ...],
                 given: Array, formats: str) -> None:
        self.host, self.step = host, step
        self.arguments, self.given, self.formats = arguments, given, formats
        self.why_not: str | None = None
        self.graph: Callable[[], None] | None = None
        self._tape = capture.Tape()
        self._results: tuple[Array, ...] | None = None
        self._ways = [Staging(x) for x in arguments]
        self._numbers = Staging(given)

    def __call__(self, *called: Any) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
        arrays = called[:len(self.arguments)]
        numbers, moved = self.host(*called[len(self.arguments):])
        self._fill(arrays, numbers)
        if self._results is not None and self.graph is None and self.why_not is None:
            self._record()
        try:
            if self.graph is not None:
                self.graph()
            else:
                with self._tape.playing():
                    self._results = self.step()
            assert self._results is not None
            return tuple(x.copy() for x in self._results), moved
        except MemoryError as error:
            raise out_of_memory(error, "a compiled step") from None

    def describe(self) -> str:
        """Whether it is started as a CUDA graph, in a line."""
        if self.why_not is not None:
            return f"started launch by launch: it cannot be recorded as a CUDA graph ({self.why_not})"
        return "started as a CUDA graph" if self.graph is not None else "to be recorded as a CUDA graph next time"

    def _fill(self, arrays: Sequence[Array], numbers: Sequence[float]) -> None:
        for way, buffer, x in zip(self._ways, self.arguments, arrays, strict=True):
            if isinstance(x, np.ndarray):
                way.send(x)
            else:
                buffer[...] = x
        if self.formats:
            self._numbers.send(np.frombuffer(struct.pack(f"={self.formats}", *numbers), np.float64))

    def _record(self) -> None:
        results: list[tuple[Array, ...]] = []
        try:
            self.graph = capture.record(lambda: results.append(self.step()), self._tape)
        except RuntimeError as error:
            self.why_not = f"{type(error).__name__}: {error}"
            warnings.warn(f"a step on the gpu runs launch by launch, for it cannot be recorded as a CUDA graph "
                          f"({self.why_not})", RuntimeWarning, stacklevel=2)
        else:
            self._results = results[0]


def launcher(source: str) -> Callable[..., None]:
    """`launch(name, grid, *arguments)` for the kernels of a source: arrays, then Python numbers, whose type decides."""

    def launch(name: str, grid: tuple[int, int], *arguments: Any) -> None:
        given = [np.int64(a) if type(a) is int else np.float64(a) if type(a) is float else a for a in arguments]
        device.run(source, name, Launch((*grid, 1), (ELEMENTWISE_THREADS, 1, 1)), given)

    return launch


def ordered(x: Array) -> Array:
    """x row by row: itself, or a copy."""
    return device.contiguous(x)


def array(x: Array, dtype: str) -> Array:
    """The result of an operation's forward in the engine's type for it."""
    return x.astype(dtype, copy=False)


def joined(*xs: Array, axis: int, new: bool = False) -> Array:
    """The arrays one after the other along an axis, or side by side along a `new` one; a copy for each.

    CuPy's own would bring the addresses of more than eight arrays from the host, which cannot be recorded.
    """
    if new:
        axis %= xs[0].ndim + 1
        xs = tuple(x.reshape(*x.shape[:axis], 1, *x.shape[axis:]) for x in xs)
    axis %= xs[0].ndim
    before, after = xs[0].shape[:axis], xs[0].shape[axis + 1:]
    out = device.empty((*before, sum(x.shape[axis] for x in xs), *after), xs[0].dtype)
    start = 0
    for x in xs:
        out[(slice(None),) * axis + (slice(start, start + x.shape[axis]),)] = x
        start += x.shape[axis]
    return out


def scalar_of(numbers: Array, place: int, dtype: str) -> Array:
    """The number at a place, as an array without axes."""
    return numbers[place:place + 1].astype(dtype).reshape(())


def flat(tensors: list[Tensor]) -> Array:
    """One array on the gpu whose parts, one after the other, are the tensors' memory: as `runtime.flat`."""
    base = tensors[0].data.base
    if base is not None and base.ndim == 1 and base.flags.c_contiguous and all(t.data.base is base for t in tensors):
        place = device.address(base)
        for t in tensors:
            if device.address(t.data) != place or not t.data.flags.c_contiguous:
                break
            place += t.data.nbytes
        else:
            if place == device.address(base) + base.nbytes:
                return base
    joined = namespace(tensors[0].data).concatenate([t.data.reshape(-1) for t in tensors])
    start = 0
    for t in tensors:
        t.data = joined[start:start + t.size].reshape(t.shape)
        start += t.size
    return joined


def placed(constants: dict[str, np.ndarray]) -> dict[str, Array]:
    """The constants of a program, on the gpu."""
    return {name: to_device(x, "gpu") for name, x in constants.items()}
