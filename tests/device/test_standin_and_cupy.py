"""The stand-in against CuPy itself, which can be installed without a GPU: no name and no argument that CuPy has not."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest


@pytest.fixture(scope="module")
def cupy() -> Any:
    before = sys.modules.get("cupy")
    assert before is None or hasattr(before, "__file__"), "the stand-in is in the way"
    return pytest.importorskip("cupy", minversion="14", reason="CuPy is not installed: pip install cupy-cuda12x")


@pytest.fixture(scope="module")
def ours() -> Any:
    import standin

    return standin


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_every_name_is_cupys(cupy: Any, ours: Any) -> None:
    names = {name for name in vars(ours.module) if not name.startswith("_")}
    assert not {name for name in names if not hasattr(cupy, name)}
    for part in ("memory", "runtime"):
        for name in vars(getattr(ours.module.cuda, part)):
            assert name.startswith("_") or hasattr(getattr(cupy.cuda, part), name), name


def test_streams_graphs_and_allocators_are_cupys(cupy: Any, ours: Any) -> None:
    cuda = ours.module.cuda
    assert not {name for name in vars(cuda) if not name.startswith("_") and not hasattr(cupy.cuda, name)}
    for name in ("Stream", "Graph", "Event"):
        mine = {method for method in vars(getattr(cuda, name)) if not method.startswith("_")}
        assert not {method for method in mine if not hasattr(getattr(cupy.cuda, name), method)}
    assert callable(cupy.cuda.MemoryPool.malloc) and callable(cupy.ndarray.set)


def test_every_argument_is_cupys(cupy: Any, ours: Any) -> None:
    for name, function in ours._FUNCTIONS.items():
        if name != "arange":  # a built-in in CuPy
            assert _parameters(function) <= _parameters(getattr(cupy, name)), name


def test_universal_functions_are_cupys(cupy: Any, ours: Any) -> None:
    for name in ours._UFUNCS:
        assert type(getattr(cupy, name)).__name__ == "ufunc", name
    assert callable(cupy.add.at)


def test_every_method_is_cupys(cupy: Any, ours: Any) -> None:
    mine = {name for name in vars(ours.ndarray) if not name.startswith("_")}
    assert not {name for name in mine if not hasattr(cupy.ndarray, name)}


@pytest.mark.parametrize("name", ["max", "min"])
def test_cupys_reductions_take_no_initial(cupy: Any, name: str) -> None:
    assert "initial" not in getattr(cupy.ndarray, name).__doc__.splitlines()[0]


def test_cupy_has_no_errstate(cupy: Any) -> None:
    assert not hasattr(cupy, "errstate")


def test_out_of_memory_is_a_memory_error(cupy: Any) -> None:
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)


def test_cupy_appends_the_option_that_kernels_reckon_with(cupy: Any) -> None:
    """See `kernels.cuda.compile.FAST`: without it a float32 below 1.2e-38 would not be zero."""
    from cupy.cuda import compiler

    assert "options += ('-ftz=true',)" in inspect.getsource(compiler)


def test_without_a_device_the_message_says_so(cupy: Any) -> None:
    from minigen import backend
    from minigen.errors import DeviceError

    if cupy.is_available():
        pytest.skip("there is a GPU here")
    backend._working_cupy.cache_clear()
    with pytest.raises(DeviceError, match="CuPy is installed but finds no CUDA device or driver .*use device 'cpu'"):
        backend.require_device("gpu")
