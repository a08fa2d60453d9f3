"""Ordinary things around a compiled step that change what it must compute: never a wrong number."""

import argparse
import collections
import copy
import itertools
import math
import pickle
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import minigen as mg
from minigen.errors import GraphError
from minigen.host import HostNumber

A = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
B = A * 10 + 1


def test_state_of_another_shape_dtype_or_layout_is_traced_again():
    w = mg.Parameter(np.ones(3, np.float32))
    batch = mg.tensor(np.ones((4, 3), np.float32))

    def loss():
        return (batch * w).mean()

    step = mg.compile(loss)
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    for data in (batch.data, np.full((2, 3), 5, np.float32), np.full((4, 3), 2, np.float32), square,
                 np.asfortranarray(square), np.arange(3, dtype=np.float32)):
        batch.data = data
        assert float(step()) == float(loss())
    seen = mg.tensor(np.ones((4, 3), np.float32))
    share = mg.compile(lambda x: (x * x).sum() / seen.shape[0])
    assert float(share(A)) == 91 / 4
    seen.data = np.ones((2, 3), np.float32)
    assert float(share(A)) == 91 / 2


def test_the_same_array_twice_is_two_arguments():
    step = mg.compile(lambda x, y: (x * 2 - y).sum())
    assert [float(step(A, A)), float(step(A, B)), float(step(B, A))] == [21, -174, 411]
    nested = mg.compile(lambda xs: (xs[0] * 2 - xs[1]).sum())
    assert [float(nested([A, A])), float(nested([A, B]))] == [21, -174]
    state = mg.tensor(A)
    one = mg.compile(lambda x: (x * 2 - state).sum())
    assert [float(one(state)), float(one(mg.tensor(B)))] == [21, 411]

    @mg.compile
    def overwrites(x):
        state.copy_(state * 2)
        return x.sum()

    with pytest.raises(GraphError, match="argument 'x' shares memory with another tensor, and the step overwrites one"):
        overwrites(state)


@pytest.mark.parametrize("kind", [argparse.Namespace, types.SimpleNamespace])
def test_settings_in_a_namespace_are_watched(kind):
    c = kind(beta=1.0, w=mg.Parameter(np.ones(3, np.float32)))
    step = mg.compile(lambda x: (x * c.w * c.beta).sum())
    assert float(step(A)) == 21
    c.beta = 3.0
    assert float(step(A)) == 63
    c.w.data[...] = 2
    assert float(step(A)) == 126


def test_a_deque_and_a_set_are_watched():
    line, flags = collections.deque([1.0, 2.0]), set()
    step = mg.compile(lambda x: (x * line[0]).sum() * (2.0 if "twice" in flags else 1.0))
    assert float(step(A)) == 21
    line[0] = 3.0
    assert float(step(A)) == 63
    flags.add("twice")
    assert float(step(A)) == 126


def scaled(by):
    def step(self, x):
        return (x * by * self.scale).sum()

    return step


class Base:
    scale = 1.0
    one, two = mg.compile(scaled(1.0)), mg.compile(scaled(2.0))

    @mg.compile
    def step(self, x):
        return (x * self.w).sum()


class Derived(Base):
    @mg.compile
    def step(self, x):
        return super().step(x) * 2


def test_decorated_methods_of_one_name_and_of_a_base_class():
    m = Base()
    assert (float(m.one(A)), float(m.two(A)), float(m.one(A))) == (21, 42, 21)
    derived = Derived()
    derived.w = mg.tensor(1.0)
    assert [float(derived.step(A)) for _ in range(2)] == [42, 42]


def test_an_object_is_copied_with_its_compiled_step():
    m = Base()
    m.w = mg.tensor(1.0)
    assert float(m.step(A)) == 21
    for other in (copy.copy(m), copy.deepcopy(m)):
        other.w = mg.tensor(7.0)
        assert (float(other.step(A)), float(m.step(A))) == (147, 21)


def test_an_object_with_a_compiled_step_is_pickled():
    m = Base()
    m.w = 2.0
    assert float(m.step(A)) == 42
    again = pickle.loads(pickle.dumps(m))
    again.w = 3.0
    assert (float(again.step(A)), float(m.step(A))) == (63, 42)


def test_shared_memory_stays_shared():
    losses = {}
    for way in (lambda f: f, mg.compile):
        w, z = (mg.Parameter(np.ones(3, np.float32)) for _ in range(2))
        alias, view = w.detach(), mg.Parameter(np.ones(2, np.float32))
        view.data = z.data[:2]
        opt = mg.optim.SGD([w, z], lr=0.1)

        def step(x, w=w, z=z, alias=alias, view=view, opt=opt):
            loss = (x * w * alias + z).sum() + 0 * view.sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        run = way(step)
        losses[way] = [float(run(np.ones(3, np.float32))) for _ in range(3)]
        np.testing.assert_array_equal(w.data, alias.data)
        np.testing.assert_array_equal(z.data[:2], view.data)
    assert losses[mg.compile] == pytest.approx(next(iter(losses.values())))


