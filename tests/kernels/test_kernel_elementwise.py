"""Elementwise kernels against their references: shapes, layouts, special values, manners."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import DTYPES, ELEMENTWISE, SHAPES, arguments, assert_same, layouts

from minigen import kernels
from minigen.kernels import reference

NAMES = sorted(ELEMENTWISE)
RTOL = {np.float32: 1e-6, np.float64: 4e-15}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_reference_in_every_layout(name: str, shape: tuple[int, ...], dtype: type) -> None:
    x = np.asarray(2 * np.random.default_rng(1).standard_normal(shape), dtype)
    plain = arguments(name, x)
    expected = getattr(reference, name)(*plain)
    # x * logit may be fused with the sum: the error is relative to the terms, not to their difference; and the slope
    # of gelu has a root at -0.75, where its terms cancel
    atol = 4 * np.finfo(dtype).eps if name in ("bernoulli_nll", "gelu_slope") else 0.0
    # Phi(x) is ill-conditioned far to the left: rounding x by eps changes it by x^2 eps
    rtol = RTOL[dtype] * (5 if name == "gelu" else 1)
    for number, (layout, _) in enumerate(layouts(x)):
        given = arguments(name, x, lambda a, number=number: list(layouts(a))[number][1])
        before = [np.copy(a) for a in given]
        actual = getattr(kernels, name)(*given)
        assert_same(actual, expected, rtol, atol)
        assert actual.flags.c_contiguous and actual.flags.writeable, layout
        for a, b in zip(given, before, strict=True):
            np.testing.assert_array_equal(a, b)
            assert not np.may_share_memory(actual, a)


SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 88.9, -88.9, -104.5, 3e38, -3e38]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_special_values_are_those_of_ieee(name: str, dtype: type) -> None:
    x = np.array(SPECIAL, dtype)
    scalars, arrays = ELEMENTWISE[name]
    given = (*(x, np.full_like(x, 0.5))[:arrays], *scalars)
    tiny = np.finfo(dtype).smallest_subnormal
    assert_same(getattr(kernels, name)(*given), getattr(reference, name)(*given), 4e-6, 4 * tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["erf", "log1p", "tanh"])
def test_odd_functions_keep_the_sign_of_zero(name: str, dtype: type) -> None:
    signs = np.signbit(getattr(kernels, name)(np.array([0.0, -0.0], dtype)))
    np.testing.assert_array_equal(signs, [False, True])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_slope_at_zero_is_the_given_one(dtype: type) -> None:
    x, g = np.array([-1.0, 0.0, -0.0, 2.0], dtype), np.array([1.0, 3.0, 5.0, 7.0], dtype)
    np.testing.assert_array_equal(kernels.gate(g, x, 0.25), np.array([0.25, 0.75, 1.25, 7.0], dtype))
    np.testing.assert_array_equal(kernels.leaky_relu(x, 0.0), np.array([0.0, 0.0, 0.0, 2.0], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_nll_is_finite_and_exact_far_from_the_decision(dtype: type) -> None:
    logit = np.array([1000.0, -1000.0, 1000.0, -1000.0], dtype)
    x = np.array([1.0, 0.0, 0.0, 1.0], dtype)
    np.testing.assert_array_equal(kernels.bernoulli_nll(logit, x), np.array([0.0, 0.0, 1000.0, 1000.0], dtype))


def test_a_number_does_not_depend_on_its_place() -> None:
    """Vector body and scalar remainder of a loop must round alike."""
    x = np.random.default_rng(2).standard_normal(67).astype(np.float32)
    for name in NAMES:
        whole = getattr(kernels, name)(*arguments(name, x))
        for i in (0, 31, 64, 66):
            given = [a[i : i + 1] if isinstance(a, np.ndarray) else a for a in arguments(name, x)]
            np.testing.assert_array_equal(getattr(kernels, name)(*given), whole[i : i + 1])


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.complex64, np.dtype(">f4"), bool], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes_are_refused_in_one_line(name: str, dtype: type) -> None:
    scalars, arrays = ELEMENTWISE[name]
    with pytest.raises(TypeError, match=rf"^{name}: .*float32 or float64, got {np.dtype(dtype)}$"):
        getattr(kernels, name)(*[np.ones(3, dtype)] * arrays, *scalars)


@pytest.mark.parametrize("name", ["gate", "bernoulli_nll"])
def test_operands_must_be_alike(name: str) -> None:
    scalars, _ = ELEMENTWISE[name]
    kernel = getattr(kernels, name)
    with pytest.raises(ValueError, match=rf"{name}: .*\(3,\) and \(1, 3\)"):
        kernel(np.ones(3), np.ones((1, 3)), *scalars)
    with pytest.raises(TypeError, match=rf"{name}: .*float64 and float32"):
        kernel(np.ones(3), np.ones(3, np.float32), *scalars)
