"""What a program was made under is watched: another world makes another program, or an error, no wrong answer."""

from __future__ import annotations

import gc
import re
import sys
import weakref

import numpy as np
import pytest

import minigen as mg
from minigen import nn, ops, optim
from minigen.errors import GraphError
from minigen.host import HostNumber
from minigen.program.step import CompiledStep
from minigen.random import Generator
from minigen.tensor import Parameter, Tensor

X = np.random.default_rng(0).normal(size=(4, 3))


def compiled(function):
    return CompiledStep(function, interpret=True)


def line_of(function, text):
    """file:line of the first line of a function that holds the text."""
    import inspect

    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(n for n, line in enumerate(lines) if text in line)}"


# Retracing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [X[:2], X.astype("float32"), X.T.copy().T, X.reshape(2, 6)], ids=str)
def test_another_shape_dtype_or_layout_makes_another_program(other):
    step = compiled(lambda x: (x * x).sum())
    for x in (X, other, X, other):
        np.testing.assert_allclose(step(x).data, (x * x).sum(), rtol=1e-5)
    assert len(step.programs) == (1 if other is X else 2)


def test_a_structure_of_arguments_and_results():
    step = compiled(lambda pair, *, named: {"sum": [pair[0] + pair[1]], "both": (named["z"] * 2.0, "text", None)})
    for _ in range(2):
        found = step([X, X], named={"z": Tensor(X)})
        np.testing.assert_array_equal(found["sum"][0].data, 2 * X)
        np.testing.assert_array_equal(found["both"][0].data, 2 * X)
        assert found["both"][1:] == ("text", None)
    assert len(step.programs) == 1


def test_another_mode_of_a_module_makes_another_program():
    net = nn.Sequential(nn.Dense(3, 3, rng=Generator(0)), nn.BatchNorm(3), nn.Dropout(0.5, Generator(1)))
    step = compiled(lambda x: net(x))
    x = X.astype("float32")
    trained = step(x)
    net.eval()
    np.testing.assert_allclose(step(x).data, net(Tensor(x)).data, rtol=1e-5)
    np.testing.assert_array_equal(step(x).data, step(x).data)  # no dropout
    net.train()
    assert not np.array_equal(step(x).data, trained.data)
    assert len(step.programs) == 2


def test_another_set_of_trained_parameters_makes_another_program():
    p, q = Parameter(np.ones(3)), Parameter(np.ones(3))
    optimizer = optim.SGD([p, q], lr=0.5)

    def body(x):
        ((p * x).sum() + (q * x).sum()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step = compiled(body)
    step(X)
    moved = p.data.copy()
    p.requires_grad = False
    step(X)
    np.testing.assert_array_equal(p.data, moved)
    np.testing.assert_allclose(q.data, 1 - 2 * 0.5 * X.sum(0))
    p.requires_grad = True
    step(X)
    np.testing.assert_allclose(p.data, q.data + 0.5 * X.sum(0))
    assert len(step.programs) == 2


def test_another_parameter_in_its_place_is_seen():
    net = nn.Dense(3, 2, rng=Generator(0))
    step = compiled(lambda x: net(x))
    x = X.astype("float32")
    step(x)
    net.weight = Parameter(np.ones((3, 2), np.float32))
    np.testing.assert_allclose(step(x).data, x.sum(1, keepdims=True).repeat(2, 1), rtol=1e-5, atol=1e-6)


def test_another_array_behind_a_parameter_is_seen():
    p = Parameter(np.ones(3))
    step = compiled(lambda x: x * p)
    step(X)
    p.data = np.full(3, 2.0)
    np.testing.assert_array_equal(step(X).data, 2 * X)
    p.data[...] = 3.0
    np.testing.assert_array_equal(step(X).data, 3 * X)
    assert len(step.programs) == 1


SCALE = 2.0


def test_a_global_or_closed_over_number_is_watched(monkeypatch):
    factor = 3.0

    def body(x):
        return x * SCALE * factor

    step = compiled(body)
    np.testing.assert_allclose(step(X).data, 6 * X)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 4.0)
    np.testing.assert_allclose(step(X).data, 12 * X)
    factor = 5.0
    np.testing.assert_allclose(step(X).data, 20 * X)


