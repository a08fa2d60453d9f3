"""What is held against a kernel before it is timed must see what is wrong."""

import numpy as np
import pytest

from minigen.kernels.bench.check import elementwise_fault, fault, product_fault


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [1, 33, 784, 4096])
def test_a_product_with_one_number_forgotten_is_found(dtype, k, rng):
    a, b = rng.standard_normal((24, k)).astype(dtype), rng.standard_normal((k, 40)).astype(dtype)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    assert product_fault(a @ b, a, b, expected) is None
    assert "are off, by up to" in product_fault(a[:, :-1] @ b[:-1], a, b, expected)


def test_operands_rounded_to_bfloat16_are_right_only_where_that_is_said(rng):
    a, b = (rng.standard_normal((64, 64)).astype(np.float32) for _ in range(2))
    expected = a.astype(np.float64) @ b.astype(np.float64)
    short = [(x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) for x in (a, b)]
    assert product_fault(short[0] @ short[1], a, b, expected)
    assert product_fault(short[0] @ short[1], a, b, expected, rounding=2.0**-8) is None


@pytest.mark.parametrize(
    "result, expected, reason",
    [
        ([1.0, np.nan], [1.0, 2.0], "1 numbers are NaN, or should be"),
        ([1.0, 2.0], [1.0, np.nan], "1 numbers are NaN, or should be"),
        ([1.0, np.inf], [1.0, 2.0], "1 of 2 numbers are off, by up to inf"),
        ([1.0, np.inf], [1.0, -np.inf], "infinities differ"),
        ([1.0, 2.0], [1.0, np.inf], "infinities differ"),
        ([1.0, 2.1], [1.0, 2.0], "1 of 2 numbers are off, by up to 0.1"),
        ([1.0], [1.0, 2.0], "shape (1,), expected (2,)"),
        ([1.0, np.nan, np.inf], [1.0, np.nan, np.inf], None),
        ([], [], None),
    ],
)
def test_faults(result, expected, reason):
    assert fault(np.array(result), np.array(expected), 0.05) == reason


def test_elementwise_faults_are_relative_above_1_and_absolute_below():
    expected = np.array([1e-9, 1.0, 1e6])
    ulps = np.float64(np.finfo(np.float32).eps)
    near = (expected + [10 * ulps, 10 * ulps, 10e6 * ulps]).astype(np.float32)
    assert elementwise_fault(near, expected) is None
    for i in range(3):
        wrong = expected.astype(np.float32)
        wrong[i] += np.float32(40 * ulps * max(1.0, expected[i]))
        assert elementwise_fault(wrong, expected), i


def test_words_must_be_equal():
    words = np.array([1, 2, 3], np.uint32)
    assert elementwise_fault(words, words.copy()) is None
    assert elementwise_fault(words, words ^ np.uint32(1)) == "3 of 3 numbers are off, by up to 1"
