"""Compiled steps on the GPU: what eager gives there, and the compiled step gives on the CPU; recorded and replayed.

On the stand-in the generated CUDA C++ runs under the emulation, and a graph is what the stand-in captured: it refuses,
meanwhile, what CUDA refuses. A graph that froze a number, or showed memory that was used again, would give other
losses.
"""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import nvrtc
import pytest
from random_programs import Step

import minigen as mg
from minigen import nn, ops
from minigen.backend import to_device
from minigen.errors import DeviceError, GraphError, OutOfMemoryError
from minigen.kernels.cuda import compile as cuda_compile
from minigen.kernels.cuda import random, stopwatch
from minigen.kernels.cuda.staging import Staging
from minigen.program import graph, report
from minigen.program.cuda_loops import CudaWriter
from minigen.program.save import load
from minigen.program.step import CompiledStep

SHAPE = (6, 5)
IMAGES = np.random.default_rng(3).integers(0, 256, (64, *SHAPE)).astype(np.uint8)
TEXT = np.random.default_rng(4).integers(0, 256, (8, 4, 9))

MODELS: dict[str, Callable[..., Any]] = {
    "GAN": lambda **to: mg.models.GAN(image_shape=SHAPE, latent=3, generator=(12,), discriminator=(12,), r1_every=2,
                                      **to),
    "GAN with all": lambda **to: mg.models.GAN(image_shape=SHAPE, latent=3, generator=(12,), discriminator=(12, 7),
                                               r1=0.0, dropout=0.3, real_label=0.9, form="minimax", **to),
    "document GAN": lambda **to: mg.models.GAN.preset("document", image_shape=SHAPE, **to),
    "VAE": lambda **to: mg.models.VAE(image_shape=SHAPE, latent=3, hidden=(12,), beta=0.5, **to),
    "document VAE": lambda **to: mg.models.VAE.preset("document", image_shape=SHAPE, **to),
    "GPT": lambda **to: mg.models.GPT(context=8, layers=1, heads=2, width=8, warmup=2, steps=4, dropout=0.2, **to),
}
STEPS = 8
SOURCES: dict[str, list[str]] = {}  # of the programs that were made, for the compiler


def batch(name: str, n: int) -> np.ndarray:
    return TEXT[n] if name == "GPT" else IMAGES[8 * n : 8 * n + 8]


def floats(losses: dict[str, Any]) -> list[float]:
    values = [float(loss) for loss in losses.values()]
    assert np.isfinite(values).all()
    return values


def replayed(step: CompiledStep) -> list[Any]:
    """What is behind each of the step's programs."""
    return [program._step for program in step.programs]


