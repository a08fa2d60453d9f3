"""What a step can see: wherever the user keeps a setting, a net or a table, a change of it is never a wrong answer."""

from __future__ import annotations

import enum
import functools
import io
import random
import sys
import types
from collections import namedtuple
from dataclasses import dataclass
from operator import setitem

import numpy as np
import pytest

import minigen as mg
from minigen import nn, optim
from minigen.errors import GraphError, OutputError, UsageError
from minigen.program.step import CompiledStep
from minigen.random import Generator
from minigen.tensor import Parameter, Tensor

X = np.random.default_rng(0).normal(size=(4, 3))
PLACE = sys.modules[__name__]
FACTOR = 2.0
TABLE = np.arange(3.0)
HELPERS = types.ModuleType("helpers_of_a_user")
exec("BETA = 2.0\ndef scaled(x): return x * BETA", HELPERS.__dict__)


def compiled(function):
    return CompiledStep(function, interpret=True)


def helped(x):
    return x * 1.0


class Model:
    gain = 1.0

    def __init__(self):
        self.w = Parameter(np.ones(3))

    @property
    def doubled(self):
        return 2.0 * self.gain

    @staticmethod
    def shifted(x):
        return x + FACTOR

    def scaled(self, x):
        return x * self.w * FACTOR

    def step(self, x):
        return self.shifted(self.scaled(x) * self.doubled)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(slots=True)
class Slotted:
    w: Parameter
    factor: float


class Settings:
    class Loss:
        beta = 2.0

    @classmethod
    @mg.compile
    def step(cls, x):
        return x * cls.Loss.beta


class Recipe(dict):
    factor = 2.0

    def __init__(self, **items):
        super().__init__(**items)
        self.shift = 1.0


def setting(owner, name):
    return lambda value: setattr(owner, name, value)


def places():
    """Name: (step, what changes what it sees, and to what)."""
    model, slotted = Model(), Slotted(Parameter(np.ones(3)), 2.0)
    setting_item = functools.partial(setitem, table := np.arange(3.0), 1)
    keyed = {Colour.RED: 2.0, Parameter: 1.0}
    recipe, chosen, tables = Recipe(scale=3.0), {1}, {"one": table}
    return {
        "a global of another module": (lambda x: x * HELPERS.BETA, setting(HELPERS, "BETA"), 5.0),
        "a global of its function": (lambda x: HELPERS.scaled(x), setting(HELPERS, "BETA"), 5.0),
        "a global that a method reads": (model.step, setting(PLACE, "FACTOR"), 5.0),
        "a setting of a class": (model.step, setting(Model, "gain"), 5.0),
        "a class within a class": (lambda x: x * Settings.Loss.beta, setting(Settings.Loss, "beta"), 5.0),
        "a class as argument": (functools.partial(lambda cls, x: x * cls.beta, Settings.Loss),
                                setting(Settings.Loss, "beta"), 5.0),
        "an attribute of a dictionary": (lambda x: x * recipe["scale"] + recipe.shift, setting(recipe, "shift"), 5.0),
        "an item of a dictionary of one's own": (lambda x: x * recipe["scale"], recipe.update, {"scale": 5.0}),
        "its class": (lambda x: x * recipe.factor, setting(Recipe, "factor"), 5.0),
        "what is in a set": (lambda x: x * 3 if 1 in chosen else x, lambda x: (chosen.add(x), chosen.remove(1)), 2),
        "a method": (model.step, setting(Model, "scaled"), lambda self, x: x * 7.0),
        "a function": (lambda x: helped(x), setting(PLACE, "helped"), lambda x: x * 9.0),
        "an object with slots": (lambda x: slotted.w * x * slotted.factor, setting(slotted, "factor"), 5.0),
        "an item whose key is no text": (lambda x: x * keyed[Colour.RED] * keyed[Parameter],
                                         lambda value: keyed.update({Colour.RED: value}), 5.0),
        "another array of that name": (lambda x: x * TABLE, setting(PLACE, "TABLE"), np.ones(3)),
        "an array that NumPy computes with": (lambda x: x * (table * 2), setting_item, 9.0),
        "an array of a dictionary": (lambda x: x * (tables["one"] * 2), setting_item, 9.0),
        "an array by one of some names": (lambda x: x * sum(t * 2 for t in map(tables.get, ("one", "two"))
                                                           if t is not None), setting_item, 9.0),
        "an array among others": (lambda x: x * sum(t * 2 for t in tables.values()), setting_item, 9.0),
        "a number in an array": (lambda x: x * float(table[1]), setting_item, 9.0),
        "an index": (lambda x: x[:, table.astype(int)], setting_item, 0.0),
    }


