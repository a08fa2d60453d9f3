"""The graph and the backward pass: what is recorded, what is computed, what is refused and what is freed."""

import gc
import threading
import weakref
from contextlib import contextmanager

import numpy as np
import pytest

import minigen as mg
from minigen import ops
from minigen.autograd import OPS, backward
from minigen.errors import DTypeError, GraphError, ShapeError, VersionError
from minigen.tensor import Tensor


@pytest.fixture
def x():
    return mg.tensor([1.0, -2.0, 3.0], requires_grad=True, dtype="float64")


def values(t):
    return t.data.tolist()


@contextmanager
def without_the_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# Backward ------------------------------------------------------------------------------------------------------


def test_a_chain_of_a_hundred_thousand_operations_runs_forward_backward_and_out_of_memory():
    x = mg.tensor(1.0, requires_grad=True, dtype="float64")
    y = x
    for _ in range(100_000):
        y = y + 1.0
    first = weakref.ref(y)
    y.backward()
    assert x.grad.item() == 1
    del y
    assert first() is None


def test_a_long_chain_that_was_never_differentiated_can_be_forgotten():
    x = mg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    last = weakref.ref(y)
    del y
    assert last() is None


def test_third_derivatives():
    x = mg.tensor(2.0, requires_grad=True, dtype="float64")
    y = x**4
    for expected in (4 * 2**3, 12 * 2**2, 24 * 2, 24):
        (y,) = mg.grad(y, [x], create_graph=True)
        assert y.item() == pytest.approx(expected)


def test_a_mixed_derivative_is_symmetric(leaf):
    a, b = leaf(), leaf()
    f = ops.exp(a * b) + ops.tanh(a) * b * b
    (fa,) = mg.grad(f, [a], create_graph=True)
    (fb,) = mg.grad(f, [b], create_graph=True)
    assert mg.grad(fa, [b], retain_graph=True)[0].item() == pytest.approx(mg.grad(fb, [a])[0].item())


def test_a_gradient_penalty_is_differentiable(leaf):
    w, x = leaf(3, 3), leaf(2, 3)

    def penalty(w):
        (g,) = mg.grad(ops.tanh(x @ w).sum(), [x], create_graph=True)
        return ((g * g).sum(axis=1) - 1) ** 2

    mg.gradcheck(penalty, w, order=1)


def test_a_diamond_is_passed_once(x, ran):
    shared = ops.exp(x)
    y = (shared * 2 + shared * 3).sum()
    ran.clear()
    y.backward()
    np.testing.assert_allclose(x.grad.data, 5 * np.exp(x.data))
    assert ran.count("add") == 1  # the two cotangents of `shared`, added before its one visit


def test_a_diamond_of_unequal_arms_waits_for_the_longer_one(x):
    y = (x + ops.exp(ops.neg(ops.neg(x)))).sum()
    y.backward()
    np.testing.assert_allclose(x.grad.data, 1 + np.exp(x.data))


@pytest.mark.parametrize("function, slope", [
    (lambda x: x * x, lambda x: 2 * x),
    (lambda x: x + x, lambda x: 2 + 0 * x),
    (lambda x: x - x, lambda x: 0 * x),
    (lambda x: ops.concatenate(x, x, x), lambda x: 3 + 0 * x),
    (lambda x: ops.maximum(x, x), lambda x: 1 + 0 * x),
], ids=["x*x", "x+x", "x-x", "concatenate", "maximum"])
def test_an_input_used_twice_gets_both_gradients(x, function, slope):
    function(x).sum().backward()
    np.testing.assert_allclose(x.grad.data, slope(x.data))


def test_gradients_accumulate_over_backward_passes(x):
    (2 * x).sum().backward()
    first = x.grad
    (3 * x).sum().backward()
    assert values(x.grad) == [5, 5, 5]
    assert values(first) == [2, 2, 2], "the tensor that was .grad before is not changed"


def test_backward_from_a_leaf_gives_it_the_cotangent(x):
    x.backward([1.0, 2.0, 3.0])
    assert values(x.grad) == [1, 2, 3]
    y = mg.tensor(4.0, requires_grad=True)
    y.backward()
    assert y.grad.item() == 1


