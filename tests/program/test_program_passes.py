"""Each pass by itself: what it takes out, what it must leave alone, and that the result is still the step's."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

import minigen as mg
from minigen import nn, ops, optim
from minigen.program.ir import dependencies, leaves
from minigen.program.passes import optimise
from minigen.program.passes.common import share_common
from minigen.program.passes.dead import remove_dead
from minigen.program.passes.epilogue import accumulate_products, activate_products, plain_products
from minigen.program.passes.flat import flatten_updates
from minigen.program.passes.fold import fold_constants
from minigen.program.passes.fuse import fuse_loops
from minigen.program.passes.memory import plan_memory
from minigen.program.passes.outer import write_out_outer
from minigen.program.passes.rows import write_out_rows
from minigen.program.passes.slopes import keep_slopes
from minigen.program.step import CompiledStep
from minigen.program.trace import trace_step
from minigen.program.watch import Watch
from minigen.random import Generator
from minigen.tensor import Parameter, Tensor

X = np.random.default_rng(0).normal(size=(4, 3))


def traced(function, *arrays):
    found = trace_step(function, Watch(function), tuple(map(Tensor, arrays)), {})
    found.undo()
    return found.program


def names(program):
    return [i.name for i in program.instructions]


# Dead code --------------------------------------------------------------------------------------------------


def test_what_nobody_reads_goes_with_what_only_it_read():
    program = traced(lambda x: (ops.exp(ops.tanh(x)), x + 1.0)[1], X)
    assert names(program) == ["tanh", "exp", "add"]
    remove_dead(program)
    assert names(program) == ["add"]


def test_a_write_to_what_outlives_the_step_stays_and_one_to_a_temporary_that_is_read():
    state = Tensor(np.zeros(3))

    def step(x):
        temporary, unread = x * 1.0, x * 2.0
        with mg.no_grad():
            state.copy_(x[0])
            temporary[0] = 1.0
            unread[0] = 1.0
        return temporary + 0.5

    program = traced(step, X)
    remove_dead(program)
    assert names(program) == ["mul", "index", "assign", "assign", "add"]


# Common subexpressions --------------------------------------------------------------------------------------


def test_equal_expressions_are_computed_once():
    program = traced(lambda x: ops.exp(x * 2.0) + ops.exp(x * 2.0) * ops.exp(x * 2), X)
    share_common(program)
    assert names(program) == ["mul", "exp", "mul", "exp", "mul", "add"]  # 2 and 2.0 are not the same


def test_noise_and_what_is_overwritten_between_are_not_shared():
    rng, state = Generator(0), Tensor(np.ones(3))

    def step(x):
        first = state * 2.0
        with mg.no_grad():
            state.copy_(x[0])
        return first + state * 2.0 + rng.normal((3,), "float64") + rng.normal((3,), "float64")

    program = traced(step, X)
    before = names(program)
    share_common(program)
    assert names(program) == before


# Constants --------------------------------------------------------------------------------------------------


def test_constants_are_computed_now():
    table = np.arange(3.0)
    program = traced(lambda x: x * ops.exp(Tensor(table) * 2.0), X)
    fold_constants(program)
    assert names(program) == ["mul"]
    np.testing.assert_allclose(program.instructions[0].inputs[1].array, np.exp(2 * table))


def test_the_gradient_of_a_mean_starts_from_one_number():
    p = Parameter(X)
    program = traced(lambda: ((p * p).mean()).backward())
    fold_constants(program)
    remove_dead(program)
    assert names(program) == ["mul", "mul", "add"]
    assert program.instructions[0].inputs[0] == pytest.approx(1 / 12)


@pytest.mark.parametrize("function", [
    lambda x: x * 1.0, lambda x: 1.0 * x, lambda x: x / 1.0, lambda x: x - 0.0,
    lambda x: x.astype(x.dtype), lambda x: x.reshape(*x.shape), lambda x: ops.sum_to(x, shape=x.shape),
])
def test_what_changes_nothing_is_left_out(function):
    program = traced(lambda x: ops.exp(function(x)), X)
    fold_constants(program)
    assert names(program) == ["exp"]


@pytest.mark.parametrize("function", [lambda x: 1.0 / x, lambda x: 0.0 - x, lambda x: x * 0.0, lambda x: x + 1.0])
def test_what_changes_something_is_not(function):
    program = traced(lambda x: ops.exp(function(x)), X)
    fold_constants(program)
    assert len(program.instructions) == 2


# Products ---------------------------------------------------------------------------------------------------


def network(activation):
    net = nn.Sequential(nn.Dense(3, 5, rng=Generator(0)), activation, nn.Dense(5, 2, rng=Generator(1)))
    for p in net.parameters():
        p.data = p.data.astype(np.float64)
    return net


def products(program):
    plain_products(program)
    activate_products(program)
    accumulate_products(program)
    remove_dead(program)


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.LeakyReLU(), nn.Sigmoid(), nn.GELU()])
def test_bias_and_activation_join_the_product(activation):
    net = network(activation)
    program = traced(lambda x: net(x), X)
    products(program)
    assert names(program) == ["product", "product"]
    assert [i.attrs["activation"] for i in program.instructions] == [names_of(activation), None]


def names_of(activation):
    return {"Tanh": "tanh", "LeakyReLU": "leaky_relu", "Sigmoid": "sigmoid", "GELU": "gelu"}[type(activation).__name__]


def test_an_activation_whose_input_is_needed_stays_apart():
    net = network(nn.GELU())
    program = traced(lambda x: net(x).sum().backward(), X)  # the derivative of gelu reads its input
    products(program)
    assert "gelu" in names(program)


def test_a_leaky_relu_joins_although_its_derivative_asks_for_its_input():
    net = network(nn.LeakyReLU())
    program = traced(lambda x: net(x).sum().backward(), X)
    products(program)
    assert "leaky_relu" not in names(program) and "gate" in names(program)


def test_two_gradients_of_a_weight_are_summed_in_place():
    net = network(nn.Tanh())
    program = traced(lambda x: (net(x).sum() + net(x * 2.0).sum()).backward(), X)
    products(program)
    assert sum(i.name == "product" and i.attrs["accumulate"] for i in program.instructions) == 2


def test_a_sum_of_three_products_is_computed():
    """The first sum goes into a product's memory; the second must still find who makes it."""
    rng = np.random.default_rng(1)
    a, b, c = (Parameter(rng.normal(size=(3, 2))) for _ in range(3))

    def sum_of_three(x):
        return x @ a + x @ b + x @ c

    program = traced(sum_of_three, X)
    products(program)
    assert sum(i.name == "product" and i.attrs["accumulate"] for i in program.instructions) == 1
    np.testing.assert_allclose(mg.compile(sum_of_three)(Tensor(X)).data, X @ (a.data + b.data + c.data), rtol=1e-12)


