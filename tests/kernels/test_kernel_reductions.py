"""Sums, softmax and their relatives against the reference in extended precision, over any axes and layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_cases import DTYPES, JIT, layouts

from minigen import kernels
from minigen.kernels import reference

# 20 shapes and more: (shape, axis). Blocks end at 512 numbers of a row, 32 of a column.
CASES: list[tuple[tuple[int, ...], int | tuple[int, ...] | None]] = [
    ((1,), 0), ((5,), 0), ((17,), -1), ((513,), 0), ((1, 1), 1), ((1, 33), 1), ((33, 1), 0), ((33, 1), 1),
    ((3, 31), 1), ((3, 31), 0), ((31, 33), 0), ((33, 31), -1), ((32, 3), 0), ((65, 7), 0), ((2, 1025), 1),
    ((64, 10), 1), ((127, 16), 0), ((3, 5, 7), 1), ((3, 5, 7), 2), ((3, 5, 7), 0), ((2, 3, 4, 5), 2), ((5, 100), 1),
    ((0,), 0), ((0, 3), 0), ((0, 3), 1), ((3, 0), 1), ((3, 0), 0), ((2, 0, 3), 2), ((0, 0), 0),
]  # fmt: skip
SEVERAL: list[tuple[tuple[int, ...], int | tuple[int, ...] | None]] = [
    ((), None), ((), ()), ((4,), None), ((3, 5), None), ((3, 5), (0, 1)), ((3, 5, 7), (0, 1)), ((3, 5, 7), (1, 2)),
    ((3, 5, 7), (0, 2)), ((3, 5, 7), (-1, 0)), ((2, 3, 4, 5), (1, 3)), ((2, 3, 4, 5), (0, 2, 3)), ((0, 5, 2), (0, 2)),
]  # fmt: skip
ONE_AXIS = ("logsumexp", "log_softmax", "softmax")


def call(module: Any, name: str, x: np.ndarray, axis: Any) -> np.ndarray:
    function: Callable[..., np.ndarray] = getattr(module, name)
    return function(x, axis, 0.1) if name == "normalise" else function(x, axis)


def agree(name: str, x: np.ndarray, axis: Any) -> None:
    actual, expected = call(kernels, name, x, axis), call(reference, name, x, axis)
    assert actual.dtype == expected.dtype == x.dtype and actual.shape == expected.shape
    assert actual.flags.c_contiguous
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    size = abs(expected) if name != "sum" else reference.sum(abs(x), axis)
    if name in ("logsumexp", "log_softmax", "normalise"):
        size = size + 1  # a difference of numbers about 1
    bound = 24 * np.finfo(x.dtype).eps * size + np.finfo(x.dtype).tiny
    assert np.isfinite(actual[finite]).all()
    assert (abs(actual[finite].astype(np.longdouble) - expected[finite]) <= bound[finite]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sum", "normalise", *ONE_AXIS])
def test_agrees_with_the_reference(name: str, dtype: type, rng: np.random.Generator) -> None:
    for shape, axis in CASES + SEVERAL * (name not in ONE_AXIS):
        if JIT or math.prod(shape) < 300:
            agree(name, np.asarray(3 * rng.standard_normal(shape), dtype), axis)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sum", "normalise", *ONE_AXIS])
def test_any_layout(name: str, dtype: type, rng: np.random.Generator) -> None:
    for shape, axis in (((5, 33), 0), ((5, 33), 1), ((3, 4, 5), 1)):
        x = rng.standard_normal(shape).astype(dtype)
        expected = call(kernels, name, x, axis)
        for layout, y in layouts(x):
            before = y.copy()
            np.testing.assert_array_equal(call(kernels, name, y, axis), expected, layout)
            np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sum", "normalise", *ONE_AXIS])
def test_what_is_not_finite_stays_in_its_row(name: str, dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 40)).astype(dtype)
    x[1, 3] = np.nan
    x[2, 39] = np.inf
    x[3, :2] = -np.inf
    x[4, 5], x[4, 9] = np.inf, -np.inf
    x[5] = -np.inf
    agree(name, x, 1)
    agree(name, np.ascontiguousarray(x.T), 0)
    x = np.where(np.isnan(x), np.copysign(np.nan, -1), x).astype(dtype)  # NaN has a sign, which must not matter
    agree(name, x, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ONE_AXIS)
def test_large_numbers_do_not_overflow(name: str, dtype: type) -> None:
    x = np.array([[1000, 1000.5, 999], [-1000, -1001, -1000], [1e38, 1, -1e38]], dtype)
    for axis, y in ((1, x), (0, np.ascontiguousarray(x.T))):
        assert np.isfinite(call(kernels, name, y, axis)).all()
        agree(name, y, axis)


@pytest.mark.skipif(not JIT, reason="a million additions")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_error_of_a_sum_does_not_grow_with_its_length(axis: int, dtype: type, rng: np.random.Generator) -> None:
    """A million numbers near 1: added one to the next, the error in float32 is a thousand units."""
    x = (1 + rng.random((1_000_000, 1) if axis == 0 else (1, 1_000_000))).astype(dtype)
    wide = np.repeat(x, 3, 1) if axis == 0 else x
    exact = math.fsum(x.ravel())
    assert abs(float(kernels.sum(wide, axis)[0]) - exact) <= 2 * np.finfo(dtype).eps * exact
    naive = np.add.accumulate(x.ravel())[-1]
    assert abs(float(naive) - exact) > 2 * np.finfo(dtype).eps * exact


def test_what_cannot_be_reduced_is_refused() -> None:
    x = np.ones((2, 3), np.float32)
    for name in ("sum", "normalise", *ONE_AXIS):
        with pytest.raises(ValueError, match="axis 2 does not exist in an array of 2 axes"):
            call(kernels, name, x, 2)
        with pytest.raises(TypeError, match=f"^{name}: .*got int64$"):
            call(kernels, name, np.ones((2, 3), np.int64), 1)
