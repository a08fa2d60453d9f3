"""Every rung of the matmul ladder against the definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import DTYPES, JIT
from matmul_cases import ACTIVATIONS, OWN, SHAPES, assert_close, error_bound, matrix, oracle, strided

from minigen.kernels import reference
from minigen.kernels import threads as setting
from minigen.kernels.cpu.matmul import RUNGS, matmul, small_matmul

TRANSPOSED = [(False, False), (False, True), (True, False), (True, True)]
BIT_FOR_BIT = ("vector", "packed", "parallel", "best")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", RUNGS)
def test_product(rung: str, dtype: type, rng: np.random.Generator) -> None:
    for m, k, n in SHAPES:
        a, b = matrix(rng, m, k, dtype), matrix(rng, k, n, dtype)
        expected, bound = oracle(a, b), error_bound(a, b)
        for turn_a, turn_b in TRANSPOSED:
            left = np.ascontiguousarray(a.T) if turn_a else a
            right = np.ascontiguousarray(b.T) if turn_b else b
            y = matmul(left, right, transpose_a=turn_a, transpose_b=turn_b, rung=rung)
            assert y.dtype == dtype and y.flags.c_contiguous
            assert_close(y, expected, bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", OWN)
def test_any_strides(rung: str, dtype: type, rng: np.random.Generator) -> None:
    for m, k, n in [(5, 7, 3), (1, 9, 20), (9, 20, 1)] + [(33, 65, 50), (2, 65, 50), (70, 300, 50)] * JIT:
        a, b = matrix(rng, m, k, dtype), matrix(rng, k, n, dtype)
        expected, bound = oracle(a, b), error_bound(a, b)
        for _, left in strided(a):
            assert_close(matmul(left, b, rung=rung), expected, bound)
            assert_close(matmul(b.T, left.T, rung=rung), expected.T, bound.T)
        for _, right in strided(b):
            assert_close(matmul(a, right, rung=rung), expected, bound)
            assert_close(matmul(right.T, a.T, rung=rung), expected.T, bound.T)
        row, column = np.broadcast_to(b[:1], (k, n)), np.broadcast_to(a[:, :1], (m, k))
        assert_close(matmul(a, row, rung=rung), oracle(a, row), error_bound(a, row))
        assert_close(matmul(column, b, rung=rung), oracle(column, b), error_bound(column, b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", RUNGS)
def test_bias_activation_and_accumulate(rung: str, dtype: type, rng: np.random.Generator) -> None:
    for m, k, n in [(5, 7, 3), (3, 0, 4), (1, 9, 20), (9, 20, 1)] + [(33, 65, 50), (70, 300, 49)] * JIT:
        a, b, bias, old = (matrix(rng, *shape, dtype) for shape in ((m, k), (k, n), (1, n), (m, n)))
        bias, bound = bias[0], 2 * error_bound(a, b, bias, old)
        for activation in (None, *ACTIVATIONS):
            y = matmul(a, b, bias=bias, activation=activation, rung=rung)
            assert_close(y, oracle(a, b, bias, activation), bound)
        y = matmul(a, b, activation="leaky_relu", slope=0.5, rung=rung)
        assert_close(y, reference.leaky_relu(oracle(a, b), 0.5), bound)
        for other in (None, bias):
            out = old.copy()
            assert matmul(a, b, bias=other, out=out, accumulate=True, activation="relu", rung=rung) is out
            assert_close(out, oracle(a, b, other, "relu", old), bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_small_product_is_the_same_product(dtype: type, rng: np.random.Generator) -> None:
    for m, k, n in [(5, 7, 3), (3, 0, 4), (0, 3, 4), (1, 9, 20), (9, 20, 1)] + [(33, 65, 50)] * JIT:
        a, b, bias, old = (matrix(rng, *shape, dtype) for shape in ((m, k), (k, n), (1, n), (m, n)))
        strided_bias = np.repeat(bias[0], 2)[::2]
        askew = np.ndarray(a.shape, dtype, bytearray(a.nbytes + 1), 1)  # off its own size: only `matmul` takes this
        askew[...] = a
        for left in (a, np.asfortranarray(a), askew):
            for activation in (None, *ACTIVATIONS):
                for given in ({}, {"bias": bias[0]}, {"bias": strided_bias}, {"accumulate": True}, {"slope": 0.5}):
                    out, expected = old.copy(), old.copy()
                    assert small_matmul(left, b, activation=activation, out=out, **given) is out
                    matmul(left, b, activation=activation, out=expected, **given)
                    assert out.tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match="do not match"):
        small_matmul(a, a[:, 1:], out=old)


@pytest.mark.parametrize("rung", RUNGS)
def test_out_of_any_layout(rung: str, rng: np.random.Generator) -> None:
    a, b = matrix(rng, 5, 7, "f4"), matrix(rng, 7, 4, "f4")
    for accumulate in (False, True):
        for _, out in strided(np.ones((5, 4), np.float32)):
            out = out if out.flags.writeable else np.ones((4, 5), np.float32).T
            assert matmul(a, b, out=out, accumulate=accumulate, rung=rung) is out
            assert_close(out, oracle(a, b, old=1.0 * accumulate), error_bound(a, b, 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", OWN)
def test_what_is_not_finite_arrives(rung: str, dtype: type, rng: np.random.Generator) -> None:
    for m, k, n in [(3, 7, 5), (1, 20, 9)] + [(20, 70, 50)] * JIT:
        a, b = matrix(rng, m, k, dtype), matrix(rng, k, n, dtype)
        a[m // 2, k - 1] = np.nan
        b[0, n - 1] = np.inf
        for left, right in ((a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b))):
            y = matmul(left, right, rung=rung)
            assert_close(y, oracle(a, b), error_bound(a, b))
            for activation in ("leaky_relu", "tanh", "softplus"):
                y = matmul(left, right, rung=rung, activation=activation)
                assert (np.isnan(y) == np.isnan(oracle(a, b, None, activation))).all()


@pytest.mark.skipif(not JIT, reason="NumPy adds in an order of its own")
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_depend_on_neither_tiling_nor_threads(
    dtype: type, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting, "processors", lambda: 8)
    for m, k, n in [(33, 300, 50), (64, 784, 128), (300, 65, 127), (8, 64, 200), (5, 600, 1)]:
        rungs = BIT_FOR_BIT if n > 1 else ("vector", "parallel", "best")  # a lone column is summed along k instead
        a, b, bias = matrix(rng, m, k, dtype), matrix(rng, k, n, dtype), matrix(rng, 1, n, dtype)[0]
        y = matmul(a, b, bias=bias, rung="vector", activation="tanh")
        for rung in rungs:
            for threads in (1, 2, 3, 8):
                assert (matmul(a, b, bias=bias, rung=rung, activation="tanh", threads=threads) == y).all()
        if m > 3 and n > 1:  # a row alone, and a column among others, are the same sums
            assert (matmul(a[2:3], b, bias=bias, activation="tanh") == y[2:3]).all()
            assert (matmul(a, b[:, 1:], bias=bias[1:], activation="tanh") == y[:, 1:]).all()


@pytest.mark.skipif(not JIT, reason="NumPy adds in an order of its own")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dot_product_does_not_depend_on_its_neighbours(dtype: type, rng: np.random.Generator) -> None:
    """Four are added together, and those that are left one by one."""
    for k in (1, 5, 31, 40, 64, 100):
        x, w = matrix(rng, 1, k, dtype), matrix(rng, 13, k, dtype)
        y = matmul(x, w, transpose_b=True)
        for j in range(0, 11):
            assert (matmul(x, w[j : j + 3], transpose_b=True) == y[:, j : j + 3]).all()


def test_out_that_overlaps_is_seen_after_the_first_call(rng: np.random.Generator) -> None:
    """The first call compiles; from the second on, compiled code looks at shapes and addresses."""
    memory = matrix(rng, 8, 4, "f4")
    a, b = memory[:4], memory[4:]
    y = matmul(a, b)
    for out in (memory[:4], memory[2:6], memory[4:]):
        with pytest.raises(ValueError, match="overlaps"):
            matmul(a, b, out=out)
        with pytest.raises(ValueError, match="overlaps"):
            matmul(a, b, bias=memory[0], out=out)
    with pytest.raises(ValueError, match="overlaps"):
        matmul(y, b, bias=memory[3], out=memory[2:6])
    for bias in (memory[0, :3], memory[:, 0]):
        with pytest.raises(ValueError, match="bias"):
            matmul(a, b, bias=bias)
    with pytest.raises(ValueError, match="do not match"):
        matmul(a[:, :3], b)
    np.testing.assert_array_equal(matmul(a, b), y)
    np.testing.assert_array_equal(matmul(a, b[::-1])[::-1], matmul(a[::-1], b[::-1]))


def test_errors_say_what_was_expected() -> None:
    a, b, vector = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32), np.ones(3, np.float32)
    locked = np.ones((2, 4), np.float32)
    locked.flags.writeable = False
    both = np.ones((5, 4), np.float32)
    for error, match, call in [
        (ValueError, r"matrices expected, got shapes \(3,\) and \(3, 4\)", lambda: matmul(vector, b)),
        (ValueError, r"shapes \(2, 3\) and \(4, 3\) do not match: 3 columns, 4 rows",
         lambda: matmul(a, b, transpose_b=True)),
        (TypeError, "float32 or float64 expected, the same for both, got int64",
         lambda: matmul(a.astype("i8"), b.astype("i8"))),
        (TypeError, "got >f4 and >f4", lambda: matmul(a.astype(">f4"), b.astype(">f4"))),
        (TypeError, "the same for both, got float32 and float64", lambda: matmul(a, b.astype("f8"))),
        (ValueError, r"`bias` of shape \(4,\) expected, got \(3,\)", lambda: matmul(a, b, bias=vector)),
        (TypeError, "`bias` of float32", lambda: matmul(a, b, bias=np.ones(4))),
        (ValueError, "unknown activation 'swish': use one of relu", lambda: matmul(a, b, activation="swish")),
        (ValueError, "unknown rung 'fast': use one of naive", lambda: matmul(a, b, rung="fast")),
        (ValueError, r"`out` of shape \(2, 4\) expected, got \(2, 3\)", lambda: matmul(a, b, out=np.empty_like(a))),
        (TypeError, "`out` of float32", lambda: matmul(a, b, out=np.empty((2, 4)))),
        (ValueError, "read-only", lambda: matmul(a, b, out=locked)),
        (ValueError, "needs an `out`", lambda: matmul(a, b, accumulate=True)),
        (ValueError, "overlaps", lambda: matmul(a, both[:3], out=both[2:4])),
        (ValueError, "threads must be at least 1, got 0", lambda: matmul(a, b, threads=0)),
        (ValueError, "threads must be at least 1, got -1", lambda: matmul(a, b, threads=-1)),
    ]:  # fmt: skip
        with pytest.raises(error, match=match) as caught:
            call()
        assert str(caught.value).startswith("matmul: ") and "\n" not in str(caught.value)


def test_neighbours_that_do_not_overlap_are_welcome() -> None:
    memory = np.ones((4, 8), np.float32)
    y = matmul(memory[:, ::2], np.ones((4, 4), np.float32), out=memory[:, 1::2])
    assert (y == 4).all() and (memory[:, ::2] == 1).all()


@pytest.mark.parametrize("rung", OWN)
def test_operands_are_left_alone(rung: str, rng: np.random.Generator) -> None:
    a, b, bias = matrix(rng, 5, 7, "f4"), matrix(rng, 7, 4, "f4"), matrix(rng, 1, 4, "f4")[0]
    copies = [x.copy() for x in (a, b, bias)]
    around = np.full((9, 4), 7, np.float32)
    matmul(a, b, bias=bias, out=around[2:7], rung=rung)
    assert all((x == y).all() for x, y in zip((a, b, bias), copies, strict=True))
    assert (around[:2] == 7).all() and (around[7:] == 7).all()


def test_the_reference_is_the_definition(rng: np.random.Generator) -> None:
    a, b, bias, old = (matrix(rng, *shape, "f4") for shape in ((5, 7), (7, 4), (1, 4), (5, 4)))
    bias = bias[0]
    bound = error_bound(a, b, bias, old)
    assert reference.matmul(a, b).dtype == np.float32
    for activation in (None, *ACTIVATIONS):
        y = reference.matmul(a.T.copy(), b, transpose_a=True, bias=bias, activation=activation)
        assert_close(y, oracle(a, b, bias, activation), bound)
    out = old.copy()
    assert reference.matmul(a, b.T.copy(), transpose_b=True, bias=bias, out=out, accumulate=True) is out
    assert_close(out, oracle(a, b, bias, None, old), bound)


STACKS = [
    ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 6)), ((1, 3, 4), (2, 4, 1)),
    ((0, 3, 4), (4, 5)), ((2, 0, 4), (2, 4, 5)), ((2, 3, 0), (2, 0, 5)), ((2, 3, 4), (2, 4, 0)),
    ((5, 1, 33), (5, 33, 17)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", ["naive", "vector", "blas", "best"])
def test_stacks(rung: str, dtype: type, rng: np.random.Generator) -> None:
    for left, right in STACKS:
        a, b = rng.standard_normal(left).astype(dtype), rng.standard_normal(right).astype(dtype)
        expected = a.astype(np.float64) @ b.astype(np.float64)
        bound = (left[-1] + 8) * np.finfo(dtype).eps * (abs(a).astype(np.float64) @ abs(b) + 1e-3)
        turned = np.ascontiguousarray(a.swapaxes(-1, -2)), np.ascontiguousarray(b.swapaxes(-1, -2))
        for y in (
            matmul(a, b, rung=rung),
            matmul(turned[0], turned[1], transpose_a=True, transpose_b=True, rung=rung),
            matmul(turned[0].swapaxes(-1, -2), b, rung=rung),
        ):
            assert y.dtype == dtype and y.flags.c_contiguous
            assert_close(y, expected, bound)
        assert_close(reference.matmul(a, b), expected, bound)


def test_stacks_that_do_not_match_are_refused() -> None:
    a, b = np.ones((2, 3, 4), np.float32), np.ones((3, 4, 5), np.float32)
    with pytest.raises(ValueError, match="2,.*3,|could not be broadcast"):
        matmul(a, b)
    with pytest.raises(ValueError, match="4 columns, 3 rows"):
        matmul(a, a)
    with pytest.raises(TypeError, match="float32 and float64"):
        matmul(a, np.ones((2, 4, 5)))
    for count in (2, 0):
        for dtype in ("i4", "i8", "u1", "?", "f2", "c8", ">f4"):
            with pytest.raises(TypeError, match="float32 or float64 expected, the same for both"):
                matmul(np.ones((count, 3, 4), dtype), np.ones((count, 4, 5), dtype))
        x, y = np.ones((count, 3, 4), np.float32), np.ones((count, 4, 5), np.float32)
        with pytest.raises(ValueError, match="unknown rung 'fast'"):
            matmul(x, y, rung="fast")
        with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
            matmul(x, y, threads=0)
        with pytest.raises(ValueError, match="4 columns, 3 rows"):
            matmul(x, y[:, :3])
    with pytest.raises(ValueError, match="matrices expected"):
        matmul(a, b[0], bias=np.ones(5, np.float32))
    with pytest.raises(ValueError, match="matrices expected"):
        matmul(a, np.ones(4, np.float32))


def test_unaligned_stacks(rng: np.random.Generator) -> None:
    a = np.empty(2 * 3 * 4 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(2, 3, 4)
    a[...] = rng.standard_normal(a.shape)
    b = rng.standard_normal((2, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(matmul(a, b), matmul(a.copy(), b))