def test_a_product_over_one_term_is_a_multiplication_where_it_can_join_a_loop():
    w = Parameter(X[:1])

    def gated(g, y):
        product = g @ w
        return ops.gate(product, y, slope=0.1), ops.gate(g.T @ y, w, slope=0.1)

    program = traced(gated, X[:, :1], X)
    write_out_outer(program)
    assert [name for name in names(program) if name in ("mul", "matmul")] == ["mul", "matmul"]
    for read_by_another in (lambda g, y: g @ w, lambda g, y: (g @ w) @ y.T):
        program = traced(read_by_another, X[:, :1], X)
        write_out_outer(program)
        assert "mul" not in names(program)
    for ours, expected in zip(mg.compile(gated)(Tensor(X[:, :1]), Tensor(X)), gated(Tensor(X[:, :1]), Tensor(X)),
                              strict=True):
        np.testing.assert_array_equal(ours.data, expected.data)


@pytest.mark.parametrize("bias", [lambda b: b[::2], lambda b: ops.broadcast_to(b[:1], shape=(3,)), lambda b: b[3:]])
def test_a_bias_of_any_layout_is_added(bias):
    rng = np.random.default_rng(2)
    x, w, b = (Tensor(rng.normal(size=shape).astype(np.float32)) for shape in ((4, 5), (5, 3), (6,)))
    step = mg.compile(lambda x, b: ops.dense(x, w, bias(b)))
    for given in (b, Tensor(np.repeat(b.data, 2)[::2])):
        np.testing.assert_allclose(step(x, given).data, ops.dense(x, w, bias(given)).data, rtol=1e-6)


