"""The contract of every kernel, in plain NumPy.

Each function here has the name and the signature of a public kernel and says what that kernel computes.
Nothing is fast and nothing is shared with the formulas of `scalar.py`: the elementwise functions work in
float64 through NumPy and `math`, and round once, so that a float32 kernel can be held against a correctly
rounded result. The random numbers are the exception that the contract demands: they are defined bit by bit,
so the reference is the same sequence of IEEE operations, on whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "adam",
    "bernoulli_nll",
    "cross_entropy",
    "cross_entropy_grad",
    "ema",
    "erf",
    "exp",
    "gate",
    "gelu",
    "gelu_slope",
    "leaky_relu",
    "log",
    "log1p",
    "log_softmax",
    "logsumexp",
    "matmul",
    "normal",
    "normalise",
    "normalise_rows_grad",
    "random_bits",
    "rmsprop",
    "self_attention",
    "self_attention_grad",
    "sgd",
    "sigmoid",
    "softmax",
    "softplus",
    "sum",
    "tanh",
    "uniform",
]

Array = NDArray[Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _through_float64(function: Callable[..., Any], *arrays: Array) -> Array:
    """Evaluate in float64 and round once to the dtype of the arrays."""
    dtype = arrays[0].dtype
    with np.errstate(all="ignore"):
        return np.array(function(*(a.astype(np.float64) for a in arrays)), dtype=dtype, order="C")


# --- elementwise -----------------------------------------------------------------------------------------------


def exp(x: Array) -> Array:
    """y = e^x."""
    return _through_float64(np.exp, x)


def log(x: Array) -> Array:
    """y = ln x: -inf at 0, NaN below."""
    return _through_float64(np.log, x)


def log1p(x: Array) -> Array:
    """y = ln(1 + x), accurate near 0."""
    return _through_float64(np.log1p, x)


def tanh(x: Array) -> Array:
    """y = (e^x - e^-x) / (e^x + e^-x)."""
    return _through_float64(np.tanh, x)


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + e^-x), written as e^(-ln(1 + e^-x)) so that the left tail keeps its digits."""
    return _through_float64(lambda t: np.where(t < 0, np.exp(t), 1.0) / (1 + np.exp(-abs(t))), x)


def softplus(x: Array) -> Array:
    """y = ln(1 + e^x)."""
    return _through_float64(lambda t: np.logaddexp(0.0, t), x)


def erf(x: Array) -> Array:
    """y = 2/sqrt(pi) * integral from 0 to x of e^(-t^2) dt."""
    return _through_float64(_erf, x)


def gelu(x: Array) -> Array:
    """y = x Phi(x), Phi the standard normal distribution function (Hendrycks & Gimpel 2016, section 2)."""

    def formula(t: Array) -> Array:
        y = t * 0.5 * _erfc(-t / math.sqrt(2.0))
        return np.where(t == -np.inf, -0.0, y)  # the limit, where 0 * inf says NaN

    return _through_float64(formula, x)


def gelu_slope(g: Array, x: Array) -> Array:
    """y = g (Phi(x) + x phi(x)): the cotangent of `gelu`, phi the standard normal density."""

    def formula(c: Array, t: Array) -> Array:
        t = np.clip(t, -1e3, 1e3)  # where inf * 0 would say NaN, the slope is 0 or 1 long since
        return c * (0.5 * _erfc(-t / math.sqrt(2.0)) + t * np.exp(-0.5 * t * t) / math.sqrt(2 * math.pi))

    return _through_float64(formula, g, x)


def leaky_relu(x: Array, slope: float) -> Array:
    """y = x where x > 0, else slope * x (Maas, Hannun & Ng 2013)."""
    with np.errstate(all="ignore"):
        return np.array(np.where(x > 0, x, x.dtype.type(slope) * x), order="C")


def gate(g: Array, x: Array, slope: float) -> Array:
    """y = g where x > 0, else slope * g: the cotangent of `leaky_relu`, whose slope at 0 is `slope`."""
    with np.errstate(all="ignore"):
        return np.array(np.where(x > 0, g, g.dtype.type(slope) * g), order="C")


