"""A stand-in for CuPy where there is no GPU: the same names, on arrays that will not mix with NumPy's.

`module` takes the place of `cupy` in sys.modules. Its `ndarray` holds a NumPy array that nobody else sees and refuses
what CuPy refuses: a NumPy array beside it, an implicit conversion to NumPy, an argument that CuPy's functions have not
(`initial`), flags that its arrays have not (`writeable`). Where CuPy is lenient - it computes numpy.exp of its
arrays, and copies a NumPy array or a list in a key to the GPU - the stand-in refuses as well: minigen wants neither.
There is no name here that CuPy has not; `test_standin_and_cupy.py` holds the two together where CuPy is installed.

Kernels run: RawModule compiles the CUDA source for the CPU by the emulation of tests/cuda, so what the engine's device
code launches is what would run on a GPU, with its arguments checked against the kernel's parameters. (The oracle
`kernels.reference` in their place would be faster by a few seconds, and test neither sources nor launches.)

`log` counts what crosses between host and device; `memory` has a limit, and a pool that keeps what was freed.

A copy from pinned memory is over when an event that was recorded behind it was waited for. Until then that memory must
stay as it is: the next copy finds out.

While a stream is capturing nothing is computed: what would change memory is kept, with the memory that it reads and
writes, and a graph does it at every launch. Then a copy to or from the host, a number that is read, an array from the
pool and a module that is loaded are errors (CuPy lets its pool give what it has; that would be overwritten later).
"""

from __future__ import annotations

import math
import time
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from emulation import emulator

__all__ = ["launches", "log", "memory", "module", "ndarray", "state"]


@dataclass
class Log:
    """Bytes of each copy to the device and from it, and how many single numbers were read."""

    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    reads: int = 0

    def clear(self) -> None:
        self.up, self.down, self.reads = [], [], 0


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


@dataclass
class Memory:
    """What lives on the device; what was freed is kept for arrays of the same size, until the pool is emptied."""

    limit: int = 2**62
    used: int = 0
    pooled: dict[int, int] = field(default_factory=dict)  # how many blocks of each size
    kept: int = 0  # their bytes: counted along, because arrays die, and change `pooled`, in the middle of a sum over it
    emptied: int = 0
    peak: int = 0  # the most that was in use

    def allocate(self, size: int) -> None:
        if self.pooled.get(size):
            self.pooled[size] -= 1
            self.kept -= size
        elif self.used + self.kept + size > self.limit:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes (allocated so far: {self.used} bytes).")
        self.used += size
        self.peak = max(self.peak, self.used)

    def malloc(self, size: int) -> _Pointer:
        _outside_of_capture("memory from the pool")
        self.allocate(size)
        return _Pointer(size)

    def free(self, size: int) -> None:
        self.used -= size
        self.pooled[size] = self.pooled.get(size, 0) + 1
        self.kept += size

    def free_all_blocks(self, stream: Any = None) -> None:
        self.pooled.clear()
        self.kept = 0
        self.emptied += 1


class _Pointer:
    """As cupy.cuda.MemoryPointer: memory on the device, freed when nobody holds it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.bytes = np.full(max(size, 1), 0xFF, np.uint8)

    def __del__(self) -> None:
        memory.free(self.size)

    def array(self, like: np.ndarray) -> np.ndarray:
        """The memory as an array with the content and layout of `like`, which is dense."""
        host = np.ndarray(like.shape, like.dtype, self.bytes.data, 0, like.strides)
        host[...] = like
        return host


log = Log()
memory = Memory()
launches: list[str] = []
"""The kernels that were started from Python, by name; not those that a graph started."""


class _State:
    """What is current: the allocator, the streams that were entered, pinned memory and the copies from there."""

    def __init__(self) -> None:
        self.allocator: Callable[[int], _Pointer] | None = None
        self.streams: list[Stream] = []
        self.pinned: list[weakref.ref[np.ndarray]] = []
        self.copies: list[_Copy] = []

    @property
    def capture(self) -> list[Callable[[], Any]] | None:
        return self.streams[-1].captured if self.streams else None


state = _State()


def _outside_of_capture(what: str) -> None:
    if state.capture is not None:
        state.streams[-1].valid = False
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing "
                               f"({what})")


def _do(action: Callable[[], Any]) -> None:
    """Now, or when the graph that is being captured is launched."""
    if state.capture is not None:
        state.capture.append(action)
    else:
        action()


def _made(compute: Callable[[], Any]) -> ndarray:
    """A new array with what `compute` gives."""
    made = ndarray(compute())
    if state.capture is not None:
        if made.size and made.flags.c_contiguous:
            made._host.reshape(-1).view(np.uint8).fill(0xFF)  # it is not there yet
        state.capture.append(lambda: np.copyto(made._host, compute()))
    return made

_NUMBERS = (int, float, bool, np.generic)


def _refuse(value: Any) -> TypeError:
    return TypeError(f"Unsupported type {type(value)}")


def _host(value: Any) -> Any:
    """The NumPy array in one of ours, or a number as it is."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, _NUMBERS):
        return value
    raise _refuse(value)


