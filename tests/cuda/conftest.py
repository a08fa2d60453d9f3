"""Where a CUDA test runs: under emulation on the CPU, and on a GPU where there is one (`pytest -m gpu`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from emulation import emulator

from minigen.kernels.cuda import compile as cuda_compile


class Emulated:
    """Runs on the CPU: arrays are NumPy's. `reverse` runs the last thread of a block first."""

    name = "emulated"
    array = staticmethod(np.asarray)
    numpy = staticmethod(np.asarray)

    def __init__(self, reverse: bool = False) -> None:
        self.reverse = reverse

    def load(self, source: str, defines: Sequence[str] = (), arithmetic: Sequence[str] = ()) -> Any:
        return _Reversible(emulator.Module(source, defines), self.reverse)


class _Reversible:
    def __init__(self, module: emulator.Module, reverse: bool) -> None:
        self.module, self.reverse = module, reverse

    def get_function(self, name: str) -> Any:
        return self.module.get_function(name, reverse=self.reverse)


class Gpu:
    """Runs on the GPU, through CuPy."""

    name = "gpu"
    reverse = False

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy

    def array(self, x: Any) -> Any:
        """On the device, with the strides that the NumPy array has."""
        x = np.asarray(x)
        if x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous:
            return self.cupy.asarray(np.ascontiguousarray(x.T)).T
        return self.cupy.asarray(x)

    def numpy(self, x: Any) -> np.ndarray:
        return self.cupy.asnumpy(x)

    def load(self, source: str, defines: Sequence[str] = (), arithmetic: Sequence[str] = cuda_compile.FAST) -> Any:
        return cuda_compile.load(source, tuple(defines), tuple(arithmetic))


def _why_no_emulation() -> str | None:
    if not sys.platform.startswith("linux"):
        return "the emulation needs Linux: ELF sections and ucontext"
    return None if emulator.compiler() else "the emulation needs a C++ compiler: install g++ or clang++"


def _why_no_gpu() -> str | None:
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed: pip install 'minigen[cuda12]'"
    return None if cupy.is_available() else "CuPy finds no CUDA device or driver"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)], indirect=True)


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Any:
    """Emulated or Gpu: `load(source, defines, arithmetic)`, `array(x)`, `numpy(x)`."""
    reason = _why_no_gpu() if request.param == "gpu" else _why_no_emulation()
    if reason:
        pytest.skip(reason)
    return Gpu() if request.param == "gpu" else Emulated()


@pytest.fixture
def emulated() -> Any:
    """The class Emulated, for tests that make sense on the CPU alone."""
    reason = _why_no_emulation()
    if reason:
        pytest.skip(reason)
    return Emulated