@pytest.mark.parametrize("name", places())
def test_a_change_where_a_user_keeps_things_is_seen(name, monkeypatch):
    for owner, key in ((HELPERS, "BETA"), (PLACE, "FACTOR"), (PLACE, "TABLE"), (PLACE, "helped"), (Model, "gain"),
                       (Model, "scaled"), (Settings.Loss, "beta"), (Recipe, "factor")):
        monkeypatch.setattr(owner, key, vars(owner)[key])
    function, change, value = places()[name]
    step = compiled(function)
    before = function(Tensor(X)).data
    for _ in range(3):
        np.testing.assert_allclose(step(X).data, before)
    assert len(step.programs) == 1
    change(value)
    expected = function(Tensor(X)).data
    assert not np.array_equal(expected, before)
    for _ in range(3):
        np.testing.assert_allclose(step(X).data, expected)
    assert len(step.programs) == 2


def test_a_method_of_a_class_and_an_object_with_slots(monkeypatch):
    np.testing.assert_array_equal(Settings.step(X).data, 2 * X)
    monkeypatch.setattr(Settings.Loss, "beta", 3.0)
    np.testing.assert_array_equal(Settings.step(X).data, 3 * X)
    assert len(Settings.step.programs) == 2

    class Scaled:
        __slots__ = ("factor",)

        @mg.compile
        def step(self, x):
            return x * self.factor

    for factor in (2.0, 3.0):
        scaled = Scaled()
        scaled.factor = factor
        np.testing.assert_array_equal(scaled.step(X).data, factor * X)


def trained(net, optimizer, x):
    loss = (net(x) * net(x)).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def net_and_optimizer():
    net = nn.Dense(3, 1, rng=Generator(0))
    return net, optim.Adam(net.parameters())


