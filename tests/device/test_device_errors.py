"""What is not there, and what would need a copy that nobody asked for: each has its message."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigen as mg
from minigen import backend
from minigen.errors import DeviceError, OutOfMemoryError

HOST = np.ones((2, 3), np.float32)
MIXED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "np.asarray": (np.asarray, r"copy it with \.to\('cpu'\)\.numpy\(\), or read a single number with \.item\(\)"),
    "numpy()": (lambda t: t.numpy(), r"a tensor on the gpu has no NumPy array"),
    "+ tensor": (lambda t: t + mg.tensor(HOST), r"add: arrays on the cpu and on the gpu meet.*\.to\('gpu'\)"),
    "+ array": (lambda t: t + HOST, "add: arrays on the cpu"),
    "array +": (lambda t: HOST + t, "add: arrays on the cpu"),
    "+ list": (lambda t: t + [1.0, 2.0, 3.0], "add: arrays on the cpu"),
    "@": (lambda t: t @ mg.tensor(HOST.T), "matmul: arrays on the cpu"),
    "dense": (lambda t: mg.nn.Dense(3, 2)(t), "dense: arrays on the cpu"),
    "where": (lambda t: mg.where(mg.tensor(HOST > 0), t, 0.0), "where: arrays on the cpu"),
    "concatenate": (lambda t: mg.concatenate([t, mg.tensor(HOST)]), "concatenate: arrays on the cpu"),
    "take": (lambda t: mg.take(t, np.array([0])), "take: arrays on the cpu"),
    "take_along": (lambda t: mg.take_along(t, np.zeros((2, 1), int)), "take_along: arrays on the cpu"),
    "key of an array": (lambda t: t[np.array([0, 1])], "a key into a tensor: arrays on the cpu"),
    "key of a mask": (lambda t: t[np.array([True, False])], "a key into a tensor: arrays on the cpu"),
    "key of a tensor": (lambda t: t[mg.tensor([0, 1])], "a key into a tensor: arrays on the cpu"),
    "assignment": (lambda t: t.__setitem__(0, HOST[0]), "assign: arrays on the cpu"),
    "copy_": (lambda t: t.copy_(HOST), "assign: arrays on the cpu"),
    "bernoulli_nll": (lambda t: mg.bernoulli_nll(t, HOST), "bernoulli_nll: arrays on the cpu"),
    "cotangent": (lambda t: mg.tanh(leaf(t)).backward(HOST), "the output and its cotangent: arrays on the cpu"),
    "cotangent tensor": (lambda t: mg.tanh(leaf(t)).backward(mg.tensor(HOST)), "the output and its cotangent"),
    "optimizer": (lambda t: stepped(t), r"adam_step: arrays on the cpu and on the gpu"),
    "other device": (lambda t: t.to("tpu"), "device 'tpu' is unknown: use 'cpu' or 'gpu'"),
    "images to a layer": (lambda t: mg.nn.Dense(3, 2).to("gpu")(mg.tensor(HOST)), "dense: arrays on the cpu"),
    "images to a loss": (lambda t: mg.losses.vae.bernoulli_nll(t, HOST), "bernoulli_nll: arrays on the cpu"),
}


def leaf(t: Any) -> Any:
    return mg.tensor(t, requires_grad=True)


def stepped(t: Any) -> None:
    """An optimizer that stayed on the cpu when its layer moved."""
    layer = mg.nn.Dense(3, 1)
    optimizer = mg.optim.Adam(layer.parameters())
    layer.to("gpu")
    layer(t).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("what", MIXED)
def test_a_hidden_copy_is_an_error(gpu: str, what: str) -> None:
    function, message = MIXED[what]
    t = mg.tensor(HOST, device=gpu)
    with pytest.raises(DeviceError, match=message):
        function(t)
    assert t.version == 0


def test_what_is_explicit_works(gpu: str) -> None:
    t = mg.tensor(HOST, requires_grad=True, device=gpu)
    assert (t.device, mg.tensor(t).device, mg.tensor(t, device="cpu").device) == ("gpu", "gpu", "cpu")
    assert t.to(gpu) is t
    assert t.sum().item() == 6 and float(t[0, 0]) == 1 and bool(t[0, 0] > 0) and int(t.sum()) == 6
    np.testing.assert_array_equal(t.to("cpu").numpy(), HOST)
    assert repr(mg.tensor([1.5], device=gpu)) == "Tensor([1.5], shape=(1,), float32, gpu)"
    (mg.tanh(t.to("cpu")) * 2).sum().backward()
    assert t.grad is not None and t.grad.device == "gpu"
    t = mg.tensor(HOST, device=gpu)
    t[0] = 2.0
    t[:, [0, 2]] = t[:, [1, 1]] + 1
    t.copy_(t + 1)
    t[1, mg.tensor([True, False, True], device=gpu)] = 0.0
    np.testing.assert_array_equal(t.to("cpu").numpy(), [[4, 3, 4], [0, 2, 0]])


def test_moving_in_place_is_seen_by_the_graph(gpu: str) -> None:
    w = mg.tensor([2.0], requires_grad=True)
    y = (w * w).sum()
    w.move_(gpu)
    with pytest.raises(mg.errors.VersionError):
        y.backward()
    with pytest.raises(mg.errors.GraphError, match="use .to"):
        (w * w).move_("cpu")


# What is not there -----------------------------------------------------------------------------------------------


@pytest.fixture
def fresh() -> Any:
    """Nothing is remembered about the GPU, before and after."""
    backend._working_cupy.cache_clear()
    yield
    backend._working_cupy.cache_clear()


def refused(message: str) -> None:
    for ask in (lambda: mg.tensor([1.0], device="gpu"), lambda: mg.tensor([1.0]).to("gpu"),
                lambda: mg.nn.Dense(2, 2).to("gpu"), lambda: mg.models.VAE(image_shape=(2, 2), device="gpu"),
                backend.describe_gpu):  # fmt: skip
        with pytest.raises(DeviceError, match=message) as caught:
            ask()
        assert caught.value.exit_code == 5


def test_cupy_missing(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(backend, "cupy_packages", lambda: [])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(r"needs CuPy, which is not installed: pip install 'minigen\[cuda12\]' or .*use device 'cpu'")


def test_cupy_broken(monkeypatch: pytest.MonkeyPatch, fresh: None, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('libcuda is odd\\nmore words')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(backend, "cupy_packages", lambda: ["cupy-cuda12x 14.2.0"])
    refused(r"installed but cannot be imported \(libcuda is odd\): install it anew")


def test_no_folder_for_compiled_kernels_at_import(
    monkeypatch: pytest.MonkeyPatch, fresh: None, tmp_path: Path
) -> None:
    (tmp_path / "cupy.py").write_text("import os\nos.mkdir('/proc/x')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(backend, "cupy_packages", lambda: ["cupy-cuda12x 14.2.0"])
    refused("CuPy cannot keep what it compiles .*'/proc/x'.*: set CUPY_CACHE_DIR to a folder that can be written to")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/x/tmp9"), OSError(28, "No space left")])
def test_no_folder_for_compiled_kernels_at_the_first(
    monkeypatch: pytest.MonkeyPatch, standin: Any, error: OSError
) -> None:
    def fails(**keywords: Any) -> Any:
        raise error

    monkeypatch.setattr(standin.module, "RawModule", fails)
    refused(rf"CuPy cannot keep what it compiles \({re.escape(str(error))}\): set CUPY_CACHE_DIR to a folder")


def test_two_cupy_packages(monkeypatch: pytest.MonkeyPatch, standin: Any, tmp_path: Path) -> None:
    for name in ("cupy_cuda12x-14.2.0", "cupy_cuda13x-14.1.0"):
        folder = tmp_path / f"{name}.dist-info"
        folder.mkdir()
        package, version = name.split("-")
        text = f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: {version}\n"
        (folder / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(backend.cupy_packages()) >= 2
    refused(r"CuPy packages are installed \(.*cupy-cuda12x 14.2.0, cupy-cuda13x 14.1.0\), which overwrite each "
            "other: pip uninstall .*cupy-cuda12x cupy-cuda13x, then install one")


def test_an_old_cupy(monkeypatch: pytest.MonkeyPatch, standin: Any) -> None:
    monkeypatch.setattr(standin.module, "__version__", "13.6.0")
    refused("needs CuPy 14 or newer, got 13.6.0: pip install -U")


def test_no_device(monkeypatch: pytest.MonkeyPatch, standin: Any) -> None:
    monkeypatch.setattr(standin.module.cuda.runtime, "getDeviceCount", lambda: 0)
    refused(r"finds no CUDA device or driver \(no CUDA device\): install NVIDIA's driver, or use device 'cpu'")


def test_no_driver(monkeypatch: pytest.MonkeyPatch, standin: Any) -> None:
    def count() -> int:
        raise standin.CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    monkeypatch.setattr(standin.module.cuda.runtime, "getDeviceCount", count)
    refused(r"no CUDA device or driver \(cudaErrorInsufficientDriver: .*insufficient\)")


@pytest.mark.parametrize("missing", ["nvrtc", "headers", "sense"])
def test_no_compiler(monkeypatch: pytest.MonkeyPatch, standin: Any, missing: str) -> None:
    def fails(*args: Any, **keywords: Any) -> Any:
        raise RuntimeError("\n=====\nlibnvrtc.so.12: cannot open shared object file\nmore")

    def does_nothing(**keywords: Any) -> Any:
        return types.SimpleNamespace(get_function=lambda name: lambda *launch: None)

    stubs = {"nvrtc": ("RawModule", fails), "headers": ("zeros", fails), "sense": ("RawModule", does_nothing)}
    name, stub = stubs[missing]
    monkeypatch.setattr(standin.module, name, stub)
    monkeypatch.setattr(backend, "cupy_packages", lambda: ["cupy-cuda13x 14.2.0"])
    reason = "1 \\+ 1 is not 2 there" if missing == "sense" else "libnvrtc.so.12: cannot open shared object file"
    refused(rf"NVRTC or the headers of the CUDA toolkit are missing \({reason}\): pip install 'cupy-cuda13x\[ctk\]'")


def test_a_failure_is_not_remembered(monkeypatch: pytest.MonkeyPatch, standin: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(standin.module.cuda.runtime, "getDeviceCount", lambda: 0)
        with pytest.raises(DeviceError):
            backend.require_device("gpu")
    assert backend.require_device("gpu") == "gpu"


def test_the_gpu_in_a_line(standin: Any) -> None:
    assert "a stand-in, compute capability 8.0, " in backend.describe_gpu()
    assert backend.describe_gpu().endswith("GiB free, CuPy 14.2.0, CUDA 12.9")


# Memory ---------------------------------------------------------------------------------------------------------


def test_what_the_pool_keeps_is_given_back_before_memory_runs_out(standin: Any, monkeypatch: Any) -> None:
    x = mg.tensor(np.ones(1000, np.float32), device="gpu")
    backend.to_device(np.ones(2000, np.float32), "gpu")  # freed at once: its block stays in the pool
    monkeypatch.setattr(standin.memory, "limit", standin.memory.used + 8000)
    before = standin.memory.emptied
    assert (x + 1.0).sum().item() == 2000
    assert standin.memory.emptied == before + 1
    y = mg.tensor(np.ones(1000, np.float32), device="gpu")
    assert y.device == "gpu"


@pytest.mark.parametrize("what", [lambda x: mg.exp(x), lambda x: mg.tensor(np.ones(3001, np.float32), device="gpu")])
def test_where_memory_does_not_suffice_the_error_says_how_much_there_is(
    standin: Any, monkeypatch: Any, what: Callable[[Any], Any]
) -> None:
    x = mg.tensor(np.ones(1000, np.float32), device="gpu")
    monkeypatch.setattr(standin.memory, "limit", standin.memory.used + 100)
    words = "(`exp`|a copy to the gpu) needs more than the 0 MiB that are free"
    with pytest.raises(OutOfMemoryError, match=words) as e:
        what(x)
    assert e.value.exit_code == 5 and isinstance(e.value, DeviceError)


def test_the_memory_of_the_cpu_is_another_matter(scratch_op: Any) -> None:
    @scratch_op
    def greedy(x):
        raise MemoryError("no")

    with pytest.raises(MemoryError, match="^no$"):
        greedy(mg.tensor([1.0]))
