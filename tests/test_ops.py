"""Every operation against NumPy and against finite differences, from the table in `minigen.op_cases`."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigen as mg
from minigen import ops
from minigen.autograd import OPS, Op
from minigen.errors import ShapeError
from minigen.op_cases import cases
from minigen.tensor import Tensor

CASES = cases()
DIFFERENTIABLE = [case for case in CASES if case.order]
NO_GRADIENT = {"sign", "equal", "not_equal", "less", "less_equal", "normal", "uniform", "dropout_mask", "assign",
               "sgd_step", "rmsprop_step", "adam_step", "ema_step"}
VIEWS = {"reshape", "transpose", "swap_last", "broadcast_to", "index", "split", "split_heads", "within"}
TOLERANCE = {"float64": dict(rtol=1e-12, atol=1e-14), "float32": dict(rtol=1e-5, atol=2e-6)}


def every(some=CASES):
    return pytest.mark.parametrize("case", some, ids=[case.name for case in some])


def tensors(case, dtype):
    """The case's inputs as tensors, floats in `dtype`."""
    return [Tensor(in_layout_of(x, x.astype(dtype if x.dtype.kind == "f" else x.dtype))) for x in case.inputs]


def in_layout_of(x, copy):
    return copy if x.flags.forc else np.repeat(copy, 2, axis=-1)[..., ::2]


def listed(result):
    return [result] if isinstance(result, Tensor | np.ndarray | np.generic) else list(result)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every()
def test_the_forward_agrees_with_numpy(case, dtype):
    inputs = tensors(case, dtype)
    wide = [x.data.astype("float64") if x.dtype.kind == "f" else x.data for x in inputs]
    outputs, expected = listed(case.function(*inputs)), listed(case.oracle(*wide))
    assert len(outputs) == len(expected)
    for y, right in zip(outputs, expected, strict=True):
        assert isinstance(y.data, np.ndarray)
        assert y.shape == np.shape(right)
        assert y.dtype.kind == np.asarray(right).dtype.kind
        if y.dtype.kind == "f" and inputs and case.op != "astype":
            assert y.dtype == dtype
        np.testing.assert_allclose(y.data, right, **TOLERANCE[str(y.dtype) if y.dtype.kind == "f" else "float64"])


@every()
def test_inputs_are_left_alone(case):
    inputs = tensors(case, "float64")
    before = [x.data.copy() for x in inputs]
    case.function(*inputs)
    for x, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x.data, copy)
        assert x.version == 0


@every()
def test_an_output_has_memory_of_its_own_unless_it_is_a_view(case):
    inputs = tensors(case, "float64")
    for y in listed(case.function(*inputs)):
        for x in inputs:
            shared = np.may_share_memory(y.data, x.data) and np.shares_memory(y.data, x.data)
            assert not shared or case.op in VIEWS
            if shared:
                before = y.version
                ops.assign(x, 0.0, key=...)
                assert y.version == before + 1, "a view must see that its memory changed"


@every(DIFFERENTIABLE)
def test_first_and_second_derivatives_agree_with_finite_differences(case):
    assert mg.gradcheck(case.function, *case.inputs, order=case.order, rtol=1e-6) <= 1e-6


@every(DIFFERENTIABLE)
def test_gradients_have_the_shape_and_type_of_their_inputs(case):
    inputs = tensors(case, "float32")
    leaves = [Tensor(x.data, requires_grad=True) if x.dtype.kind == "f" else x for x in inputs]
    outputs = listed(case.function(*leaves))
    free = [x for x in leaves if x.requires_grad]
    for y in outputs:
        for x, g in zip(free, mg.grad(y, free, np.ones(y.shape), allow_unused=True, retain_graph=True), strict=True):
            assert (g.shape, g.dtype) == (x.shape, x.dtype)
            assert np.isfinite(g.data).all()
            assert not g.requires_grad


def test_every_operation_has_a_case():
    assert set(OPS) <= {case.op for case in CASES}


def test_every_case_names_an_operation_or_a_composite_function():
    assert {case.op for case in CASES} - set(OPS) == {"relu", "mean", "var", "split", "attention",
                                                              "attention_weights", "merge_heads", "split_heads"}


def test_every_public_function_is_an_operation_or_has_a_case():
    public = {name for name in ops.__all__ if not isinstance(getattr(ops, name), Op)}
    assert public <= {case.op for case in CASES}


def test_only_the_known_operations_have_no_vjp():
    assert {name for name, op in OPS.items() if op.rule is None} == NO_GRADIENT


def test_every_case_of_a_differentiable_operation_is_checked_to_second_order():
    assert {case.op for case in CASES if case.order < 2} == NO_GRADIENT