@pytest.mark.parametrize("rows, inner, columns", [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 1, 0)])
def test_an_empty_product_is_computed(rows, inner, columns):
    w, b = Parameter(np.ones((inner, columns))), Parameter(np.ones(columns))
    for product in (lambda x: x @ w, lambda x: ops.dense(x, w, b), lambda x: ops.tanh(x @ w).sum()):
        x = Tensor(np.ones((rows, inner)))
        np.testing.assert_array_equal(mg.compile(product)(x).data, product(x).data)


# Loops ------------------------------------------------------------------------------------------------------


def loops(program):
    return [i.attrs["loop"] for i in program.instructions if i.name == "loop"]


def fused(function, *arrays):
    program = traced(function, *arrays)
    fold_constants(program)
    remove_dead(program)
    fuse_loops(program)
    return program


def test_a_chain_its_sums_and_what_follows_from_them_are_one_loop():
    def step(x):
        y = ops.exp(ops.tanh(x) * 2.0)
        return y, y.sum(0), y.mean() * 3.0 + 1.0

    program = fused(step, X)
    assert names(program) == ["loop"]
    (loop,) = loops(program)
    assert (len(loop.body), len(loop.tail)) == (5, 3)


def test_a_total_takes_in_the_rows_one_by_one_unless_they_are_long():
    for width, summed in ((4096, "np.float32(0.0)"), (4097, "= 0.0")):
        x = np.random.default_rng(0).uniform(size=(3, width)).astype(np.float32)
        step = mg.compile(lambda x, y: (x * y).sum())
        total = step(x, x[:1])
        assert ("_row = plus" in step.source) == (width == 4096) and summed in step.source
        np.testing.assert_allclose(total.item(), (x * x[:1]).sum(dtype=np.float64), rtol=1e-6)


def test_a_sum_that_the_elements_wait_for_takes_two_loops():
    program = fused(lambda x: x / (x * x).sum(), X)
    assert names(program) == ["loop", "loop"]


def layer(x):
    """A residual sum, its normalisation, and a scale: what a transformer does between its products."""
    total = x + ops.tanh(x)
    return total, ops.normalise(total, axis=-1, eps=0.1) * x[0] + x[1]


def by_rows(function, *arrays):
    program = traced(function, *arrays)
    write_out_rows(program)
    fold_constants(program)
    remove_dead(program)
    fuse_loops(program)
    return program


def test_a_normalisation_is_one_loop_with_what_stands_around_it():
    program = by_rows(layer, X)
    assert names(program) == ["index", "index", "loop"]
    (loop,) = loops(program)
    assert {"tanh", "pow"} <= {i.name for i in loop.body} and not loop.tail


def test_the_gradient_of_a_normalisation_is_one_loop_and_reads_what_the_forward_pass_has_computed():
    weight, scale, x = Parameter(X), Parameter(X[0]), Tensor(X)

    def step(back):
        y = ops.normalise(x * weight, axis=-1, eps=0.1)
        (y * scale).backward(back)
        return weight.grad, scale.grad

    program = by_rows(step, X)
    assert names(program) == ["loop"]
    roots = [i.name for loop in loops(program) for i in loop.body if i.name in ("pow", "sqrt")]
    assert roots == ["pow"]


