"""Where a CUDA test runs: under emulation on the CPU, and on a GPU where there is one (`pytest -m gpu`)."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from cuda_machines import Emulated, Gpu
from emulation import emulator


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
