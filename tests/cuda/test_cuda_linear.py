"""matmul on device arrays: the public function around the ladder."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_matmul_cases import assert_product, matrices, require
from cuda_on import on

from minigen.kernels import reference
from minigen.kernels.cuda import device
from minigen.kernels.cuda.launch import BEST, RUNGS, slices_of
from minigen.kernels.cuda.linear import ACTIVATIONS, matmul


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_transposes(machine: Any, monkeypatch: Any, dtype: type, transpose_a: bool, transpose_b: bool) -> None:
    on(machine, monkeypatch)
    for m, n, k in ((0, 3, 2), (3, 4, 0), (1, 1, 1), (17, 33, 9), (64, 70, 31)):
        a, b = matrices(m, n, k, dtype)
        left = machine.array(np.ascontiguousarray(a.T) if transpose_a else a)
        right = machine.array(np.ascontiguousarray(b.T) if transpose_b else b)
        c = machine.numpy(matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b))
        assert c.shape == (m, n) and c.dtype == dtype
        assert_product(c, a, b, RUNGS[BEST[np.dtype(dtype)]])


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "softplus", "relu", "leaky_relu"])
def test_bias_and_activation(machine: Any, monkeypatch: Any, name: str) -> None:
    on(machine, monkeypatch)
    a, b = matrices(13, 36, 21, np.float32)
    bias = np.linspace(-1, 1, 36, dtype=np.float32)
    for slope in (0.01, 0.2) if name == "leaky_relu" else (0.01,):
        settings = dict(activation=name, slope=slope)
        c = machine.numpy(matmul(machine.array(a), machine.array(b), bias=machine.array(bias), **settings))
        np.testing.assert_allclose(c, reference.matmul(a, b, bias=bias, **settings), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "rung"), [(np.float64, "best"), (np.float32, "naive"), (np.float64, "shared_tile")])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_a_rung_without_an_epilogue_is_followed_by_one(
    machine: Any, monkeypatch: Any, activation: str | None, dtype: type, rung: str
) -> None:
    on(machine, monkeypatch)
    for m, n, k in ((0, 3, 2), (3, 0, 2), (2, 3, 0), (13, 36, 21), (1, 33, 5)):
        a, b = matrices(m, n, k, dtype)
        bias = np.linspace(-1, 1, n).astype(dtype)
        before = np.arange(m * n, dtype=dtype).reshape(m, n) / dtype(m * n + 1)
        for accumulate in (False, True):
            given = dict(activation=activation, slope=0.2, accumulate=accumulate)
            out = machine.array(before.copy())
            result = matmul(machine.array(a), machine.array(b), bias=machine.array(bias), out=out, rung=rung, **given)
            assert result is out
            expected = reference.matmul(a, b, bias=bias, out=before.copy(), **given)
            tolerance = dict(rtol=1e-4, atol=1e-5) if dtype == np.float32 else dict(rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(machine.numpy(out), expected, **tolerance)


@pytest.mark.parametrize("activation", [None, "leaky_relu"])
def test_a_long_sum_for_few_numbers_is_shared_out(machine: Any, monkeypatch: Any, activation: str | None) -> None:
    """The discriminator's first layer at a small batch: two tiles of C, and 784 terms."""
    on(machine, monkeypatch)
    for m, n, k in ((3, 70, 784), (1, 1, 300)):
        assert slices_of(RUNGS["warp_tile"], m, n, k) > 1
        a, b = matrices(m, n, k, np.float32)
        bias, before = np.linspace(-1, 1, n, dtype=np.float32), np.ones((m, n), np.float32)
        for accumulate in (False, True):
            given = dict(activation=activation, slope=0.2, accumulate=accumulate)
            out = machine.array(before.copy())
            assert matmul(machine.array(a), machine.array(b), bias=machine.array(bias), out=out, **given) is out
            expected = reference.matmul(a, b, bias=bias, out=before.copy(), **given)
            np.testing.assert_allclose(machine.numpy(out), expected, rtol=1e-4, atol=1e-4)
        assert_product(machine.numpy(matmul(machine.array(a), machine.array(b))), a, b, RUNGS["warp_tile"])


STACKS = [((2, 3, 5, 4), (4, 6)), ((3, 5, 4), (3, 4, 6)), ((5, 4), (2, 4, 6)), ((2, 1, 5, 4), (3, 4, 6)),
          ((0, 5, 4), (4, 6)), ((3, 5, 0), (3, 0, 6)), ((1, 5, 4), (1, 4, 6))]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("left", "right"), STACKS, ids=str)
def test_stacks(machine: Any, monkeypatch: Any, left: tuple[int, ...], right: tuple[int, ...], dtype: type) -> None:
    on(machine, monkeypatch)
    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in (left, right))
    tolerance = dict(rtol=1e-5, atol=1e-5) if dtype == np.float32 else dict(rtol=1e-13, atol=1e-13)
    expected = reference.matmul(a, b)
    turned_a, turned_b = (np.ascontiguousarray(x.swapaxes(-1, -2)) for x in (a, b))
    for product in (
        matmul(machine.array(a), machine.array(b)),
        matmul(machine.array(turned_a), machine.array(turned_b), transpose_a=True, transpose_b=True),
    ):
        actual = machine.numpy(product)
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(actual, expected, **tolerance)


