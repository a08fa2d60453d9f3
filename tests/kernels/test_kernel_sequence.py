"""Kernels in a sequence compute what they compute one by one, bit for bit, in memory that the sequence keeps."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest

from minigen.kernels.cpu.generated import compile_loop
from minigen.kernels.cpu.matmul import small_matmul
from minigen.kernels.cpu.sequence import AVAILABLE, Slot, loop_call, product_call, sequence

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="kernels are plain Python, or check bounds, here")
LAYOUTS = {"rows": lambda x: x, "columns": np.asfortranarray, "strided": lambda x: np.repeat(x, 2, 1)[:, ::2]}


def scaled(x, y, factor):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] * factor


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 33, 7), (5, 3, 1), (31, 17, 33), (64, 32, 64), (8, 1, 16)])
def test_a_product_in_a_sequence_is_that_of_a_call(dtype, shape):
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n), (n,)))
    for left, right in itertools.product(LAYOUTS.values(), repeat=2):
        for settings in ({}, {"bias": bias, "activation": "tanh"}, {"accumulate": True},
                         {"bias": bias, "activation": "leaky_relu", "slope": 0.2}, {"activation": "relu"}):
            expected, got = (np.full((m, n), 0.5, dtype) for _ in range(2))
            small_matmul(left(a), right(b), out=expected, **settings)
            sequence(product_call(left(a), right(b), out=got, **settings))()
            np.testing.assert_array_equal(got, expected)


def test_calls_come_in_order_and_numbers_are_read_anew():
    loop = compile_loop(scaled, "float32[:, :]; float32[:, :]; float64")
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((4, 4)).astype(np.float32) for _ in range(2))
    c, d, e = (np.zeros((4, 4), np.float32) for _ in range(3))
    numbers = np.zeros(2)
    run = sequence(loop_call(loop, a, c, 2.0), product_call(c, b, out=d), loop_call(loop, d, e, Slot(numbers, 1)))
    for factor in (3.0, -1.0):
        numbers[1] = factor
        a += 1
        run()
        np.testing.assert_array_equal(c, 2 * a)
        np.testing.assert_allclose(e, factor * (2 * a @ b), rtol=1e-5)


def test_a_sequence_keeps_its_memory():
    loop = compile_loop(scaled, "float64[:, :]; float64[:, :]; float64")
    out = np.zeros((200, 200))
    run = sequence(loop_call(loop, np.ones((200, 200)), out, 5.0))
    gc.collect()
    others = [np.full((200, 200), 7.0) for _ in range(20)]
    run()
    assert (out == 5).all() and (others[0] == 7).all()
