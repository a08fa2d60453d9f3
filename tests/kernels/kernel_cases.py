"""What the kernel tests share: sizes, layouts, and one row of arguments for every public kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
DTYPES = (np.float32, np.float64)
SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0,), (1,), (2,), (3,), (5,), (7,), (15,), (16,), (17,), (31,), (33,), (63,), (65,), (127,), (1000,),
    (3, 0, 2), (1, 31), (31, 1), (3, 5, 7), (31, 33), (64, 33),
)  # fmt: skip

# name: (arguments besides the arrays, how many arrays, what the second array may hold)
ELEMENTWISE: dict[str, tuple[tuple[float, ...], int]] = {
    "bernoulli_nll": ((), 2),
    "erf": ((), 1),
    "exp": ((), 1),
    "gate": ((0.2,), 2),
    "gelu": ((), 1),
    "gelu_slope": ((), 2),
    "leaky_relu": ((0.2,), 1),
    "log": ((), 1),
    "log1p": ((), 1),
    "sigmoid": ((), 1),
    "softplus": ((), 1),
    "tanh": ((), 1),
}

SGD = dict(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.01)
ADAM = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-6, step=3, weight_decay=0.01, decoupled=False)
RMSPROP = dict(lr=0.1, rho=0.9, eps=1e-6, weight_decay=0.01)

# (name, how many arrays, keywords); the gradient is the second array, all others are updated
OPTIMIZERS: list[tuple[str, int, dict[str, Any]]] = [
    ("sgd", 3, SGD),
    ("sgd", 3, SGD | {"nesterov": True}),
    ("sgd", 3, SGD | {"momentum": 0.0}),
    ("sgd", 3, SGD | {"weight_decay": 0.0}),
    ("rmsprop", 3, RMSPROP),
    ("rmsprop", 3, RMSPROP | {"weight_decay": 0.0}),
    ("adam", 4, ADAM),
    ("adam", 4, ADAM | {"step": 1, "weight_decay": 0.0}),
    ("adam", 4, ADAM | {"decoupled": True}),
    ("ema", 2, dict(decay=0.9)),
]

RANDOM = ("normal", "random_bits", "uniform")
REDUCTIONS = ("log_softmax", "logsumexp", "normalise", "softmax", "sum")


def layouts(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The same numbers, laid out in every way that a caller may hand over."""
    yield "contiguous", x
    yield "fortran", np.array(x, order="F")
    wide = np.empty((*x.shape, 2), x.dtype)
    wide[..., 0] = x
    yield "strided", wide[..., 0]
    if x.ndim:
        yield "transposed", np.ascontiguousarray(x.T).T
        yield "reversed", np.ascontiguousarray(x[::-1])[::-1]
    frozen = np.array(x)
    frozen.flags.writeable = False
    yield "read-only", frozen
    raw = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    yield "unaligned", raw


def arguments(name: str, x: np.ndarray, place: Callable[[np.ndarray], np.ndarray] = lambda a: a) -> tuple[Any, ...]:
    """The arguments of an elementwise kernel, made of the normal numbers x."""
    scalars, arrays = ELEMENTWISE[name]
    if name.startswith("log"):
        x = np.abs(x, out=np.empty_like(x))
    second = np.asarray(np.tanh(x[::-1] if x.ndim else x), x.dtype)
    if name == "bernoulli_nll":
        second = np.asarray(abs(second))
    return (*(place(a) for a in (x, second)[:arrays]), *scalars)


def assert_same(actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float = 0.0) -> None:
    """Equal dtype, shape, pattern of NaN and infinity, and numbers: abs(difference) > tol is false for NaN."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(expected))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