def test_cases_have_distinct_names():
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_operation_states_its_equation_and_names_no_unknown_argument():
    for name, op in OPS.items():
        assert op.__doc__, name
        assert op.__name__ == op.name == name
        assert inspect.signature(op) == inspect.signature(op.forward)
        assert name in repr(op)


@pytest.mark.parametrize("op", ["add", "mul", "matmul", "softmax", "sum", "max", "reshape", "take_along"])
def test_the_table_covers_empty_and_non_contiguous_inputs(op):
    mine = [case for case in CASES if case.op == op]
    assert any(any(x.size == 0 for x in case.inputs) for case in mine)
    assert any(any(x.ndim > 1 and not x.flags.c_contiguous for x in case.inputs) for case in mine)


# Broadcasting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum])
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0),
       seed=st.integers(0, 2**32))
def test_gradients_undo_any_broadcasting(op, shapes, seed):
    a, b = (mg.kernels.normal(seed, draw, shape, "float64") for draw, shape in enumerate(shapes.input_shapes))
    if op is ops.div:
        b = b + np.where(b < 0, -0.5, 0.5)
    if a.size and b.size and np.abs(a - b.reshape(b.shape or (1,))[..., :] if a.shape == b.shape else 1).min() < 1e-3:
        return  # on a kink of maximum and minimum
    mg.gradcheck(op, a, b, order=1)
    y = op(mg.tensor(a, dtype="float64"), mg.tensor(b, dtype="float64"))
    assert y.shape == shapes.result_shape


@given(shape=hnp.array_shapes(max_dims=3, max_side=4), data=st.data())
def test_a_sum_and_its_gradient_over_any_axes(shape, data):
    axes = data.draw(st.none() | hnp.valid_tuple_axes(len(shape)))
    keepdims = data.draw(st.booleans())
    x = mg.tensor(mg.kernels.normal(1, 2, shape, "float64"), requires_grad=True, dtype="float64")
    y = x.sum(axes, keepdims)
    np.testing.assert_allclose(y.data, x.data.sum(axes, keepdims=keepdims))
    g = mg.kernels.normal(3, 4, y.shape, "float64")
    y.backward(g)
    full = g if keepdims or axes is None else np.expand_dims(g, axes)
    np.testing.assert_array_equal(x.grad.data, np.broadcast_to(full, shape))


@given(shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), data=st.data())
def test_basic_indexing_and_its_gradient(shape, data):
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    x = mg.tensor(mg.kernels.normal(1, 2, shape, "float64"), requires_grad=True, dtype="float64")
    y = x[key]
    np.testing.assert_array_equal(y.data, x.data[key])
    g = mg.kernels.normal(3, 4, y.shape, "float64")
    y.backward(g)
    expected = np.zeros(shape)
    expected[key] = g
    np.testing.assert_array_equal(x.grad.data, expected)


# Large values: finite, with finite gradients -----------------------------------------------------------------

HUGE = [-1000.0, 1000.0, 0.0]


