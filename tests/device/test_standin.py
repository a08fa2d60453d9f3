"""The stand-in refuses what CuPy refuses: a test that passes on it must be able to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def x(standin: Any) -> Any:
    return standin.module.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


HOST = np.ones((2, 3), np.float32)
REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "np.asarray(x)": lambda cupy, x: np.asarray(x),
    "np.array(x)": lambda cupy, x: np.array(x),
    "x + numpy": lambda cupy, x: x + HOST,
    "numpy + x": lambda cupy, x: HOST + x,
    "x += numpy": lambda cupy, x: x.__iadd__(HOST),
    "numpy += x": lambda cupy, x: HOST.copy().__iadd__(x),
    "x @ numpy": lambda cupy, x: x @ HOST.T,
    "x < numpy": lambda cupy, x: x < HOST,
    "x + a numpy array of no axes": lambda cupy, x: x + np.array(1.0),
    "x[...] = numpy": lambda cupy, x: x.__setitem__(..., HOST),
    "numpy[...] = x": lambda cupy, x: HOST.copy().__setitem__(..., x),
    "x[numpy]": lambda cupy, x: x[np.array([0, 1])],
    "x[list]": lambda cupy, x: x[[0, 1]],
    "np.exp(x)": lambda cupy, x: np.exp(x),
    "np.add(x, numpy)": lambda cupy, x: np.add(x, HOST),
    "np.sum(x)": lambda cupy, x: np.sum(x),
    "np.where(x)": lambda cupy, x: np.where(x > 0, x, 0),
    "np.concatenate": lambda cupy, x: np.concatenate([x, HOST]),
    "np.zeros_like(x)": lambda cupy, x: np.zeros_like(x),
    "xp.maximum(x, numpy)": lambda cupy, x: cupy.maximum(x, HOST),
    "xp.maximum(numpy)": lambda cupy, x: cupy.sqrt(HOST),
    "xp.where(x, numpy)": lambda cupy, x: cupy.where(x > 0, HOST, 0.0),
    "xp.concatenate": lambda cupy, x: cupy.concatenate([x, HOST]),
    "xp.stack": lambda cupy, x: cupy.stack([x, HOST]),
    "xp.take_along_axis": lambda cupy, x: cupy.take_along_axis(x, np.zeros((2, 1), int), -1),
    "xp.add.at": lambda cupy, x: cupy.add.at(x, np.array([0]), 1.0),
    "xp.add.at with numpy": lambda cupy, x: cupy.add.at(x, 0, HOST[0]),
    "x.max(initial=)": lambda cupy, x: x.max(initial=0.0),
    "a kernel on numpy": lambda cupy, x: cupy.RawModule(code=KERNEL).get_function("f")((1,), (1,), (HOST,)),
    "a kernel on a Python number": lambda cupy, x: cupy.RawModule(code=KERNEL).get_function("f")((1,), (1,), (1.0,)),
    "a kernel on a list of blocks": lambda cupy, x: cupy.RawModule(code=KERNEL).get_function("f")([1], (1,), (x,)),
    "options in a list": lambda cupy, x: cupy.RawModule(code=KERNEL, options=["-DUNUSED=1"]),
    "code without its name": lambda cupy, x: cupy.RawModule(KERNEL),
    "set of another dtype": lambda cupy, x: x.set(HOST.astype(np.float64)),
    "len of a number": lambda cupy, x: len(x.sum()),
}
KERNEL = 'extern "C" __global__ void f(float *x) { *x = 2; }'


@pytest.mark.parametrize("what", REFUSED)
def test_a_mixture_is_refused(standin: Any, x: Any, what: str) -> None:
    with pytest.raises(TypeError):
        REFUSED[what](standin.module, x)
    np.testing.assert_array_equal(x.get(), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("name", ["errstate", "indices", "nextafter", "float128"])
def test_a_name_that_cupy_has_not_or_nobody_needs_is_not_there(standin: Any, name: str) -> None:
    assert not hasattr(standin.module, name)


def test_the_flags_are_cupys(x: Any) -> None:
    assert x.flags.c_contiguous and x.T.flags.f_contiguous and not hasattr(x.flags, "writeable")


def test_a_reduction_is_an_array_and_a_number_is_read_on_purpose(standin: Any, x: Any) -> None:
    total = x.sum()
    assert type(total) is standin.ndarray and total.shape == ()
    assert standin.log.reads == 0 and float(total) == 15 and standin.log.reads == 1


def test_views_share_memory_and_know_their_base(standin: Any, x: Any) -> None:
    for view in (x[0], x[0, 0], x[:, 1:], x.T, x.reshape(3, 2), standin.module.broadcast_to(x, (4, 2, 3))):
        assert view.base is x
    assert x[0].T.base is x
    x[0, 0] = 7.0
    assert x.T[0, 0].item() == 7
    for copy in (x.copy(), x + 0, x.astype("float64"), x[x > 0], x.T.reshape(6)):
        assert copy.base is None


def test_what_crosses_is_counted(standin: Any, x: Any) -> None:
    standin.log.clear()
    y = standin.module.asarray(np.ones(5))
    standin.module.asnumpy(y)
    y[0].item()
    assert (standin.log.up, standin.log.down, standin.log.reads) == ([40], [40], 1)


def test_memory_is_limited_and_the_pool_keeps_what_was_freed(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy, memory = standin.module, standin.memory
    monkeypatch.setattr(memory, "limit", memory.used + 1000)
    a = cupy.empty(100, np.float64)
    with pytest.raises(MemoryError) as caught:
        cupy.empty(50, np.float64)
    assert isinstance(caught.value, cupy.cuda.memory.OutOfMemoryError)
    del a
    cupy.empty(100, np.float64)  # a block of that size is in the pool
    with pytest.raises(MemoryError):
        cupy.empty(50, np.float64)  # of this size there is none
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.empty(50, np.float64)


def test_kernels_run(standin: Any, x: Any) -> None:
    standin.module.RawModule(code=KERNEL, options=("-DUNUSED=1",)).get_function("f")((1, 1, 1), (32, 1, 1), (x,))
    assert x[0, 0].item() == 2


def test_a_launch_of_nothing_is_an_error_as_it_is_on_a_gpu(standin: Any, x: Any) -> None:
    kernel = standin.module.RawModule(code=KERNEL).get_function("f")
    for grid, block in (((0,), (1,)), ((1, 65536), (1,)), ((2**31,), (1,)), ((1, 1, 1, 1), (1,)), ((1,), (1025,))):
        with pytest.raises(ValueError, match="CUDA_ERROR_INVALID_VALUE"):
            kernel(grid, block, (x,))


def test_a_set_array_has_the_shape(standin: Any) -> None:
    number = standin.module.empty((), np.float32)
    with pytest.raises(ValueError, match=r"Old shape: \(\), new shape: \(1,\)"):
        number.set(np.ones(1, np.float32))
    number.set(np.array(2.0, np.float32))
    assert number.item() == 2


def test_pinned_memory_stays_as_it_is_until_an_event_says_that_it_was_copied(standin: Any) -> None:
    cuda, there = standin.module.cuda, standin.module.empty(4, np.float32)
    first, second = (
        np.ndarray(4, np.float32, cuda.PinnedMemoryPointer(cuda.PinnedMemory(16), 0)) for _ in range(2)
    )
    over = cuda.Event(disable_timing=True)
    first[...] = 1
    there.set(first)
    over.record()
    second[...] = 2
    there.set(second)
    over.synchronize()
    first[...] = 3
    there.set(first)
    assert there[0].item() == 3
    second[...] = 4
    with pytest.raises(RuntimeError, match="written to while it was copied"):
        there.set(HOST[0, :1].repeat(4))


def test_elementwise_results_are_in_order_whatever_the_operands_are(standin: Any, x: Any) -> None:
    cupy, turned = standin.module, x.T
    for y in (turned + 1, -turned, cupy.sqrt(turned), cupy.clip(turned, 0, 1), cupy.where(turned > 1, turned, 0.0)):
        assert y.flags.c_contiguous
    assert turned.astype("float64").flags.f_contiguous and cupy.zeros_like(turned).flags.f_contiguous


# Capture ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def capturing(standin: Any, x: Any) -> Iterator[Any]:
    """A stream that captures, with x's memory for new arrays."""
    pointer = standin.module.get_default_memory_pool().malloc(64)
    stream = standin.module.cuda.Stream(non_blocking=True)
    with standin.module.cuda.using_allocator(lambda size: pointer), stream:
        stream.begin_capture()
        yield stream
    assert standin.state.capture is None and standin.state.allocator is None


