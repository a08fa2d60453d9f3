"""Every operation with sample inputs and a NumPy oracle: the table behind `minigen gradcheck` and the tests.

Adding an operation means adding one row to `cases`; a test fails while the row is missing. A row is

    _rows("name", function, oracle, (inputs, ...), (other inputs, ...), order=2)

and gives one case per tuple of inputs, plus the first tuple again in two non-contiguous layouts. A name
may say more after a space ("sum axis=1"). `function` maps Tensors to a Tensor or several, `oracle` arrays to
arrays. `order` is the highest order of derivative to check, 0 for an operation without a gradient. Inputs stay
off kinks and inside the domain. Integer and boolean inputs are passed through, not differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import kernels, ops
from .autograd import Op
from .backend import Array
from .kernels import reference
from .tensor import Tensor

__all__ = ["Case", "cases"]


@dataclass(frozen=True)
class Case:
    """One operation at one set of inputs. `inputs` are NumPy arrays, floats in float64."""

    name: str
    function: Callable[..., Tensor | Sequence[Tensor]]
    inputs: tuple[Array, ...]
    oracle: Callable[..., Any]
    order: int = 2

    @property
    def op(self) -> str:
        """The name in `minigen.autograd.OPS`, or that of a composite function of `minigen.ops`."""
        return self.name.split()[0]


def _rows(name: str, function: Callable[..., Any], oracle: Callable[..., Any], *samples: tuple[Array, ...],
          order: int = 2) -> list[Case]:
    rows = [Case(f"{name} {_shapes(inputs)}", function, inputs, oracle, order) for inputs in samples]
    first = samples[0]
    if any(x.ndim for x in first):
        for layout, change in (("strided", _strided), ("transposed", np.asfortranarray)):
            rows.append(Case(f"{name} {layout}", function, tuple(change(x) for x in first), oracle, order))
    return rows


def _shapes(inputs: tuple[Array, ...]) -> str:
    return " ".join(str(x.shape).replace(" ", "") for x in inputs)


def _strided(x: Array) -> Array:
    """The same values at every other place of a larger array."""
    return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x


def _normal(draw: int, *shape: int) -> Array:
    return kernels.normal(2024, draw, shape, "float64")


def _off(x: Array, gap: float = 0.1) -> Array:
    """x moved away from zero, where so many functions have their kink."""
    return np.asarray(x + gap * np.sign(x))


def _in_place(operation: Op, **attrs: Any) -> Callable[..., list[Tensor]]:
    """An in-place operation as a function: it changes copies and returns them."""

    def function(*inputs: Tensor) -> list[Tensor]:
        arguments = [Tensor(x.data.copy()) if i in operation.mutates else x for i, x in enumerate(inputs)]
        operation(*arguments, **attrs)
        return [arguments[i] for i in operation.mutates]

    return function


# NumPy oracles that take more than one expression ------------------------------------------------------

_erf = np.vectorize(math.erf, otypes=["float64"])


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def _logsumexp(x: Array, axis: int = -1, keepdims: bool = False) -> Array:
    return np.logaddexp.reduce(x, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]


def _normalised(x: Array, axis: Any = -1) -> Array:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 0.1)


def _normalise_back(g: Array, x: Array) -> Array:
    y, r = _normalised(x), 1 / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    return r * (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True))


def _density(x: Array) -> Array:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _cross_entropy(x: Array, i: Array) -> Array:
    return np.where(i < 0, 0, _logsumexp(x) - x[np.arange(len(i)), i])


def _cross_entropy_slope(x: Array, i: Array) -> Array:
    return (i >= 0)[:, None] * (np.exp(x - _logsumexp(x, -1, True)) - (np.arange(x.shape[1]) == i[:, None]))


def _attention(q: Array, k: Array, v: Array, seen: Array) -> Array:
    p = np.exp(q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])) * seen
    return p / np.maximum(p.sum(-1, keepdims=True), 1e-300) @ v


def _self_attention(x: Array, lengths: Array, causal: bool) -> Array:
    """One sequence, one head and one query after the other."""
    n, t, width = x.shape
    q, k, v = np.moveaxis(x.reshape(n, t, 3, 2, width // 6), 2, 0)
    y = np.zeros((n, t, 2, width // 6))
    for b, i, h in np.ndindex(n, t, 2):
        keys = min(lengths[b], i + 1) if causal else lengths[b]
        p = np.exp(k[b, :keys, h] @ q[b, i, h] / math.sqrt(width // 6))
        y[b, i, h] = p @ v[b, :keys, h] / p.sum() if keys else 0
    return y.reshape(n, t, width // 3)


def _added_at(shape: tuple[int, ...], key: Any, values: Array) -> Array:
    y = np.zeros(shape)
    np.add.at(y, key, values)
    return y


def _assigned(target: Array, value: Array) -> Array:
    y = target.copy()
    y[:, 1:] = value
    return y


def _scattered_along(g: Array, i: Array) -> Array:
    y = np.zeros((*g.shape[:-1], 5))
    for place in np.ndindex(g.shape):
        y[(*place[:-1], i[place])] += g[place]
    return y


def _sgd(p: Array, g: Array, buffer: Array) -> list[Array]:
    g = g + 0.01 * p
    buffer = 0.9 * buffer + g
    return [p - 0.1 * (g + 0.9 * buffer), buffer]


def _rmsprop(p: Array, g: Array, square: Array) -> list[Array]:
    g = g + 0.01 * p
    square = 0.9 * square + 0.1 * g**2
    return [p - 0.1 * g / (np.sqrt(square) + 1e-8), square]


def _adam(p: Array, g: Array, m: Array, v: Array) -> list[Array]:
    g = g + 0.01 * p
    m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
    return [p - 0.1 * (m / (1 - 0.9**3)) / (np.sqrt(v / (1 - 0.99**3)) + 1e-8), m, v]


def cases() -> list[Case]:
    """All rows, in the order of the files in `ops/`."""
    a, b, c = _normal(0, 3, 4), _normal(1, 3, 4), _off(_normal(2, 3, 4))
    row, column, scalar = _off(_normal(3, 4)), _off(_normal(4, 3, 1)), _off(_normal(5))
    cube, batch = _normal(6, 2, 3, 4), _normal(7, 2, 4, 3)
    ties = np.where(a > 0, a, b)
    positive, empty = np.exp(_normal(8, 3, 4)), np.zeros((0, 4))
    chosen = a > 0
    rows_of = np.array([[2, 0], [2, 1]])
    places = np.array([[0, 3, 3], [1, 1, 2], [3, 0, 2]])
    classes, none = np.array([2, -1, 0]), np.zeros(0, int)
    qkv, ragged = _normal(20, 3, 4, 12), np.arange(5) < np.array([[[2], [5], [0]], [[1], [3], [4]]])
    one, two, wide = (a,), (cube,), _normal(9, 3, 40)
    table = [
        # arithmetic
        _rows("add", ops.add, np.add, (a, b), (a, row), (column, row), (scalar, cube), (empty, row)),
        _rows("sub", ops.sub, np.subtract, (a, b), (a, row), (column, row), (scalar, cube), (empty, row)),
        _rows("mul", ops.mul, np.multiply, (a, b), (a, row), (column, row), (scalar, cube), (empty, row)),
        _rows("div", ops.div, np.divide, (a, c), (a, row), (column, row), (cube, scalar), (empty, row)),
        _rows("neg", ops.neg, np.negative, (a,), (empty,), (scalar,)),
        _rows("pow", ops.pow, np.power, (positive, a), (positive, row), (np.exp(column), row), (empty, row)),
        _rows("pow cube", lambda x: ops.pow(x, 3), lambda x: x**3, (a,), (empty,)),
        _rows("pow inverse", lambda x: ops.pow(x, -1.5), lambda x: x**-1.5, (positive,)),
        _rows("pow of-two", lambda x: ops.pow(2.0, x), lambda x: 2.0**x, (a,)),
        _rows("abs", ops.abs, np.abs, (c,), (empty,), (scalar,)),
        _rows("sign", ops.sign, np.sign, (c,), (empty,), order=0),
        _rows("maximum", ops.maximum, np.maximum, (a, b), (a, row), (column, row), (empty, row)),
        _rows("minimum", ops.minimum, np.minimum, (a, b), (a, row), (column, row), (empty, row)),
        _rows("within", lambda x: ops.within(x, low=-9.0, high=9.0), lambda x: x, (a,), (a[:0],)),
        _rows("clip", lambda x: ops.clip(x, low=-0.5, high=0.7), lambda x: np.minimum(np.maximum(x, -0.5), 0.7),
              (a,), (empty,)),
        _rows("where", ops.where, np.where, (chosen, a, b), (chosen, row, scalar), (chosen[:, :1], column, row),
              (np.zeros((0, 1), bool), empty, row)),
        _rows("astype", lambda x: ops.astype(x, dtype=np.dtype("float64")), np.float64, (a,), (empty,)),
        _rows("full_like", lambda x: ops.full_like(x, value=0.5), lambda x: np.full(x.shape, 0.5), (a,), (cube,),
              (empty,)),
        _rows("to_device", lambda x: ops.to_device(x, device="cpu"), lambda x: x, (a,), (empty,)),
        _rows("equal", ops.equal, np.equal, (a, ties), (a, row), (empty, row), order=0),
        _rows("not_equal", ops.not_equal, np.not_equal, (a, ties), (a, row), (empty, row), order=0),
        _rows("less", ops.less, np.less, (a, ties), (a, row), (empty, row), order=0),
        _rows("less_equal", ops.less_equal, np.less_equal, (a, ties), (a, row), (empty, row), order=0),
        # elementwise
        _rows("exp", ops.exp, np.exp, one, two, (empty,), (scalar,), (wide,)),
        _rows("log", ops.log, np.log, (positive,), (empty,)),
        _rows("log1p", ops.log1p, np.log1p, (positive - 0.5 * positive.min(),), (empty,)),
        _rows("sqrt", ops.sqrt, np.sqrt, (positive,), (empty,)),
        _rows("tanh", ops.tanh, np.tanh, one, two, (empty,), (scalar,)),
        _rows("sigmoid", ops.sigmoid, _sigmoid, one, two, (empty,), (4 * wide,)),
        _rows("softplus", ops.softplus, lambda x: np.logaddexp(0, x), one, two, (empty,), (4 * wide,)),
        _rows("erf", ops.erf, _erf, one, two, (empty,)),
        _rows("gelu", ops.gelu, lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2, one, two, (empty,)),
        _rows("gelu_slope", ops.gelu_slope, lambda g, x: g * ((1 + _erf(x / math.sqrt(2))) / 2 + x * _density(x)),
              (a, b), (cube, _normal(17, 2, 3, 4)), (empty, empty)),
        _rows("leaky_relu", lambda x: ops.leaky_relu(x, slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x),
              (c,), (empty,)),
        _rows("gate", lambda g, x: ops.gate(g, x, slope=0.2), lambda g, x: np.where(x > 0, g, 0.2 * g),
              (a, c), (empty, empty)),
        _rows("relu", ops.relu, lambda x: np.maximum(x, 0), (c,), (empty,)),
        _rows("bernoulli_nll", ops.bernoulli_nll,
              lambda z, x: -(x * np.log(_sigmoid(z)) + (1 - x) * np.log(1 - _sigmoid(z))),
              (a, _sigmoid(b)), (a, np.array([0.0, 1.0, 0.5, 1.0])), (row, _sigmoid(column)), (empty, empty)),
        # linear
        _rows("matmul", ops.matmul, np.matmul, (a, _normal(10, 4, 2)), (cube, _normal(11, 4, 2)), (cube, batch),
              (_normal(12, 1, 3, 4), batch), (a, np.zeros((4, 0))), (empty, _normal(10, 4, 2)),
              (np.zeros((3, 0)), np.zeros((0, 2)))),
        _rows("dense", ops.dense, lambda x, w, b: x @ w + b, (a, _normal(10, 4, 2), _normal(13, 2)),
              (cube, _normal(10, 4, 2), _normal(13, 2)), (row, _normal(10, 4, 2), _normal(13, 2)),
              (empty, _normal(10, 4, 2), _normal(13, 2)), (np.zeros((3, 0)), np.zeros((0, 2)), _normal(13, 2))),
        # noise: the oracle is the contract of the kernels
        _rows("normal", lambda: ops.normal(seed=5, draw=2, shape=(3, 5)),
              lambda: kernels.normal(5, 2, (3, 5), "float32"), (), order=0),
        _rows("normal float64", lambda: ops.normal(seed=5, draw=2, shape=(3, 5), dtype="float64"),
              lambda: kernels.normal(5, 2, (3, 5), "float64"), (), order=0),
        _rows("uniform", lambda: ops.uniform(seed=5, draw=2, shape=(3, 5), dtype="float64"),
              lambda: kernels.uniform(5, 2, (3, 5), "float64"), (), order=0),
        _rows("dropout_mask", lambda: ops.dropout_mask(rate=0.2, seed=5, draw=2, shape=(3, 5)),
              lambda: np.where(kernels.uniform(5, 2, (3, 5), "float32") < 0.2, 0.0, 1.25), (), order=0),
        # reductions
        _rows("sum", ops.sum, np.sum, (a,), (cube,), (empty,), (scalar,)),
        _rows("sum_of_squares", ops.sum_of_squares, lambda *xs: np.sum([(x * x).sum() for x in xs]), (a,),
              (a, cube, empty, scalar)),
        _rows("sum axis=1", lambda x: ops.sum(x, axis=1), lambda x: x.sum(1), (cube,), (empty,)),
        _rows("sum axes", lambda x: ops.sum(x, axis=(0, -1), keepdims=True),
              lambda x: x.sum((0, -1), keepdims=True), (cube,)),
        _rows("mean", ops.mean, np.mean, (a,), (scalar,)),
        _rows("mean axes", lambda x: ops.mean(x, axis=(0, 2)), lambda x: x.mean((0, 2)), (cube,)),
        _rows("var", ops.var, np.var, (a,)),
        _rows("var axis=0", lambda x: ops.var(x, axis=0, keepdims=True), lambda x: x.var(0, keepdims=True), (cube,)),
        _rows("max", ops.max, np.max, (a,), (cube,), (scalar,)),
        _rows("max axis=1", lambda x: ops.max(x, axis=1), lambda x: x.max(1), (cube,), (empty,)),
        _rows("max axes", lambda x: ops.max(x, axis=(0, -1), keepdims=True),
              lambda x: x.max((0, -1), keepdims=True), (cube,)),
        _rows("min", ops.min, np.min, (a,), (cube,), (scalar,)),
        _rows("min axis=-1", lambda x: ops.min(x, axis=-1), lambda x: x.min(-1), (cube,), (empty,)),
        _rows("logsumexp", ops.logsumexp, _logsumexp, (a,), (cube,), (empty,)),
        _rows("logsumexp axis=0", lambda x: ops.logsumexp(x, axis=0, keepdims=True),
              lambda x: _logsumexp(x, 0, True), (cube,)),
        _rows("softmax", ops.softmax, lambda x: np.exp(x - _logsumexp(x, -1, True)), (a,), (cube,), (empty,)),
        _rows("softmax axis=1", lambda x: ops.softmax(x, axis=1), lambda x: np.exp(x - _logsumexp(x, 1, True)),
              (cube,)),
        _rows("log_softmax", ops.log_softmax, lambda x: x - _logsumexp(x, -1, True), (a,), (cube,), (empty,)),
        _rows("log_softmax axis=0", lambda x: ops.log_softmax(x, axis=0), lambda x: x - _logsumexp(x, 0, True),
              (cube,)),
        _rows("cross_entropy", ops.cross_entropy, _cross_entropy, (a, classes), (4 * wide, classes), (empty, none)),
        _rows("cross_entropy_grad", ops.cross_entropy_grad, lambda g, x, i: g[:, None] * _cross_entropy_slope(x, i),
              (b[:, 0], a, classes), (b[:, 0], wide, classes), (np.zeros(0), empty, none)),
        _rows("normalise", lambda x: ops.normalise(x, axis=-1, eps=0.1), _normalised, (a,), (cube,), (empty,)),
        _rows("normalise axes", lambda x: ops.normalise(x, axis=(0, 1), eps=0.1), lambda x: _normalised(x, (0, 1)),
              (cube,)),
        _rows("normalise_grad", lambda g, x: ops.normalise_grad(g, x, eps=0.1), _normalise_back, (a, b),
              (cube, _normal(17, 2, 3, 4)), (empty, empty)),
        # attention: ragged lengths, one of them 0, with and without the causal mask
        _rows("attention", ops.attention, lambda q, k, v: _attention(q, k, v, np.True_), (cube, cube, cube),
              (cube, _normal(18, 2, 5, 4), _normal(19, 2, 5, 3)), (a, b, c)),
        _rows("attention masked", ops.attention, _attention,
              (cube, _normal(18, 2, 5, 4), _normal(19, 2, 5, 3), ragged)),
        _rows("attention_weights", ops.attention_weights,
              lambda q, k, seen: _attention(q, k, np.eye(5), seen), (cube, _normal(18, 2, 5, 4), ragged)),
        _rows("self_attention", lambda x, i: ops.self_attention(x, i, heads=2, causal=False),
              lambda x, i: _self_attention(x, i, False), (qkv, np.array([3, 0, 4])), (qkv[:, :1], np.array([1, 1, 0])),
              (qkv[:0], none)),
        _rows("self_attention causal", lambda x, i: ops.self_attention(x, i, heads=2, causal=True),
              lambda x, i: _self_attention(x, i, True), (qkv, np.array([3, 0, 4]))),
        _rows("self_attention of two queries",
              lambda x, i: ops.self_attention(x, i, heads=2, causal=True, queries=(1, 3)),
              lambda x, i: _self_attention(x, i, True)[:, 1:3], (qkv, np.array([3, 0, 4]))),
        _rows("self_attention_grad", lambda g, x, i: ops.self_attention_grad(g, x, i, heads=2, causal=False),
              lambda g, x, i: reference.self_attention_grad(g, x, i, heads=2, causal=False),
              (_normal(21, 3, 4, 4), qkv, np.array([3, 0, 4])), (_normal(21, 3, 4, 4)[:0], qkv[:0], none)),
        _rows("self_attention_grad causal", lambda g, x, i: ops.self_attention_grad(g, x, i, heads=2, causal=True),
              lambda g, x, i: reference.self_attention_grad(g, x, i, heads=2, causal=True),
              (_normal(21, 3, 4, 4), qkv, np.array([3, 0, 4]))),
        _rows("split_heads", lambda x: ops.split_heads(x, 2), lambda x:
              list(np.moveaxis(x.reshape(3, 4, 3, 2, 2), (2, 3), (0, 2))), (qkv,)),
        _rows("merge_heads", ops.merge_heads, lambda x: np.swapaxes(x, 1, 2).reshape(2, 4, 6),
              (_normal(22, 2, 2, 4, 3),)),
        # shape
        _rows("reshape", lambda x: ops.reshape(x, shape=(4, -1)), lambda x: x.reshape(4, -1), (a,), (cube,)),
        _rows("reshape flat", lambda x: ops.reshape(x, shape=-1), np.ravel, (cube,), (empty,)),
        _rows("transpose", ops.transpose, np.transpose, (cube,), (a,), (empty,)),
        _rows("transpose axes", lambda x: ops.transpose(x, axes=(1, -1, 0)), lambda x: x.transpose(1, 2, 0), (cube,)),
        _rows("swap_last", ops.swap_last, lambda x: x.swapaxes(-1, -2), (cube,), (empty,)),
        _rows("broadcast_to", lambda x: ops.broadcast_to(x, shape=(2, 3, 4)),
              lambda x: np.broadcast_to(x, (2, 3, 4)), (row,), (column,), (scalar,), (cube,)),
        _rows("sum_to", lambda x: ops.sum_to(x, shape=(3, 1)), lambda x: x.sum((0, 2))[:, None], (cube,),
              (np.zeros((0, 3, 4)),)),
        _rows("sum_to same", lambda x: ops.sum_to(x, shape=(3, 4)), lambda x: x, (a,)),
        _rows("concatenate", ops.concatenate, lambda *xs: np.concatenate(xs), (a, b), (a, _normal(14, 1, 4), empty)),
        _rows("concatenate axis=-1", lambda *xs: ops.concatenate(*xs, axis=-1),
              lambda *xs: np.concatenate(xs, axis=-1), (a, column, b)),
        _rows("stack", ops.stack, lambda *xs: np.stack(xs), (a, b), (a,), (empty, empty)),
        _rows("stack axis=-1", lambda *xs: ops.stack(*xs, axis=-1), lambda *xs: np.stack(xs, axis=-1), (a, b)),
        _rows("stack axis=1", lambda *xs: ops.stack(*xs, axis=1), lambda *xs: np.stack(xs, axis=1), (a, b)),
        _rows("split", lambda x: ops.split(x, (1, 0, 3), axis=-1), lambda x: [x[:, :1], x[:, :0], x[:, 1:]], (a,)),
        _rows("split equal", lambda x: ops.split(x, 3), lambda x: np.split(x, 3), (a,)),
        _rows("index", lambda x: ops.index(x, key=1), lambda x: x[1], (a,)),
        _rows("index slices", lambda x: ops.index(x, key=(slice(None, None, -2), None, ..., slice(1, 3))),
              lambda x: x[::-2, None, ..., 1:3], (cube,), (empty,)),
        _rows("index repeated", lambda x: ops.index(x, key=([0, 2, 2], slice(1, None))), lambda x: x[[0, 2, 2], 1:],
              (a,)),
        _rows("index mask", lambda x: ops.index(x, key=chosen.tolist()), lambda x: x[chosen], (a,)),
        _rows("scatter_index", lambda g: ops.scatter_index(g, key=([0, 2, 2], slice(1, None)), shape=(3, 5)),
              lambda g: _added_at((3, 5), ([0, 2, 2], slice(1, None)), g), (a,)),
        _rows("scatter_index slices", lambda g: ops.scatter_index(g, key=(slice(1, 4), ...), shape=(5, 4)),
              lambda g: _added_at((5, 4), slice(1, 4), g), (a,)),
        _rows("take", ops.take, lambda x, i: x[i], (a, rows_of), (cube, np.array([1])), (a, np.zeros(0, int))),
        _rows("embedding", ops.embedding, lambda w, i: w[i], (a, np.array([[0, 2], [1, 2]])), (a, np.zeros(0, int))),
        _rows("scatter_take", lambda g, i: ops.scatter_take(g, i, shape=(3, 3)),
              lambda g, i: _added_at((3, 3), i, g), (_normal(15, 2, 2, 3), rows_of)),
        _rows("take_along", ops.take_along, lambda x, i: np.take_along_axis(x, i, -1), (a, places),
              (a, places[:, :0])),
        _rows("scatter_along", lambda g, i: ops.scatter_along(g, i, shape=(3, 5)), _scattered_along,
              (_normal(16, 3, 3), places)),
        # update: in place, so without a gradient
        _rows("assign", _in_place(ops.assign, key=(slice(None), slice(1, None))),
              lambda t, v: [_assigned(t, v)], (a, column), (a, a[:, 1:]), (a, scalar), order=0),
        _rows("sgd_step", _in_place(ops.sgd_step, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), _sgd,
              (a, b, c), order=0),
        _rows("rmsprop_step", _in_place(ops.rmsprop_step, lr=0.1, rho=0.9, eps=1e-8, weight_decay=0.01), _rmsprop,
              (a, b, positive), order=0),
        _rows("adam_step", _in_place(ops.adam_step, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, step=3,
                                     weight_decay=0.01, decoupled=False), _adam, (a, b, c, positive), order=0),
        _rows("ema_step", _in_place(ops.ema_step, decay=0.9), lambda t, p: [0.9 * t + 0.1 * p], (a, b), order=0),
    ]
    return [case for rows in table for case in rows]
