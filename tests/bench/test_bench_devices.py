"""CPU against GPU, without a GPU: a second device of NumPy's memory whose clock is told how long things take."""

import ctypes
import sys
import types

import numpy as np
import pytest
from bench_fakes import Clock, device, product

from minigen.kernels.bench.device import Product, gpu
from minigen.kernels.bench.devices import crossover, measure_matmul, measure_steps
from minigen.kernels.cuda import stopwatch


@pytest.mark.parametrize(
    "cpu, gpu, size",
    [
        ([1, 2, 4, 8], [3, 3, 3, 3], 3.0),  # y = x meets y = 3 at 3: straight lines on logarithmic paper
        ([1, 4, 16, 64], [8, 8, 8, 8], 8**0.5),
        ([1, 2, 4, 8], [9, 9, 9, 9], None),
        ([1, 2, 4, 8], [0.5] * 4, 1.0),  # ahead from the first: the true size may be smaller
        ([5, 2, 5, 8], [4, 4, 4, 4], 2 * 2 ** (np.log(2) / np.log(2.5))),  # ahead, behind, ahead: the last time counts
        ([1, 2, 4, 3], [2, 1, 2, 4], None),  # ahead in between, behind in the end
        ([1, 4, 8, 16], [2, 4, 4, 4], 2.0),  # even is not yet ahead
    ],
)
def test_crossover(cpu, gpu, size):
    found = crossover([1, 2, 4, 8], cpu, gpu)
    assert found == (None if size is None else pytest.approx(size))


def test_crossover_of_nothing_and_of_one():
    assert crossover([], [], []) is None
    assert crossover([64], [2.0], [1.0]) == 64.0 and crossover([64], [1.0], [2.0]) is None


def clocked(clock, seconds, compile=0.0):
    """A product that takes seconds(n), and the first time longer."""
    seen = []

    def call(a, b, out, threads):
        clock.work(seconds(len(a)) + (0.0 if seen else compile))
        seen.append(len(a))
        product(a, b, out, threads)

    return {"best": Product(call)}


def pair(clock, gpu_products=None):
    here = device(clock, clocked(clock, lambda n: n**3 * 1e-9), "cpu")
    products = gpu_products or clocked(clock, lambda n: 1e-5 + n**3 * 1e-11, compile=2.5)
    there = device(clock, products, "gpu", put=clock.taking(1e-4, np.copy), get=clock.taking(2e-4, np.copy))
    return here, there


def test_kernel_transfer_and_compilation_are_told_apart():
    clock = Clock()
    first, second = measure_matmul(*pair(clock), sizes=(16, 64), threads=1, seconds=0.01, clock=clock)
    assert first.compile == pytest.approx(2.5) and second.compile == pytest.approx(0.0, abs=1e-9)
    assert second.cpu.median == pytest.approx(64**3 * 1e-9)
    assert second.kernel.median == pytest.approx(1e-5 + 64**3 * 1e-11)
    assert second.transfer.median == pytest.approx(4e-4)  # two operands there, the result back
    assert second.gpu_with_transfer == pytest.approx(second.gpu_alone + 4e-4)


def test_both_crossovers_follow_from_the_times():
    clock = Clock()
    sizes = (8, 16, 32, 64, 128)
    found = list(measure_matmul(*pair(clock), sizes=sizes, threads=1, seconds=0.01, clock=clock))
    cpu = [c.cpu.median for c in found]
    alone = crossover(sizes, cpu, [c.gpu_alone for c in found])
    with_transfer = crossover(sizes, cpu, [c.gpu_with_transfer for c in found])
    assert 16 < alone < 32 and 64 < with_transfer < 128  # n^3 ns: 10 us at 21.5, 410 us at 74.3
    assert alone == pytest.approx(21.5, rel=0.05) and with_transfer == pytest.approx(74.5, rel=0.05)


def test_a_wrong_product_on_either_device_is_not_timed():
    clock = Clock()
    wrong = {"best": Product(lambda a, b, out, threads: np.matmul(a[:, 1:], b[1:], out=out))}
    with pytest.raises(ArithmeticError, match="the GPU's product of 16 cubed is wrong: .* nothing is timed"):
        list(measure_matmul(*pair(clock, wrong), sizes=(16,), threads=1, clock=clock))
    here, there = pair(clock)
    with pytest.raises(ArithmeticError, match="the CPU's product"):
        list(measure_matmul(device(clock, wrong), there, sizes=(16,), threads=1, clock=clock))


def test_a_training_step_is_timed_with_a_wait_for_the_gpu():
    """Starting the step takes 1 ms, the GPU itself another 4 which only a wait makes visible."""
    clock = Clock()
    begun = []

    def make_step(name, batch):
        def on_gpu():
            clock.work(1e-3)
            begun.append(4e-3)

        return (clock.taking(2e-5 * batch) if name == "cpu" else on_gpu), np.zeros(batch)

    def wait():
        clock.work(sum(begun))
        begun.clear()

    here, there = pair(clock)
    there = device(clock, dict(there.products), "gpu", put=clock.taking(1e-4), wait=wait)
    found = list(measure_steps(here, there, make_step, batches=(16, 1024), seconds=0.02, clock=clock))
    assert [c.size for c in found] == [16, 1024] and {c.what for c in found} == {"step"}
    assert found[0].kernel.median == pytest.approx(5e-3) and found[0].transfer.median == pytest.approx(1e-4)
    assert found[0].gpu_with_transfer == pytest.approx(5e-3)  # the step brings its batch there itself
    assert found[0].gpu_alone == pytest.approx(4.9e-3)
    assert found[0].cpu.median < found[0].gpu_alone and found[1].cpu.median > found[1].gpu_with_transfer