NOT_CAPTURED: dict[str, Callable[[Any, Any], Any]] = {
    "a number": lambda cupy, x: x.sum().item(),
    "a branch": lambda cupy, x: bool(x[0, 0] > 1),
    "a copy down": lambda cupy, x: x.get(),
    "asnumpy": lambda cupy, x: cupy.asnumpy(x),
    "a copy up": lambda cupy, x: cupy.asarray(HOST),
    "set": lambda cupy, x: x.set(HOST),
    "memory from the pool": lambda cupy, x: cupy.get_default_memory_pool().malloc(8),
    "a module": lambda cupy, x: cupy.RawModule(code=KERNEL),
    "waiting for an event": lambda cupy, x: cupy.cuda.Event().synchronize(),
    "waiting": lambda cupy, x: cupy.cuda.get_current_stream().synchronize(),
    "flatnonzero": lambda cupy, x: cupy.flatnonzero(x),
    "a mask": lambda cupy, x: x[x > 1],
    "nine addresses": lambda cupy, x: cupy.concatenate([x] * 9),
}


@pytest.mark.parametrize("what", NOT_CAPTURED)
def test_what_waits_or_copies_or_allocates_ends_a_capture(standin: Any, capturing: Any, x: Any, what: str) -> None:
    with pytest.raises(standin.CUDARuntimeError, match="^cudaErrorStreamCaptureUnsupported"):
        NOT_CAPTURED[what](standin.module, x)
    with pytest.raises(standin.CUDARuntimeError, match="^cudaErrorStreamCaptureInvalidated"):
        capturing.end_capture()
    assert not capturing.is_capturing()