def bernoulli_nll(logit: Array, x: Array) -> Array:
    """y = ln(1 + e^logit) - x * logit, in nats: -ln p(x) of a Bernoulli with p = sigmoid(logit)."""
    return _through_float64(lambda a, t: np.maximum(a, 0.0) - t * a + np.log1p(np.exp(-abs(a))), logit, x)


# --- matrix product --------------------------------------------------------------------------------------------


def matmul(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
    activation: str | None = None,
    slope: float = 0.01,
    out: Array | None = None,
    accumulate: bool = False,
    rung: str = "best",
    threads: int | None = None,
) -> Array:
    """out = activation(a b + bias), or with `accumulate` activation(out + a b + bias), summed in float64.

    Stacks (..., m, k) and (..., k, n) are broadcast over their leading axes and multiplied one by one. `rung` and
    `threads` say how a kernel gets there, which is nothing to the contract.
    """
    left, right = (a.swapaxes(-1, -2) if transpose_a else a), (b.swapaxes(-1, -2) if transpose_b else b)
    with np.errstate(all="ignore"):
        y = left.astype(np.float64) @ right.astype(np.float64)
        if accumulate and out is not None:
            y += out
        if bias is not None:
            y += bias
    if activation is not None:
        y = leaky_relu(y, 0.0 if activation == "relu" else slope) if "relu" in activation else _CURVES[activation](y)
    if out is None:
        return y.astype(a.dtype)
    out[...] = y
    return out


_CURVES = {"tanh": tanh, "sigmoid": sigmoid, "gelu": gelu, "softplus": softplus}


# --- reductions ------------------------------------------------------------------------------------------------


Axes = int | Sequence[int] | None


def _through_longdouble(function: Callable[..., Any], x: Array) -> Array:
    """Evaluate in the widest float that there is, for float64 as well, and round once."""
    with np.errstate(all="ignore"):
        return np.array(function(x.astype(np.longdouble)), dtype=x.dtype, order="C")


def _axes(axis: Axes) -> int | tuple[int, ...] | None:
    return axis if axis is None or isinstance(axis, int) else tuple(axis)


