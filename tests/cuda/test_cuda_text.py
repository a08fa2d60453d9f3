"""Rows and attention on the GPU against the reference: ragged shapes, masks, lengths, the order of threads."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cuda_on import on

from minigen.kernels import reference
from minigen.kernels.cpu import rows as cpu_rows
from minigen.kernels.cuda import attention, rows

CUDA = {name: getattr(module, name) for module in (rows, attention) for name in module.__all__}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["normalise_rows_grad", "cross_entropy", "cross_entropy_grad"])
def test_rows_agree_with_the_reference(machine: Any, monkeypatch: Any, name: str, dtype: type) -> None:
    on(machine, monkeypatch)
    rng = np.random.default_rng(0)
    for m, n in ((0, 3), (1, 1), (3, 33), (2, 300)):
        x, g, targets = 3 * rng.standard_normal((m, n)), rng.standard_normal((m, n)), rng.integers(-1, n, m)
        arrays = {"normalise_rows_grad": [g, x], "cross_entropy": [x, targets],
                  "cross_entropy_grad": [g[:, 0], x, targets]}[name]
        arrays = [np.ascontiguousarray(a, dtype if a.dtype.kind == "f" else np.int64) for a in arrays]
        rest = [0.1] if name.startswith("normalise") else []
        actual = machine.numpy(CUDA[name](*map(machine.array, arrays), *rest))
        expected = getattr(reference, name)(*arrays, *rest)
        assert actual.dtype == dtype and actual.shape == expected.shape and np.isfinite(actual).all()
        np.testing.assert_allclose(actual, expected, atol=40 * np.finfo(dtype).eps, rtol=40 * np.finfo(dtype).eps)


def test_the_cross_entropy_of_what_is_not_finite_is_the_definition_s(machine: Any, monkeypatch: Any) -> None:
    on(machine, monkeypatch)
    x = np.array(list(itertools.product((np.inf, -np.inf, np.nan, 2.0), repeat=3)), np.float32)
    g, targets = np.ones(len(x), np.float32), np.arange(len(x)) % 3
    for name, given in (("cross_entropy", [x, targets]), ("cross_entropy_grad", [g, x, targets])):
        with np.errstate(all="ignore"):
            expected = getattr(reference, name)(*given)
        actual = machine.numpy(CUDA[name](*map(machine.array, given)))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_agrees_with_the_reference(machine: Any, monkeypatch: Any, causal: bool, dtype: type) -> None:
    on(machine, monkeypatch)
    rng = np.random.default_rng(0)
    for n, t, heads, width in ((0, 3, 1, 2), (2, 5, 2, 3), (1, 33, 2, 3), (3, 40, 1, 40)):
        lengths = rng.integers(0, t + 1, n)
        lengths[:1] = t
        qkv = rng.standard_normal((n, t, 3 * heads * width)).astype(dtype)
        g = rng.standard_normal((n, t, heads * width)).astype(dtype)
        given = [machine.array(a) for a in (g, qkv, lengths)]
        y = machine.numpy(attention.self_attention(*given[1:], heads=heads, causal=causal))
        slope = machine.numpy(attention.self_attention_grad(*given, heads=heads, causal=causal))
        queries = (t // 3, t - 1)
        some = machine.numpy(attention.self_attention(*given[1:], heads=heads, causal=causal, queries=queries))
        for actual, expected in (
            (y, reference.self_attention(qkv, lengths, heads=heads, causal=causal)),
            (some, reference.self_attention(qkv, lengths, heads=heads, causal=causal, queries=queries)),
            (slope, reference.self_attention_grad(g, qkv, lengths, heads=heads, causal=causal)),
        ):
            assert actual.dtype == dtype and actual.shape == expected.shape and np.isfinite(actual).all()
            bound = 100 * np.finfo(dtype).eps
            np.testing.assert_allclose(actual, expected, atol=bound, rtol=bound)


def added(values: np.ndarray) -> np.ndarray:
    target = np.zeros((3, values.shape[1]))
    rows.add_rows(target, np.arange(len(values)) % 3, values)
    return target


def test_the_order_of_threads_does_not_matter(emulated: Any, monkeypatch: Any) -> None:
    rng = np.random.default_rng(1)
    qkv, g, lengths = rng.standard_normal((1, 34, 18)), rng.standard_normal((1, 34, 6)), np.array([30])
    results = []
    for reverse in (False, True):
        on(emulated(reverse), monkeypatch)
        results.append([attention.self_attention(qkv, lengths, heads=2, causal=True).tobytes(),
                        attention.self_attention_grad(g, qkv, lengths, heads=2, causal=True).tobytes(),
                        rows.normalise_rows_grad(g[0], g[0, ::-1].copy(), 0.1).tobytes(),
                        rows.cross_entropy_grad(g[0, :, 0].copy(), g[0], np.arange(34) % 7 - 1).tobytes(),
                        added(g[0]).tobytes()])
    assert results[0] == results[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_added_in_order(machine: Any, monkeypatch: Any, dtype: type) -> None:
    """The bits of the CPU's kernel: the same additions one after the other, rows named by none, one or many."""
    on(machine, monkeypatch)
    rng = np.random.default_rng(3)
    for m, n, k in ((1, 1, 1), (5, 3, 40), (7, 33, 12), (4, 2, 0), (3, 0, 2), (3, 257, 5), (4, 2, 600)):
        target, values = rng.standard_normal((m, n)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        places = rng.integers(-m, m, k).astype(np.int32)
        ours = machine.array(target.copy())
        rows.add_rows(ours, machine.array(places), machine.array(values))
        cpu_rows.add_rows(target, places, values)
        np.testing.assert_array_equal(machine.numpy(ours), target)


def test_rows_that_cannot_be_added_are_refused_and_a_place_outside_is_left_out(emulated: Any, monkeypatch: Any) -> None:
    on(emulated(), monkeypatch)
    target = np.zeros((3, 2))
    rows.add_rows(target, np.array([3, -4, 2]), np.ones((3, 2)))
    np.testing.assert_array_equal(target, [[0, 0], [0, 0], [1, 1]])
    with pytest.raises(ValueError, match=r"values \(1, 2\)"):
        rows.add_rows(target, np.array([0]), np.zeros((2, 2)))
    with pytest.raises(TypeError, match="float64 expected"):
        rows.add_rows(target, np.array([0]), np.zeros((1, 2), np.float32))


def test_what_does_not_fit_is_refused() -> None:
    qkv, lengths = np.zeros((2, 4, 12)), np.array([4, 4])
    with pytest.raises(ValueError, match="multiple of 5 heads"):
        attention.self_attention(qkv, lengths, heads=5, causal=True)
    with pytest.raises(ValueError, match="queries from 3 to 5 of 4 positions"):
        attention.self_attention(qkv, lengths, heads=2, causal=True, queries=(3, 5))
    with pytest.raises(ValueError, match="one number of keys"):
        attention.self_attention(qkv, lengths[:1], heads=2, causal=True)
    with pytest.raises(ValueError, match="heads 65 wide, at most 64"):
        attention.self_attention(np.zeros((2, 4, 195)), lengths, heads=1, causal=True)
    with pytest.raises(ValueError, match="g of shape"):
        attention.self_attention_grad(qkv, qkv, lengths, heads=2, causal=True)
    with pytest.raises(ValueError, match="a matrix expected"):
        rows.cross_entropy(np.zeros(4), lengths)
    with pytest.raises(TypeError, match="got int64"):
        rows.cross_entropy(np.zeros((3, 4), int), lengths)


def test_shared_memory_of_the_widest_heads_fits() -> None:
    for dtype, most in attention.MOST_WIDE.items():
        assert dtype * (2 * 32 * (most + 1) + 2 * 8 * most) <= 48 * 1024
