"""One row of arguments for every kernel over rows and for attention: name, arrays of random numbers, the rest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

NAMES = ("cross_entropy", "cross_entropy_grad", "normalise_rows_grad", "self_attention", "self_attention_grad")

ODD = np.array(list(itertools.product((np.inf, -np.inf, np.nan, 2.0), repeat=3)))
"""Rows with everything that is no number."""

SHAPES = ((0, 3), (1, 1), (3, 5), (7, 65), (2, 129))

# sequences, length, heads, width of a head; 16 queries and 128 keys are a block
ATTENTION = ((0, 3, 1, 2), (1, 1, 1, 1), (2, 5, 2, 3), (1, 33, 3, 8), (2, 64, 1, 16), (3, 70, 2, 17), (1, 150, 1, 40))


def cases(dtype: Any) -> Iterator[tuple[str, str, Callable[[Any], Any], list[np.ndarray]]]:
    """(kernel, what is special, call(module, *arrays), arrays): call with `kernels` or with `reference`."""
    rng = np.random.default_rng(7)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    for m, n in SHAPES:
        what, targets = f"{m}x{n}", rng.integers(-1, n, m)
        yield ("normalise_rows_grad", what, lambda k, g, x: k.normalise_rows_grad(g, x, 0.1),
               [normal(m, n), normal(m, n)])
        yield "cross_entropy", what, lambda k, x, i: k.cross_entropy(x, i), [5 * normal(m, n), targets]
        yield ("cross_entropy_grad", what, lambda k, g, x, i: k.cross_entropy_grad(g, x, i),
               [normal(m), 5 * normal(m, n), targets])
    odd, targets, ones = ODD.astype(dtype), np.arange(len(ODD)) % 3, np.ones(len(ODD), dtype)
    yield "cross_entropy", "not finite", lambda k, x, i: k.cross_entropy(x, i), [odd, targets]
    yield "cross_entropy_grad", "not finite", lambda k, g, x, i: k.cross_entropy_grad(g, x, i), [ones, odd, targets]
    for n, t, heads, d in ATTENTION:
        lengths = rng.integers(0, t + 1, n)
        lengths[:1] = t
        for causal in (False, True):
            what = f"{n}x{t}x{heads}x{d}{' causal' * causal}"

            def forward(k: Any, x: np.ndarray, i: np.ndarray, heads: int = heads, causal: bool = causal) -> Any:
                return k.self_attention(x, i, heads=heads, causal=causal)

            def back(k: Any, g: Any, x: Any, i: Any, heads: int = heads, causal: bool = causal) -> Any:
                return k.self_attention_grad(g, x, i, heads=heads, causal=causal)

            def some(k: Any, x: np.ndarray, i: np.ndarray, heads: int = heads, causal: bool = causal,
                     queries: tuple[int, int] = (t * 3 // 4, t)) -> Any:
                return k.self_attention(x, i, heads=heads, causal=causal, queries=queries)

            qkv = normal(n, t, 3 * heads * d)
            yield "self_attention", what, forward, [qkv, lengths]
            yield "self_attention", f"{what}, the last quarter", some, [qkv, lengths]
            yield "self_attention_grad", what, back, [normal(n, t, heads * d), qkv, lengths]
