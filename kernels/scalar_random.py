"""Random numbers as scalar functions: Philox's words, and how words become uniform and normal numbers.

Salmon, Moraes, Dror & Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011. The generator has no state:
block i of a draw is a function of (seed, draw, i), so any device, in any order, gives the same words.

The conversions use only operations that IEEE 754 rounds correctly (+ - * / sqrt and integer to float), must be
compiled without contraction, and so give the same bits everywhere. Words travel in uint64, so that Numba and
NumPy agree on the type of every intermediate result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "FORMULAS",
    "normal_pair_32",
    "normal_pair_64",
    "philox",
    "uniform_32",
    "uniform_64",
]

_U = np.uint64
_LOW = _U(0xFFFFFFFF)
_HALF_WIDTH = _U(32)
_MULTIPLIER_0, _MULTIPLIER_1 = _U(0xD2511F53), _U(0xCD9E8D57)
_WEYL_0, _WEYL_1 = _U(0x9E3779B9), _U(0xBB67AE85)  # added to the key each round: golden ratio, sqrt(3) - 1


def philox(seed: Any, draw: Any, block: Any) -> Any:
    """Philox4x32-10 (section 3.3): the four 32-bit words of a block, each in a uint64.

    Key: the words of `seed`. Counter: the words of `block`, then those of `draw`, low word first.
    """
    k0, k1 = seed & _LOW, seed >> _HALF_WIDTH
    c0, c1 = block & _LOW, block >> _HALF_WIDTH
    c2, c3 = draw & _LOW, draw >> _HALF_WIDTH
    for _ in range(10):
        a, b = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (b >> _HALF_WIDTH) ^ c1 ^ k0, b & _LOW, (a >> _HALF_WIDTH) ^ c3 ^ k1, a & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


def uniform_32(word: Any) -> Any:
    """U[0, 1) in float32: the upper 24 bits of the word."""
    return np.float32(word >> _U(8)) * np.float32(2.0**-24)


def uniform_64(high: Any, low: Any) -> Any:
    """U[0, 1) in float64: the upper 53 bits of the two words."""
    return np.float64((high << _HALF_WIDTH | low) >> _U(11)) * np.float64(2.0**-53)


# --- normal numbers: Box & Muller 1958, z0 = r cos a, z1 = r sin a, r = sqrt(-2 ln u), a = 2 pi v ----------------
#
# ln u = k ln 2 + ln(1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), the parts read from the bits of u. The angle is
# (quadrant + t) pi / 2 with |t| <= 1/2, both read from the bits of v. Polynomials are minimax fits as in
# `scalar`; the errors given are absolute.

_F = np.float32
_ONE_32, _MINUS_2_32, _HALF_32 = _F(1.0), _F(-2.0), _F(0.5)
_LN2_HIGH_32, _LN2_LOW_32 = _F(0.693359375), _F(-2.1219444005469057e-4)
_SQRT_HALF_32, _MANTISSA_32 = np.int32(0x3F3504F3), np.int32(0x007FFFFF)

# (ln(1 + f) - f + f^2 / 2) / f^3; relative error of the logarithm 2^-27.
_L3, _L4, _L5, _L6 = _F(0.3333333), _F(-0.25000823), _F(0.20001228), _F(-0.16623358)
_L7, _L8, _L9, _L10 = _F(0.1420173), _F(-0.13160151), _F(0.12761736), _F(-0.07634766)

# sin(pi t / 2) / t, error 2^-28, and cos(pi t / 2), error 2^-34, in t^2 for |t| <= 1/2.
_S1, _S3, _S5, _S7 = _F(1.5707964), _F(-0.6459635), _F(0.07968023), _F(-0.004602177)
_C2, _C4, _C6, _C8 = _F(-1.2337005), _F(0.2536692), _F(-0.020860072), _F(0.0009036317)


def normal_pair_32(first: Any, second: Any) -> Any:
    """Two independent N(0, 1) in float32 from two words. u = (first + 1/2) 2^-32, so that |z| <= 6.77."""
    u = np.float32(first) * _F(2.0**-32) + _F(2.0**-33)
    bits = np.int32(np.float32(u).view(np.int32) - _SQRT_HALF_32)
    k = np.float32(np.int32(bits >> np.int32(23)))
    f = np.int32((bits & _MANTISSA_32) + _SQRT_HALF_32).view(np.float32) - _ONE_32
    p = (((_L10 * f + _L9) * f + _L8) * f + _L7) * f + _L6
    p = ((p * f + _L5) * f + _L4) * f + _L3
    square = f * f
    log = (((square * f * p + k * _LN2_LOW_32) - _HALF_32 * square) + f) + k * _LN2_HIGH_32
    r = np.sqrt(_MINUS_2_32 * log)

    turned = (second + _U(0x20000000)) & _LOW
    quadrant = turned >> _U(30)
    t = np.float32(np.int64(turned & _U(0x3FFFFFFF)) - np.int64(0x20000000)) * _F(2.0**-30)
    z = t * t
    sine = (((_S7 * z + _S5) * z + _S3) * z + _S1) * t * r
    cosine = ((((_C8 * z + _C6) * z + _C4) * z + _C2) * z + _ONE_32) * r
    odd = (quadrant & _U(1)) == _U(1)
    x, y = sine if odd else cosine, cosine if odd else sine
    return (-x if ((quadrant + _U(1)) & _U(2)) == _U(2) else x), (-y if quadrant >= _U(2) else y)


_D = np.float64
_ONE_64, _TWO_64, _MINUS_2_64 = _D(1.0), _D(2.0), _D(-2.0)
_LN2_HIGH_64, _LN2_LOW_64 = _D(0.6931471803691238), _D(1.9082149292705877e-10)  # 32 bits, and the rest
_SQRT_HALF_64, _MANTISSA_64 = np.int64(0x3FE6A09E667F3BCD), np.int64(0x000FFFFFFFFFFFFF)

# (ln((1 + s) / (1 - s)) - 2 s) / s^3 in s^2; relative error of the logarithm 2^-59.
_A3, _A5 = _D(0.6666666666666734), _D(0.39999999999414365)
_A7, _A9 = _D(0.28571428742465566), _D(0.22222198564379644)
_A11, _A13, _A15 = _D(0.18183564823008747), _D(0.1531403688651393), _D(0.14796095513490246)

# sin(pi t / 2) / t, error 2^-68, and cos(pi t / 2), error 2^-75, in t^2 for |t| <= 1/2.
_P1, _P3 = _D(1.5707963267948966), _D(-0.6459640975062463)
_P5, _P7 = _D(0.07969262624616692), _D(-0.0046817541353148286)
_P9, _P11 = _D(0.00016044118472668972), _D(-3.5988427172469656e-06)
_P13, _P15 = _D(5.6919278801928043e-08), _D(-6.627628333551513e-10)
_Q2, _Q4 = _D(-1.2337005501361697), _D(0.25366950790104803)
_Q6, _Q8 = _D(-0.020863480763352916), _D(0.0009192602748385333)
_Q10, _Q12 = _D(-2.5202042362735573e-05), _D(4.71087407764438e-07)
_Q14, _Q16 = _D(-6.386325490092512e-09), _D(6.506656917775674e-11)


def normal_pair_64(w0: Any, w1: Any, w2: Any, w3: Any) -> Any:
    """Two independent N(0, 1) in float64 from four words. u = (53 bits + 1) 2^-53, so that |z| <= 8.58."""
    u = (np.float64((w0 << _HALF_WIDTH | w1) >> _U(11)) + _ONE_64) * _D(2.0**-53)
    bits = np.float64(u).view(np.int64) - _SQRT_HALF_64
    k = np.float64(bits >> np.int64(52))
    f = np.int64((bits & _MANTISSA_64) + _SQRT_HALF_64).view(np.float64) - _ONE_64
    s = f / (_TWO_64 + f)
    z = s * s
    p = ((((((_A15 * z + _A13) * z + _A11) * z + _A9) * z + _A7) * z + _A5) * z + _A3) * z
    log = ((f - s * (f - p)) + k * _LN2_LOW_64) + k * _LN2_HIGH_64
    r = np.sqrt(_MINUS_2_64 * log)

    turned = (w2 << _HALF_WIDTH | w3) + _U(0x2000000000000000)  # modulo 2^64, as angles are modulo a turn
    quadrant = turned >> _U(62)
    t = np.float64(np.int64(turned & _U(0x3FFFFFFFFFFFFFFF)) - np.int64(0x2000000000000000)) * _D(2.0**-62)
    z = t * t
    sine = ((((_P15 * z + _P13) * z + _P11) * z + _P9) * z + _P7) * z
    sine = (((sine + _P5) * z + _P3) * z + _P1) * t * r
    cosine = ((((_Q16 * z + _Q14) * z + _Q12) * z + _Q10) * z + _Q8) * z
    cosine = ((((cosine + _Q6) * z + _Q4) * z + _Q2) * z + _ONE_64) * r
    odd = (quadrant & _U(1)) == _U(1)
    x, y = sine if odd else cosine, cosine if odd else sine
    return (-x if ((quadrant + _U(1)) & _U(2)) == _U(2) else x), (-y if quadrant >= _U(2) else y)


FORMULAS: tuple[Callable[..., Any], ...] = (philox, uniform_32, uniform_64, normal_pair_32, normal_pair_64)
"""What a compiler of formulas must know, for compilation without contraction."""
