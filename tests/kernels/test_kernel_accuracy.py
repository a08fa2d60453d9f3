"""How many units in the last place a kernel is off: over every exponent, both signs, subnormals included.

The distance is from the float32 result to the float64 one, not to its rounding, in units of the spacing of
float32 at the exact result: a correctly rounded function scores 1/2. So for float64, against 64 bits of mantissa where
the processor has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
from kernel_cases import JIT

from minigen import kernels


def _sigmoid(x: Any) -> Any:
    return np.where(x < 0, np.exp(np.minimum(x, 0)), x.dtype.type(1)) / (1 + np.exp(-abs(x)))


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def _gelu(x: Any) -> Any:
    return x * scipy.special.ndtr(x)


# name: exact function, greatest error allowed (measured over 70 million numbers, rounded up)
TABLE: dict[str, tuple[Callable[..., Any], float]] = {
    "erf": (scipy.special.erf, 1.15),
    "exp": (np.exp, 0.9),
    "gelu": (_gelu, 6.0),
    "log": (np.log, 0.85),
    "log1p": (np.log1p, 0.85),
    "sigmoid": (_sigmoid, 2.0),
    "softplus": (_softplus, 1.75),
    "tanh": (np.tanh, 1.85),
}


# the same for float64, measured over 7 million numbers; the others are the C library's
TABLE64 = {"exp": 0.9, "sigmoid": 2.0, "softplus": 1.8, "tanh": 2.15}


def _every_exponent(dtype: type) -> np.ndarray:
    """Finite numbers at equal steps of their bits: as many in every binade, the subnormals too."""
    infinity, word = np.array(np.inf, dtype), {4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    count = 2_000_000 if JIT and dtype == np.float32 else 200_000 if JIT else 500
    bits = np.arange(0, infinity.view(word), int(infinity.view(word)) // count | 1, dtype=word)
    return np.concatenate([bits.view(dtype), -bits.view(dtype)])


def _where_it_bends(dtype: type) -> np.ndarray:
    return np.concatenate([np.linspace(-end, end, 200_001 if JIT else 997, dtype=dtype) for end in (2, 20)])


def _assert_accurate(actual: np.ndarray, exact: np.ndarray, allowed: float, x: np.ndarray) -> None:
    """NaN and infinity where the exact result, rounded, has them; else no more than `allowed` units off."""
    dtype = actual.dtype
    with np.errstate(all="ignore"):
        rounded = exact.astype(dtype)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(rounded))
    np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(rounded))
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(actual[~finite], rounded[~finite])
    unit = np.spacing(np.maximum(abs(rounded[finite]), np.finfo(dtype).tiny)).astype(exact.dtype)
    error = abs(actual[finite] - exact[finite]) / unit
    worst = np.argmax(error)
    # without fused multiply-add (plain Python) a little more is lost
    assert error[worst] <= allowed + (0 if JIT else 0.5), f"{error[worst]:.2f} ulp at {x[finite][worst]!r}"


@pytest.mark.parametrize("name", sorted(TABLE))
def test_float32_error(name: str) -> None:
    function, allowed = TABLE[name]
    x = np.concatenate([_every_exponent(np.float32), _where_it_bends(np.float32)])
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64))
    _assert_accurate(getattr(kernels, name)(x), exact, allowed, x)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="nothing more exact to compare with")
@pytest.mark.parametrize("name", sorted(TABLE64))
def test_float64_error_over_every_exponent(name: str) -> None:
    x = np.concatenate([_every_exponent(np.float64), _where_it_bends(np.float64), np.linspace(-746, 710, 20_001)])
    with np.errstate(all="ignore"):
        exact = TABLE[name][0](x.astype(np.longdouble))
    _assert_accurate(getattr(kernels, name)(x), exact, TABLE64[name], x)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_float64_error(name: str) -> None:
    """Against scipy and NumPy, themselves good to a few units."""
    function, _ = TABLE[name]
    x = np.linspace(-30, 30, 20_001 if JIT else 501)
    x = abs(x) if name.startswith("log") else x
    with np.errstate(all="ignore"):
        exact = function(x)
    # the left tail of gelu inherits x^2 / 2 times the rounding of x / sqrt(2)
    scale = 4 + (x * x if name == "gelu" else 0)
    actual = getattr(kernels, name)(x)
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(finite, np.isfinite(actual))
    unit = scale * np.finfo(np.float64).eps * abs(exact) + np.finfo(np.float64).tiny
    assert (abs(actual[finite] - exact[finite]) <= unit[finite]).all()