def test_a_cotangent_weighs_the_outputs(x):
    (x * x).backward(np.array([1.0, 10.0, 0.0]))
    assert values(x.grad) == [2, -40, 0]


def test_only_leaves_that_require_it_get_a_gradient(x):
    constant = mg.tensor([1.0, 1.0, 1.0], dtype="float64")
    middle = x * constant
    middle.sum().backward()
    assert constant.grad is None
    assert middle.grad is None
    assert x.grad is not None


def test_retain_grad_keeps_the_gradient_of_an_intermediate_tensor(x):
    middle = (x * x).retain_grad()
    y = (3 * middle).sum().retain_grad()
    y.backward()
    assert values(middle.grad) == [3, 3, 3]
    assert y.grad.item() == 1
    assert values(x.grad) == [6, -12, 18]
    assert x.retain_grad() is x


def test_retaining_a_tensor_that_is_gone_does_no_harm(x):
    y = (x * x).retain_grad().sum()
    y.backward()
    assert values(x.grad) == [2, -4, 6]


def test_gradients_do_not_require_grad_unless_asked(x):
    (x * x).sum().backward()
    assert not x.grad.requires_grad
    x.grad = None
    (x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    (second,) = mg.grad(x.grad.sum(), [x])
    assert values(second) == [2, 2, 2]


def test_a_second_backward_pass_finds_the_graph_freed(x):
    y = ops.exp(x).sum()
    y.backward()
    with pytest.raises(GraphError, match="graph of `(exp|sum)` was freed by an earlier backward pass.*retain_graph"):
        y.backward()


def test_the_graph_is_retained_on_request(x):
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert values(x.grad) == [4, -8, 12]


def test_create_graph_retains_the_graph_unless_told_otherwise(x):
    y = (x * x).sum()
    y.backward(create_graph=True)
    y.backward(create_graph=True, retain_graph=False)
    with pytest.raises(GraphError, match="freed"):
        y.backward()


def test_a_part_of_a_freed_graph_cannot_be_used_again(x):
    middle = x * x
    middle.sum().backward()
    with pytest.raises(GraphError, match="`mul` was freed"):
        (middle * 2).sum().backward()


# grad() ---------------------------------------------------------------------------------------------------------


def test_grad_touches_no_grad_attribute(x):
    (g,) = mg.grad((x * x).sum(), [x])
    assert values(g) == [2, -4, 6]
    assert x.grad is None


def test_grad_reaches_intermediate_tensors(x):
    middle = ops.exp(x)
    y = (middle * middle).sum()
    at_middle, at_leaf, at_output = mg.grad(y, [middle, x, y])
    np.testing.assert_allclose(at_middle.data, 2 * middle.data)
    np.testing.assert_allclose(at_leaf.data, 2 * middle.data**2)
    assert at_output.item() == 1


def test_grad_takes_any_iterable_and_an_input_twice(x):
    first, second = mg.grad((x * 2).sum(), (t for t in (x, x)))
    assert values(first) == values(second) == [2, 2, 2]
    assert not np.shares_memory(first.data, second.data)


def test_grad_computes_only_what_lies_between(leaf, ran):
    a, b = leaf(3), leaf(3)
    middle = ops.exp(a)
    y = (middle * ops.log(b * b)).sum()
    ran.clear()
    mg.grad(y, [middle], retain_graph=True)
    assert ran == ["reshape", "broadcast_to", "mul"], "sum, then one product; nothing of exp, log or b * b"
    ran.clear()
    mg.grad(y, [a])
    assert ran == ["reshape", "broadcast_to", "mul", "mul"]


def test_a_constant_factor_costs_no_gradient(x, ran):
    constant = mg.tensor(np.ones((3, 3)), dtype="float64")
    y = x.reshape(1, 3) @ constant
    ran.clear()
    y.backward(np.ones((1, 3)))
    assert ran.count("matmul") == 1


def test_an_input_without_influence_is_an_error_that_says_which(x, leaf):
    other = leaf(2, 5)
    with pytest.raises(GraphError, match=r"inputs\[1\] of shape \(2, 5\) does not influence the output.*allow_unused"):
        mg.grad((x * x).sum(), [x, other])


def test_an_input_without_influence_has_gradient_zero_where_allowed(x, leaf):
    other = leaf(2, 5)
    g, zero = mg.grad((x * x).sum(), [x, other], allow_unused=True)
    assert values(g) == [2, -4, 6]
    np.testing.assert_array_equal(zero.data, np.zeros((2, 5)))


def test_a_node_reached_only_through_an_input_without_gradient_is_passed_over(x, leaf):
    """The slope of leaky relu depends on x, with derivative zero: what led to x gets no cotangent at all."""
    v = leaf(3)
    inner = x * 2
    (slope,) = mg.grad(mg.leaky_relu(inner, slope=0.5).sum(), [inner], create_graph=True)
    (slope * v).sum().backward()
    assert x.grad is None
    assert values(v.grad) == [0.5 if t < 0 else 1 for t in values(x)]


def test_a_tensor_that_does_not_require_grad_is_without_influence(x):
    constant = mg.tensor([1.0, 2.0, 3.0], dtype="float64")
    with pytest.raises(GraphError, match="check that it requires grad"):
        mg.grad((x * constant).sum(), [constant])


# no_grad and detach ----------------------------------------------------------------------------------------------


def test_no_grad_leaves_no_graph(x):
    with mg.no_grad():
        y = x * x
    assert not y.requires_grad
    assert y.op is None
    assert (x * x).requires_grad


def test_no_grad_decorates_a_function(x):
    @mg.no_grad()
    def double(t):
        """Twice t."""
        return t * 2

    for _ in range(2):  # more than once: a context manager that can only be used once would fail here
        assert not double(x).requires_grad
    assert double.__doc__ == "Twice t."
    assert (x * x).requires_grad


def test_no_grad_nests_and_survives_an_exception(x):
    with mg.no_grad():
        with mg.no_grad():
            pass
        assert not (x * x).requires_grad
    with pytest.raises(KeyError):
        with mg.no_grad():
            raise KeyError
    assert (x * x).requires_grad


def test_an_exception_in_a_backward_pass_leaves_recording_on(x, scratch_op):
    @scratch_op
    def wrong(x):
        """A vjp that fails"""
        return x + 0

    @wrong.vjp
    def _(g, y, x):
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        wrong(x).sum().backward()
    assert (x * x).requires_grad


def test_backward_inside_no_grad_works_on_a_graph_made_outside(x):
    y = (x * x).sum()
    with mg.no_grad():
        y.backward()
    assert values(x.grad) == [2, -4, 6]


def test_create_graph_records_even_inside_no_grad(x):
    y = (x * x).sum()
    with mg.no_grad():
        (g,) = mg.grad(y, [x], create_graph=True)
        assert not (x * x).requires_grad
    assert g.requires_grad


def test_recording_is_off_in_this_thread_only(x):
    seen = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * x).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_a_hook_sees_this_thread_only(x, ran):
    thread = threading.Thread(target=lambda: x * x)
    thread.start()
    thread.join()
    assert ran == []


