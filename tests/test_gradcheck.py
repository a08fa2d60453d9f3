"""gradcheck must accept what is right and reject what is wrong: the mutants below are all wrong somewhere."""

import re

import numpy as np
import pytest

import minigen as mg
from minigen import ops
from minigen.errors import MinigenError, UsageError
from minigen.gradcheck import GradcheckError, gradcheck

SHAPE = (3, 4)


@pytest.fixture
def x(rng):
    return rng.standard_normal(SHAPE) + 0.1


def mutant(op, forward, rule):
    """An operation with the given forward and vjp."""
    forward.__name__ = "mutant"
    operation = op(forward)
    operation.vjp(rule)
    return operation


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


MUTANTS = {
    "sign flipped": (np.tanh, lambda g, y, x: -g * (1 - y * y)),
    "factor missing": (lambda x: x * x * x, lambda g, y, x: g * x * x),
    "cotangent forgotten": (np.exp, lambda g, y, x: y + 0 * g),
    "off by one exponent": (lambda x: x**3, lambda g, y, x: 3 * g * x),
    "softmax without the sum term": (softmax, lambda g, y, x: g * y),
    "log-softmax without the softmax": (
        lambda x: np.log(softmax(x)), lambda g, y, x: g - ops.sum(g, axis=-1, keepdims=True)),
    "mean with the wrong count": (
        lambda x: x.mean(0), lambda g, y, x: ops.broadcast_to(g, shape=SHAPE) / 4),
    "gradient transposed": (lambda x: x @ x.T, lambda g, y, x: (g @ x) * 2),
    "one entry wrong": (lambda x: 2 * x, lambda g, y, x: g * np.where(np.arange(12).reshape(SHAPE) == 7, 2.01, 2.0)),
    "off by 1e-4": (np.exp, lambda g, y, x: g * y * (1 + 1e-4)),
    "off by 1e-5": (np.sin, lambda g, y, x: g * np.cos(x.data) * (1 + 1e-5)),
    "NaN": (np.exp, lambda g, y, x: g * y * np.nan),
    "NaN in one entry": (
        np.exp, lambda g, y, x: g * y * np.where(np.arange(12).reshape(SHAPE) == 3, np.nan, 1.0)),
    "infinite": (np.exp, lambda g, y, x: g * y * np.inf),
    "zero": (np.exp, lambda g, y, x: g * 0.0),
    "sorted along": (lambda x: x[::-1] * 1.0, lambda g, y, x: g),
    "wrong at non-negative only": (lambda x: np.abs(x), lambda g, y, x: -g + 0 * x),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_vjp_is_rejected(name, scratch_op, x):
    forward, rule = MUTANTS[name]
    operation = mutant(scratch_op, lambda x: forward(x), rule)
    with pytest.raises(GradcheckError, match=r"order 1, input 0 of shape \(3, 4\)"):
        gradcheck(operation, x)


def test_a_missing_broadcast_sum_is_rejected(scratch_op, x):
    @scratch_op
    def mutant(a, b):
        """y = a b, but the gradient of b forgets all rows but the first"""
        return a * b

    @mutant.vjp
    def _(g, y, a, b):
        return lambda: g * b, lambda: (g * a)[0]

    with pytest.raises(GradcheckError, match="input 1 of shape"):
        gradcheck(mutant, x, x[0] + 1)
    gradcheck(lambda a: mutant(a, x[0]), x)


def test_a_transposed_matmul_gradient_is_rejected(scratch_op, rng):
    @scratch_op
    def mutant(a, b):
        """Y = A B of square matrices, with B in the place of B^T"""
        return a @ b

    @mutant.vjp
    def _(g, y, a, b):
        return lambda: g @ b, lambda: ops.transpose(a) @ g

    with pytest.raises(GradcheckError, match="input 0"):
        gradcheck(mutant, rng.standard_normal((3, 3)), rng.standard_normal((3, 3)))


@pytest.mark.parametrize("rule", [
    lambda g, y, x: g * 3 * (x * x).detach(),
    lambda g, y, x: g * np.asarray(3 * x.data**2),
    lambda g, y, x: g.detach() * 3 * x * x,
    lambda g, y, x: g.detach() * 3 * x * x * 1.0 + 0 * g,
], ids=["input detached", "written in NumPy", "cotangent detached", "cotangent lost"])
def test_an_error_in_the_second_order_only_is_found_there(scratch_op, x, rule):
    cube = mutant(scratch_op, lambda x: x**3, rule)
    gradcheck(lambda t: cube(ops.exp(t)), x, order=1)
    with pytest.raises(GradcheckError, match="order 2"):
        gradcheck(lambda t: cube(ops.exp(t)), x, order=2)


def test_an_error_in_the_third_order_only_is_found_there(scratch_op, x):
    fourth = mutant(scratch_op, lambda x: x**4, lambda g, y, x: g * third(x))
    third = scratch_op(lambda_named("third", lambda x: 4 * x**3))
    third.vjp(lambda g, y, x: g * 12 * (x * x).detach())
    gradcheck(fourth, x, order=2)
    with pytest.raises(GradcheckError, match="order 3"):
        gradcheck(fourth, x, order=3, rtol=1e-5)


def lambda_named(name, function):
    function.__name__ = name
    return function


def test_an_error_in_one_of_several_outputs_is_found(scratch_op, x):
    wrong = mutant(scratch_op, lambda x: np.exp(x), lambda g, y, x: g * y * 1.01)
    with pytest.raises(GradcheckError):
        gradcheck(lambda t: [ops.tanh(t), wrong(t)], x)


def test_an_error_in_the_second_input_is_found(scratch_op, x):
    wrong = mutant(scratch_op, lambda x: np.exp(x), lambda g, y, x: g * y * 1.01)
    with pytest.raises(GradcheckError, match="order 1, input 1"):
        gradcheck(lambda a, b: a * wrong(b), x, x)


def test_a_wrong_gradient_of_a_large_input_is_found_along_random_directions(scratch_op, rng):
    wrong = mutant(scratch_op, lambda x: np.exp(x), lambda g, y, x: g * y * 1.001)
    large = rng.standard_normal((20, 30))
    with pytest.raises(GradcheckError, match="direction .* of 64"):
        gradcheck(wrong, large)
    assert gradcheck(ops.exp, large, order=2) < 1e-6


def test_a_gradient_that_is_missing_is_found(x):
    with pytest.raises(GradcheckError):
        gradcheck(lambda t: t * t.detach(), x)


def test_a_function_that_is_not_differentiable_by_the_engine_is_found(x):
    with pytest.raises(GradcheckError, match="analytic 0,"):
        gradcheck(lambda t: ops.sqrt(t.detach() ** 2 + 1), x)


# What is right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f, order", [
    (ops.exp, 3), (lambda x: x * 3.0, 3), (lambda x: x.sum(), 2), (lambda x: [x, ops.tanh(x).sum(axis=0)], 2),
    (lambda x: (x * x, x), 2), (lambda x: ops.sign(x), 2), (lambda x: x.T @ x, 3),
], ids=range(7))
def test_what_is_right_is_accepted(f, order, x):
    assert 0 <= gradcheck(f, x, order=order, rtol=1e-5) < 1e-5


