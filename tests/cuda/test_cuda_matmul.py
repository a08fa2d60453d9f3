"""Every rung of the CUDA matmul ladder against float64, on ragged shapes, under emulation and on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_matmul_cases import SHAPES, arguments, assert_product, launch_of, matrices, require, rounded, source

from minigen.kernels.cuda.launch import RUNGS, Rung

LADDER = [pytest.param(rung, dtype, id=f"{rung.name}-{dtype}") for rung in RUNGS.values() for dtype in rung.dtypes]
WITH_EPILOGUE = [pytest.param(rung, id=rung.name) for rung in RUNGS.values() if rung.epilogue]
ONE_STRIDE = {"T": lambda x: np.asfortranarray(x), "N": lambda x: x}


def multiply(machine: Any, rung: Rung, a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None, bias: Any = None,
             accumulate: bool = False, **keywords: Any) -> np.ndarray:
    """A C that starts as `out` (or NaN), after the rung has run."""
    require(machine, rung)
    c = machine.array(np.full((a.shape[0], b.shape[1]), np.nan, a.dtype) if out is None else out)
    left, right = machine.array(a), machine.array(b)
    launch = launch_of(rung, left, right, **keywords)
    if not launch.empty:
        kernel = machine.load(source(rung), launch.defines).get_function("matmul")
        given = arguments(rung, left, right, c, None if bias is None else machine.array(bias), accumulate)
        kernel(launch.grid, launch.block, tuple(given))
    return machine.numpy(c)


@pytest.mark.parametrize(("rung", "dtype"), LADDER)
def test_agrees_with_float64_on_ragged_shapes(machine: Any, rung: Rung, dtype: np.dtype) -> None:
    for m, n, k in SHAPES:
        a, b = matrices(m, n, k, dtype)
        assert_product(multiply(machine, rung, a, b), a, b, rung)


@pytest.mark.parametrize("layout", ["TN", "NT", "TT"])
@pytest.mark.parametrize(("rung", "dtype"), LADDER)
def test_transposed_operands_need_no_copy(machine: Any, rung: Rung, dtype: np.dtype, layout: str) -> None:
    for m, n, k in SHAPES[::2]:
        a, b = matrices(m, n, k, dtype)
        a, b = ONE_STRIDE[layout[0]](a), ONE_STRIDE[layout[1]](b)
        assert_product(multiply(machine, rung, a, b), a, b, rung)


@pytest.mark.parametrize("rung", [pytest.param(r, id=r.name) for r in RUNGS.values() if r.capability > (7, 5)])
def test_a_gpu_that_is_too_old_for_a_rung_skips_it(emulated: Any, rung: Rung) -> None:
    machine = emulated()
    machine.capability = (7, 5)
    with pytest.raises(pytest.skip.Exception, match="needs compute capability"):
        multiply(machine, rung, *matrices(3, 3, 3, np.float32))


@pytest.mark.parametrize(("rung", "dtype"), LADDER)
def test_any_strides(emulated: Any, rung: Rung, dtype: np.dtype) -> None:
    """Every other row and column, rows backwards, a row broadcast, a base that is not aligned to 16 bytes."""
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((80, 140)).astype(dtype)
    flat = rng.standard_normal(1 + 36 * 20).astype(dtype)
    for a, b in (
        (wide[:70:2, ::2], wide[:70, ::3]),
        (wide[::-1, :36], wide[5:41, 1:38]),
        (np.broadcast_to(wide[:1, :20], (9, 20)), flat[1:].reshape(20, 36)),
        (flat[1:].reshape(36, 20), np.broadcast_to(wide[:20, :1], (20, 33))),
    ):
        assert_product(multiply(emulated(), rung, a, b), a, b, rung)


@pytest.mark.parametrize(("rung", "dtype"), LADDER)
def test_writes_only_its_own_rows_and_columns(emulated: Any, rung: Rung, dtype: np.dtype) -> None:
    for n in (36, 34, 33):
        a, b = matrices(37, n, 19, dtype)
        whole = np.full((40, 48), 7, dtype)
        part = whole[2:39, 4 : 4 + n]  # aligned to 16 bytes in float32: the wide stores
        multiply(emulated(), rung, a, b, out=part)
        assert_product(part, a, b, rung)
        part[...] = 7
        assert (whole == 7).all()


@pytest.mark.parametrize("layout", ["NN", "TT"])
@pytest.mark.parametrize(("rung", "dtype"), LADDER)
def test_reads_only_its_own_rows_and_columns(emulated: Any, rung: Rung, dtype: np.dtype, layout: str) -> None:
    """Corners of larger matrices that hold NaN elsewhere, aligned so that wide loads are allowed."""
    for m, n, k in ((37, 35, 18), (33, 38, 17), (2, 3, 1), (36, 40, 34), (4, 12, 48)):
        a, b = matrices(m, n, k, dtype)
        corners = []
        for x, way in zip((a, b), layout, strict=True):
            whole = np.full((60, 60), np.nan, dtype)
            corner = whole.T if way == "T" else whole
            corner[: x.shape[0], : x.shape[1]] = x
            corners.append(corner[: x.shape[0], : x.shape[1]])
        assert_product(multiply(emulated(), rung, *corners), a, b, rung)


@pytest.mark.parametrize("rung", [pytest.param(r, id=r.name) for r in RUNGS.values() if r.small])
@pytest.mark.parametrize("layout", ["NN", "TN", "NT", "TT"])
def test_large_tiles(machine: Any, rung: Rung, layout: str) -> None:
    """What a launch takes for many tiles; the other tests see the small tile."""
    for m, n, k in ((1, 1, 1), (129, 131, 33), (128, 256, 40), (257, 100, 17), (132, 36, 72), (4, 4, 32)):
        a, b = matrices(m, n, k, np.float32)
        a, b = ONE_STRIDE[layout[0]](a), ONE_STRIDE[layout[1]](b)
        assert_product(multiply(machine, rung, a, b, processors=0), a, b, rung)


@pytest.mark.parametrize("rung", [pytest.param(r, id=r.name) for r in RUNGS.values() if r.sliced])
@pytest.mark.parametrize("layout", ["NN", "TN", "NT", "TT"])
def test_slices_of_k(machine: Any, rung: Rung, layout: str) -> None:
    """Each slice leaves a matrix of its own, one that has nothing to add zeros; their sum is the product."""
    require(machine, rung)
    for m, n, k, slices in ((1, 1, 1, 2), (5, 66, 40, 3), (65, 3, 17, 4), (7, 9, 0, 2), (33, 34, 65, 9),
                            (36, 68, 100, 3)):  # fmt: skip
        a, b = matrices(m, n, k, np.float32)
        a, b = ONE_STRIDE[layout[0]](a), ONE_STRIDE[layout[1]](b)
        left, right, out = machine.array(a), machine.array(b), np.full((slices * m, n), np.nan, np.float32)
        launch = launch_of(rung, left, right, slices=slices)
        c = machine.array(out)
        kernel = machine.load(source(rung), launch.defines).get_function("matmul")
        kernel(launch.grid, launch.block, tuple(arguments(rung, left, right, c)))
        assert_product(machine.numpy(c).reshape(slices, m, n).sum(0), a, b, rung)


@pytest.mark.parametrize("rung", WITH_EPILOGUE)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
def test_epilogue(machine: Any, rung: Rung, with_bias: bool, accumulate: bool) -> None:
    rng = np.random.default_rng(2)
    for m, n, k in ((33, 36, 9), (5, 31, 4), (3, 4, 0), (64, 64, 8)):
        a, b = matrices(m, n, k, np.float32)
        bias = rng.standard_normal(n).astype(np.float32) if with_bias else None
        before = rng.standard_normal((m, n)).astype(np.float32)
        plus = (bias if with_bias else 0.0) + before.astype(np.float64) * accumulate
        actual = multiply(machine, rung, a, b, before.copy(), bias, accumulate)
        assert_product(actual, a, b, rung, plus)
        relu = multiply(machine, rung, a, b, before.copy(), bias, accumulate, activation="((x)>0.0f?(x):0.0f)")
        np.testing.assert_array_equal(relu, np.maximum(actual, 0))


@pytest.mark.parametrize(("rung", "dtype"), LADDER)
def test_nan_and_infinity_reach_their_rows_and_columns_only(machine: Any, rung: Rung, dtype: np.dtype) -> None:
    """A rung that multiplies the padding of a tile with NaN, or that skips zeros, fails; so does one that rounds a NaN
    with all bits set as if it were a number."""
    all_set = np.array(0x7FFFFFFF, np.uint32).view(np.float32)
    for m, n, k in ((35, 33, 21), (36, 44, 48)):
        a, b = matrices(m, n, k, dtype)
        a[3, 5], a[-1, 6], b[7, 9], b[8, -1] = all_set, np.inf, np.inf, np.nan
        expected = rounded(a, rung) @ rounded(b, rung)
        actual = multiply(machine, rung, a, b)
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(actual), np.isinf(expected))


@pytest.mark.parametrize(("rung", "dtype"), LADDER)
def test_the_order_of_threads_does_not_matter(emulated: Any, rung: Rung, dtype: np.dtype) -> None:
    for m, n, k in ((70, 67, 41), (72, 68, 72)):
        a, b = matrices(m, n, k, dtype)
        forward, backward = (multiply(emulated(reverse), rung, a, b) for reverse in (False, True))
        np.testing.assert_array_equal(forward, backward)


@pytest.mark.parametrize("name", [name for name, rung in RUNGS.items() if "__syncthreads" in source(rung)])
def test_a_missing_barrier_is_seen(emulated: Any, name: str) -> None:
    """The check above can fail: without any one of its barriers a kernel depends on the order of threads."""
    rung = RUNGS[name]
    barrier = "__syncthreads();"
    parts = source(rung).split(barrier)
    for position in range(1, len(parts)):
        without = barrier.join(parts[:position]) + barrier.join(parts[position:])
        results = []
        for reverse in (False, True):
            products = []
            for m, n, k in ((70, 67, 71), (72, 68, 72)):  # loads of 4 bytes, and of 16
                a, b = matrices(m, n, k, np.float32)
                launch = launch_of(rung, a, b)
                c = np.full((m, n), np.nan, np.float32)
                kernel = emulated(reverse).load(without, launch.defines).get_function("matmul")
                kernel(launch.grid, launch.block, arguments(rung, a, b, c))
                products.append(c.tobytes())
            results.append(products)
        assert results[0] != results[1], f"barrier {position} of {name}"