def test_a_setting_of_an_optimizer_is_watched():
    p = Parameter(np.ones(3))
    optimizer = optim.SGD([p], lr=1.0)

    def body(x):
        (p * x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step = compiled(body)
    step(X)
    optimizer.weight_decay = 1.0
    before = p.data.copy()
    step(X)
    np.testing.assert_allclose(p.data, before - (X.sum(0) + before))


# Host numbers -------------------------------------------------------------------------------------------------


def test_a_number_that_is_an_argument_is_an_input():
    step = compiled(lambda x, beta: x * (beta + 1))
    for beta in (0.5, 2.0, -1.0):
        np.testing.assert_allclose(step(X, beta).data, X * (beta + 1))
    assert len(step.programs) == 1
    np.testing.assert_allclose(step(X, beta=3.0).data, X * 4)


def test_a_learning_rate_is_an_input():
    p = Parameter(np.zeros(3))
    optimizer = optim.SGD([p])

    def body(x):
        (p * x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step = compiled(body)
    for lr in (0.1, 0.2, 0.4):
        optimizer.lr = lr
        before = p.data.copy()
        step(X)
        np.testing.assert_allclose(p.data, before - lr * X.sum(0))
    assert optimizer.steps == 3 and len(step.programs) == 1


def test_a_branch_on_a_host_number_picks_another_program():
    class Every:
        count = HostNumber()

        def __init__(self):
            self.count = 0

        def __call__(self, x):
            self.count += 1
            return x * 2.0 if self.count % 3 == 0 else x

    owner = Every()
    step = compiled(owner)
    found = [step(X).data[0, 0] / X[0, 0] for _ in range(9)]
    assert found == [1, 1, 2] * 3
    assert owner.count == 9 and len(step.programs) == 2


def test_a_host_number_made_a_constant_is_an_error():
    optimizer = optim.SGD([Parameter(np.ones(3))])

    def body(x):
        return x * np.sqrt(float(optimizer.lr))

    with pytest.raises(GraphError, match=rf"{re.escape(line_of(body, 'float('))}: the number lr may change"):
        compiled(body)(X)


def test_noise_goes_on_from_the_generators_place():
    rng, twin = Generator(3), Generator(3)
    step = compiled(lambda x: x + rng.normal(x.shape, "float64"))
    for _ in range(3):
        np.testing.assert_array_equal(step(X).data, X + twin.normal(X.shape, "float64").data)
    rng.draw = twin.draw = 40
    np.testing.assert_array_equal(step(X).data, X + twin.normal(X.shape, "float64").data)


# Errors -------------------------------------------------------------------------------------------------------

LEAKS = {
    "item": lambda x: x * x.sum().item(),
    "float": lambda x: x * float(x.sum()),
    "int": lambda x: x * int(x.sum()),
    "bool": lambda x: x if x.sum() > 0 else -x,
    "numpy": lambda x: x * x.numpy().sum(),
    "array": lambda x: x * np.asarray(x),
    "index": lambda x: x[(x.sum(1) > 0)],
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_tensor_that_becomes_a_number_is_an_error_that_names_the_line(name):
    body = LEAKS[name]
    with pytest.raises(GraphError, match=rf"^{re.escape(line_of(body, 'lambda'))}: a Tensor is turned into"):
        compiled(body)(X)


def test_the_data_of_a_tensor_in_a_step_is_an_error():
    p = Parameter(np.ones(3))

    def branch(x):
        return x * 2 if (x + 0.0).data[0, 0] > 1 else x

    def number(x):
        return x * float(x.data.sum())

    def clipped(x):
        (p * x).sum().backward()
        p.grad.data *= 0.5
        return p.grad

    for body, line in (branch, "return"), (number, "return"), (clipped, "p.grad.data"):
        with pytest.raises(GraphError, match=rf"{re.escape(line_of(body, line))}: the .data of a Tensor is used"):
            compiled(body)(X)
    assert p.grad is None
    assert float(p.data.sum()) == 3  # read as ever outside the step


def test_a_part_of_a_tensor_that_numpy_took_is_an_error():
    p = Parameter(np.ones(3))
    first = p.data[:1]

    def body(x):
        return x * first + p

    with pytest.raises(GraphError, match=rf"{re.escape(line_of(body, 'return'))}: a part of a tensor's .data"):
        compiled(body)(X)


def test_captured_data_is_a_constant_until_it_is_changed():
    table = np.arange(3.0)

    def body(x):
        return x * table

    step = compiled(body)
    for _ in range(4):
        np.testing.assert_array_equal(step(X).data, X * np.arange(3.0))
    assert len(step.programs) == 1
    table[1] = 7
    with pytest.raises(GraphError, match=rf"{re.escape(line_of(body, 'return'))}: the array captured here has been"):
        step(X)


def test_a_step_that_counts_in_plain_python_is_an_error():
    class Counting:
        calls = 0

        def __init__(self):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            return x

    with pytest.raises(GraphError, match="'calls' .*HostNumber"):
        compiled(Counting())(X)


def test_a_step_that_fails_leaves_everything_as_it_was():
    net = nn.Dense(3, 1, rng=Generator(0))
    optimizer = optim.Adam(net.parameters())

    def body(x):
        net(x).sum().backward()
        optimizer.step()
        return x @ x

    before = net.state_dict(), optimizer.state_dict()
    with pytest.raises(ValueError, match="matmul"):
        compiled(body)(X.astype("float32"))
    for kept, now in zip(before, (net.state_dict(), optimizer.state_dict()), strict=True):
        for name in kept:
            np.testing.assert_array_equal(kept[name], now[name])
    assert all(p.grad is None for p in net.parameters())
    assert (body.__closure__ is not None) and optimizer.steps == 0


# State --------------------------------------------------------------------------------------------------------


def test_gradients_that_stay_are_accumulated():
    p, twin = Parameter(np.ones(3)), Parameter(np.ones(3))
    step = compiled(lambda x: (p * p * x).sum().backward())
    for n in range(4):
        step(X + n)
        (twin * twin * Tensor(X + n)).sum().backward()
        np.testing.assert_allclose(p.grad.data, twin.grad.data)
    p.grad = twin.grad = None
    step(X)
    np.testing.assert_allclose(p.grad.data, 2 * X.sum(0))


def test_eager_and_compiled_steps_share_weights_and_counts():
    net = nn.Dense(3, 1, rng=Generator(0))
    twin = nn.Dense(3, 1, rng=Generator(0))
    ours, theirs = optim.Adam(net.parameters()), optim.Adam(twin.parameters())

    def stepper(net, optimizer):
        def body(x):
            (net(x) * net(x)).mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return body

    plain, expected = stepper(net, ours), stepper(twin, theirs)
    step = compiled(plain)
    x = X.astype("float32")
    for n in range(9):
        step(x) if n % 3 else plain(Tensor(x))
        expected(Tensor(x))
        np.testing.assert_allclose(net.weight.data, twin.weight.data, rtol=1e-5)
    assert ours.steps == 9 and net.weight.version == twin.weight.version == 9
    net.load_state_dict(twin.state_dict())
    step(x)
    expected(Tensor(x))
    np.testing.assert_allclose(net.weight.data, twin.weight.data, rtol=1e-5)


def test_a_parameter_used_in_two_places_is_one():
    shared = Parameter(np.full((3, 3), 0.1))
    first, second = nn.Dense(3, 3, rng=Generator(0)), nn.Dense(3, 3, rng=Generator(1))
    first.weight = second.weight = shared
    first.bias.data, second.bias.data = np.zeros(3), np.zeros(3)
    net = nn.Sequential(first, second)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def body(x):
        net(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    kept = shared.data.copy()
    compiled(body)(X)
    ours = shared.data.copy()
    shared.data[...] = kept
    first.bias.data[...] = second.bias.data[...] = 0
    body(Tensor(X))
    np.testing.assert_allclose(ours, shared.data, rtol=1e-12)


def test_a_method_can_be_decorated():
    class Owner:
        def __init__(self, factor):
            self.factor = factor

        @mg.compile
        def double(self, x):
            """Doc."""
            return x + x * self.factor

    a, b = Owner(1.0), Owner(2.0)
    x = X.astype("float32")
    for _ in range(2):
        np.testing.assert_allclose(a.double(x).data, 2 * x, rtol=1e-6)
        np.testing.assert_allclose(b.double(x).data, 3 * x, rtol=1e-6)
    assert a.double is a.double and a.double is not b.double
    assert "Doc." in a.double.__doc__


def test_who_looks_at_operations_gets_to_see_them():
    step = compiled(lambda x: ops.log(x))
    step(np.ones(2))
    with mg.detect_nan(), pytest.raises(ArithmeticError, match="`log` gave"):
        step(-np.ones(2))
    assert not np.isfinite(step(-np.ones(2)).data).any()


def test_inside_no_grad_there_is_another_program():
    p = Parameter(np.ones(3))
    step = compiled(lambda x: (p * x).sum())
    with mg.no_grad():
        step(X)
    step(X)
    assert len(step.programs) == 2


def test_an_argument_that_requires_grad_is_an_error():
    with pytest.raises(GraphError, match="'x' of a compiled step requires grad"):
        compiled(lambda x: x.sum().backward())(mg.tensor(X, requires_grad=True))


def test_a_program_keeps_no_array_of_its_trace():
    seen = weakref.WeakSet()

    def body(x):
        y = x * 2.0
        seen.add(y)
        return y + 1.0

    compiled(body)(X)
    gc.collect()
    assert not seen


def test_a_compiled_step_within_a_trace_becomes_part_of_it():
    inner = compiled(lambda x: x * 2.0)
    outer = compiled(lambda x: inner(x) + 1.0)
    for _ in range(2):
        np.testing.assert_array_equal(outer(X).data, X * 2 + 1)
    assert not inner.programs and len(outer.last.traced) == 2


def test_a_view_of_what_is_overwritten_shows_what_was_written():
    memory = Tensor(np.ones(3))

    def body(x):
        shown, taken = ops.broadcast_to(memory, shape=(2, 3)), memory * 1.0
        with mg.no_grad():
            memory.copy_(x[0])
        return shown, taken, shown * 2.0

    shown, taken, after = compiled(body)(X)
    np.testing.assert_array_equal(shown.data, [X[0], X[0]])
    np.testing.assert_array_equal(taken.data, np.ones(3))
    np.testing.assert_array_equal(after.data, [2 * X[0], 2 * X[0]])


def test_an_assignment_in_the_step_is_seen_by_what_comes_after():
    memory = Tensor(np.zeros(3))

    def body(x):
        before = memory * 1.0
        with mg.no_grad():
            memory[1:] = x[0, 1:]
        return before, memory + 0.5, ops.sum(memory)

    step = compiled(body)
    step(X)
    before, after, total = step(X + 1)
    np.testing.assert_array_equal(before.data, [0, *X[0, 1:]])
    np.testing.assert_array_equal(after.data, [0.5, *(X[0, 1:] + 1.5)])
    np.testing.assert_allclose(total.data, X[0, 1:].sum() + 2)