def value_and_slope(function, x, dtype):
    x = mg.tensor(x, requires_grad=True, dtype=dtype)
    y = function(x)
    (slope,) = mg.grad(y, [x], np.ones(y.shape), create_graph=True)
    (curvature,) = mg.grad(slope, [x], np.ones(slope.shape), allow_unused=True)
    return y.data, slope.data, curvature.data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function, value, slope, curvature", [
    (ops.softplus, [0, 1000, np.log(2)], [0, 1, 0.5], [0, 0, 0.25]),
    (ops.sigmoid, [0, 1, 0.5], [0, 0, 0.25], [0, 0, 0]),
    (ops.tanh, [-1, 1, 0], [0, 0, 1], [0, 0, 0]),
    (ops.gelu, [0, 1000, 0], [0, 1, 0.5], [0, 0, np.sqrt(2 / np.pi)]),
    (ops.erf, [-1, 1, 0], [0, 0, 2 / np.sqrt(np.pi)], [0, 0, 0]),
    (lambda z: ops.bernoulli_nll(z, 0.0), [0, 1000, np.log(2)], [0, 1, 0.5], [0, 0, 0.25]),
    (lambda z: ops.bernoulli_nll(z, 1.0), [1000, 0, np.log(2)], [-1, 0, -0.5], [0, 0, 0.25]),
    (ops.softmax, [0, 1, 0], [0, 0, 0], [0, 0, 0]),
    (ops.logsumexp, 1000, [0, 1, 0], [0, 0, 0]),
    (ops.log_softmax, [-2000, 0, -1000], [1, -2, 1], [0, 0, 0]),
], ids=["softplus", "sigmoid", "tanh", "gelu", "erf", "nll of 0", "nll of 1", "softmax", "logsumexp", "log_softmax"])
def test_a_thousand_saturates_without_a_nan(function, value, slope, curvature, dtype):
    y, first, second = value_and_slope(function, HUGE, dtype)
    np.testing.assert_allclose(y, value, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(first, slope, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(second, curvature, rtol=1e-6, atol=1e-30)


def test_log_sum_exp_of_nothing_and_of_infinities():
    assert ops.logsumexp(mg.tensor(np.zeros(0))).item() == -np.inf
    assert ops.logsumexp(mg.tensor([-np.inf, -np.inf])).item() == -np.inf
    assert ops.logsumexp(mg.tensor([np.inf, 0.0])).item() == np.inf


def test_a_masked_entry_has_probability_zero_and_no_gradient():
    x = mg.tensor([0.0, -np.inf, 0.0], requires_grad=True)
    y = ops.softmax(x)
    y.backward(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(y.data, [0.5, 0, 0.5])
    np.testing.assert_array_equal(x.grad.data, [-0.5, 0, 0.5])


def test_log1p_keeps_its_digits_near_zero():
    assert ops.log1p(mg.tensor(1e-12, dtype="float64")).item() == pytest.approx(1e-12, rel=1e-11)


# Ties and kinks, as the docstrings say ------------------------------------------------------------------------


def slope_at(function, *points):
    leaves = [mg.tensor(p, requires_grad=True, dtype="float64") for p in points]
    function(*leaves).sum().backward()
    return [x.grad.data.tolist() for x in leaves]


def test_equal_largest_elements_share_the_gradient():
    assert slope_at(ops.max, [1.0, 3.0, 3.0, 3.0]) == [[0, 1 / 3, 1 / 3, 1 / 3]]
    assert slope_at(lambda x: ops.max(x, axis=0), [[1.0, 5.0], [1.0, 3.0]]) == [[[0.5, 1], [0.5, 0]]]
    assert slope_at(lambda x: ops.min(x, axis=-1), [[1.0, 1.0], [4.0, 3.0]]) == [[[0.5, 0.5], [0, 1]]]


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum])
def test_of_two_equal_values_the_second_takes_the_gradient(op):
    assert slope_at(op, [2.0], [2.0]) == [[0], [1]]


def test_abs_has_slope_zero_at_its_kink():
    assert slope_at(ops.abs, [0.0, -2.0, 3.0]) == [[0, -1, 1]]


def test_leaky_relu_takes_its_left_slope_at_zero():
    assert slope_at(lambda x: ops.leaky_relu(x, slope=0.25), [0.0, -1.0, 1.0]) == [[0.25, 0.25, 1]]
    assert slope_at(ops.relu, [0.0, -1.0, 1.0]) == [[0, 0, 1]]


def test_clip_passes_the_gradient_at_its_limits():
    assert slope_at(lambda x: ops.clip(x, low=-1.0, high=1.0), [-1.0, 1.0, -1.5, 1.5, 0.0]) == [[1, 1, 0, 0, 1]]


def test_a_power_at_zero_has_a_finite_slope_where_the_exponent_allows():
    assert slope_at(lambda x: x**2, [0.0, -3.0]) == [[0, -6]]
    assert slope_at(lambda x: x**1, [0.0]) == [[1]]


def test_the_other_branch_of_where_gives_no_gradient():
    condition = np.array([True, False])
    assert slope_at(lambda a, b: ops.where(condition, a, b), [1.0, 2.0], [3.0, 4.0]) == [[1, 0], [0, 1]]


def test_rows_taken_twice_add_up():
    x = mg.tensor(np.zeros((3, 2)), requires_grad=True)
    ops.take(x, np.array([1, 1, 0])).backward(np.array([[1.0, 2], [10, 20], [5, 6]]))
    np.testing.assert_array_equal(x.grad.data, [[5, 6], [11, 22], [0, 0]])


# What does not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong, text", [
    (lambda x: ops.matmul(x, x), "the last axis of a"),
    (lambda x: ops.matmul(x[0], x), "two axes or more"),
    (lambda x: ops.matmul(x, x[0]), "two axes or more"),
    (lambda x: ops.dense(x, np.zeros((2, 5), "float32"), np.zeros(5, "float32")), "dense: x .3, 4., weight .2, 5."),
    (lambda x: ops.dense(x, np.zeros((4, 5), "float32"), np.zeros(4, "float32")), "bias .4,."),
    (lambda x: ops.dense(x, np.zeros(4, "float32"), np.zeros(4, "float32")), "expected x"),
    (lambda x: ops.dense(x.sum(), np.zeros((4, 5), "float32"), np.zeros(5, "float32")), "expected x"),
    (lambda x: ops.sum_to(x, shape=(2, 4)), "is not .2, 4. broadcast"),
    (lambda x: ops.sum_to(x, shape=(1, 3, 4)), "sum_to"),
    (lambda x: ops.mean(x[:0], axis=0), "nothing to average"),
    (lambda x: ops.split(x, 2), "the sizes must add up"),
    (lambda x: ops.split(x, (1, 2), axis=1), "the sizes must add up"),
    (lambda x: ops.reshape(x, shape=(5, 5)), "cannot reshape"),
    (lambda x: ops.max(x[:0]), "max"),
    (lambda x: x[7], "out of bounds"),
    (lambda x: ops.concatenate(x, x[:, 1:]), "concatenate"),
    (lambda x: ops.stack(x, x[1:]), "stack"),
], ids=range(17))
def test_shapes_that_do_not_fit_are_a_shape_error_that_says_so(wrong, text):
    with pytest.raises(mg.errors.ShapeError, match=text):
        wrong(mg.tensor(np.zeros((3, 4))))