@pytest.fixture(autouse=True)
def nothing_is_said() -> Iterator[None]:
    """A step that cannot be recorded warns; here that is an error where no test expects it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_model_trains_as_the_eager_one(gpu: str, name: str, request: pytest.FixtureRequest) -> None:
    ours, eager, host = (MODELS[name](**to) for to in ({"device": gpu}, {"device": gpu}, {}))
    step, on_cpu = CompiledStep(ours.train_step), CompiledStep(host.train_step, interpret=True)
    standin = request.getfixturevalue("standin") if request.node.callspec.params["gpu"] == "standin" else None
    launches = []
    for n in range(STEPS):
        if standin:
            standin.launches.clear()
        found = step(batch(name, n))
        launches.append(len(standin.launches) if standin else 0)
        assert all(t.device == "gpu" for t in found.values())
        np.testing.assert_allclose(floats(found), floats(eager.train_step(batch(name, n))), rtol=2e-4)
        np.testing.assert_allclose(floats(found), floats(on_cpu(batch(name, n))), rtol=2e-4)
    assert [bool(p.graph) for p in replayed(step)] == [True] * len(on_cpu.programs)
    assert ours.noise.state() == eager.noise.state()
    for key, array in ours.training_state().items():
        # Where a gradient is zero but for rounding, Adam makes a step of the full lr of it.
        np.testing.assert_allclose(array, eager.training_state()[key], rtol=0.1, atol=8e-3, err_msg=key)
    if standin:
        assert launches[-1] == 0  # the graph's are not ours
        SOURCES[name] = [program.emitted.source for program in step.programs]


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_run_is_bitwise_the_same_again(gpu: str, name: str) -> None:
    curves = []
    for _ in range(2):
        step = CompiledStep(MODELS[name](device=gpu).train_step)
        curves.append([floats(step(batch(name, n))) for n in range(4)])
    assert curves[0] == curves[1]


def sources(name: str) -> list[str]:
    """The CUDA C++ of the programs of a model."""
    if name not in SOURCES:
        step = CompiledStep(MODELS[name](device="gpu").train_step)
        step(batch(name, 0))
        SOURCES[name] = [step.source]
    return [re.search(r'launcher\(r"""(.*?)"""\)', text, re.DOTALL)[1] for text in SOURCES[name]]  # type: ignore[index]


@pytest.mark.skipif(nvrtc.library() is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
@pytest.mark.parametrize("capability", [(7, 0), (8, 0), (9, 0)], ids=str)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("standin")
def test_the_kernels_of_a_program_compile(name: str, capability: tuple[int, int]) -> None:
    if capability[0] * 10 + capability[1] not in nvrtc.supported():
        pytest.skip(f"this NVRTC no longer knows compute capability {capability}")
    for source in sources(name):
        code, log = nvrtc.compile_source(source, cuda_compile.options(), capability)
        assert code.startswith(b"\x7fELF")
        assert not re.search(r"warning(?!: Architectures prior)", log), log


@pytest.mark.skipif(nvrtc.library() is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
def test_kernels_with_numbers_in_memory_compile() -> None:
    for capability in ((7, 0), (8, 0), (9, 0)):
        if capability[0] * 10 + capability[1] in nvrtc.supported():
            for source in (random.source(), cuda_compile.read("optimizers.cu")):
                for defines in (("FROM_MEMORY",), ("FROM_MEMORY", "REAL=double")):
                    code, log = nvrtc.compile_source(source, cuda_compile.options(defines), capability)
                    assert code.startswith(b"\x7fELF")
                    assert not re.search(r"warning(?!: Architectures prior)", log), log


# What moves from step to step ------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: mg.optim.SGD(p, 0.1),
    "momentum": lambda p: mg.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: mg.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: mg.optim.RMSprop(p, 0.01, weight_decay=0.01),
    "Adam": lambda p: mg.optim.Adam(p, 0.01),
    "AdamW": lambda p: mg.optim.AdamW(p, 0.01),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedules_move_between_replays(gpu: str, name: str, dtype: str) -> None:
    """The learning rate, Adam's correction, a factor of the loss, the noise and the batch: none is frozen."""

    def make() -> tuple[Any, Any]:
        layer, noise = nn.Dense(5, 3, rng=mg.Generator(1)), mg.Generator(7)
        for t in layer.parameters():
            t.data = t.data.astype(dtype)
        layer.to(gpu)
        optimizer = OPTIMIZERS[name](layer.parameters())

        def step(x: Any, beta: float) -> Any:
            y = layer(mg.tanh(x) + noise.normal(x.shape, dtype, device="gpu") * 0.1)
            loss = (y * y).mean() * beta + mg.exp(y * -0.1).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss, y, beta * 2

        return optimizer, step

    (optimizer, traced), (other, eager) = make(), make()
    step = CompiledStep(traced)
    rng = np.random.default_rng(0)
    rtol, kept = (1e-12 if dtype == "float64" else 2e-5), []
    for n in range(6):
        optimizer.lr = other.lr = 0.05 / (n + 1)
        x = mg.tensor(rng.normal(size=(4, 5)), dtype=dtype, device=gpu)
        loss, y, twice = step(x, 0.5 + n)
        expected, z, _ = eager(x, 0.5 + n)
        assert twice == 1.0 + 2 * n
        kept.append((y, y.to("cpu").data.copy()))
        for a, b in ((loss, expected), (y, z)):
            np.testing.assert_allclose(to_device(a.data, "cpu"), to_device(b.data, "cpu"), rtol=rtol, atol=rtol)
    (program,) = replayed(step)
    assert program.graph is not None
    for y, before in kept:  # a result is not overwritten by later calls
        np.testing.assert_array_equal(y.to("cpu").data, before)


def test_a_short_batch_is_a_program_of_its_own(gpu: str) -> None:
    ours, eager = (MODELS["VAE"](device=gpu) for _ in range(2))
    step = CompiledStep(ours.train_step)
    for n in (8, 8, 3, 8, 3, 3, 8):
        np.testing.assert_allclose(floats(step(IMAGES[:n])), floats(eager.train_step(IMAGES[:n])), rtol=1e-4)
    assert [p.graph is not None for p in replayed(step)] == [True, True]


