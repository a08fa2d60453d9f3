"""The two packages of kernels are one contract: the same names, the same arguments, and words that say what they do."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minigen import kernels
from minigen.kernels import cuda, reference


def test_the_names_are_the_same() -> None:
    assert set(cuda.__all__) == set(kernels.__all__) == set(reference.__all__)
    assert cuda.__all__ == sorted(cuda.__all__)


@pytest.mark.parametrize("name", cuda.__all__)
def test_the_arguments_are_the_same(name: str) -> None:
    ours, theirs, contract = (inspect.signature(getattr(module, name)) for module in (cuda, kernels, reference))
    assert ours.parameters == theirs.parameters == contract.parameters
    assert getattr(cuda, name).__doc__


def test_the_kernels_of_a_device() -> None:
    assert kernels.on("cpu") is kernels and kernels.on("gpu") is cuda


def test_any_array_of_numpys_is_the_cpus(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 2), np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert type(mapped) is np.memmap
    np.testing.assert_allclose(kernels.exp(mapped), np.e, rtol=1e-6)
    assert kernels.matmul(mapped, mapped).tolist() == [[2, 2], [2, 2]]


def test_what_is_not_asked_for_is_not_imported() -> None:
    """Neither CuPy nor the package that would need it, as long as there are NumPy's arrays alone."""
    code = ("import sys, minigen as mg; mg.tanh(mg.tensor([1.0], requires_grad=True)).sum().backward()\n"
            "assert not {'cupy', 'minigen.kernels.cuda'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
