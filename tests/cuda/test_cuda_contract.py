"""The two packages of kernels are one contract: the same names, the same arguments, and words that say what they do."""

from __future__ import annotations

import inspect

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