def test_detach_shares_memory_and_cuts_the_graph(x):
    middle = x * x
    cut = middle.detach()
    assert cut.data is middle.data
    assert not cut.requires_grad
    assert cut.op is None
    (middle * cut).sum().backward()
    np.testing.assert_allclose(x.grad.data, 2 * x.data * x.data**2)


# Versions ----------------------------------------------------------------------------------------------------------


def change(t):
    with mg.no_grad():
        t[...] = 7.0


def test_a_change_of_an_input_after_the_forward_pass_is_an_error(x):
    y = (x * x).sum()
    change(x)
    with pytest.raises(VersionError, match="`mul` cannot be differentiated: its tensor input 0 was changed in place"):
        y.backward()


def test_the_message_counts_the_inputs(x, leaf):
    other = leaf(3)
    y = (x * other).sum()
    change(other)
    with pytest.raises(VersionError, match="its tensor input 1"):
        y.backward()


def test_a_change_of_an_output_is_an_error(x):
    y = ops.exp(x)
    loss = y.sum()
    change(y)
    with pytest.raises(VersionError, match="`(exp|sum)` cannot be differentiated: its (output|tensor input 0)"):
        loss.backward()
    z = ops.exp(x)
    change(z)
    with pytest.raises(VersionError, match="`exp` cannot be differentiated: its output"):
        z.backward(np.ones(3))