def test_a_reshape_to_minus_one_of_an_empty_tensor_keeps_it_empty():
    x = mg.tensor(np.zeros((0, 3)))
    assert x.reshape(-1, 0).shape == (0, 0)
    assert x.reshape(0, -1).shape == (0, 0)
    assert x.reshape(-1, 3).shape == (0, 3)


def test_a_reshape_names_at_most_one_unknown_axis():
    with pytest.raises(mg.errors.ShapeError, match="reshape"):
        mg.tensor(np.zeros((0, 3))).reshape(-1, -1)


def test_softmax_shifts_every_row_by_its_own_largest_element():
    """A shift by the largest of all would leave 0 / 0 in the lower row."""
    x = mg.tensor([[1000.0, 1001.0], [-1000.0, -999.0]], dtype="float64")
    expected = 1 / (1 + math.e)
    np.testing.assert_allclose(mg.softmax(x).data, [[expected, 1 - expected]] * 2, rtol=1e-14)
    np.testing.assert_allclose(mg.log_softmax(x).data, np.log([[expected, 1 - expected]] * 2), rtol=1e-14)


@pytest.mark.parametrize("function", [mg.softmax, mg.log_softmax])
def test_rows_without_elements_stay_empty(function):
    assert function(mg.tensor(np.zeros((3, 0)))).shape == (3, 0)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3])
def test_powers_have_every_derivative_at_zero(exponent):
    x = mg.tensor([0.0, 1.5], requires_grad=True, dtype="float64")
    mg.gradcheck(lambda v: v**exponent, x, order=3)
    y, expected = x**exponent, np.array([0.0, 1.5]) ** exponent
    np.testing.assert_array_equal(y.data, expected)
    for order in range(1, 4):
        (y,) = mg.grad(y.sum(), [x], create_graph=True, allow_unused=True)
        factor = math.prod(range(exponent - order + 1, exponent + 1))
        np.testing.assert_allclose(y.data, factor * np.array([0.0, 1.5]) ** max(exponent - order, 0))
        if not y.requires_grad:
            break


def test_a_power_of_a_number_below_zero_has_no_derivative():
    t = mg.tensor([2.0], requires_grad=True)
    with np.errstate(invalid="ignore"):
        ((-2.0) ** t).sum().backward()
    assert np.isnan(t.grad.data).all()


def test_axes_may_be_numpy_integers_and_must_exist():
    x = mg.tensor(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(mg.mean(x, axis=np.int64(0)).data, [1.5, 2.5, 3.5])
    with pytest.raises(ShapeError, match="axis 2 does not exist in a tensor of 2 axes"):
        mg.mean(x, axis=2)
    with pytest.raises(ShapeError, match="axis 0 does not exist in a tensor of 0 axes"):
        mg.mean(mg.tensor(1.0), axis=0)


@pytest.mark.parametrize("sections", [0, [-1, 4], [2, 2], 2])
def test_a_split_must_add_up(sections):
    with pytest.raises(ShapeError, match="the sizes must add up"):
        mg.split(mg.tensor([1.0, 2.0, 3.0]), sections)


def test_take_along_works_along_the_last_of_three_axes(rng):
    x, i = rng.standard_normal((2, 3, 4)), rng.integers(0, 4, (2, 3, 2))
    np.testing.assert_array_equal(ops.take_along(x, i).data, np.take_along_axis(x, i, axis=-1))
