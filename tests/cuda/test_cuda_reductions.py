"""Reductions against NumPy in extended precision: shapes around warps and blocks, infinities, NaN, manners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cuda_on import on

from minigen.kernels import reference
from minigen.kernels.cuda import reductions

SHAPES = [(m, n) for m in (1, 3) for n in (1, 2, 31, 32, 33, 255, 256, 257, 1000)]
SHAPES += [(0, 3), (1, 0), (4, 0), (33, 1), (57, 5), (130, 33)]
LONG = [(1000, 3), (5000, 2)]  # down the columns, where rows are added in several parts


def logsumexp(x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.logaddexp.reduce(x, axis=1, initial=-np.inf)


def normalised(x: np.ndarray, eps: float = 0.1) -> np.ndarray:
    with np.errstate(all="ignore"):
        centred = x - x.sum(1, keepdims=True) / x.shape[1]
        return centred / np.sqrt((centred**2).sum(1, keepdims=True) / x.shape[1] + eps)


EXPECTED: dict[str, Any] = {
    "log_softmax_rows": lambda x: x - logsumexp(x)[:, None],
    "normalise_rows": normalised,
    "sum_rows": lambda x: x.sum(1),
    "sum_cols": lambda x: x.sum(0),
    "sum_all": lambda x: x.sum(),
    "max_rows": lambda x: x.max(1),
    "logsumexp_rows": logsumexp,
    "softmax_rows": lambda x: np.exp(x - logsumexp(x)[:, None]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXPECTED)
def test_agrees_with_numpy(machine: Any, monkeypatch: Any, name: str, dtype: type) -> None:
    on(machine, monkeypatch)
    for shape in SHAPES + (LONG if name == "sum_cols" else []):
        if name == "max_rows" and shape[1] == 0:
            continue
        x = (3 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
        exact = x.astype(np.longdouble)
        eps = [0.1] if name == "normalise_rows" else []
        actual = machine.numpy(getattr(reductions, name)(machine.array(x), *eps))
        expected = np.asarray(EXPECTED[name](exact))
        assert actual.dtype == dtype and actual.shape == expected.shape
        # an error of a few roundings of the terms' sizes
        scale = np.asarray(EXPECTED[name](abs(exact))) if name.startswith("sum") else 1 + abs(expected)
        np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(expected))
        finite = np.isfinite(expected)
        bound = (np.finfo(dtype).eps * (16 + shape[0] / 256) * np.broadcast_to(scale, expected.shape))[finite]
        assert (abs(actual[finite] - expected[finite]) <= bound).all(), shape


@pytest.mark.parametrize("n", [4096, 4097, 10_000, 4096 * 5])
def test_long_sums_in_chunks(emulated: Any, monkeypatch: Any, n: int) -> None:
    on(emulated(), monkeypatch)
    x = np.random.default_rng(1).standard_normal(n).astype(np.float32)
    assert abs(float(reductions.sum_all(x)) - math.fsum(x)) <= 2e-6 * math.fsum(abs(x))


def test_infinities_and_nan(machine: Any, monkeypatch: Any) -> None:
    on(machine, monkeypatch)
    inf, nan = np.inf, np.nan
    x = np.array([[1, nan, 2], [-inf, -inf, -inf], [inf, 0, 1], [-inf, 3, -inf], [1000, 1000, -1000]], np.float32)
    given = machine.array(x)
    np.testing.assert_array_equal(machine.numpy(reductions.max_rows(given)), [nan, -inf, inf, 3, 1000])
    lse = machine.numpy(reductions.logsumexp_rows(given))
    np.testing.assert_allclose(lse, [nan, -inf, inf, 3, 1000 + np.log(2)], rtol=1e-6)
    softmax = machine.numpy(reductions.softmax_rows(given))
    assert np.isnan(softmax[:2]).all() and np.isnan(softmax[2, 0])
    np.testing.assert_allclose(softmax[3:], [[0, 1, 0], [0.5, 0.5, 0]])
    np.testing.assert_array_equal(machine.numpy(reductions.sum_cols(given)), [nan, nan, -inf])


def test_more_columns_than_a_grid_holds_are_summed_as_rows(emulated: Any, monkeypatch: Any) -> None:
    on(emulated(), monkeypatch)
    assert reductions.MOST_COLUMNS == 32 * 65535
    x = np.random.default_rng(1).standard_normal((3, 65))
    whole = reductions.sum(x, 0)
    monkeypatch.setattr(reductions, "MOST_COLUMNS", 64)
    monkeypatch.setattr(reductions, "sum_cols", None)
    np.testing.assert_allclose(reductions.sum(x, 0), whole, rtol=1e-13)


AXES = [((7,), 0), ((), None), ((5, 7), 0), ((5, 7), -1), ((33, 3, 9), 1), ((2, 300), 1), ((3, 0), -1), ((0, 3), -1),
        ((1, 1, 40), -1), ((4, 5, 6, 2), -3)]  # fmt: skip
SEVERAL = [((5, 7), None), ((5, 7), (0, 1)), ((4, 5, 6), (0, 2)), ((4, 5, 6), (-1, -2)), ((4, 5, 6), ()),
           ((70, 5, 6), (0, 1)), ((0, 3), 0), ((3, 0, 2), (0, 1))]  # fmt: skip


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """x in C order, in Fortran order, and spread over a larger array."""
    return [x, np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2]] if x.ndim else [x]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sum", "logsumexp", "softmax", "log_softmax", "normalise"])
def test_any_axes_of_any_layout(emulated: Any, monkeypatch: Any, name: str, dtype: type) -> None:
    on(emulated(), monkeypatch)
    ours, contract = getattr(reductions, name), getattr(reference, name)
    tolerance = dict(rtol=1e-5, atol=1e-5) if dtype == np.float32 else dict(rtol=1e-13, atol=1e-13)
    for shape, axis in AXES + (SEVERAL if name in ("sum", "normalise") else []):
        if name not in ("sum", "normalise") and not shape:
            continue
        for x in layouts((3 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)):
            for keepdims in ({"keepdims": False}, {"keepdims": True}) if name in ("sum", "logsumexp") else ({},):
                given = dict(axis=axis, **keepdims, **({"eps": 0.1} if name == "normalise" else {}))
                actual, expected = ours(x, **given), contract(x, **given)
                assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), given
                assert actual.flags.c_contiguous and not np.may_share_memory(actual, x)
                np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(expected))
                np.testing.assert_allclose(actual, expected, **tolerance)


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_infinities_are_the_contracts(emulated: Any, monkeypatch: Any, name: str) -> None:
    on(emulated(), monkeypatch)
    inf, nan = np.inf, np.nan
    x = np.array([[1, nan, 2], [-inf, -inf, -inf], [inf, 0, 1], [-inf, 3, -inf], [1000, 1000, -1000]], np.float32)
    np.testing.assert_allclose(getattr(reductions, name)(x), getattr(reference, name)(x), rtol=1e-6)


def test_an_axis_that_is_not_there(emulated: Any, monkeypatch: Any) -> None:
    on(emulated(), monkeypatch)
    with pytest.raises(ValueError, match="axis 2 does not exist in an array of 2 axes"):
        reductions.sum(np.ones((2, 3)), axis=2)


@pytest.mark.parametrize("name", ["sum_rows", "sum_cols", "softmax_rows", "log_softmax_rows", "normalise_rows"])
def test_the_order_of_threads_does_not_matter(emulated: Any, monkeypatch: Any, name: str) -> None:
    x = np.random.default_rng(2).standard_normal((70, 300)).astype(np.float32)
    results = []
    for reverse in (False, True):
        on(emulated(reverse), monkeypatch)
        results.append(getattr(reductions, name)(x, *([0.1] if name == "normalise_rows" else [])).tobytes())
    assert results[0] == results[1]


def test_what_has_no_meaning_is_refused() -> None:
    x = np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"^max_rows: an empty row .* got shape \(2, 0\)"):
        reductions.max_rows(x[:2, :0].copy())
    with pytest.raises(ValueError, match="^sum_rows: a C-contiguous array expected"):
        reductions.sum_rows(x.T)
    with pytest.raises(ValueError, match="^softmax_rows: a matrix expected"):
        reductions.softmax_rows(x[0])
    with pytest.raises(TypeError, match="^sum_all: .*got int64"):
        reductions.sum_all(np.ones(3, np.int64))
