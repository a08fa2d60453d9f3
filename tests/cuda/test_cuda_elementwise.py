"""Translated formulas: the bits of the Python functions without contraction, and the contract of every operation."""

from __future__ import annotations

import inspect
import platform
from typing import Any

import numpy as np
import pytest
from cuda_machines import Emulated
from cuda_on import on
from numpy.testing import assert_array_equal

from minigen.kernels import reference, scalar
from minigen.kernels.cuda import elementwise

NAMES = sorted(scalar.FORMULAS)
DTYPES = (np.float32, np.float64)
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 88.9, -88.9, -104.5, 3e38, -3e38]
SHAPES = ((), (0,), (1,), (3, 0, 2), (5,), (255,), (256,), (257,), (3, 5, 7), (64, 33))


def arguments(name: str, x: np.ndarray) -> list[Any]:
    """As many arrays as the formula takes, made of x; a slope of 0.2."""
    parameters = list(inspect.signature(scalar.FORMULAS[name]).parameters)
    second = np.asarray(np.tanh(x[::-1] if x.ndim else x), x.dtype)
    arrays = iter((np.asarray(abs(x)) if name.startswith("log") and name != "logit" else x, abs(second)))
    return [0.2 if p == "slope" else next(arrays) for p in parameters]


def assert_close(actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> None:
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    assert_array_equal(np.isnan(actual), np.isnan(expected))
    assert_array_equal(np.isfinite(actual), np.isfinite(expected))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def call(machine: Any, monkeypatch: pytest.MonkeyPatch, name: str, given: list[Any]) -> np.ndarray:
    on(machine, monkeypatch)
    placed = [machine.array(a) if isinstance(a, np.ndarray) else a for a in given]
    return machine.numpy(getattr(elementwise, name)(*placed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_reference(machine: Any, monkeypatch: Any, name: str, dtype: type) -> None:
    for shape in SHAPES:
        x = np.asarray(2 * np.random.default_rng(1).standard_normal(shape), dtype)
        given = arguments(name, x)
        wide = dtype == np.float64
        rtol = (4e-15 if wide else 1e-6) * (5 if name == "gelu" else 1)
        atol = 4 * np.finfo(dtype).eps if name == "bernoulli_nll" else 0.0
        assert_close(call(machine, monkeypatch, name, given), getattr(reference, name)(*given), rtol, atol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_may_start_anywhere(machine: Any, monkeypatch: Any, dtype: type) -> None:
    """Four numbers at a time, in one access where they are aligned: every start beside every other, every end."""
    on(machine, monkeypatch)
    x, y = np.random.default_rng(2).standard_normal((2, 1100)).astype(dtype)
    there = machine.array(x), machine.array(y)
    for size in (1, 3, 4, 5, 7, 1024, 1027):
        for first in range(4):
            for second in range(4):
                a, b = slice(first, first + size), slice(second, second + size)
                result = machine.numpy(elementwise.gate(there[0][a], there[1][b], 0.2))
                assert_array_equal(result, reference.gate(x[a], y[b], dtype(0.2)))


def special(name: str, x: np.ndarray) -> list[Any]:
    """x, with 1/2 for a second operand."""
    given = (x, np.full_like(x, 0.5), 0)
    names = inspect.signature(scalar.FORMULAS[name]).parameters
    return [0.2 if p == "slope" else q for p, q in zip(names, given, strict=False)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_special_values_are_those_of_ieee(emulated: Any, monkeypatch: Any, name: str, dtype: type) -> None:
    given = special(name, np.array(SPECIAL, dtype))
    expected = getattr(reference, name)(*given)
    assert_close(call(emulated(), monkeypatch, name, given), expected, 4e-6, 4 * np.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_without_subnormals_they_are_as_well(machine: Any, monkeypatch: Any, name: str, dtype: type) -> None:
    """What a GPU computes in float32: a subnormal number is zero, whether it goes in or comes out."""
    tiny = np.finfo(np.float32).tiny
    if machine.name == "emulated":
        machine = flushing()
    x = np.array([value for value in SPECIAL if value == 0 or not abs(value) < tiny], dtype)
    given = special(name, x)
    assert_close(call(machine, monkeypatch, name, given), getattr(reference, name)(*given), 4e-6, 4 * tiny)
    zeros = special(name, np.array([1e-40, -1e-40], dtype))
    if dtype == np.float32:
        expected = getattr(reference, name)(*special(name, np.array([0.0, -0.0], dtype)))
        assert_close(call(machine, monkeypatch, name, zeros), expected, 0.0, 4 * tiny)


def flushing() -> Any:
    """The emulation in which subnormal numbers are zero."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("subnormal numbers are flushed by a register of x86")
    return Emulated(flush=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_those_of_the_python_function(emulated: Any, monkeypatch: Any, name: str) -> None:
    """Over all exponents and signs: without contraction every operation is IEEE's, in NumPy and in C++."""
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2**32, 1000, np.uint64).astype(np.uint32)
    x = np.concatenate([bits.view(np.float32), (8 * rng.standard_normal(500)).astype(np.float32)])
    x = np.concatenate([x, np.array(SPECIAL, np.float32)])
    given = [a if not isinstance(a, np.ndarray) else a.copy() for a in arguments(name, x)]
    given[0] = x if name not in ("log",) else given[0]
    formula = scalar.FORMULAS[name]
    with np.errstate(all="ignore"):
        rows = [[np.float32(a) if not isinstance(a, np.ndarray) else a[i] for a in given] for i in range(x.size)]
        expected = np.array([formula(*row) for row in rows], np.float32)
    actual = call(emulated(), monkeypatch, name, given)
    assert_array_equal(np.isnan(actual), np.isnan(expected))
    known = ~np.isnan(expected)
    assert_array_equal(actual[known].view(np.int32), expected[known].view(np.int32))


def test_any_layout_in_and_c_order_out(emulated: Any, monkeypatch: Any) -> None:
    x = np.random.default_rng(5).standard_normal((12, 10)).astype(np.float32)
    for view in (x.T, x[::2, ::3], x[::-1], np.broadcast_to(x[0], (4, 10))):
        result = call(emulated(), monkeypatch, "exp", [view])
        assert result.flags.c_contiguous
        np.testing.assert_allclose(result, np.exp(view), rtol=1e-6)


def test_what_does_not_match_is_refused(emulated: Any, monkeypatch: Any) -> None:
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="^exp: expected an array of float32 or float64, got int64$"):
        call(emulated(), monkeypatch, "exp", [np.ones(3, np.int64)])
    with pytest.raises(ValueError, match=r"^gate: operands of equal shape expected, got \(3,\) and \(2,\)$"):
        call(emulated(), monkeypatch, "gate", [x, x[:2], 0.1])
    with pytest.raises(TypeError, match="^gate: operands of equal dtype expected, got float32 and float64$"):
        call(emulated(), monkeypatch, "gate", [x, x.astype(np.float64), 0.1])


def test_the_names_and_signatures_are_the_references() -> None:
    assert set(elementwise.__all__) - {"source"} == set(NAMES)
    for name in NAMES:
        assert inspect.signature(getattr(elementwise, name)).parameters.keys() == inspect.signature(
            getattr(reference, name)).parameters.keys()