@pytest.fixture
def fake_cupy(monkeypatch):
    """What the stopwatch asks of CuPy: events that read a clock in milliseconds when they are recorded."""
    clock, module = Clock(), types.ModuleType("cupy")

    class Event:
        def record(self):
            self.at = clock()

        def synchronize(self):
            self.waited = True

    def get_elapsed_time(start, end):
        assert end.waited  # else the time is not known yet
        return 1e3 * (end.at - start.at)

    class Device:
        id = 0
        compute_capability = "80"

    def properties(number):
        return {"name": b"Imaginary GPU"}

    module.cuda = types.SimpleNamespace(
        Event=Event, get_elapsed_time=get_elapsed_time, Device=Device,
        runtime=types.SimpleNamespace(getDeviceProperties=properties),
        get_current_stream=lambda: types.SimpleNamespace(synchronize=lambda: clock.work(1.0)),
    )  # fmt: skip
    monkeypatch.setattr(stopwatch, "_hold", lambda seconds: clock.held.append(seconds))
    clock.held = []
    module.asarray, module.asnumpy, module.matmul = np.array, np.asarray, np.matmul
    monkeypatch.setitem(sys.modules, "cupy", module)
    return clock


def test_events_enclose_the_calls(fake_cupy):
    assert stopwatch.elapsed(fake_cupy.taking(0.25), 4) == pytest.approx(1.0)
    assert len(fake_cupy.held) == 1 and stopwatch._BETWEEN < fake_cupy.held[0] <= stopwatch._LONGEST
    before = fake_cupy()
    assert stopwatch.elapsed(fake_cupy.taking(0.25), 1000) == pytest.approx(250.0)
    assert fake_cupy() == before + 0.25 * (stopwatch._MOST + 1)
    before = fake_cupy()
    stopwatch.synchronize()
    assert fake_cupy() == before + 1.0
    assert stopwatch.gpu_name() == "Imaginary GPU"


def test_the_gpu_as_a_device(fake_cupy, monkeypatch):
    """All rungs that the capability allows; tensor cores are held against their own rounding; cuBLAS is `blas`."""
    there = gpu()
    assert {"naive", "warp_tile", "tensor_core_tf32", "blas", "best"} <= set(there.products)
    assert there.products["tensor_core_bf16"].rounding == 2.0**-8
    assert there.products["warp_tile"].dtypes == ("float32",)
    a = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert there.put(a).flags.f_contiguous  # a transposed operand stays one
    out = there.full_of_nan((2, 2), "float64")
    assert np.isnan(out).all()
    there.products["blas"].call(a, a.T, out, 1)
    assert np.array_equal(out, a @ a.T)
    monkeypatch.setattr(sys.modules["cupy"].cuda.Device, "compute_capability", "75")
    assert not {"tensor_core_tf32", "blas_tf32"} & set(gpu().products)


@pytest.fixture
def fake_cublas(monkeypatch):
    """gemmEx as its manual defines it, on NumPy's memory: columns one after the other, C = op(A) op(B)."""

    def columns(pointer, lead, rows, cols):
        numbers = (ctypes.c_float * (lead * (cols - 1) + rows)).from_address(pointer)
        strides = 4, 4 * lead
        return np.ndarray((rows, cols), np.float32, numbers, 0, strides)

    def gemm(handle, turn_a, turn_b, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute,
             algo):  # fmt: skip
        assert (a_type, b_type, c_type, algo) == (0, 0, 0, -1)
        assert [ctypes.c_float.from_address(x).value for x in (alpha, beta)] == [1, 0]
        left = columns(a, lda, k, m).T if turn_a else columns(a, lda, m, k)
        right = columns(b, ldb, n, k).T if turn_b else columns(b, ldb, k, n)
        columns(c, ldc, m, n)[...] = left @ right
        asked.append(compute)

    asked = []
    names = dict(gemmEx=gemm, CUBLAS_OP_N=0, CUBLAS_OP_T=1, CUBLAS_GEMM_DEFAULT=-1, CUBLAS_COMPUTE_32F_FAST_TF32=77,
                 CUBLAS_COMPUTE_32F_FAST_16BF=75)  # fmt: skip
    cuda = types.ModuleType("cupy.cuda")
    cuda.cublas, cuda.runtime = types.SimpleNamespace(**names), types.SimpleNamespace(CUDA_R_32F=0)
    handles = types.ModuleType("cupy.cuda.device")
    handles.get_cublas_handle = lambda: 1
    for name, module in (("cupy", types.ModuleType("cupy")), ("cupy.cuda", cuda), ("cupy.cuda.device", handles)):
        monkeypatch.setitem(sys.modules, name, module)
    return asked


class _Array:
    """A NumPy array with its address where CuPy has it."""

    def __init__(self, host):
        self.host, self.shape, self.flags = host, host.shape, host.flags
        self.data = types.SimpleNamespace(ptr=host.ctypes.data)


@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 7, 2), (6, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("layout", ["NN", "TN", "NT", "TT"])
def test_cublas_is_asked_for_the_product_in_every_layout(fake_cublas, sizes, layout):
    m, k, n = sizes
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((m, k), (k, n)))
    given = [_Array(np.asfortranarray(x) if way == "T" else x) for x, way in zip((a, b), layout, strict=True)]
    for rounding, number in (("tf32", 77), ("bf16", 75)):
        out = np.full((m, n), np.nan, np.float32)
        stopwatch.cublas_rounded(*given, _Array(out), rounding)
        np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-6)
        assert fake_cublas[-1] == number