@pytest.mark.parametrize("view", [
    lambda t: t.reshape(6), lambda t: t.reshape(3, 2), lambda t: t.T, lambda t: t[0], lambda t: t[:, 1:],
    lambda t: t[::-1].T.reshape(3, 2, 1)[0], lambda t: ops.swap_last(t), lambda t: t.detach(),
    lambda t: t.detach().T[1:].detach(), lambda t: t[None],
], ids=range(10))
def test_a_change_through_a_view_is_an_error(leaf, view):
    x = leaf(2, 3)
    y = (x * x).sum()
    with mg.no_grad():
        part = view(x)
    assert np.shares_memory(part.data, x.data)
    part[...] = 7.0
    assert x.version == part.version == 1
    with pytest.raises(VersionError):
        y.backward()


def test_a_change_of_the_whole_is_seen_by_a_view_that_backward_needs(leaf):
    x = leaf(2, 3)
    row = x[1]
    y = (row * row).sum()
    change(x)
    with pytest.raises(VersionError):
        y.backward()


def test_a_change_of_a_copy_is_no_error(leaf):
    x = leaf(2, 3)
    y = (x * x).sum()
    with mg.no_grad():
        for copy in (x[[0, 1]], x.T.reshape(6), x + 0, mg.tensor(x)):
            assert not np.shares_memory(copy.data, x.data)
            copy[...] = 7.0
    y.backward()
    np.testing.assert_allclose(x.grad.data, 2 * x.data)


def test_a_change_before_the_forward_pass_is_no_error(x):
    change(x)
    (x * x).sum().backward()
    assert values(x.grad) == [14, 14, 14]


def test_a_change_between_forward_passes_hurts_only_the_first(x):
    first = (x * x).sum()
    change(x)
    second = (x * x).sum()
    second.backward()
    assert values(x.grad) == [14, 14, 14]
    with pytest.raises(VersionError):
        first.backward()


def test_an_array_used_as_an_index_may_change_afterwards(x):
    for key in (np.array([0, 0]), mg.tensor(np.array([0, 0]))):
        x.grad = None
        y = x[key].sum()
        key[...] = 2
        y.backward()
        assert values(x.grad) == [2, 0, 0]


