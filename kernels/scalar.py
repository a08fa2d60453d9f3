"""Each elementwise formula once, as a function of one float32.

These are the functions that loops on every device call: plain arithmetic without branches (a conditional
expression becomes a select), so that a compiler turns a loop around them into vector instructions. Three rules
keep it so:

* every constant is a typed float32 or int32: a Python literal would pull the expression to float64;
* integers and exponents are reached by reading the bits of a float (`view`), never by a conversion that is
  undefined for NaN or infinity;
* a comparison is written such that NaN falls through to the result.

The polynomials are minimax fits (Remez exchange in 40 digits, then rounded to float32) over the interval that
the argument reduction leaves; each comment gives the interval and the error of the fit. The argument
reductions are the classical ones: Cody & Waite, Software Manual for the Elementary Functions, 1980.

`scalar64` has the same functions for float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

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

_F = np.float32
_I = np.int32
_ZERO, _HALF, _ONE, _TWO = _F(0.0), _F(0.5), _F(1.0), _F(2.0)
_INF, _NAN = _F(np.inf), _F(np.nan)

# Bits of a float32: 1 of sign, 8 of exponent (offset 127), 23 of mantissa.
_MANTISSA_WIDTH = _I(23)
_MANTISSA = _I(0x007FFFFF)
_SIGN = _I(-0x80000000)
_UPPER_12 = _I(-0x1000)  # drops 12 of the mantissa's bits: the square of what is left is exact


def _bits(x: Any) -> Any:
    """The bits of a float32, as an int32."""
    return np.float32(x).view(np.int32)


def _from_bits(n: Any) -> Any:
    """The float32 that has these bits."""
    return np.int32(n).view(np.float32)


# --- exponentials: x = k ln 2 + r, |r| <= ln(2) / 2, e^x = 2^k e^r ------------------------------------------------

# Adding 1.5 * 2^23 leaves no room for a fraction: the sum's low bits are the nearest integer, and moved up by 23 they
# are the exponent of a power of two. With 1.5 * 2^23 + 127 + n it is that of 2^(k + n): the offset costs nothing.
_ROUNDER = 12582912.0
_LOG2_E = _F(1.4426950408889634)
_LN2_HIGH = _F(0.693359375)  # 10 bits: k * _LN2_HIGH is exact
_LN2_LOW = _F(-2.1219444005469057e-4)
_EXP_LOWEST, _EXP_HIGHEST = _F(-104.0), _F(89.0)  # beyond: 0 and infinity

# (e^r - 1 - r) / r^2 for |r| <= 0.35; error of e^r 2^-28.
_E2, _E3, _E4 = _F(0.49999994), _F(0.16666515), _F(0.041668456)
_E5, _E6 = _F(0.008369419), _F(0.0013813178)


def _remainder(x: Any, k: Any) -> Any:
    """r = x - k ln 2, with ln 2 in two parts."""
    return (x - k * _LN2_HIGH) - k * _LN2_LOW


def _expm1_of_remainder(r: Any) -> Any:
    """e^r - 1 for |r| <= ln(2) / 2."""
    p = (((_E6 * r + _E5) * r + _E4) * r + _E3) * r + _E2
    return r * r * p + r


def _times_exp_of_remainder(scale: Any, r: Any) -> Any:
    """scale e^r = scale r (1 + r / 2 + ...) + scale, the last product and the last sum rounded at once."""
    q = ((((_E6 * r + _E5) * r + _E4) * r + _E3) * r + _E2) * r + _ONE
    return scale * r * q + scale


def _power_of_two(bits: Any) -> Any:
    """The power of two whose exponent, with its offset, the lowest 8 of these bits are."""
    return _from_bits(bits << _MANTISSA_WIDTH)


_TWICE = _F(_ROUNDER + 254.0)


def _exp_of(r: Any, rounded: Any) -> Any:
    """2^k e^r, in two factors so that k may be -150 (subnormal results) and 128 (infinity)."""
    n = _bits(rounded)
    half = _I(n >> _I(1))
    return _times_exp_of_remainder(_power_of_two(half), r) * _power_of_two(_I(n - half))


def _clamped_for_exp(x: Any) -> Any:
    low = _EXP_LOWEST if x < _EXP_LOWEST else x
    return _EXP_HIGHEST if low > _EXP_HIGHEST else low


def exp(x: Any) -> Any:
    """y = e^x."""
    c = _clamped_for_exp(x)
    rounded = c * _LOG2_E + _TWICE
    return _exp_of(_remainder(c, rounded - _TWICE), rounded)


def _exp_of_sum(high: Any, low: Any) -> Any:
    """e^(high + low) for a `low` that would be lost in the sum."""
    c = _clamped_for_exp(high)
    rounded = c * _LOG2_E + _TWICE
    return _exp_of(_remainder(c, rounded - _TWICE) + low, rounded)


_RAISED = _F(_ROUNDER + 127.0 + 64.0)
_LOWERED = _F(_ROUNDER + 127.0 - 64.0)
_TWO_TO_MINUS_64 = _F(2.0**-64)


def _exp_of_negative(x: Any) -> Any:
    """e^x for x <= 0: 2^64 e^x has an exponent for every k, and one more product brings the subnormal results."""
    c = _EXP_LOWEST if x < _EXP_LOWEST else x
    rounded = c * _LOG2_E + _RAISED
    r = _remainder(c, rounded - _RAISED)
    return _times_exp_of_remainder(_power_of_two(_bits(rounded)), r) * _TWO_TO_MINUS_64


def _with_sign_of(y: Any, x: Any) -> Any:
    """|y| with the sign of x, that of a zero included, for y >= 0."""
    return _from_bits(_bits(y) | (_bits(x) & _SIGN))


_TANH_HIGHEST = _F(20.0)  # tanh(10) rounds to 1
_LN2 = _F(0.6931471805599453)  # its error, times the few k that are left, is small beside the rounding of the result
_LESS_ONE = _F(_ROUNDER + 127.0 - 1.0)


def tanh(x: Any) -> Any:
    """y = (e^2x - 1) / (e^2x + 1) = v / (v + 1), v = (e^(2|x|) - 1) / 2: no cancellation at 0, as v keeps its digits.

    With 2|x| = k ln 2 + r, v = 2^(k - 1) (e^r - 1) + (2^(k - 1) - 1/2).
    """
    twice = abs(x) + abs(x)
    c = _TANH_HIGHEST if twice > _TANH_HIGHEST else twice
    rounded = c * _LOG2_E + _LESS_ONE
    scale = _power_of_two(_bits(rounded))
    v = scale * _expm1_of_remainder(c - (rounded - _LESS_ONE) * _LN2) + (scale - _HALF)
    y = v / (v + _ONE)
    return _with_sign_of(y if v > _ONE else v - v * y, x)


_MINUS_LOG2_E = _F(-1.4426950408889634)
_SIGMOID_LOWEST, _SIGMOID_HIGHEST = _F(-104.0), _F(40.0)  # beyond: 0 and 1


def sigmoid(x: Any) -> Any:
    """y = 1 / (1 + e^-x) = s / (s + s e^-x), s = 2^-64: e^-x then overflows nowhere, and y becomes subnormal in time.

    With -x = k ln 2 + r and t = 2^k s, the denominator is t + (t (e^r - 1) + s). As t (e^r - 1) + (t + s) it would lose
    a whole unit where s is half of one of t, at x = -16.7.
    """
    above = _SIGMOID_LOWEST if x < _SIGMOID_LOWEST else x
    c = _SIGMOID_HIGHEST if above > _SIGMOID_HIGHEST else above
    rounded = c * _MINUS_LOG2_E + _LOWERED
    scale = _power_of_two(_bits(rounded))
    e = _expm1_of_remainder(_remainder(-c, rounded - _LOWERED))
    return _TWO_TO_MINUS_64 / (scale + (scale * e + _TWO_TO_MINUS_64))


# --- logarithms: x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), ln x = k ln 2 + ln(1 + f) -----------------------

_SQRT_HALF_BITS = _I(0x3F3504F3)
_SMALLEST_NORMAL = _F(1.1754944e-38)
_TWO_23, _SHIFT_23 = _F(8.388608e06), _F(23.0)

# (ln(1 + f) - f + f^2 / 2) / f^3; relative error of the logarithm 2^-30.
_L3, _L4, _L5 = _F(0.33333313), _F(-0.2500001), _F(0.20002119)
_L6, _L7, _L8 = _F(-0.16667996), _F(0.14219554), _F(-0.1240559)
_L9, _L10, _L11 = _F(0.11888153), _F(-0.11675631), _F(0.06746625)


def _exponent_bits(x: Any) -> Any:
    """k in the upper 9 bits of an int32, the mantissa relative to sqrt(1/2) below."""
    return _I(_bits(x) - _SQRT_HALF_BITS)


def _log_of_parts(bits: Any, k: Any, correction: Any) -> Any:
    """k ln 2 + ln(1 + f) + correction, the smallest terms first."""
    f = _from_bits((bits & _MANTISSA) + _SQRT_HALF_BITS) - _ONE
    p = (((_L11 * f + _L10) * f + _L9) * f + _L8) * f + _L7
    p = (((p * f + _L6) * f + _L5) * f + _L4) * f + _L3
    square = f * f
    small = square * f * p + (k * _LN2_LOW + correction)
    return ((small - _HALF * square) + f) + k * _LN2_HIGH


def log(x: Any) -> Any:
    """y = ln x; -inf at 0, NaN below."""
    tiny = x < _SMALLEST_NORMAL
    bits = _exponent_bits(x * _TWO_23 if tiny else x)
    k = _F(_I(bits >> _MANTISSA_WIDTH)) - (_SHIFT_23 if tiny else _ZERO)
    y = _log_of_parts(bits, k, _ZERO)
    y = y if x > _ZERO else (-_INF if x == _ZERO else _NAN)
    return x if x == _INF else y


def log1p(x: Any) -> Any:
    """y = ln(1 + x) = ln u + (x - (u - 1)) / u, where u is 1 + x rounded: what the rounding lost comes back."""
    u = _ONE + x
    bits = _exponent_bits(u)
    y = _log_of_parts(bits, _F(_I(bits >> _MANTISSA_WIDTH)), (x - (u - _ONE)) / u)
    y = y if u > _ZERO else (-_INF if u == _ZERO else _NAN)
    return x if u == _ONE or u == _INF else y


# (ln((1 + s) / (1 - s)) - 2 s) / s^3 in s^2, 0 <= s <= 1/3; relative error of the logarithm 2^-27.7.
_A3, _A5, _A7, _A9 = _F(0.6666642), _F(0.40021527), _F(0.28001806), _F(0.28011987)


def _log1p_of_unit(e: Any) -> Any:
    """ln(1 + e) for 0 <= e <= 1, with s = e / (2 + e): 2 atanh(s) = 2 s + s^3 P(s^2), and 2 s = e - s e."""
    s = e / (_TWO + e)
    z = s * s
    p = ((_A9 * z + _A7) * z + _A5) * z + _A3
    return e - s * (e - z * p)


def softplus(x: Any) -> Any:
    """y = ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)."""
    return (x if x > _ZERO else _ZERO) + _log1p_of_unit(_exp_of_negative(-abs(x)))


def bernoulli_nll(logit: Any, x: Any) -> Any:
    """y = ln(1 + e^logit) - x logit = max(logit, 0) - x logit + ln(1 + e^-|logit|): exact where x is 0 or 1."""
    return ((logit if logit > _ZERO else _ZERO) - x * logit) + _log1p_of_unit(_exp_of_negative(-abs(logit)))


# --- the normal distribution ----------------------------------------------------------------------------------------

# erf(x) / x - 1 in x^2 for |x| <= 1; relative error 2^-29.
_S0, _S1, _S2, _S3 = _F(0.12837917), _F(-0.37612626), _F(0.112835854), _F(-0.026853811)
_S4, _S5, _S6 = _F(0.0051883273), _F(-0.0008010189), _F(7.853844e-05)

# ln(1 - erf(x)) for 1 <= x <= 4; relative error of erf 2^-35.
_B0, _B1, _B2, _B3 = _F(0.00018846188), _F(-1.1295803), _F(-0.63321644), _F(-0.10842204)
_B4, _B5, _B6, _B7 = _F(0.025210302), _F(-0.004205271), _F(0.00044146986), _F(-2.1697379e-05)
_ERF_HIGHEST = _F(4.0)  # erf(4) rounds to 1


def erf(x: Any) -> Any:
    """y = 2/sqrt(pi) * integral from 0 to x of e^(-t^2) dt."""
    a = abs(x)
    z = x * x
    p = (((((_S6 * z + _S5) * z + _S4) * z + _S3) * z + _S2) * z + _S1) * z + _S0
    inner = x * p + x
    c = _ERF_HIGHEST if a > _ERF_HIGHEST else a
    q = ((((((_B7 * c + _B6) * c + _B5) * c + _B4) * c + _B3) * c + _B2) * c + _B1) * c + _B0
    outer = _with_sign_of(_ONE - _exp_of_negative(q), x)
    return inner if a < _ONE else outer


# Phi(-t) e^(t^2/2) (t + K) in q = (t - K) / (t + K), 0 <= t <= 15; relative error 2^-27. The mapping is that of
# Shepherd & Laframboise, Chebyshev Approximation of (1 + 2x) exp(x^2) erfc x, Math. Comp. 36, 1981.
_K = _F(3.5)
_T0, _T1, _T2, _T3 = _F(0.74441606), _F(-0.5655617), _F(0.3154251), _F(-0.11605317)
_T4, _T5, _T6 = _F(0.017405821), _F(0.0064937267), _F(-0.0031728295)
_T7, _T8, _T9 = _F(-0.0004950395), _F(0.0004183242), _F(0.000108694025)
_GELU_HIGHEST = _F(15.0)  # 15 Phi(-15) rounds to 0


def gelu(x: Any) -> Any:
    """y = x Phi(x) = max(x, 0) - |x| Phi(-|x|), so that the left tail keeps its digits.

    The square of t is split as h^2 + (t - h)(t + h), h the upper half of t: an error in t^2 / 2 would be a
    relative error of the result.
    """
    a = abs(x)
    t = _GELU_HIGHEST if a > _GELU_HIGHEST else a
    r = _ONE / (t + _K)
    q = (t - _K) * r
    p = (((_T9 * q + _T8) * q + _T7) * q + _T6) * q + _T5
    p = ((((p * q + _T4) * q + _T3) * q + _T2) * q + _T1) * q + _T0
    h = _from_bits(_bits(t) & _UPPER_12)
    density = _exp_of_sum(-_HALF * (h * h), -_HALF * ((t - h) * (t + h)))
    return (x if x > _ZERO else _ZERO) - (t * (p * r)) * density


_INV_SQRT_2PI = _F(0.3989422804014327)


def gelu_slope(g: Any, x: Any) -> Any:
    """y = g (Phi(x) + x phi(x)): the cotangent of `gelu`, with the Phi(-t) = p r e^(-t^2/2) of there.

    Left of 0 the slope is e^(-t^2/2) (p r - t / sqrt(2 pi)), right of it one minus that. The lines are those of
    `gelu`, so that a loop over both computes them once.
    """
    a = abs(x)
    t = _GELU_HIGHEST if a > _GELU_HIGHEST else a
    r = _ONE / (t + _K)
    q = (t - _K) * r
    p = (((_T9 * q + _T8) * q + _T7) * q + _T6) * q + _T5
    p = ((((p * q + _T4) * q + _T3) * q + _T2) * q + _T1) * q + _T0
    h = _from_bits(_bits(t) & _UPPER_12)
    density = _exp_of_sum(-_HALF * (h * h), -_HALF * ((t - h) * (t + h)))
    w = density * (p * r - t * _INV_SQRT_2PI)
    return g * (_ONE - w if x > _ZERO else w)


# --- piecewise linear -----------------------------------------------------------------------------------------------


def leaky_relu(x: Any, slope: Any) -> Any:
    """y = x where x > 0, else slope x: the derivative at 0 is `slope`."""
    return x if x > _ZERO else slope * x


def gate(g: Any, x: Any, slope: Any) -> Any:
    """y = g where x > 0, else slope g: the cotangent of `leaky_relu`."""
    return g if x > _ZERO else slope * g


FORMULAS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (bernoulli_nll, erf, exp, gate, gelu, gelu_slope, leaky_relu, log, log1p, sigmoid, softplus, tanh)
}
"""The public formulas by name."""

HELPERS: tuple[Callable[..., Any], ...] = (
    _bits,
    _from_bits,
    _remainder,
    _expm1_of_remainder,
    _times_exp_of_remainder,
    _power_of_two,
    _exp_of,
    _clamped_for_exp,
    _exp_of_sum,
    _exp_of_negative,
    _with_sign_of,
    _exponent_bits,
    _log_of_parts,
    _log1p_of_unit,
)
"""What the formulas are made of: a compiler of formulas must know these as well."""