@pytest.mark.parametrize("shape", [(4, 3), (1, 5), (5, 1), (2, 3, 4), (2, 1, 4), (3, 130)])
@pytest.mark.parametrize("function", [
    layer, lambda x: ops.softmax(x) / x.sum(-1, keepdims=True), lambda x: (x - x.mean(-1, keepdims=True)).sum(0),
    lambda x: ops.var(x * 2.0, -1, keepdims=True), lambda x: x * x.sum(-1, keepdims=True).sum(),
    lambda x: (x - x.mean(-1, keepdims=True) * x.sum(0), ops.exp(x.sum(-1, keepdims=True) * 0.1)),
])
@pytest.mark.parametrize("interpret", [True, False])
def test_sums_of_rows_give_what_eager_gives(function, shape, interpret):
    x = Tensor(np.random.default_rng(0).normal(size=shape))
    if function is layer and shape[0] == 1:
        pytest.skip("has no second row")
    step = CompiledStep(function, interpret)
    for found, expected in zip(leaves(step(x)), leaves(function(x)), strict=True):
        assert np.isfinite(expected.data).all()
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-11, atol=1e-12)


def test_the_slope_of_gelu_is_computed_beside_it():
    x = Parameter(X)
    program = traced(lambda g: ops.gelu(x).backward(g), X)
    keep_slopes(program)
    fuse_loops(program)
    (loop,) = loops(program)
    assert [i.name for i in loop.body] == ["gelu", "gelu_slope", "mul"]


def test_a_slope_stays_where_its_input_is_overwritten():
    x = Parameter(X.copy())

    def step(g):
        ops.gelu(x).backward(g)
        with mg.no_grad():
            x.copy_(g)

    program = traced(step, X)
    before = names(program)
    keep_slopes(program)
    assert names(program) == before


def test_a_loop_does_not_swallow_what_lies_between_its_parts():
    program = fused(lambda x: ops.exp(x) + ops.softmax(ops.exp(x) * 2.0), X)
    order = names(program)
    assert order == ["loop", "softmax", "loop"]
    for n, needed in enumerate(dependencies(program.instructions)):
        assert all(m < n for m in needed)


def test_a_read_stays_on_its_side_of_a_write():
    state = Tensor(np.ones(3))

    def step(x):
        before = ops.exp(state)
        with mg.no_grad():
            state.copy_(x[0])
        return before * 2.0 + state

    program = fused(step, X)
    writes = names(program).index("assign")
    assert 0 < writes < len(program.instructions) - 1


# Updates ----------------------------------------------------------------------------------------------------