def test_the_result_is_the_largest_relative_error(scratch_op, x):
    wrong = mutant(scratch_op, lambda x: x * 1.0, lambda g, y, x: g * 1.25)
    worst = gradcheck(wrong, x, rtol=1.0)
    c = mg.kernels.normal(1, 0, SHAPE, "float64")
    assert worst == pytest.approx(0.25 * abs(c).max() / (1 + abs(c).max()), rel=1e-4)


def test_the_tolerance_is_a_limit(scratch_op, x):
    wrong = mutant(scratch_op, lambda x: x * 1.0, lambda g, y, x: g * 1.01)
    gradcheck(wrong, x, rtol=0.02)
    with pytest.raises(GradcheckError, match="> 0.001"):
        gradcheck(wrong, x, rtol=0.001)


def test_the_message_gives_both_numbers_and_the_place(scratch_op, x):
    wrong = mutant(scratch_op, lambda x: x * 1.0, lambda g, y, x: g * np.where(np.arange(4) == 2, 9.0, 1.0)[None])
    c = mg.kernels.normal(1, 0, SHAPE, "float64")[:, 2]
    row = int(abs(c).argmax())
    with pytest.raises(GradcheckError, match=f"direction {4 * row + 2} of 12") as caught:
        gradcheck(wrong, x)
    analytic, numeric, error = re.search(r"analytic (\S+), numeric (\S+), relative error (\S+) > 1e-06",
                                         str(caught.value)).groups()
    assert float(analytic) == pytest.approx(9 * c[row])
    assert float(numeric) == pytest.approx(c[row])
    assert float(error) == pytest.approx(8 * abs(c[row]) / (1 + abs(c).max()), rel=0.05)