def test_an_optimizer_step_moves_the_version(x):
    y = (x * x).sum()
    buffer = mg.tensor(np.zeros(3), dtype="float64")
    with mg.no_grad():
        ops.sgd_step(x, np.ones(3), buffer, lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    assert (x.version, buffer.version) == (1, 1)
    with pytest.raises(VersionError):
        y.backward()


def test_every_tensor_that_an_operation_mutates_gets_a_new_version():
    p, g, m, v = (mg.tensor(np.ones(3)) for _ in range(4))
    out = ops.adam_step(p, g, m, v, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, step=1, weight_decay=0.0, decoupled=False)
    assert out is p
    assert [t.version for t in (p, g, m, v)] == [1, 0, 1, 1]


def test_an_in_place_change_of_a_leaf_outside_no_grad_is_an_error(x):
    with pytest.raises(GraphError, match=r"assign: argument 'target' requires grad.*mg.no_grad"):
        x[0] = 1.0
    assert values(x) == [1, -2, 3]
    assert x.version == 0


def test_an_in_place_change_of_an_intermediate_tensor_is_an_error(x):
    with pytest.raises(GraphError, match="assign: argument 'target' is part of a graph"):
        (x * x).copy_(0.0)


def test_only_a_tensor_can_be_changed_in_place():
    with pytest.raises(DTypeError, match="argument 'target' is changed in place: pass a Tensor"):
        ops.assign(3.0, 1.0, key=...)


def test_a_value_with_a_gradient_cannot_be_assigned_into_a_plain_tensor_by_accident(x):
    target = mg.tensor(np.zeros(3), dtype="float64")
    target[...] = x  # the value is copied, the gradient is not
    assert not target.requires_grad
    assert values(target) == [1, -2, 3]


# Memory --------------------------------------------------------------------------------------------------------


def assert_apart(*arrays):
    for i, a in enumerate(arrays):
        for b in arrays[:i]:
            assert not np.shares_memory(a, b)


@pytest.mark.parametrize("function", [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: (a + b) + (a + b), lambda a, b: a.T + b.T,
    lambda a, b: a.reshape(4) + b.reshape(4), lambda a, b: ops.concatenate(a, b), lambda a, b: ops.stack(a, b),
    lambda a, b: a + a * b,
], ids=range(8))
def test_gradients_never_share_memory(leaf, function):
    a, b = leaf(2, 2), leaf(2, 2)
    y = function(a, b)
    seed = mg.tensor(np.ones(y.shape), dtype="float64")
    for _ in range(2):
        y.backward(seed, retain_graph=True)
        assert_apart(a.grad.data, b.grad.data, a.data, b.data, y.data, seed.data)
    first, second, third = mg.grad(y, [a, b, y], seed)
    assert_apart(first.data, second.data, third.data, a.grad.data, seed.data)


def test_a_cotangent_that_is_an_array_is_copied(x):
    seed = np.ones(3)
    x.backward(seed)
    seed[:] = 5
    assert values(x.grad) == [1, 1, 1]


def test_gradients_are_writable(leaf):
    a = leaf(2, 2)
    a.sum().backward()
    a.grad[0, 0] = 5.0
    assert values(a.grad) == [[5, 1], [1, 1]]


def test_intermediate_memory_is_freed_without_the_garbage_collector(leaf):
    w = leaf(3, 3)
    with without_the_collector():
        middle = ops.tanh(w @ w)
        y = (middle * middle).sum()
        held = [weakref.ref(t) for t in (middle, middle.data, y, y.data)]
        del middle
        assert held[1]() is not None, "backward needs it"
        y.backward()
        del y
        assert [r() for r in held] == [None] * 4


def test_an_unused_graph_is_freed_without_the_garbage_collector(leaf):
    w = leaf(3, 3)
    with without_the_collector():
        y = ops.softmax(ops.exp(w)).sum()
        held = weakref.ref(y.data)
        del y
        assert held() is None


def test_a_backward_pass_frees_intermediate_memory_though_the_loss_lives(leaf):
    w = leaf(3, 3)
    with without_the_collector():
        middle = ops.tanh(w)
        held = weakref.ref(middle.data)
        y = (middle * middle).sum()
        del middle
        y.backward()
        assert held() is None


def test_second_derivatives_are_freed_without_the_garbage_collector(leaf):
    w = leaf(3)
    with without_the_collector():
        y = ops.tanh(w).sum()
        (g,) = mg.grad(y, [w], create_graph=True)
        (h,) = mg.grad(g.sum(), [w], create_graph=True)
        held = [weakref.ref(t.data) for t in (y, g, h)]
        del y, g, h
        assert [r() for r in held] == [None] * 3


# Hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_see_forward_backward_and_optimizer_operations(x, ran):
    y = (x * x).sum()
    y.backward()
    with mg.no_grad():
        ops.ema_step(x, x.grad, decay=0.9)
    assert ran[:2] == ["mul", "sum"]
    assert ran[2:] == ["reshape", "broadcast_to", "mul", "mul", "add", "ema_step"]


def test_a_hook_gets_inputs_attributes_and_output(x):
    seen = []
    with mg.hook(lambda *event: seen.append(event)):
        y = ops.leaky_relu(x, slope=0.5)
    ((op, inputs, attrs, output),) = seen
    assert op is OPS["leaky_relu"]
    assert inputs[0] is x
    assert attrs == {"slope": 0.5}
    assert output is y
    x * x
    assert len(seen) == 1, "a hook ends with its context"


def test_hooks_nest_and_survive_an_exception(x):
    outer, inner = [], []
    with mg.hook(lambda op, *rest: outer.append(op.name)):
        with pytest.raises(ShapeError), mg.hook(lambda op, *rest: inner.append(op.name)):
            x * 2
            x.reshape(5)
        x + 2
    x - 2
    assert (outer, inner) == (["mul", "add"], ["mul"])


# Wrong vjps -----------------------------------------------------------------------------------------------------


def wrong_op(op, rule):
    @op
    def wrong(a, b):
        """An operation whose vjp is wrong on purpose"""
        return a + b

    wrong.vjp(rule)
    return wrong


def test_a_vjp_with_too_few_gradients_is_an_error(scratch_op, x):
    wrong = wrong_op(scratch_op, lambda g, y, a, b: (lambda: g,))
    with pytest.raises(GraphError, match="vjp of `wrong` gives 1 gradients for 2 inputs"):
        wrong(x, x).sum().backward()


def test_a_vjp_with_too_many_gradients_is_an_error(scratch_op, x):
    wrong = wrong_op(scratch_op, lambda g, y, a, b: (lambda: g, lambda: g, None))
    with pytest.raises(GraphError, match="3 gradients for 2 inputs"):
        wrong(x, x).sum().backward()


@pytest.mark.parametrize(("result", "message"), [
    (lambda g: g.sum(), r"vjp of `wrong` gives a gradient of shape \(\) for an input of shape \(3,\)"),
    (lambda g: g[:2], "sum_to: shape"),
    (lambda g: g.reshape(1, 3)[:, :2], "sum_to: shape"),
])
def test_a_vjp_with_a_gradient_of_the_wrong_shape_is_an_error(scratch_op, x, result, message):
    wrong = wrong_op(scratch_op, lambda g, y, a, b: (lambda: result(g), None))
    with pytest.raises((GraphError, ShapeError), match=message):
        wrong(x, x).sum().backward()


def test_a_missing_gradient_where_one_is_needed_is_no_silent_zero(scratch_op, x):
    wrong = wrong_op(scratch_op, lambda g, y, a, b: (None, lambda: g))
    with pytest.raises(GraphError, match="does not influence"):
        mg.grad(wrong(x, mg.tensor([1.0, 1.0, 1.0], dtype="float64")).sum(), [x])


def test_an_operation_without_a_vjp_ends_the_graph(scratch_op, x):
    @scratch_op
    def rounded(x):
        """y = x to the nearest integer, not differentiable"""
        return np.rint(x)

    assert not rounded(x).requires_grad


def test_a_new_operation_takes_part_in_everything(scratch_op, x):
    @scratch_op
    def cube(x):
        """y = x^3,  dL/dx = 3 g x^2"""
        return x**3

    @cube.vjp
    def _(g, y, x):
        return 3 * g * x * x

    assert OPS["cube"] is cube
    assert cube(x).op == "cube"
    mg.gradcheck(cube, x, order=3, rtol=1e-5)


def test_a_throw_away_operation_is_gone():
    assert not {"cube", "wrong", "rounded"} & set(OPS)


# Types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("other", [2, 2.0, True, np.float64(2), np.float32(2), np.int64(2), np.bool_(True)], ids=repr)
@pytest.mark.parametrize("op", [ops.add, ops.sub, ops.mul, ops.div, ops.pow, ops.maximum, ops.minimum])
def test_a_number_on_either_side_takes_the_type_of_the_tensor(op, other, dtype):
    t = mg.tensor([1.0, 2.0], requires_grad=True, dtype=dtype)
    reference = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power,
                 "maximum": np.maximum, "minimum": np.minimum}[op.name]
    for y, right in ((op(t, other), reference(t.data, float(other))), (op(other, t), reference(float(other), t.data))):
        assert y.dtype == dtype
        np.testing.assert_allclose(y.data, right, rtol=1e-6)
        assert mg.grad(y.sum(), [t])[0].dtype == dtype