def test_arguments_may_be_on_the_gpu_and_not_in_order(gpu: str) -> None:
    w = mg.tensor(np.ones(3, np.float32), device=gpu)
    step = CompiledStep(lambda x, y: (x.to("gpu") * 2.0 + y.to("gpu"), (x.to("gpu") + w).sum()))
    values = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(np.float32)
    for x in values:
        for given in (mg.tensor(x, device=gpu), x[::2], mg.tensor(x, device=gpu)[::2].data):
            host = x if given.shape == x.shape else x[::2]
            a, b = step(given, np.float32(1) + host)
            np.testing.assert_allclose(a.to("cpu").data, host * 3 + 1, rtol=1e-6)
            np.testing.assert_allclose(float(b), (host + 1).sum(), rtol=1e-5)


def test_an_argument_without_axes_keeps_having_none(gpu: str) -> None:
    w = mg.tensor(np.ones(3, np.float32), device=gpu)
    step = CompiledStep(lambda x: w * x.to("gpu"))
    for n in range(3):
        y = step(np.array(n + 1.0, np.float32))
        np.testing.assert_array_equal(y.to("cpu").data, [n + 1.0] * 3)


def test_gradients_that_were_there_are_added_to(gpu: str) -> None:
    results = []
    for compiled in (True, False):
        layer = nn.Dense(4, 2, rng=mg.Generator(1)).to(gpu)

        def step(x: Any, layer: Any = layer) -> Any:
            loss = (layer(x) ** 2).sum()
            loss.backward()
            return loss

        run = CompiledStep(step) if compiled else step
        for n in range(4):
            run(mg.tensor(np.full((3, 4), n + 1.0, np.float32), device=gpu))
        results.append([p.grad.to("cpu").data for p in layer.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


# What a loop may hold -------------------------------------------------------------------------------------------


def _sums(x: Any, y: Any) -> tuple[Any, ...]:
    a = mg.tanh(x) * y
    return a.sum(), a.sum(0), a.sum(-1), a.sum((0, 1), keepdims=True), a.sum(1), ops.sum_to(a, shape=a.shape[-1:]), a


def _choices(x: Any, y: Any) -> tuple[Any, ...]:
    return (mg.where(x < y, x, y * 0.5), ops.clip(x, low=-0.5, high=0.7), ops.sign(x), ops.abs(y), ops.maximum(x, y),
            ops.minimum(x, y), (x > y).astype(x.dtype), x == x, ops.bernoulli_nll(x, mg.sigmoid(y)), ops.gelu(x),
            mg.softplus(x) ** -0.5, ops.erf(x), mg.log1p(x * x), (x * x + 1.0) ** 1.3)


def _moves(x: Any, y: Any) -> tuple[Any, ...]:
    return (mg.concatenate([x, y] * 6), mg.stack([x] * 9, axis=1), ops.swap_last(x), x[:, ::-1], y.max(-1),
            ops.softmax(x), x[[0, 0]], ops.broadcast_to(x.sum(0), shape=x.shape) + y, x.reshape(-1)[2:])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(130, 2, 9), (9, 1, 33), (1, 1, 1), (200, 2, 1), (3, 0, 2)], ids=str)
