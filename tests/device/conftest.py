"""Where a device test runs: on the stand-in, and on a GPU where there is one (`pytest -m gpu`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "cuda"))  # the emulation, which runs the kernels
sys.path.append(str(Path(__file__).parent.parent / "program"))  # random steps

from emulation import emulator  # noqa: E402

from minigen import backend  # noqa: E402
from minigen.errors import DeviceError  # noqa: E402
from minigen.kernels.cuda import compile as cuda_compile  # noqa: E402


def _forget() -> None:
    """What was found out about, and compiled for, another device."""
    backend._working_cupy.cache_clear()
    cuda_compile.load.cache_clear()


def _why_no_standin() -> str | None:
    if not sys.platform.startswith("linux"):
        return "the emulation needs Linux: ELF sections and ucontext"
    return None if emulator.compiler() else "the emulation needs a C++ compiler: install g++ or clang++"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `standin`, in place of CuPy for the test, with an empty log and all the memory that one may want."""
    if reason := _why_no_standin():
        pytest.skip(reason)
    import standin

    monkeypatch.setitem(sys.modules, "cupy", standin.module)
    monkeypatch.setattr(standin.memory, "limit", 2**62)
    standin.memory.free_all_blocks()
    standin.log.clear()
    standin.state.copies.clear()
    _forget()
    yield standin
    _forget()


@pytest.fixture(params=["standin", pytest.param("gpu", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> str:
    """"gpu", a device that works: the stand-in's, or a real one."""
    if request.param == "standin":
        request.getfixturevalue("standin")
        return "gpu"
    _forget()
    try:
        return backend.require_device("gpu")
    except DeviceError as error:
        pytest.skip(str(error))