@pytest.mark.parametrize("integers", [np.array([1, 2]), np.array([1, 2], "uint8"), np.array([True, False])],
                         ids=lambda a: str(a.dtype))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integers_and_booleans_take_the_float_type_of_the_other(integers, dtype):
    t = mg.tensor([0.5, 2.0], requires_grad=True, dtype=dtype)
    for other in (integers, mg.tensor(integers)):
        for y in (t * other, other * t):
            assert y.dtype == dtype
            np.testing.assert_allclose(y.data, t.data * integers)
            (g,) = mg.grad(y.sum(), [t])
            assert g.dtype == dtype
            np.testing.assert_array_equal(g.data, integers)


def test_integers_stay_integers_and_their_quotient_is_float32():
    i = mg.tensor(np.array([3, 4]))
    assert (i + 1).dtype.kind == (i * i).dtype.kind == i.sum().dtype.kind == "i"
    assert (i / 2).dtype == "float32"
    assert (i * 0.5).dtype == "float32"


def test_two_float_types_are_an_error_that_says_what_to_do():
    a, b = mg.tensor([1.0]), mg.tensor([1.0], dtype="float64")
    with pytest.raises(DTypeError, match=r"add: got a: \(1,\) float32, b: \(1,\) float64.*\.astype\('float32'\)"):
        a + b
    with pytest.raises(DTypeError, match="mul: got a: .*float64.*float32"):
        b.data * a