@pytest.mark.parametrize("function", [_sums, _choices, _moves])
def test_functions_are_the_eager_ones(gpu: str, function: Any, shape: tuple[int, ...], dtype: str) -> None:
    if function is not _sums and shape in ((130, 2, 9), (200, 2, 1)) or function is _moves and 0 in shape:
        pytest.skip("nothing that smaller shapes do not show")
    step = CompiledStep(function)
    rng = np.random.default_rng(1)
    tolerance = 1e-12 if dtype == "float64" else 3e-5
    for _ in range(3):
        x, y = (mg.tensor(rng.normal(size=shape), dtype=dtype, device=gpu) for _ in range(2))
        for a, b in zip(step(x, y), function(x, y), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            ours, theirs = a.to("cpu").data, b.to("cpu").data
            np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    assert replayed(step)[0].graph is not None


def test_places_are_32_bits_wide_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No domain of 2^32 elements fits in a test: the text alone."""
    writer = object.__new__(CudaWriter)
    for lengths, kind in (([2**16, 2**16 - 1], "unsigned"), ([2**16, 2**16], "long long")):
        monkeypatch.setattr(writer, "_lengths", lambda start, stop, n=lengths: n[start:stop], raising=False)
        assert writer._indices("at_", 0, 2) == [f"const {kind} i = ({kind})at_ / ({kind})(n1);",
                                                f"const {kind} j = (({kind})at_) % ({kind})n1;"]


@pytest.mark.parametrize("seed", range(12))
def test_a_random_step_is_what_eager_gives(gpu: str, seed: int) -> None:
    """Those of tests/program, of which the CPU runs 2 000. A library's product in one keeps it from being recorded."""
    dtype = "float64" if seed % 3 else "float32"
    eager, traced = Step(seed, dtype, gpu), Step(seed, dtype, gpu)
    compiled = CompiledStep(traced)
    tolerance = {"float64": 1e-10, "float32": 2e-4}[dtype]
    for call in range(3):
        x = mg.tensor(np.random.default_rng(1000 * seed + call).normal(size=(3, 4)), dtype=dtype, device=gpu)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*cannot be recorded.*")
            results = compiled(x)
        pairs = [*zip(results, eager(x), strict=True), *zip(traced.weights, eager.weights, strict=True)]
        for a, b in pairs:
            ours, theirs = (to_device(t.data, "cpu") for t in (a, b))
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    assert traced.noise.state() == eager.noise.state() and len(compiled.programs) == 1


# What cannot be recorded ------------------------------------------------------------------------------------------


def test_what_goes_to_a_library_runs_launch_by_launch_and_says_so(gpu: str) -> None:
    w = mg.tensor(np.eye(3, dtype=np.float32) * 2, device=gpu)
    step = CompiledStep(lambda x, factor: (mg.swap_last(x) @ x) @ w * factor)
    rng = np.random.default_rng(0)
    for n in range(4):
        x = rng.normal(size=(2, 4, 3)).astype(np.float32)
        given = mg.tensor(x, device=gpu), 1.0 + n
        if n == 1:
            with pytest.warns(RuntimeWarning, match="launch by launch, for it cannot be recorded .*BLAS"):
                y = step(*given)
        else:
            y = step(*given)
        np.testing.assert_allclose(y.to("cpu").data, (x.swapaxes(1, 2) @ x) * 2 * (1 + n), rtol=1e-5, atol=1e-6)
    assert "BLAS" in step.programs[0].recorded


def test_a_number_that_a_kernel_takes_by_value_is_not_frozen(gpu: str) -> None:
    x = mg.tensor(np.random.default_rng(0).normal(size=(3, 4)), dtype="float32", device=gpu)
    step = CompiledStep(lambda eps: ops.normalise(x, axis=-1, eps=eps))
    for n in range(4):
        if n == 1:
            with pytest.warns(RuntimeWarning, match="cannot be recorded"):
                y = step(0.1 + n)
        else:
            y = step(0.1 + n)
        expected = ops.normalise(x, axis=-1, eps=0.1 + n)
        np.testing.assert_allclose(y.to("cpu").data, expected.to("cpu").data, rtol=1e-5)


def test_what_lies_on_both_devices_is_an_error(gpu: str) -> None:
    here, there = mg.tensor(np.ones(3)), mg.tensor(np.ones(3), device=gpu)
    with pytest.raises(DeviceError, match="which the step uses, lies on the cpu, and others on the gpu: move it"):
        CompiledStep(lambda: here.to("gpu") + there)()
    with pytest.raises(GraphError, match=r"test_device_programs.py:\d+: .* brings an array to the cpu"):
        CompiledStep(lambda: (there * 2.0).to("cpu"))()


def test_a_model_that_moves_gets_another_program(gpu: str) -> None:
    model, eager = MODELS["VAE"](), MODELS["VAE"]()
    step = CompiledStep(model.train_step, interpret=True)
    for n, device in enumerate(("cpu", gpu, gpu, "cpu", gpu, gpu)):
        model.to(device)
        np.testing.assert_allclose(floats(step(batch("VAE", n))), floats(eager.train_step(batch("VAE", n))), rtol=2e-4)
    assert [program.device for program in step.programs] == ["cpu", "gpu"]


def test_too_little_memory_says_so(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = to_device(np.zeros(1), "gpu")

    def replay(size: int) -> Any:
        return graph.Replayed(lambda: ((), ()), lambda: (standin.module.empty(size),), (), numbers, "")

    replay(10)()
    gc.collect()
    standin.memory.free_all_blocks()
    monkeypatch.setattr(standin.memory, "limit", standin.memory.used + 1000)
    with pytest.raises(OutOfMemoryError, match="^the arena of a compiled step needs more than the"):
        graph.Arena(2000)
    with pytest.raises(OutOfMemoryError, match="^a compiled step needs more than the"):
        replay(200)()


def test_what_is_sent_may_change_at_once(gpu: str) -> None:
    """The copy is from memory of the way's own, and not from the same twice in a row."""
    target = to_device(np.zeros((2, 3), np.float32), gpu)
    way, x = Staging(target), np.empty((2, 3), np.float32)
    for n in range(5):
        x[...] = n
        way.send(x)
        x[...] = -1
        np.testing.assert_array_equal(to_device(target, "cpu"), n)
    way.send(np.arange(6, dtype=np.float32).reshape(3, 2).T)
    np.testing.assert_array_equal(to_device(target, "cpu"), [[0, 2, 4], [1, 3, 5]])
    with pytest.raises(TypeError, match="Cannot cast"):
        way.send(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) expected, got \(3,\)"):
        way.send(np.zeros(3, np.float32))
    for shape in ((), (0, 4)):
        Staging(to_device(np.zeros(shape), gpu)).send(np.ones(shape))


def test_the_arguments_of_a_step_come_from_pinned_memory(standin: Any) -> None:
    step = CompiledStep(MODELS["VAE"](device="gpu").train_step)
    for n in range(STEPS):
        step(batch("VAE", n))
    images, numbers = sorted(standin.state.copies, key=lambda copy: -copy.sent.nbytes)[::2]
    np.testing.assert_array_equal(images.sent.reshape(IMAGES[:8].shape), batch("VAE", STEPS - 2))
    assert numbers.sent.dtype == np.float64 and len(standin.state.copies) == 4


# What is shown ----------------------------------------------------------------------------------------------------


def test_the_limits_are_timed_by_the_gpu_and_its_memory_is_not_its_cache(
    standin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def elapsed(call: Callable[[], Any], times: int) -> float:
        before = len(standin.launches)
        call()
        asked.append(("product" if len(standin.launches) > before else "copy", times))
        return times * 1e-3

    monkeypatch.setattr(stopwatch, "elapsed", elapsed)
    monkeypatch.setattr(report, "_SIDE", {"gpu": 32})
    assert 2 * report._COPIED >= 1 << 29  # read and written: no cache holds that
    monkeypatch.setattr(standin.memory, "limit", standin.memory.used + 4000 + 3 * 4096 + 16384)  # what does not fit
    peak, bandwidth = report._limits("gpu")
    assert peak == pytest.approx(2 * 32**3 / 1e-3)
    assert 0 < bandwidth < 2 * 16384 / 1e-3
    assert {what for what, _ in asked} == {"product", "copy"} and {times for _, times in asked} == {report._CALLS}


def test_the_source_the_table_and_the_picture(gpu: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(report, "_SIDE", {"gpu": 32})
    monkeypatch.setattr(report, "_COPIED", 1 << 16)
    monkeypatch.setattr(report, "_ROUNDS", 2)
    model = MODELS["VAE"](device=gpu)
    step = CompiledStep(model.train_step)
    step(IMAGES[:8])
    assert "to be recorded as a CUDA graph" in step.explain()
    step(IMAGES[:8])
    state = model.training_state()
    table = step.explain()
    assert table.endswith("\nstarted as a CUDA graph") and "product, minigen/models/vae.py" in table
    for key, array in model.training_state().items():
        np.testing.assert_array_equal(array, state[key])  # on copies
    assert 'extern "C" __global__ void loop_1(' in step.source and "formula::bernoulli_nll(" in step.source
    assert "bernoulli_nll" in step.draw()
    step.save(tmp_path / "step.py")
    text = (tmp_path / "step.py").read_text()
    names: dict[str, Any] = {"__name__": "saved", "__file__": str(tmp_path / "step.py")}
    exec(compile(text, "step.py", "exec"), names)
    saved = load(names["__file__"], "gpu")
    size = int(re.search(r"Arena\((\d+)\)", text)[1])  # type: ignore[index]
    results, _ = names["bind"](graph.Arena(size), saved["state"], saved["constant"])(*saved["argument"].values())
    np.testing.assert_array_equal([float(x.item()) for x in results], floats(step(IMAGES[:8])))