@pytest.mark.parametrize("rung", ["warp_tile", "shared_tile"])
@pytest.mark.parametrize("accumulate", [False, True])
def test_an_out_of_any_strides(emulated: Any, monkeypatch: Any, accumulate: bool, rung: str) -> None:
    on(emulated(), monkeypatch)
    a, b = matrices(9, 7, 5, np.float32)
    for whole, key in (((9, 14), np.s_[:, ::2]), ((18, 7), np.s_[::2]), ((9, 11), np.s_[:, 2:9]), ((7, 9), None)):
        memory = np.ones(whole, np.float32)
        out = memory.T if key is None else memory[key]
        settings = dict(accumulate=accumulate, bias=np.ones(14, np.float32)[::2], rung=rung)
        assert matmul(a, b, out=out, **settings) is out
        assert_product(out, a, b, RUNGS[rung], 2.0 if accumulate else 1.0)
        out[...] = 1
        assert (memory == 1).all()  # nothing beside it was written


def test_accumulates_into_out(machine: Any, monkeypatch: Any) -> None:
    on(machine, monkeypatch)
    a, b = matrices(13, 36, 21, np.float32)
    out = machine.array(np.ones((13, 36), np.float32))
    assert matmul(machine.array(a), machine.array(b), out=out, accumulate=True) is out
    assert_product(machine.numpy(out), a, b, RUNGS["warp_tile"], 1.0)


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_by_name(machine: Any, monkeypatch: Any, rung: str) -> None:
    on(machine, monkeypatch)
    require(machine, RUNGS[rung])
    a, b = matrices(13, 20, 21, np.float32)
    assert_product(machine.numpy(matmul(machine.array(a), machine.array(b), rung=rung)), a, b, RUNGS[rung])


@pytest.mark.parametrize("rung", [name for name, rung in RUNGS.items() if rung.capability > (7, 5)])
def test_a_gpu_that_is_too_old_for_a_rung_is_an_error(emulated: Any, monkeypatch: Any, rung: str) -> None:
    machine = emulated()
    machine.capability = (7, 5)
    on(machine, monkeypatch)
    message = f"rung '{rung}' needs a GPU of compute capability 8.0, this one has 7.5: use 'best'"
    with pytest.raises(ValueError, match=re.escape(message)):
        matmul(X, Y, rung=rung)
    assert_product(matmul(X, Y), X, Y, RUNGS["warp_tile"])


def test_the_gpus_own_processors_decide_on_slices(emulated: Any, monkeypatch: Any) -> None:
    on(emulated(), monkeypatch)
    a, b = matrices(3, 5, 784, np.float32)
    grids = []
    run = device.run
    monkeypatch.setattr(device, "run", lambda *given: (grids.append(given[2].grid), run(*given)))
    for processors in (1, 2, 4):
        monkeypatch.setattr(device, "processors", lambda processors=processors: processors)
        assert_product(matmul(a, b), a, b, RUNGS["warp_tile"])
    assert [grid[1] for grid in grids] == [1, 4, 1, 8, 1]  # in slices, a kernel that adds them up follows


def test_neighbours_that_do_not_overlap_are_told_apart() -> None:
    memory = np.ones((8, 16), np.float32)

    def placed(x: np.ndarray) -> Any:
        return SimpleNamespace(shape=x.shape, strides=x.strides, size=x.size, dtype=x.dtype,
                               data=SimpleNamespace(ptr=x.ctypes.data))

    for a, b in ((memory[:, :8], memory[:, 8:]), (memory[::2], memory[1::2]), (memory[:, ::2], memory[::-1, 1::2]),
                 (memory[:0], memory)):
        assert not device.overlap(placed(a), placed(b))
    for a, b in ((memory, memory[3:4, 5:6]), (memory[:, ::2], memory[:, 8:]), (memory.T, memory)):
        assert device.overlap(placed(a), placed(b))


X, Y = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)


@pytest.mark.parametrize(("given", "error", "message"), [
    (dict(a=X, b=X), ValueError, r"shapes \(3, 4\) and \(3, 4\) do not match: 4 columns, 3 rows"),
    (dict(a=X, b=Y.astype(np.float64)), TypeError, "`b` of float32 expected"),
    (dict(a=X[0], b=Y), ValueError, r"matrices expected, got shapes \(4,\) and \(4, 5\)"),
    (dict(a=X[None], b=Y, activation="tanh"), ValueError, r"matrices expected, got shapes \(1, 3, 4\) and \(4, 5\)"),
    (dict(a=X[None], b=Y, accumulate=True), ValueError, "matrices expected"),
    (dict(a=X.astype(np.int64), b=Y), TypeError, "got int64"),
    (dict(a=X, b=Y, rung="fastest"), ValueError, "unknown rung 'fastest': use 'best' or one of naive, "),
    (dict(a=X, b=Y, activation="swish"), ValueError, "unknown activation 'swish'"),
    (dict(a=X, b=Y, activation="gate"), ValueError, "unknown activation 'gate'"),
    (dict(a=X, b=Y, accumulate=True), ValueError, "needs an `out`"),
    (dict(a=X, b=Y, threads=0), ValueError, "threads must be at least 1, got 0"),
    (dict(a=X, b=Y, bias=np.ones(4, np.float32)), ValueError, r"`bias` of shape \(5,\) expected"),
    (dict(a=X, b=Y, out=np.ones((5, 3), np.float32)), ValueError, r"`out` of shape \(3, 5\) expected"),
    (dict(a=X, b=Y, out=np.ones((3, 5))), TypeError, "`out` of float32 expected"),
    (dict(a=X, b=Y[:, :4].copy(), out=X), ValueError, "`out` overlaps with an operand"),
])  # fmt: skip
def test_what_does_not_match_is_refused(
    emulated: Any, monkeypatch: Any, given: dict[str, Any], error: type, message: str
) -> None:
    on(emulated(), monkeypatch)
    with pytest.raises(error, match=message):
        matmul(**given)
