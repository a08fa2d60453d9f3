"""How many units in the last place a kernel is off: over every exponent, both signs, subnormals included.

The distance is from the float32 result to the float64 one, not to its rounding, in units of the spacing of
float32 at the exact result: a correctly rounded function scores 1/2.
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
    return np.where(x < 0, np.exp(np.minimum(x, 0)), 1.0) / (1 + np.exp(-abs(x)))


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def _gelu(x: Any) -> Any:
    return x * scipy.special.ndtr(x)


# name: exact function, greatest error allowed (measured over 70 million numbers, rounded up)
TABLE: dict[str, tuple[Callable[..., Any], float]] = {
    "erf": (scipy.special.erf, 1.1),
    "exp": (np.exp, 1.0),
    "gelu": (_gelu, 6.0),
    "log": (np.log, 0.85),
    "log1p": (np.log1p, 0.85),
    "sigmoid": (_sigmoid, 2.0),
    "softplus": (_softplus, 2.0),
    "tanh": (np.tanh, 1.85),
}


def _every_exponent() -> np.ndarray:
    """Finite float32 at equal steps of their bits: as many in every binade, the subnormals too."""
    step = 1031 if JIT else 1031 * 4001
    bits = np.arange(0, 0x7F800000, step, dtype=np.uint32)
    return np.concatenate([bits, bits | np.uint32(0x80000000)]).view(np.float32)


def _where_it_bends() -> np.ndarray:
    return np.linspace(-20, 20, 200_001 if JIT else 997, dtype=np.float32)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_float32_error(name: str) -> None:
    function, allowed = TABLE[name]
    x = np.concatenate([_every_exponent(), _where_it_bends()])
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64))
        rounded = exact.astype(np.float32)
    actual = getattr(kernels, name)(x)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(rounded))
    np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(rounded))
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(actual[~finite], rounded[~finite])
    unit = np.spacing(np.maximum(abs(rounded[finite]), np.finfo(np.float32).tiny)).astype(np.float64)
    error = abs(actual[finite] - exact[finite]) / unit
    worst = np.argmax(error)
    # without fused multiply-add (plain Python) a little more is lost
    assert error[worst] <= allowed + (0 if JIT else 0.5), f"{error[worst]:.2f} ulp at {x[finite][worst]!r}"


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