WAYS = {
    "partial": lambda net, optimizer: compiled(functools.partial(trained, net, optimizer)),
    "arguments": lambda net, optimizer: functools.partial(compiled(trained), net, optimizer),
    "defaults": lambda net, optimizer: compiled(lambda x, net=net, optimizer=optimizer: trained(net, optimizer, x)),
    "module": lambda net, optimizer: (setattr(HELPERS, "both", (net, optimizer)),
                                      compiled(lambda x: trained(*HELPERS.both, x)))[1],
    "nested": lambda net, optimizer: compiled(functools.partial(
        lambda inner, x: inner(x), compiled(lambda x: trained(net, optimizer, x)))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_net_reaches_a_step_in_many_ways(way):
    (net, optimizer), (twin, other) = net_and_optimizer(), net_and_optimizer()
    step, x = WAYS[way](net, optimizer), X.astype("float32")
    for _ in range(3):
        np.testing.assert_allclose(step(x).data, trained(twin, other, Tensor(x)).data, rtol=1e-5)
    np.testing.assert_allclose(net.weight.data, twin.weight.data, rtol=1e-5)
    net.load_state_dict({name: value * 2 for name, value in net.state_dict().items()})
    twin.load_state_dict({name: value * 2 for name, value in twin.state_dict().items()})
    np.testing.assert_allclose(step(x).data, trained(twin, other, Tensor(x)).data, rtol=1e-5)


def test_a_decorated_method_within_a_compiled_one():
    class Both:
        def __init__(self):
            self.w = Parameter(np.ones(3))

        @mg.compile
        def inner(self, x):
            return x * self.w

        def outer(self, x):
            return self.inner(x) + 1.0

    both = Both()
    step = compiled(both.outer)
    for factor in (1.0, 3.0):
        both.w.data = np.full(3, factor)
        np.testing.assert_allclose(step(X).data, X * factor + 1)


def test_numbers_in_a_loop_that_are_called_as_attributes_are_no_settings(monkeypatch):
    """`lr` and `loss` of a script are not the optimizer's and the model's."""
    net, optimizer = net_and_optimizer()

    def body(x):
        optimizer.lr = optimizer.lr * 0.5
        return trained(net, optimizer, x)

    step = compiled(body)
    for n in range(3):
        monkeypatch.setattr(PLACE, "lr", float(n), raising=False)
        step(X.astype("float32"))
    assert len(step.programs) == 1


def test_a_number_of_numpys_is_an_input():
    step = compiled(lambda x, lr: x * lr)
    for lr in np.linspace(0, 1, 5):
        np.testing.assert_allclose(step(X, lr).data, X * lr)
    np.testing.assert_allclose(step(X, 2.0).data, X * 2)
    assert len(step.programs) == 1


def test_an_object_among_the_arguments_is_told_from_another():
    step = compiled(lambda x, colour, rng: x * 2.0 if colour is Colour.RED else x + rng.uniform(x.shape, "float64"))
    first, second = Generator(1), Generator(2)
    for rng, seed in ((first, 1), (second, 2)):
        noise = Generator(seed).uniform(X.shape, "float64").data
        np.testing.assert_array_equal(step(X, Colour.BLUE, rng).data, X + noise)
        np.testing.assert_array_equal(step(X, Colour.RED, rng).data, 2 * X)
    with pytest.raises(GraphError, match=r"was given a set, \{1\}: give a tuple"):
        step(X, {1}, first)


Pair = namedtuple("Pair", "total scaled")


def test_a_named_tuple_comes_back_as_one():
    step = compiled(lambda pair: Pair(pair.total.sum(), pair.scaled * 2.0))
    for n in range(2):
        found = step(Pair(X + n, X))
        np.testing.assert_allclose(found.total.data, (X + n).sum())
        np.testing.assert_allclose(found.scaled.data, 2 * X)


def test_a_parameter_that_comes_back_is_as_the_step_leaves_it():
    net, optimizer = net_and_optimizer()
    step = compiled(lambda x: (trained(net, optimizer, x), net.weight)[1])
    for _ in range(2):
        np.testing.assert_array_equal(step(X.astype("float32")).data, net.weight.data)


# Errors -----------------------------------------------------------------------------------------------------


@dataclass
class Result:
    loss: Tensor


@pytest.mark.parametrize("name", ["Result", "plain arrays", "set"])
def test_what_a_step_cannot_return_is_an_error(name):
    body = {"Result": lambda x: Result(x.sum()), "plain arrays": lambda x: np.ones(2), "set": lambda x: {1: {2}}}[name]
    with pytest.raises(GraphError, match=f"dicts of them, not {name}, today"):
        compiled(body)(X)


NUMPYS = np.random.default_rng(0)
DICE = {
    "Python": (lambda x: x * random.random(), "draws from Python's random numbers"),
    "NumPy": (lambda x: x * np.random.uniform(), "draws from NumPy's random numbers"),
    "generator": (lambda x: x * NUMPYS.random(), "draws from the random numbers of 'NUMPYS'"),
}


@pytest.mark.parametrize("name", DICE)
def test_random_numbers_that_the_engine_does_not_draw_are_an_error(name):
    body, message = DICE[name]
    with pytest.raises(GraphError, match=rf"<lambda>: the step {message}, .* minigen.random.Generator"):
        compiled(body)(X)


def test_what_a_step_leaves_in_python_is_named():
    found, counts, owner = [], np.zeros(3), Model()

    def appended(x):
        found.append(x)

    def counted(x):
        counts[0] += 1

    def kept(x):
        owner.last = x

    for body, named in ((appended, "the length of 'found'"), (counted, "the content of 'counts'"),
                        (kept, "what there is in 'owner'")):
        with pytest.raises(GraphError, match=f"{body.__name__}: the step itself changes {named} in Python"):
            compiled(body)(X)


def test_a_step_that_is_refused_is_undone():
    net, optimizer = net_and_optimizer()
    counts: list[int] = []
    before = net.state_dict()

    def body(x):
        trained(net, optimizer, x)
        counts.append(1)

    with pytest.raises(GraphError, match="the length of 'counts'"):
        compiled(body)(X.astype("float32"))
    assert optimizer.steps == 0
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def by_hand(w, memory, name, x):
    (w * x).sum().backward()
    if name == "in place":
        memory -= 0.1 * np.ones(3)
    else:
        w.data = 0.9 * np.ones(3)
    w.grad = None


@pytest.mark.parametrize("name", ["in place", "another array"])
def test_an_update_that_numpy_makes_is_an_error_and_undone(name):
    w = Parameter(np.ones(3))
    memory = w.data
    with pytest.raises(GraphError, match=r"<lambda>: the step changes the .data of 'w' by NumPy, .* t.copy_"):
        compiled(lambda x: by_hand(w, memory, name, x))(X)
    np.testing.assert_array_equal(w.data, np.ones(3))
    assert w.grad is None


def test_an_update_that_operations_make_is_repeated_also_where_a_view_shows_it():
    w = Parameter(np.ones(3))
    shown = Tensor(w.data[1:])

    def body(x):
        (w * x).sum().backward()
        with mg.no_grad():
            w.copy_(w - 0.1 * w.grad)
        w.grad = None
        return shown * 1.0

    step = compiled(body)
    for n in range(1, 4):
        np.testing.assert_allclose(step(X).data, 1 - 0.1 * n * X.sum(0)[1:])


def test_a_key_that_differs_from_trace_to_trace_is_an_error():
    places = io.BytesIO(bytes([0, 1, 2, 1]))
    step = compiled(lambda x: x[np.frombuffer(places.read(2), np.uint8)])
    step(X)
    with pytest.raises(GraphError, match=r"test_program_watch.py:\d+: an array that is no argument"):
        step(X)


def test_too_many_programs_say_what_moved():
    scale = [0.0]
    step = compiled(lambda x: x * scale[0])
    with pytest.raises(GraphError, match="traced 64 times, the last time because of a change of 'scale.0'. What moves"):
        for n in range(65):
            scale[0] = float(n)
            step(X)


def test_what_is_no_function_is_refused():
    with pytest.raises(UsageError, match=r"mg.compile\(3\): expected a function, such as model.train_step"):
        mg.compile(3)


def test_a_picture_of_a_kind_that_there_is_not_is_an_error(tmp_path):
    step = compiled(lambda x: x * 2.0)
    step(X)
    with pytest.raises(OutputError, match=r"step.doc: not the name of a picture .*; name a .png"):
        step.draw(tmp_path / "step.doc")