def test_a_list_becomes_a_tensor_like_any_other():
    t = mg.tensor([[1.0, 2.0]])
    assert values(t + [1.0, 2.0]) == [[2, 4]]
    assert values(ops.take(t.T, [1, 1])) == [[2], [2]]
    assert values(ops.add(1.0, 2)) == 3


@pytest.mark.parametrize("value", ["a", None, {}, object(), np.array(["a"]), 1j])
def test_what_holds_no_numbers_is_named(value):
    with pytest.raises(DTypeError, match="add: argument 'b' must be a Tensor, an array or a number, got"):
        ops.add(mg.tensor([1.0]), value)
    with pytest.raises(DTypeError, match="stack: argument 1 must be a Tensor"):
        ops.stack(mg.tensor([1.0]), value)
    with pytest.raises(DTypeError, match="concatenate: argument 0 must be a Tensor"):
        ops.concatenate(value)


def test_a_conversion_keeps_the_graph_and_casts_the_gradient_back():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x.astype("float64")
    assert y.dtype == "float64"
    (y * y).sum().backward()
    assert x.grad.dtype == "float32"
    assert values(x.grad) == [2, 4]
    assert y.astype("float32").dtype == "float32"
    assert mg.tensor(np.array([1, 2])).astype("float64").dtype == "float64"


def test_a_conversion_to_integers_has_no_gradient(x):
    assert not x.astype("int64").requires_grad
    assert values(x.astype("int64")) == [1, -2, 3]


def test_comparisons_have_no_gradient(x):
    assert not (x < 2).requires_grad
    assert (x < 2).dtype == bool


# Messages -------------------------------------------------------------------------------------------------------


def test_a_shape_error_names_the_operation_the_arguments_and_their_shapes():
    with pytest.raises(ShapeError, match=r"add\(a: \(2,\) float32, b: \(3,\) float32\): operands could not be"):
        mg.tensor([1.0, 2.0]) + mg.tensor([1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match=r"reshape\(x: \(2,\) float32, shape=5\): cannot reshape"):
        mg.tensor([1.0, 2.0]).reshape(5)
    with pytest.raises(ShapeError, match=r"stack\(input 0: \(2,\) float32, input 1: \(3,\) float32, axis=1\)"):
        ops.stack(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 2.0, 3.0]), axis=1)
    with pytest.raises(ShapeError, match=r"sub\(a: \(2,\) float32, b: \(3,\) float64\)|sub\("):
        mg.tensor([1.0, 2.0]) - mg.tensor([1.0, 2.0, 3.0])


