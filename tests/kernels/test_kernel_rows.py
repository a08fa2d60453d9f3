"""Rows and attention: every kernel against its reference in every layout, and what the streaming is for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import DTYPES, JIT, assert_same, layouts
from row_cases import NAMES, cases

from minigen import kernels
from minigen.kernels import reference
from minigen.kernels.cpu.rows import add_rows

RTOL = {np.float32: 3e-5, np.float64: 1e-11}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_reference_in_every_layout(name: str, dtype: type) -> None:
    seen = 0
    for kernel, what, call, arrays in cases(dtype):
        if kernel != name:
            continue
        with np.errstate(invalid="ignore"):
            expected = call(reference, *arrays)
        for number in range(7 if arrays[0].size < 1000 else 1):
            given = [list(layouts(a))[number][1] for a in arrays]
            before = [np.copy(a) for a in given]
            actual = call(kernels, *given)
            scale = RTOL[dtype] * max(1.0, float(abs(expected[np.isfinite(expected)]).max(initial=0.0)))
            assert_same(actual, expected, RTOL[dtype], scale)
            assert actual.flags.c_contiguous and actual.flags.writeable, what
            for a, b in zip(given, before, strict=True):
                np.testing.assert_array_equal(a, b)
                assert not np.may_share_memory(actual, a)
        seen += 1
    assert seen >= 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_is_finite_for_huge_logits_and_infinite_only_where_it_should_be(dtype: type) -> None:
    logits = np.array([[1e4, -1e4, 0.0], [-3e4, -3e4, -3e4]], dtype)
    np.testing.assert_allclose(kernels.cross_entropy(logits, np.array([1, 0])), [2e4, np.log(3)], rtol=1e-6)
    logits[0, 0] = np.nan
    assert np.isnan(kernels.cross_entropy(logits, np.array([1, 0]))).tolist() == [True, False]


def test_a_target_outside_the_row_is_an_error() -> None:
    with pytest.raises(ValueError, match="target 3, expected below 3"):
        kernels.cross_entropy(np.zeros((1, 3)), np.array([3]))
    with pytest.raises(ValueError, match="whole numbers expected as targets"):
        kernels.cross_entropy(np.zeros((2, 3)), np.array([1]))


def test_attention_refuses_what_does_not_fit() -> None:
    qkv, lengths = np.zeros((2, 4, 12)), np.array([4, 4])
    with pytest.raises(ValueError, match="multiple of 5 heads"):
        kernels.self_attention(qkv, lengths, heads=5, causal=True)
    with pytest.raises(ValueError, match="lengths from 4 to 5, expected 0 to 4"):
        kernels.self_attention(qkv, lengths + [0, 1], heads=2, causal=True)
    for queries in ((3, 2), (0, 5), (-1, 2)):
        with pytest.raises(ValueError, match=f"queries from {queries[0]} to {queries[1]} of 4 positions"):
            kernels.self_attention(qkv, lengths, heads=2, causal=True, queries=queries)
    with pytest.raises(ValueError, match="one whole number of keys"):
        kernels.self_attention(qkv, lengths[:1], heads=2, causal=True)
    with pytest.raises(TypeError, match="float32 or float64"):
        kernels.self_attention(qkv.astype(int), lengths, heads=2, causal=True)
    with pytest.raises(ValueError, match="g of shape"):
        kernels.self_attention_grad(qkv, qkv, lengths, heads=2, causal=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_any_size_give_a_softmax(dtype: type) -> None:
    """The largest score comes in the last block: every sum before it has to be shrunk to nothing."""
    t, qkv = 200, np.zeros((1, 200, 3), dtype)
    qkv[..., 0], qkv[..., 1], qkv[..., 2] = 1, np.linspace(-3e4, 3e4, t), np.arange(t)
    y = kernels.self_attention(qkv, np.array([t]), heads=1, causal=False)
    np.testing.assert_allclose(y, t - 1, rtol=1e-6)
    y = kernels.self_attention(qkv, np.array([t]), heads=1, causal=True)
    np.testing.assert_allclose(y[0, :, 0], np.arange(t), rtol=1e-6)


def test_what_a_query_does_not_see_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    qkv, lengths = rng.standard_normal((2, 90, 12)), np.array([90, 40])
    y = kernels.self_attention(qkv, lengths, heads=2, causal=True)
    for first, end in ((0, 1), (41, 41), (41, 42), (7, 60), (89, 90)):
        some = kernels.self_attention(qkv, lengths, heads=2, causal=True, queries=(first, end))
        np.testing.assert_allclose(some, y[:, first:end], rtol=1e-12)
    changed = qkv.copy()
    changed[0, 50:] = rng.standard_normal((40, 12))
    changed[1, 40:, 4:] = np.nan  # keys and values beyond the length
    z = kernels.self_attention(changed, lengths, heads=2, causal=True)
    np.testing.assert_array_equal(z[0, :50], y[0, :50])
    np.testing.assert_array_equal(z[1, :40], y[1, :40])
    assert not np.allclose(z[0, 50:], y[0, 50:])
    assert np.isfinite(z).all()


def _peak_of_memory() -> int:
    """The most bytes that this process has held since the last reset (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


@pytest.mark.skipif(not JIT, reason="a long sequence in plain Python takes minutes")
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells the peak anew")
def test_the_scores_are_never_stored() -> None:
    t = 6144
    qkv, lengths, g = np.zeros((1, t, 24), np.float32), np.array([t]), np.ones((1, t, 8), np.float32)
    kernels.self_attention(qkv[:, :1], np.array([1]), heads=1, causal=True)
    kernels.self_attention_grad(g[:, :1], qkv[:, :1], np.array([1]), heads=1, causal=True)
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_of_memory()
    kernels.self_attention(qkv, lengths, heads=1, causal=True)
    kernels.self_attention_grad(g, qkv, lengths, heads=1, causal=True)
    assert _peak_of_memory() - before < t * t * 4 / 8


def test_gelu_slope_is_the_slope_of_gelu() -> None:
    x = np.linspace(-12, 12, 4001)
    numeric = (kernels.gelu(x + 1e-6) - kernels.gelu(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(kernels.gelu_slope(np.ones_like(x), x), numeric, atol=1e-8)
    narrow = x.astype(np.float32)
    np.testing.assert_allclose(kernels.gelu_slope(np.ones_like(narrow), narrow),
                               reference.gelu_slope(np.ones_like(narrow), narrow), atol=2e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_added_as_numpy_adds_them(dtype: type) -> None:
    rng = np.random.default_rng(3)
    for m, n, k in ((1, 1, 1), (5, 3, 40), (7, 33, 12), (4, 2, 0), (3, 0, 2)):
        target, values = rng.standard_normal((m, n)).astype(dtype), rng.standard_normal((n, k)).astype(dtype).T
        places = rng.integers(-m, m, k).astype(np.int16)
        expected = target.copy()
        np.add.at(expected, places, values)
        add_rows(target, places, values)
        np.testing.assert_array_equal(target, expected)
    with pytest.raises(IndexError, match="places from 0 to 3 in 3 rows"):
        add_rows(np.zeros((3, 2)), np.array([0, 3]), np.zeros((2, 2)))
    with pytest.raises(IndexError, match="places from -4"):
        add_rows(np.zeros((3, 2)), np.array([-4]), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"values \(1, 2\)"):
        add_rows(np.zeros((3, 2)), np.array([0]), np.zeros((2, 2)))
    with pytest.raises(TypeError, match="float64 expected"):
        add_rows(np.zeros((3, 2)), np.array([0]), np.zeros((1, 2), np.float32))