def test_a_product_by_the_library_is_not_captured(capturing: Any, x: Any) -> None:
    with pytest.raises(NotImplementedError, match="cuBLAS"):
        x @ x.T
    capturing.end_capture()


def test_a_capture_computes_nothing_and_a_graph_all_of_it(standin: Any, x: Any) -> None:
    cupy = standin.module
    y, total, kernel = cupy.zeros((2, 3), np.float32), cupy.zeros((), np.float32), cupy.RawModule(code=KERNEL)
    pointers = [cupy.get_default_memory_pool().malloc(64) for _ in range(2)]
    turns = iter(pointers)
    stream = cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.using_allocator(lambda size: next(turns)), stream:
        stream.begin_capture()
        z = x * 2 + 1
        y[...] = z
        y += 1
        total[...] = x[0, 0]
        kernel.get_function("f")((1,), (1,), (x,))
        graph = stream.end_capture()
    np.testing.assert_array_equal(y.get(), 0)
    assert np.isnan(z.get()).all() and x[0, 0].item() == 0
    for first in (0.0, 2.0):
        assert x[0, 0].item() == first
        graph.launch()
        assert (y[0, 0].item(), y[1, 2].item(), total.item(), x[0, 0].item()) == (2 * first + 2, 12, first, 2)


def test_arrays_of_a_capture_lie_where_the_allocator_says(standin: Any, capturing: Any, x: Any) -> None:
    a, b = x + 1, x + 2
    assert a.data.ptr == b.data.ptr
    capturing.end_capture()