def test_the_error_is_an_assertion_and_a_minigen_error():
    assert issubclass(GradcheckError, AssertionError)
    assert issubclass(GradcheckError, MinigenError)


def test_float32_inputs_are_checked_in_float64(x):
    seen = []
    gradcheck(lambda t: seen.append(t.dtype) or ops.exp(t), x.astype("float32"))
    assert set(seen) == {np.dtype("float64")}


def test_the_inputs_are_copied_and_left_alone(x):
    before = x.copy()
    t = mg.tensor(x, requires_grad=True, dtype="float64")
    gradcheck(ops.exp, t, order=2)
    gradcheck(ops.exp, x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(t.data, before)
    assert t.grad is None


def test_integers_and_booleans_are_passed_through(x):
    places = np.array([0, 2, 2])
    gradcheck(ops.take, x, places, order=2)
    gradcheck(lambda mask, a: ops.where(mask, a, 0.0), x > 0, x, order=2)


def test_a_layout_survives_the_copy(x):
    seen = []
    gradcheck(lambda t: seen.append(t.data.flags.f_contiguous) or t * t, np.asfortranarray(x))
    assert all(seen)
    assert gradcheck(lambda t: t * t, np.repeat(x, 2, axis=1)[:, ::2], order=2) < 1e-6


def test_an_empty_input_has_nothing_wrong():
    assert gradcheck(ops.exp, np.zeros((0, 3)), order=2) == 0
    assert gradcheck(lambda a, b: a @ b, np.zeros((2, 0)), np.zeros((0, 3)), order=2) == 0


def test_no_input_has_nothing_wrong():
    assert gradcheck(lambda: mg.tensor(1.0, dtype="float64")) == 0


def test_a_large_value_is_checked_with_a_step_to_match():
    assert gradcheck(lambda x: x * x, np.array([1e5, -3e4, 1.0])) < 1e-6


def test_another_seed_is_another_cotangent(scratch_op):
    seen = []
    spy = mutant(scratch_op, lambda x: x * 1.0, lambda g, y, x: seen.append(g.data.tolist()) or g * 1.0)
    for seed in (0, 0, 1):
        gradcheck(spy, np.ones(3), seed=seed)
    assert seen[0] == seen[1] != seen[2]


def test_where_there_is_nothing_to_check_it_says_so(x):
    for order in (0, -1, 2.5):
        with pytest.raises(UsageError, match=f"order = {order}: expected a whole number from 1"):
            gradcheck(ops.tanh, x, order=order)
    with pytest.raises(UsageError, match="and an input of floats"):
        gradcheck(lambda n: ops.astype(n, dtype="float32"), np.arange(3))