def _in_order(host: Any) -> np.ndarray:
    """Whatever lies where in the operands: CuPy lays the result of an elementwise function out row by row."""
    return np.asarray(host, order="C")


def _quiet(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    with np.errstate(all="ignore"):  # a GPU does not warn
        return function(*args, **keywords)


def _key(key: Any) -> tuple[Any, bool]:
    """The key for NumPy, and whether it is a basic one, which makes a view."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if not (part is None or part is Ellipsis or isinstance(part, ndarray | slice | int | np.integer)):
            raise _refuse(part)
    hosted = tuple(part._host if isinstance(part, ndarray) else part for part in parts)
    return hosted, not any(isinstance(part, ndarray | bool) for part in parts)


class _Flags:
    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata


class _Data:
    def __init__(self, host: np.ndarray) -> None:
        self.ptr = host.ctypes.data


class ndarray:
    """As cupy.ndarray."""

    __array_ufunc__ = None  # CuPy would compute; minigen is to ask for the namespace
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: Any, base: ndarray | None = None) -> None:
        self._host = np.asarray(host)
        self.base = None if base is None else base if base.base is None else base.base
        self._counted = 0
        if base is None:
            if not self._host.flags.owndata or not self._host.flags.writeable:
                self._host = self._host.copy(order="K")
            if state.allocator is not None:
                self._pointer = state.allocator(self._host.nbytes)
                self._host = self._pointer.array(self._host)
                return
            _outside_of_capture("memory from the pool")
            memory.allocate(self._host.nbytes)
            self._counted = self._host.nbytes

    def __del__(self) -> None:
        if getattr(self, "_counted", 0):
            memory.free(self._counted)

    # What it is

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: _Flags(self._host.flags))
    data = property(lambda self: _Data(self._host))
    T = property(lambda self: self.transpose())

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"standin({self._host!r})"

    # To the host

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. "
                        "Please use `.get()` to construct a NumPy array explicitly.")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{func.__name__} of an array on the device: take the function from its namespace")

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        _outside_of_capture("a copy to the host")
        log.down.append(self.nbytes)
        return self._host.copy(order=order)

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        _outside_of_capture("a copy from the host")
        if not isinstance(arr, np.ndarray) or arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.c_contiguous or not arr.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        log.up.append(arr.nbytes)
        self._host[...] = arr
        _under_way(arr)

    def item(self) -> Any:
        _outside_of_capture("a number that is read")
        log.reads += 1
        return self._host.item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.item().__index__()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        return bool(self.item())

    # Views

    def _view(self, show: Callable[[], np.ndarray]) -> ndarray:
        host = show()
        if self._host.size and not np.may_share_memory(host, self._host):
            return _made(show)
        return ndarray(host, base=self)

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        return self._view(lambda: self._host.reshape(*shape, order=order))

    def transpose(self, *axes: Any) -> ndarray:
        return self._view(lambda: self._host.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return self._view(lambda: self._host.swapaxes(axis1, axis2))

    def squeeze(self, axis: Any = None) -> ndarray:
        return self._view(lambda: self._host.squeeze(axis))

    def ravel(self, order: str = "C") -> ndarray:
        return self._view(lambda: self._host.ravel(order))

    def view(self, dtype: Any) -> ndarray:
        return self._view(lambda: self._host.view(dtype))

    def __getitem__(self, key: Any) -> ndarray:
        hosted, basic = _key(key)
        if not basic:
            if any(isinstance(k, np.ndarray) and k.dtype.kind == "b" for k in hosted):
                _outside_of_capture("the number of elements that a mask chooses")
            return _made(lambda: self._host[hosted])
        whole = hosted if Ellipsis in [k for k in hosted if k is ...] else (*hosted, ...)
        return self._view(lambda: self._host[whole])

    def __setitem__(self, key: Any, value: Any) -> None:
        hosted, _ = _key(key)
        if isinstance(value, np.ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>: a NumPy array is not copied to the device")
        given = _host(value)
        _do(lambda: _quiet(self._host.__setitem__, hosted, given))

    # Copies

    def copy(self, order: str = "C") -> ndarray:
        return _made(lambda: self._host.copy(order=order))

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        return _made(lambda: _quiet(self._host.astype, dtype, order=order))

    def fill(self, value: Any) -> None:
        number = _host(value)
        _do(lambda: self._host.fill(number))

    # Reductions: an array of no axes, never a NumPy scalar

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
        return _made(lambda: _quiet(self._host.sum, axis=axis, dtype=dtype, keepdims=keepdims))

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
        return _made(lambda: _quiet(self._host.mean, axis=axis, dtype=dtype, keepdims=keepdims))

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
        return _made(lambda: _quiet(self._host.max, axis=axis, keepdims=keepdims))

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
        return _made(lambda: _quiet(self._host.min, axis=axis, keepdims=keepdims))

    def all(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
        return _made(lambda: self._host.all(axis=axis, keepdims=keepdims))

    def any(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
        return _made(lambda: self._host.any(axis=axis, keepdims=keepdims))


def _operator(name: str) -> Callable[..., Any]:
    def method(self: ndarray, *others: Any) -> Any:
        given = [_host(other) for other in others]
        if name.startswith("__i") and name != "__invert__":
            _do(lambda: _quiet(getattr(self._host, name), *given))
            return self
        if _quiet(getattr(self._host, name), *given) is NotImplemented:
            return NotImplemented
        if name.endswith("matmul__"):
            _not_of_a_library()
        return _made(lambda: _in_order(_quiet(getattr(self._host, name), *given)))

    method.__name__ = name
    return method


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
for _name in [f"__{side}{word}__" for word in _BINARY for side in ("", "r", "i")] + [
    f"__{word}__" for word in ("neg", "abs", "invert", "lt", "le", "gt", "ge", "eq", "ne")
]:
    setattr(ndarray, _name, _operator(_name))


# Functions ------------------------------------------------------------------------------------------------------


class _Ufunc:
    """A universal function: called, or `at`."""

    def __init__(self, function: np.ufunc) -> None:
        self._function = function

    def __call__(self, *args: Any, dtype: Any = None) -> ndarray:
        if not any(isinstance(a, ndarray) for a in args):
            raise _refuse(args[0])
        hosts, options = [_host(a) for a in args], {} if dtype is None else {"dtype": dtype}
        return _made(lambda: _in_order(_quiet(self._function, *hosts, **options)))

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        if self._function is not np.add:
            raise NotImplementedError
        key, given = _key(indices)[0], _host(b)
        _do(lambda: self._function.at(a._host, key, given))


def asarray(a: Any, dtype: Any = None, order: Any = None) -> ndarray:
    """One of ours as it is, where it fits; anything else is copied to the device."""
    if isinstance(a, ndarray):
        fits = (dtype is None or a.dtype == dtype) and (order != "C" or a.flags.c_contiguous)
        return a if fits else _made(lambda: np.array(a._host, dtype=dtype, order=order))
    _outside_of_capture("a copy from the host")
    if isinstance(a, np.ndarray):
        log.up.append(a.nbytes)
    elif not isinstance(a, _NUMBERS):
        raise _refuse(a)
    return ndarray(np.array(a, dtype=dtype, order=order))


def asnumpy(a: ndarray) -> np.ndarray:
    return a.get()


def copyto(dst: ndarray, src: ndarray, casting: str = "same_kind", where: Any = None) -> None:
    target, source = _array(dst), _array(src)
    _do(lambda: np.copyto(target, source, casting=casting))


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """Filled with NaN or a large number, so that what is read before it was written shows."""
    host = np.empty(shape, dtype, order)
    host.reshape(-1).view(np.uint8).fill(0xFF) if host.size and host.flags.c_contiguous else None
    return ndarray(host)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return _made(lambda: np.zeros(shape, dtype, order))


def zeros_like(a: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return _made(lambda: np.zeros_like(a._host, dtype=dtype, order=order))


def full_like(a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K") -> ndarray:
    return _made(lambda: np.full_like(a._host, fill_value, dtype=dtype, order=order))


def empty_like(prototype: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return _made(lambda: np.full_like(prototype._host, 113, dtype=dtype, order=order))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    return _made(lambda: np.arange(start, dtype=dtype) if stop is None else np.arange(start, stop, step, dtype=dtype))


def clip(a: ndarray, a_min: Any, a_max: Any) -> ndarray:
    return _made(lambda: _in_order(np.clip(a._host, _host(a_min), _host(a_max))))


def where(condition: ndarray, x: Any = None, y: Any = None) -> ndarray:
    return _made(lambda: _in_order(np.where(_host(condition), _host(x), _host(y))))


def broadcast_to(array: ndarray, shape: Any) -> ndarray:
    return array._view(lambda: np.broadcast_to(array._host, shape))


def broadcast_arrays(*args: ndarray) -> list[ndarray]:
    shape = np.broadcast_shapes(*(a.shape for a in args))
    return [broadcast_to(a, shape) for a in args]


def concatenate(tup: Sequence[ndarray], axis: int = 0) -> ndarray:
    hosts = [_array(a) for a in tup]
    if len(hosts) > 8:
        _outside_of_capture("addresses that are copied from the host")
    return _made(lambda: np.concatenate(hosts, axis=axis))


def stack(tup: Sequence[ndarray], axis: int = 0) -> ndarray:
    hosts = [_array(a) for a in tup]
    if len(hosts) > 8:
        _outside_of_capture("addresses that are copied from the host")
    return _made(lambda: np.stack(hosts, axis=axis))


def flatnonzero(a: ndarray) -> ndarray:
    _outside_of_capture("the number of elements that are not zero")
    return ndarray(np.flatnonzero(_array(a)))


def take_along_axis(a: ndarray, indices: ndarray, axis: Any) -> ndarray:
    return _made(lambda: np.take_along_axis(_array(a), _array(indices), axis))


def may_share_memory(a: ndarray, b: ndarray) -> bool:
    return np.may_share_memory(a._host, b._host)


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, ndarray):
        raise _refuse(value)
    return value._host


_MOST_BLOCKS = (2**31 - 1, 65535, 65535)


def _beyond(sizes: Sequence[int], most: Sequence[int]) -> bool:
    return len(sizes) > len(most) or any(a > b for a, b in zip(sizes, most, strict=False))


def _typed(kind: type, value: Any) -> None:
    """CuPy's signature names the type, and takes nothing that is merely like it."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")


class RawModule:
    """A CUDA source, run on the CPU."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        _outside_of_capture("a module that is loaded")
        _typed(str, code)
        _typed(tuple, options)
        defines = [option[2:] for option in options if option.startswith("-D")]
        self._module = emulator.Module(code, defines)

    def get_function(self, name: str) -> Callable[..., None]:
        kernel = self._module.get_function(name)

        def launch(
            grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0
        ) -> None:
            for a in args:
                if not isinstance(a, ndarray | np.generic):
                    raise _refuse(a)
            _typed(tuple, grid)
            _typed(tuple, block)
            # CuPy would make a 1 of a 0: a block that nobody asked for.
            if any(size < 1 for size in (*grid, *block)) or _beyond(grid, _MOST_BLOCKS) or math.prod(block) > 1024:
                raise ValueError(f"CUDA_ERROR_INVALID_VALUE: grid {grid}, block {block}")
            hosts = [a._host if isinstance(a, ndarray) else a for a in args]
            launches.append(name)
            _do(lambda: kernel(grid, block, hosts))

        return launch


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""


def _not_of_a_library() -> None:
    """CuPy gives no call of cuBLAS to a graph."""
    if state.capture is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


class Graph:
    """As cupy.cuda.Graph: what was captured, done at every launch."""

    def __init__(self, actions: list[Callable[[], Any]]) -> None:
        self.actions = actions

    def launch(self, stream: Any = None) -> None:
        _outside_of_capture("a graph within a graph")
        for action in self.actions:
            action()


class Stream:
    """As cupy.cuda.Stream."""

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        self.non_blocking = non_blocking
        self.captured: list[Callable[[], Any]] | None = None
        self.valid = True

    def __enter__(self) -> Stream:
        state.streams.append(self)
        return self

    def __exit__(self, *args: Any) -> None:
        state.streams.pop()

    def begin_capture(self, mode: Any = None) -> None:
        self.captured, self.valid = [], True

    def end_capture(self) -> Graph:
        assert self.captured is not None
        actions, self.captured = self.captured, None
        if not self.valid:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
        return Graph(actions)

    def is_capturing(self) -> bool:
        return self.captured is not None

    def synchronize(self) -> None:
        _outside_of_capture("waiting for the device")


class Event:
    """As cupy.cuda.Event: nothing here goes on by itself, so that it is over when it was recorded."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.recorded: float | None = None

    def record(self, stream: Any = None) -> None:
        _outside_of_capture("an event for the host")
        self.recorded = time.perf_counter()
        for copy in state.copies:
            copy.event = copy.event or self

    def synchronize(self) -> None:
        _outside_of_capture("waiting for an event")
        state.copies = [copy for copy in state.copies if copy.event is not self]


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds."""
    assert start_event.recorded is not None and end_event.recorded is not None
    return 1e3 * (end_event.recorded - start_event.recorded)


class PinnedMemory:
    """As cupy.cuda.PinnedMemory."""

    def __init__(self, size: int, flags: int = 0) -> None:
        self.bytes = np.full(size, 0xFF, np.uint8)
        state.pinned = [known for known in state.pinned if known() is not None] + [weakref.ref(self.bytes)]


def PinnedMemoryPointer(mem: PinnedMemory, offset: int) -> memoryview:  # noqa: N802 - CuPy's name, there a class
    """The memory as a buffer."""
    return mem.bytes[offset:].data


@dataclass
class _Copy:
    """From pinned memory: what is there must be `sent` until `event` was waited for."""

    source: np.ndarray
    sent: np.ndarray
    event: Event | None = None


def _under_way(source: np.ndarray) -> None:
    for copy in state.copies:
        if not np.array_equal(copy.source, copy.sent, equal_nan=copy.sent.dtype.kind == "f"):
            raise RuntimeError("pinned memory was written to while it was copied")
    if any((known := place()) is not None and np.may_share_memory(source, known) for place in state.pinned):
        state.copies.append(_Copy(source, source.copy()))


_NULL = Stream(null=True)


class using_allocator:  # noqa: N801 - CuPy's name
    """As cupy.cuda.using_allocator."""

    def __init__(self, allocator: Callable[[int], _Pointer]) -> None:
        self.allocator = allocator

    def __enter__(self) -> None:
        self.before, state.allocator = state.allocator, self.allocator

    def __exit__(self, *args: Any) -> None:
        state.allocator = self.before


class Device:
    id = 0

    @property
    def mem_info(self) -> tuple[int, int]:
        """(free, total) bytes; what the pool keeps is not free."""
        kept = memory.used + sum(size * count for size, count in memory.pooled.items())
        return memory.limit - kept, memory.limit


def _module(name: str, **contents: Any) -> Any:
    made = types.ModuleType(name)
    vars(made).update(contents)
    return made


_UFUNCS = {name: _Ufunc(getattr(np, name)) for name in (
    "abs", "add", "divide", "isfinite", "isinf", "isnan", "maximum", "minimum", "sign", "sqrt")}  # fmt: skip
_FUNCTIONS = {f.__name__: f for f in (
    arange, asarray, asnumpy, broadcast_arrays, broadcast_to, clip, concatenate, copyto, empty, empty_like, flatnonzero,
    full_like, may_share_memory, stack, take_along_axis, where, zeros, zeros_like)}  # fmt: skip

module = _module(
    "cupy",
    __version__="14.2.0",
    ndarray=ndarray,
    RawModule=RawModule,
    get_default_memory_pool=lambda: memory,
    cuda=_module(
        "cupy.cuda",
        Device=Device,
        Event=Event,
        Graph=Graph,
        PinnedMemory=PinnedMemory,
        PinnedMemoryPointer=PinnedMemoryPointer,
        Stream=Stream,
        get_elapsed_time=get_elapsed_time,
        get_current_stream=lambda device_id=-1: state.streams[-1] if state.streams else _NULL,
        using_allocator=using_allocator,
        memory=_module("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError),
        runtime=_module(
            "cupy.cuda.runtime",
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=lambda: 1,
            getDeviceProperties=lambda device: {
                "name": b"a stand-in", "major": 8, "minor": 0, "multiProcessorCount": 108, "l2CacheSize": 1 << 16,
            },
            runtimeGetVersion=lambda: 12090,
        ),
    ),
    **_UFUNCS,
    **_FUNCTIONS,
)