def test_an_operation_of_ones_own_with_the_name_of_a_known_one(scratch_op):
    @scratch_op
    def gelu(x):
        return (x / (1 + np.exp(-1.702 * x))).astype(x.dtype)

    @gelu.vjp
    def _(g, y, x):
        return g

    np.testing.assert_array_equal(mg.compile(lambda x: gelu(x))(A).data, gelu(mg.tensor(A)).data)
    assert abs(mg.gelu(mg.tensor(A)).data - gelu(mg.tensor(A)).data).max() > 1e-3


def test_threads_take_turns():
    layers = [(mg.nn.Dense(64, 64, rng=mg.Generator(k)), mg.nn.Tanh()) for k in range(3)]
    net = mg.nn.Sequential(*[layer for pair in layers for layer in pair])
    step = mg.compile(lambda x: net(x))
    inputs = [np.random.default_rng(n).standard_normal((8, 64)).astype(np.float32) for n in range(2)]
    expected = [step(x).data.copy() for x in inputs]
    wrong = []

    def work(n):
        wrong.extend(n for _ in range(100) if not np.array_equal(step(inputs[n]).data, expected[n]))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_step_without_arguments_is_saved_and_one_number_is_no_scalar(tmp_path):
    w = mg.Parameter(np.ones(3, np.float32))
    step = mg.compile(lambda: (w * w).sum())
    step()
    step.save(tmp_path / "none.py")
    assert "us" in step.explain()
    half = mg.compile(lambda x, n: (x * w * n).sum())
    half(mg.tensor(2.0), 3.0)
    half.save(tmp_path / "half.py")
    for name, value in (("none", "3.0"), ("half", "18.0")):
        done = subprocess.run([sys.executable, tmp_path / f"{name}.py"], capture_output=True, text=True)
        assert value in done.stdout, done.stderr


def test_the_debugger_stops_where_the_saved_file_says(tmp_path):
    step = mg.compile(lambda x: (x * 2).sum())
    step(A)
    step.save(tmp_path / "s.py")
    where = (tmp_path / "s.py").read_text().split("then b ")[1].split()[0]
    done = subprocess.run([sys.executable, "-m", "pdb", tmp_path / "s.py"], capture_output=True, text=True,
                          input=f"b {where}\nc\np x.shape\nq\n")
    assert "(2, 3)" in done.stdout, done.stdout + done.stderr


class Schedule:
    beta = HostNumber()

    def __init__(self, beta):
        self.beta = beta


def test_host_numbers_take_what_python_and_numpy_have():
    s = Schedule(2.0)
    step = mg.compile(lambda x: (x * (abs(-s.beta) + 7 // s.beta + 7 % s.beta)).sum() if s.beta < math.inf else x.sum())
    guarded = mg.compile(lambda x: x.sum() if s.beta < np.float64(2.5) else (x * 2).sum())
    for beta, value, other in ((2.0, 6.0, 1), (3.0, 6.0, 2), (4.0, 8.0, 2)):
        s.beta = beta
        assert (float(step(A)), float(guarded(A))) == (21 * value, 21 * other)


@pytest.mark.parametrize("use", [
    lambda b: {2: 3.0}.get(b, 1.0), lambda b: b in {2, 4}, lambda b: round(b), lambda b: f"{b:.2f}",
])  # fmt: skip
def test_a_host_number_that_becomes_a_constant_is_an_error(use):
    s = Schedule(2.0)
    with pytest.raises(GraphError, match="may change from step to step"):
        mg.compile(lambda x: x.sum() if use(s.beta) else x.mean())(A)


def test_any_number_of_shapes():
    step = mg.compile(lambda x: x.sum())
    for n in [*range(1, 70), 1, 2]:
        assert float(step(np.ones(n, np.float32))) == n
    assert len(step.programs) <= 64


def test_what_a_program_still_needs_is_said():
    table = np.arange(3, dtype=np.float32)
    step = mg.compile(lambda x: (x * mg.tensor(table)).sum())
    step(A)
    with pytest.raises(GraphError, match="call it again"):
        step.source  # noqa: B018
    step(A)
    assert "def step" in step.source


def counted():
    n = 0
    while True:
        yield (n := n + 1)


@pytest.mark.parametrize("numbers", [itertools.count(1), iter([1, 2, 3]), counted(), (n for n in range(9))])
def test_an_iterator_that_the_step_advances_is_an_error(numbers):
    next(numbers)
    with pytest.raises(GraphError, match="the step draws from the iterator 'numbers'"):
        mg.compile(lambda x: (x * next(numbers)).sum())(A)