def sum(x: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    """y = the sum of x over `axis`, all axes by default; 0 of nothing."""
    return _through_longdouble(lambda t: t.sum(axis=_axes(axis), keepdims=keepdims), x)


def logsumexp(x: Array, axis: int = -1, keepdims: bool = False) -> Array:
    """y = ln sum_i e^(x_i) along `axis`, finite wherever x is; -inf of nothing."""
    y = _through_longdouble(lambda t: np.logaddexp.reduce(t, axis=axis, keepdims=True, initial=-np.inf), x)
    return y if keepdims else y.squeeze(axis)


def softmax(x: Array, axis: int = -1) -> Array:
    """y_i = e^(x_i) / sum_j e^(x_j) along `axis`; NaN where the largest is infinite."""

    def formula(t: Array) -> Array:
        e = np.exp(t - t.max(axis=axis, keepdims=True, initial=-np.inf))
        return e / e.sum(axis=axis, keepdims=True)

    return _through_longdouble(formula, x)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """y_i = x_i - ln sum_j e^(x_j) along `axis`; NaN where the largest is infinite."""

    def formula(t: Array) -> Array:
        t = t - t.max(axis=axis, keepdims=True, initial=-np.inf)
        return t - np.log(np.exp(t).sum(axis=axis, keepdims=True))

    return _through_longdouble(formula, x)


def normalise(x: Array, axis: Axes, eps: float) -> Array:
    """y = (x - m) / sqrt(v + eps), m the mean and v the mean of (x - m)^2 over `axis`."""

    def formula(t: Array) -> Array:
        count = np.ones_like(t).sum(axis=_axes(axis), keepdims=True)
        t = t - t.sum(axis=_axes(axis), keepdims=True) / count
        return t / np.sqrt((t * t).sum(axis=_axes(axis), keepdims=True) / count + eps)

    return _through_longdouble(formula, x)


# --- rows of a matrix ------------------------------------------------------------------------------------------


def normalise_rows_grad(g: Array, x: Array, eps: float) -> Array:
    """dL/dx = r (g - mean(g) - y mean(g y)), row by row: r = (v + eps)^(-1/2), y = `normalise`(x)."""

    def formula(c: Array, t: Array) -> Array:
        r = 1 / np.sqrt(t.var(1, keepdims=True) + eps)
        y = (t - t.mean(1, keepdims=True)) * r
        return r * (c - c.mean(1, keepdims=True) - y * (c * y).mean(1, keepdims=True))

    return _through_float64(formula, g, x)


def cross_entropy(logits: Array, targets: Array) -> Array:
    """y_i = ln sum_j e^(logits_ij) - logits_i,targets_i, in nats; 0 where the target is negative."""
    wide = logits.astype(np.float64)
    chosen = wide[np.arange(len(wide)), np.maximum(targets, 0)]
    return np.where(targets >= 0, np.logaddexp.reduce(wide, axis=1) - chosen, 0).astype(logits.dtype)


def cross_entropy_grad(g: Array, logits: Array, targets: Array) -> Array:
    """dL/dlogits_ij = g_i (softmax(logits_i)_j - [j = targets_i]); 0 where the target is negative."""
    wide = logits.astype(np.float64)
    p = np.exp(wide - np.logaddexp.reduce(wide, axis=1, keepdims=True))
    p -= np.arange(p.shape[1]) == targets[:, None]
    return np.where(targets[:, None] >= 0, g[:, None] * p, 0).astype(logits.dtype)


# --- attention -------------------------------------------------------------------------------------------------


def _heads(qkv: Array, lengths: Array, heads: int, causal: bool) -> tuple[Array, Array, Array, Array]:
    """q, k, v, each (N, heads, T, D) in float64, and P (N, heads, T, T), all zeros in a row that sees no key."""
    n, t, width = qkv.shape
    q, k, v = np.moveaxis(qkv.astype(np.float64).reshape(n, t, 3, heads, width // (3 * heads)), (2, 3), (0, 2))
    seen = np.broadcast_to((np.arange(t) < lengths[:, None])[:, None, None], (n, heads, t, t))
    if causal:
        seen = seen & (np.arange(t) <= np.arange(t)[:, None])
    scores = np.where(seen, q @ k.swapaxes(-1, -2) / math.sqrt(max(q.shape[-1], 1)), -np.inf)
    high = scores.max(-1, keepdims=True, initial=np.finfo(np.float64).min)
    p = np.exp(scores - high)
    return q, k, v, p / np.maximum(p.sum(-1, keepdims=True), np.finfo(np.float64).tiny)


def self_attention(qkv: Array, lengths: Array, *, heads: int, causal: bool,
                   queries: tuple[int, int] | None = None) -> Array:
    """y_i = sum_j p_ij v_j, p_i = softmax over the seen j of q_i . k_j / sqrt(D) (Vaswani et al. 2017, equation 1)."""
    _, _, v, p = _heads(qkv, lengths, heads, causal)
    y = np.swapaxes(p @ v, 1, 2).reshape(*qkv.shape[:2], qkv.shape[2] // 3).astype(qkv.dtype)
    return y[:, slice(*(queries or (None,)))]


def self_attention_grad(g: Array, qkv: Array, lengths: Array, *, heads: int, causal: bool) -> Array:
    """dV = P^T G, dS = P (dP - rows of (P dP) summed) with dP = G V^T, dQ = dS K / sqrt(D), dK = dS^T Q / sqrt(D)."""
    q, k, v, p = _heads(qkv, lengths, heads, causal)
    back = g.astype(np.float64).reshape(*np.swapaxes(q, 1, 2).shape).swapaxes(1, 2)
    dp = back @ v.swapaxes(-1, -2)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) / math.sqrt(max(q.shape[-1], 1))
    parts = np.stack([ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ back])
    return np.moveaxis(parts, (0, 2), (2, 3)).reshape(qkv.shape).astype(qkv.dtype)


# --- optimizers ------------------------------------------------------------------------------------------------


def sgd(
    p: Array, g: Array, buf: Array, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """Gradient descent with momentum; updates `p` and `buf` in place.

    g <- g + weight_decay p;  buf <- momentum buf + g;  p <- p - lr buf, or with `nesterov`
    p <- p - lr (g + momentum buf). `lr` stands outside the buffer, as in PyTorch; in Sutskever et al. 2013,
    equations 1-4, it stands inside, which differs once `lr` changes. With momentum 0, `buf` is not read.
    """
    g = g + weight_decay * p
    if momentum == 0:
        p -= lr * g
        return
    buf[...] = momentum * buf + g
    p -= lr * (g + momentum * buf) if nesterov else lr * buf


def rmsprop(p: Array, g: Array, sq: Array, *, lr: float, rho: float, eps: float, weight_decay: float) -> None:
    """sq <- rho sq + (1 - rho) g^2;  p <- p - lr g / (sqrt(sq) + eps) (Hinton 2012, lecture 6e); in place."""
    g = g + weight_decay * p
    sq[...] = rho * sq + (1 - rho) * g * g
    p -= lr * g / (np.sqrt(sq) + eps)


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1); updates `p`, `m`, `v` in place; `step` counts from 1.

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
    p <- p - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)

    Weight decay: g <- g + weight_decay p, or, when `decoupled` (AdamW: Loshchilov & Hutter 2019, algorithm 2),
    p <- (1 - lr weight_decay) p before the step.
    """
    if decoupled:
        p *= 1 - lr * weight_decay
    else:
        g = g + weight_decay * p
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g * g
    p -= lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)


def ema(average: Array, p: Array, *, decay: float) -> None:
    """average <- decay average + (1 - decay) p, in place (Polyak & Juditsky 1992, with exponential weights)."""
    average[...] = decay * average + (1 - decay) * p


# --- random numbers --------------------------------------------------------------------------------------------


_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(seed: int, draw: int, blocks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox4x32-10 (Salmon et al. 2011, section 3.3): the four words of each block, shape (n, 4)."""
    c0, c1 = blocks & _LOW, blocks >> _HALF
    c2, c3 = (np.full_like(blocks, word) for word in (draw & 0xFFFFFFFF, draw >> 32))
    for i in range(10):
        k0 = np.uint64(((seed & 0xFFFFFFFF) + 0x9E3779B9 * i) & 0xFFFFFFFF)
        k1 = np.uint64(((seed >> 32) + 0xBB67AE85 * i) & 0xFFFFFFFF)
        a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
    return np.stack([c0, c1, c2, c3], axis=1)


def random_bits(seed: int, draw: int, n: int) -> NDArray[np.uint32]:
    """n words of 32 bits from Philox4x32-10.

    Key: the 64-bit seed. Counter: (block, draw), 64 bits each. Word i is word i % 4 of block i // 4; little
    endian throughout. A different `seed` or `draw` is an independent stream.
    """
    blocks = np.arange((n + 3) // 4, dtype=np.uint64)
    return philox(seed, draw, blocks).reshape(-1)[:n].astype(np.uint32)


def _wide_words(seed: int, draw: int, n: int) -> NDArray[np.uint64]:
    """n words of 64 bits, the upper half drawn first."""
    pairs = random_bits(seed, draw, 2 * n).astype(np.uint64).reshape(-1, 2)
    return pairs[:, 0] << _HALF | pairs[:, 1]


def uniform(seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """U[0, 1). float32: the upper 24 bits of a word. float64: the upper 53 bits of two words."""
    n = math.prod(shape)
    if np.dtype(dtype) == np.float32:
        upper = random_bits(seed, draw, n) >> np.uint32(8)
        return (upper.astype(np.float32) * np.float32(2.0**-24)).reshape(shape)
    upper = _wide_words(seed, draw, n) >> np.uint64(11)
    return (upper.astype(np.float64) * 2.0**-53).reshape(shape)


def normal(seed: int, draw: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """N(0, 1), by Box & Muller 1958: numbers 2i and 2i + 1 are r cos a and r sin a.

    r = sqrt(-2 ln u), a = 2 pi v. float32: u = (word + 1/2) / 2^32, v = word / 2^32. float64: u = (53 bits + 1)
    / 2^53, v = 64 bits / 2^64. The polynomials and the order of operations below are part of the contract.
    """
    n = math.prod(shape)
    pairs = (n + 1) // 2
    if np.dtype(dtype) == np.float32:
        words = random_bits(seed, draw, 2 * pairs)
        u = words[0::2].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
        angle = words[1::2].astype(np.uint64) << _HALF
        radius = np.sqrt(np.float32(-2.0) * _log_32(u))
        sine, cosine = _SINE_32, _COSINE_32
    else:
        wide = _wide_words(seed, draw, 2 * pairs)
        u = ((wide[0::2] >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53
        angle = wide[1::2]
        radius = np.sqrt(-2.0 * _log_64(u))
        sine, cosine = _SINE_64, _COSINE_64
    x, y = _on_circle(angle, radius, sine, cosine)
    return np.stack([x, y], axis=1).reshape(-1)[:n].reshape(shape)


def _horner(coefficients: Sequence[float], x: Array) -> Array:
    """c0 + c1 x + c2 x^2 ..., from the highest power down, every operation rounded in the dtype of x."""
    y = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        y = y * x + x.dtype.type(c)
    return y


def _log_32(u: Array) -> Array:
    """ln u: u = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)."""
    f32 = np.float32
    bits = u.view(np.int32) - np.int32(0x3F3504F3)
    k = (bits >> 23).astype(f32)
    f = ((bits & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3)).view(f32) - f32(1)
    square = f * f
    small = square * f * _horner(_LOG_32, f) + k * f32(-2.1219444005469057e-4) - f32(0.5) * square
    return small + f + k * f32(0.693359375)


def _log_64(u: Array) -> Array:
    """The same in float64, through ln(1 + f) = 2 atanh(f / (2 + f))."""
    bits = u.view(np.int64) - np.int64(0x3FE6A09E667F3BCD)
    k = (bits >> 52).astype(np.float64)
    f = ((bits & np.int64(0xFFFFFFFFFFFFF)) + np.int64(0x3FE6A09E667F3BCD)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    return f - s * (f - _horner(_LOG_64, z) * z) + k * 1.9082149292705877e-10 + k * 0.6931471803691238


def _on_circle(
    turn: NDArray[np.uint64], r: Array, sine: Sequence[float], cosine: Sequence[float]
) -> list[Array]:
    """(r cos a, r sin a) for a = 2 pi turn / 2^64 = (quadrant + t) pi / 2, -1/2 <= t < 1/2."""
    turned = turn + np.uint64(2**61)
    quadrant = turned >> np.uint64(62)
    t = ((turned & np.uint64(2**62 - 1)).astype(np.int64) - 2**61).astype(r.dtype) * r.dtype.type(2.0**-62)
    z = t * t
    s, c = _horner(sine, z) * t * r, _horner(cosine, z) * r
    return [np.choose(quadrant.astype(np.intp), choices) for choices in ((c, -s, -c, s), (s, c, -s, -c))]


# Coefficients from the constant up; `scalar_random` says of what function, on what interval, with what error.
_LOG_32: Sequence[float] = (
    0.3333333, -0.25000823, 0.20001228, -0.16623358,
    0.1420173, -0.13160151, 0.12761736, -0.07634766,
)  # fmt: skip
_SINE_32: Sequence[float] = (1.5707964, -0.6459635, 0.07968023, -0.004602177)
_COSINE_32: Sequence[float] = (1.0, -1.2337005, 0.2536692, -0.020860072, 0.0009036317)
_LOG_64: Sequence[float] = (
    0.6666666666666734, 0.39999999999414365, 0.28571428742465566, 0.22222198564379644,
    0.18183564823008747, 0.1531403688651393, 0.14796095513490246,
)  # fmt: skip
_SINE_64: Sequence[float] = (
    1.5707963267948966, -0.6459640975062463, 0.07969262624616692, -0.0046817541353148286,
    0.00016044118472668972, -3.5988427172469656e-06, 5.6919278801928043e-08, -6.627628333551513e-10,
)  # fmt: skip
_COSINE_64: Sequence[float] = (
    1.0, -1.2337005501361697, 0.25366950790104803, -0.020863480763352916, 0.0009192602748385333,
    -2.5202042362735573e-05, 4.71087407764438e-07, -6.386325490092512e-09, 6.506656917775674e-11,
)  # fmt: skip
