"""The formulas of `scalar` for one float64.

Those of exponentials are built as in `scalar`, with longer polynomials, and become vector instructions like them;
log, log1p and the normal distribution are the C library's, one number at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .scalar import gate, leaky_relu

__all__ = [
    "FORMULAS",
    "HELPERS",
    "bernoulli_nll",
    "erf",
    "exp",
    "gate",
    "gelu",
    "gelu_slope",
    "leaky_relu",
    "log",
    "log1p",
    "sigmoid",
    "softplus",
    "tanh",
]

_F = np.float64
_I = np.int64
_ZERO, _HALF, _ONE, _TWO = _F(0.0), _F(0.5), _F(1.0), _F(2.0)

# Bits of a float64: 1 of sign, 11 of exponent (offset 1023), 52 of mantissa.
_MANTISSA_WIDTH = _I(52)
_SIGN = _I(-0x8000000000000000)


def _bits(x: Any) -> Any:
    """The bits of a float64, as an int64."""
    return np.float64(x).view(np.int64)


def _from_bits(n: Any) -> Any:
    """The float64 that has these bits."""
    return np.int64(n).view(np.float64)


# --- exponentials: x = k ln 2 + r, |r| <= ln(2) / 2, e^x = 2^k e^r ------------------------------------------------

# Adding 1.5 * 2^52 leaves no room for a fraction: the sum's low bits are the nearest integer, and moved up by 52 they
# are the exponent of a power of two. With 1.5 * 2^52 + 1023 + n it is that of 2^(k + n).
_ROUNDER = 6755399441055744.0
_LOG2_E = _F(1.4426950408889634)
_LN2_HIGH = _F(0.6931471803691238)  # 33 bits: k * _LN2_HIGH is exact
_LN2_LOW = _F(1.9082149292705877e-10)
_EXP_LOWEST, _EXP_HIGHEST = _F(-746.0), _F(710.0)  # beyond: 0 and infinity

# (e^r - 1 - r) / r^2 for |r| <= 0.3467; error of e^r 2^-56.
_E2, _E3, _E4 = _F(0.5000000000000011), _F(0.16666666666666413), _F(0.04166666666652987)
_E5, _E6, _E7 = _F(0.008333333333494805), _F(0.0013888888943716766), _F(0.00019841269506038018)
_E8, _E9 = _F(2.480149299933979e-05), _F(2.7557586669932623e-06)
_E10, _E11 = _F(2.763028696109763e-07), _F(2.500002853511047e-08)


def _remainder(x: Any, k: Any) -> Any:
    """r = x - k ln 2, with ln 2 in two parts."""
    return (x - k * _LN2_HIGH) - k * _LN2_LOW


def _tail_of_remainder(r: Any) -> Any:
    """(e^r - 1 - r) / r^2 for |r| <= ln(2) / 2."""
    p = ((((_E11 * r + _E10) * r + _E9) * r + _E8) * r + _E7) * r + _E6
    return (((p * r + _E5) * r + _E4) * r + _E3) * r + _E2


def _expm1_of_remainder(r: Any) -> Any:
    """e^r - 1 for |r| <= ln(2) / 2."""
    return r * r * _tail_of_remainder(r) + r


def _times_exp_of_remainder(scale: Any, r: Any) -> Any:
    """scale e^r = scale r (1 + r / 2 + ...) + scale, the last product and the last sum rounded at once."""
    return scale * r * (_tail_of_remainder(r) * r + _ONE) + scale


def _power_of_two(bits: Any) -> Any:
    """The power of two whose exponent, with its offset, the lowest 11 of these bits are."""
    return _from_bits(bits << _MANTISSA_WIDTH)


_TWICE = _F(_ROUNDER + 2046.0)


def exp(x: Any) -> Any:
    """y = e^x; 2^k is two factors, so that k may be -1076 (subnormal results) and 1024 (infinity)."""
    above = _EXP_LOWEST if x < _EXP_LOWEST else x
    c = _EXP_HIGHEST if above > _EXP_HIGHEST else above
    rounded = c * _LOG2_E + _TWICE
    n = _bits(rounded)
    half = _I(n >> _I(1))
    r = _remainder(c, rounded - _TWICE)
    return _times_exp_of_remainder(_power_of_two(half), r) * _power_of_two(_I(n - half))


_RAISED = _F(_ROUNDER + 1023.0 + 512.0)
_LOWERED = _F(_ROUNDER + 1023.0 - 512.0)
_TWO_TO_MINUS_512 = _F(2.0**-512)


def _exp_of_negative(x: Any) -> Any:
    """e^x for x <= 0: 2^512 e^x has an exponent for every k, and one more product brings the subnormal results."""
    c = _EXP_LOWEST if x < _EXP_LOWEST else x
    rounded = c * _LOG2_E + _RAISED
    r = _remainder(c, rounded - _RAISED)
    return _times_exp_of_remainder(_power_of_two(_bits(rounded)), r) * _TWO_TO_MINUS_512


_TANH_HIGHEST = _F(40.0)  # tanh(20) rounds to 1
_LESS_ONE = _F(_ROUNDER + 1023.0 - 1.0)


def tanh(x: Any) -> Any:
    """y = (e^2x - 1) / (e^2x + 1) = v / (v + 1), v = (e^(2|x|) - 1) / 2: no cancellation at 0, as v keeps its digits.

    With 2|x| = k ln 2 + r, v = 2^(k - 1) (e^r - 1) + (2^(k - 1) - 1/2).
    """
    twice = abs(x) + abs(x)
    c = _TANH_HIGHEST if twice > _TANH_HIGHEST else twice
    rounded = c * _LOG2_E + _LESS_ONE
    scale = _power_of_two(_bits(rounded))
    v = scale * _expm1_of_remainder(_remainder(c, rounded - _LESS_ONE)) + (scale - _HALF)
    y = v / (v + _ONE)
    return _from_bits(_bits(y if v > _ONE else v - v * y) | (_bits(x) & _SIGN))


_MINUS_LOG2_E = _F(-1.4426950408889634)
_SIGMOID_LOWEST, _SIGMOID_HIGHEST = _F(-746.0), _F(40.0)  # beyond: 0 and 1


def sigmoid(x: Any) -> Any:
    """y = 1 / (1 + e^-x) = s / (s + s e^-x), s = 2^-512: e^-x then overflows nowhere, and y becomes subnormal in time.

    With -x = k ln 2 + r and t = 2^k s, the denominator is t + (t (e^r - 1) + s).
    """
    above = _SIGMOID_LOWEST if x < _SIGMOID_LOWEST else x
    c = _SIGMOID_HIGHEST if above > _SIGMOID_HIGHEST else above
    rounded = c * _MINUS_LOG2_E + _LOWERED
    scale = _power_of_two(_bits(rounded))
    e = _expm1_of_remainder(_remainder(-c, rounded - _LOWERED))
    return _TWO_TO_MINUS_512 / (scale + (scale * e + _TWO_TO_MINUS_512))


# (ln((1 + s) / (1 - s)) - 2 s) / s^3 in s^2, 0 <= s <= 1/3; relative error of the logarithm 2^-59.
_A3, _A5, _A7 = _F(0.6666666666666631), _F(0.40000000000155117), _F(0.2857142854811789)
_A9, _A11, _A13 = _F(0.22222223953653955), _F(0.18181744478817524), _F(0.1538654839776973)
_A15, _A17 = _F(0.133011213178852), _F(0.12104945347461324)
_A19, _A21 = _F(0.08344969713374241), _F(0.17009759714077063)


def _log1p_of_unit(e: Any) -> Any:
    """ln(1 + e) for 0 <= e <= 1, with s = e / (2 + e): 2 atanh(s) = 2 s + s^3 P(s^2), and 2 s = e - s e."""
    s = e / (_TWO + e)
    z = s * s
    p = ((((_A21 * z + _A19) * z + _A17) * z + _A15) * z + _A13) * z + _A11
    p = (((p * z + _A9) * z + _A7) * z + _A5) * z + _A3
    return e - s * (e - z * p)


def softplus(x: Any) -> Any:
    """y = ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)."""
    return (x if x > _ZERO else _ZERO) + _log1p_of_unit(_exp_of_negative(-abs(x)))


def bernoulli_nll(logit: Any, x: Any) -> Any:
    """y = ln(1 + e^logit) - x logit = max(logit, 0) - x logit + ln(1 + e^-|logit|): exact where x is 0 or 1."""
    return ((logit if logit > _ZERO else _ZERO) - x * logit) + _log1p_of_unit(_exp_of_negative(-abs(logit)))


# --- logarithms and the normal distribution, by the C library -----------------------------------------------------

# NumPy's functions, not those of `math`: in plain Python `math.log(0.0)` raises.
_SQRT_HALF = _F(0.7071067811865476)
_INV_SQRT_2PI = _F(0.3989422804014327)
_LOWEST = _F(-40.0)  # 40 Phi(-40) rounds to 0


def log(x: Any) -> Any:
    """y = ln x; -inf at 0, NaN below."""
    return np.log(x)


def log1p(x: Any) -> Any:
    """y = ln(1 + x)."""
    return np.log1p(x)


def erf(x: Any) -> Any:
    """y = 2/sqrt(pi) * integral from 0 to x of e^(-t^2) dt."""
    return math.erf(x)


def gelu(x: Any) -> Any:
    """y = x Phi(x) = x erfc(-x / sqrt 2) / 2.

    The rounding of x / sqrt(2) costs x^2 units in the last place in the left tail, where y is nearly 0.
    """
    c = _LOWEST if x < _LOWEST else x
    return 0.5 * c * math.erfc(-c * _SQRT_HALF)


def gelu_slope(g: Any, x: Any) -> Any:
    """y = g (Phi(x) + x phi(x)): the cotangent of `gelu`."""
    low = _LOWEST if x < _LOWEST else x
    c = -_LOWEST if low > -_LOWEST else low
    return g * (0.5 * math.erfc(-c * _SQRT_HALF) + c * np.exp(-0.5 * c * c) * _INV_SQRT_2PI)


FORMULAS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (bernoulli_nll, erf, exp, gate, gelu, gelu_slope, leaky_relu, log, log1p, sigmoid, softplus, tanh)
}
"""The public formulas by name."""

HELPERS: tuple[Callable[..., Any], ...] = (
    _bits,
    _from_bits,
    _remainder,
    _tail_of_remainder,
    _expm1_of_remainder,
    _times_exp_of_remainder,
    _power_of_two,
    _exp_of_negative,
    _log1p_of_unit,
)
"""What the formulas are made of: a compiler of formulas must know these as well."""