def test_a_wrong_number_of_inputs_is_an_error_that_lists_them():
    t = mg.tensor([1.0])
    with pytest.raises(GraphError, match=r"add takes 2 inputs \(a, b\), got 3"):
        ops.add(t, t, t)
    with pytest.raises(GraphError, match=r"exp takes 1 input \(x\), got 0"):
        ops.exp()


def test_an_unknown_attribute_is_an_error_that_names_the_operation():
    with pytest.raises(DTypeError, match=r"sum\(x: \(1,\) float32, axes=0\).*unexpected keyword argument 'axes'"):
        ops.sum(mg.tensor([1.0]), axes=0)


def test_the_array_library_s_own_error_is_kept_as_the_cause():
    with pytest.raises(ShapeError) as caught:
        mg.tensor([1.0, 2.0]).reshape(5)
    assert isinstance(caught.value.__cause__, ValueError)


def test_backward_without_a_graph_says_why():
    with pytest.raises(GraphError, match="nothing it was computed from requires grad"):
        mg.tensor(1.0).backward()
    with pytest.raises(GraphError, match="no graph"):
        backward(mg.tensor([1.0]) * 2)


def test_backward_from_several_elements_needs_a_cotangent(x):
    with pytest.raises(ShapeError, match=r"shape \(3,\) needs a cotangent.*\.sum\(\)"):
        (x * x).backward()
    x.reshape(3, 1)[:1].backward()
    assert values(x.grad) == [1, 0, 0]


def test_a_cotangent_must_be_like_the_output(x):
    y = x * x
    with pytest.raises(ShapeError, match=r"cotangent is \(2,\) float64, the output \(3,\) float64"):
        y.backward(np.ones(2))
    with pytest.raises(ShapeError, match=r"cotangent is \(3,\) float32, the output \(3,\) float64"):
        y.backward(mg.tensor([1.0, 1.0, 1.0]))


def test_only_a_float_tensor_can_require_grad():
    with pytest.raises(GraphError, match="requires_grad needs a float tensor, not int64"):
        mg.tensor(np.array([1, 2]), requires_grad=True)


def test_a_tensor_of_a_result_has_no_gradient_yet(x):
    y = x * x
    assert isinstance(y, Tensor)
    assert y.grad is None
    assert y.requires_grad
    assert y.version == 0


def test_what_was_frozen_in_the_forward_pass_stays_frozen(leaf):
    x, weight = leaf(3), leaf(3)
    weight.requires_grad = False
    y = (x * weight).sum()
    weight.requires_grad = True
    y.backward()
    assert weight.grad is None
    np.testing.assert_array_equal(x.grad.data, weight.data)


def test_what_was_trained_in_the_forward_pass_gets_its_gradient(leaf):
    x, weight = leaf(3), leaf(3)
    y = (x * weight).sum()
    weight.requires_grad = False
    y.backward()
    np.testing.assert_array_equal(weight.grad.data, x.data)


@pytest.mark.parametrize("join", [mg.concatenate, mg.stack])
def test_a_list_of_tensors_is_joined_as_numpy_does(join, leaf):
    a, b = leaf(2), leaf(2)
    y = join([a, b])
    np.testing.assert_array_equal(y.data, getattr(np, join.name)([a.data, b.data]))
    (y * y).sum().backward()
    np.testing.assert_allclose(b.grad.data, 2 * b.data)


@pytest.mark.parametrize("use", [lambda a, b: mg.exp([a, b]), lambda a, b: a + [b, [b]]])
def test_elsewhere_a_list_of_tensors_is_refused(use, leaf):
    with pytest.raises(DTypeError, match="of Tensors, through which no gradient would flow: join them"):
        use(leaf(2), leaf(2))


def test_a_list_index_may_be_changed_before_backward(leaf):
    x, key = leaf(3), [0, 1]
    y = x[key].sum()
    key[1] = 0
    y.backward()
    assert values(x.grad) == [1, 1, 0]
    assert x[[]].shape == (0,)