def test_all_parameters_of_an_optimizer_are_one_array():
    net = network(nn.Tanh())
    optimizer = optim.Adam(net.parameters())
    for t in sum(optimizer.state.values(), []):
        t.data = t.data.astype(np.float64)
    kept = net.state_dict()

    def step(x):
        (net(x) * net(x)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    compiled = CompiledStep(step, interpret=True)
    compiled(X)
    assert names(compiled.last.program).count("adam") == 1 and "copy" not in names(compiled.last.program)
    assert len({id(p.data.base) for p in net.parameters()}) == 1
    assert all(net.state_dict()[name].shape == kept[name].shape for name in kept)


def test_optimizers_with_other_settings_stay_apart():
    p, q = Parameter(np.ones(3)), Parameter(np.ones(3))
    first, second = optim.SGD([p], lr=0.1), optim.SGD([q], lr=0.2)

    def step():
        (p * q).sum().backward()
        first.step()
        second.step()

    program = traced(step)
    flatten_updates(program)
    assert names(program).count("sgd") == 2


def clipped(net, optimizer, bound=0.1):
    def step(x):
        (net(x) * net(x)).sum().backward()
        norm = optim.clip_norm(net.parameters(), bound)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    return step


def test_gradients_are_measured_and_clipped_in_one_pass_each():
    net, eager = network(nn.Tanh()), network(nn.Tanh())
    eager.load_state_dict(net.state_dict())
    optimizer = optim.SGD(net.parameters())
    compiled = CompiledStep(clipped(net, optimizer), interpret=True)
    other = clipped(eager, optim.SGD(eager.parameters()))
    for _ in range(3):
        np.testing.assert_allclose(compiled(X).numpy(), other(X), rtol=1e-12)
    for name, array in net.state_dict().items():
        np.testing.assert_allclose(array, eager.state_dict()[name], rtol=1e-12)
    members = [m.name for i in compiled.last.program.instructions if i.phase == "update"
               for m in (i.attrs["loop"].members if i.name == "loop" else [i])]
    assert members.count("sum") == 1 and "copy" not in members and "sum_of_squares" not in members
    assert sum(i.name == "loop" and i.outputs[0].size > 1 for i in compiled.last.program.instructions
               if i.phase == "update") == 1  # the scaling


def test_gradients_scaled_by_two_numbers_are_not_joined():
    p, q = Parameter(np.ones(3)), Parameter(np.ones(2))
    optimizer = optim.SGD([p, q], lr=0.1)

    def step(x):
        ((p * p).sum() + (q * q * q).sum()).backward()
        with mg.no_grad():
            p.grad, q.grad = p.grad * x[0, 0], q.grad * x[1, 1]
        optimizer.step()
        optimizer.zero_grad()

    program = traced(step, X)
    optimise(program)
    (update,) = [i for i in program.instructions if i.name == "sgd"]
    assert len(update.inputs[1].parts) == 2


def test_the_average_of_all_weights_is_one_pass_and_that_of_statistics_is_apart():
    model = mg.models.GAN(image_shape=(6, 5), latent=4, generator=(12,), discriminator=(12,), r1=0.0)
    program = traced(model.train_step, np.zeros((8, 6, 5), np.uint8))
    optimise(program)
    assert names(program).count("ema") == 1 and names(program).count("adam") == 2
    assert names(program).count("ema_step") == 4  # BatchNorm's own two, and their averages


# Memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda: mg.models.GAN(image_shape=(6, 5), latent=4, generator=(12,), discriminator=(12, 8)),
    lambda: mg.models.VAE(image_shape=(6, 5), latent=3, hidden=(12,)),
])
def test_nothing_alive_shares_bytes_and_the_arena_is_full_of_what_is_alive(make):
    model = make()
    images = np.zeros((8, 6, 5), np.uint8)
    program = traced(model.train_step, images)
    optimise(program)
    plan = plan_memory(program)
    lives, places = {}, {}
    for n, i in enumerate(program.instructions):
        for v in (*i.reads, *i.outputs):
            owner = v
            while owner.base is not None and owner.offset is None:
                owner = owner.base
            if owner.root in plan.offsets and not owner.parts:
                places[owner] = plan.offsets[owner.root] + (owner.offset or 0) * owner.dtype.itemsize
                lives.setdefault(owner, [n, n])[1] = n
    for v in program.results():
        lives[v.root][1] = len(program.instructions)
    assert len(places) > 10
    for (a, start), (b, other) in itertools.combinations(places.items(), 2):
        together = lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]
        assert not (together and start < other + b.bytes and other < start + a.bytes), (a, b)
    assert plan.needed <= plan.size <= 1.25 * plan.needed + 64 * len(places)


@pytest.mark.parametrize("batch", [1, 16, 64])
@pytest.mark.parametrize("make", [
    lambda: mg.models.GAN.preset("document"), lambda: mg.models.VAE.preset("document"), lambda: mg.models.VAE(),
])
def test_the_arena_is_no_larger_than_what_eager_takes_at_its_peak(make, batch):
    images, eager = np.zeros((batch, 28, 28), np.uint8), make()
    program = traced(make().train_step, images)
    optimise(program)
    eager.train_step(images)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    eager.train_step(images)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert plan_memory(program).size <= peak
