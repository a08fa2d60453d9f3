"""Layers: each against its equation in NumPy, against finite differences, and in both modes."""

import math

import numpy as np
import pytest

import minigen as mg
from minigen import nn
from minigen.errors import CheckpointError, DTypeError, ShapeError, UsageError
from minigen.kernels import reference
from minigen.models import GAN, VAE
from minigen.random import Generator
from minigen.tensor import Parameter, Tensor

erf = np.vectorize(math.erf, otypes=[float])


def double(module):
    """The module with its parameters and buffers in float64, and moved off their often symmetric start."""
    rng = np.random.default_rng(5)
    for t in module.named_tensors().values():
        t.data = t.data.astype(np.float64) + 0.3 * np.abs(rng.standard_normal(t.shape))
    return module


def as_function(module):
    """The module as a function of its input and its parameters, and the parameters' values: for gradcheck."""
    places = [
        (owner, name)
        for _, owner in module.modules()
        for name, value in vars(owner).items()
        if isinstance(value, Parameter)
    ]

    def function(x, *values):
        for (owner, name), value in zip(places, values, strict=True):
            setattr(owner, name, value)
        return module(x)

    return function, [getattr(owner, name).data for owner, name in places]


def off_kinks(rng, *shape):
    """Values at least 0.1 from zero, where ReLUs have their kink."""
    x = rng.standard_normal(shape)
    return x + 0.1 * np.sign(x)


def standardised(x, axis, eps=1e-5):
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)


def attended(m, x):
    """Causal self-attention, in the kernels' reference."""
    lengths = np.full(len(x), x.shape[1])
    y = reference.self_attention(x @ value(m.qkv.weight) + value(m.qkv.bias), lengths, heads=m.heads, causal=True)
    return y @ value(m.out.weight) + value(m.out.bias)


def block(m, x):
    """Attention, then the two layers with gelu between them, each of the normalised x and added to it."""
    x = x + attended(m.attention, normalised(m.norm_1, x))
    h = normalised(m.norm_2, x) @ value(m.up.weight) + value(m.up.bias)
    return x + h * 0.5 * (1 + erf(h / math.sqrt(2))) @ value(m.down.weight) + value(m.down.bias)


def normalised(m, x):
    return standardised(x, -1) * value(m.scale) + value(m.shift)


def value(t):
    return 0.0 if t is None else t.data


# Each layer: (how to make it, the shape of its input, its equation from the module and the input in NumPy).
LAYERS = {
    "Dense": (lambda: nn.Dense(3, 2), (4, 3), lambda m, x: x @ value(m.weight) + value(m.bias)),
    "Dense without bias": (lambda: nn.Dense(3, 2, bias=False), (4, 3), lambda m, x: x @ value(m.weight)),
    "Dense on a sequence": (
        lambda: nn.Dense(3, 2),
        (2, 4, 3),
        lambda m, x: x @ value(m.weight) + value(m.bias),
    ),
    "Dense without bias on a sequence": (
        lambda: nn.Dense(3, 2, bias=False),
        (2, 4, 3),
        lambda m, x: x @ value(m.weight),
    ),
    "Dense without bias on one vector": (lambda: nn.Dense(3, 2, bias=False), (3,), lambda m, x: x @ value(m.weight)),
    "Dense on one vector": (lambda: nn.Dense(3, 2), (3,), lambda m, x: x @ value(m.weight) + value(m.bias)),
    "Dense on no rows": (lambda: nn.Dense(3, 2), (0, 3), lambda m, x: np.zeros((0, 2))),
    "ReLU": (nn.ReLU, (3, 4), lambda m, x: np.maximum(x, 0)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), (3, 4), lambda m, x: np.where(x > 0, x, 0.2 * x)),
    "LeakyReLU by default": (nn.LeakyReLU, (3, 4), lambda m, x: np.where(x > 0, x, 0.01 * x)),
    "Tanh": (nn.Tanh, (3, 4), lambda m, x: np.tanh(x)),
    "Sigmoid": (nn.Sigmoid, (3, 4), lambda m, x: 1 / (1 + np.exp(-x))),
    "GELU": (nn.GELU, (3, 4), lambda m, x: x * 0.5 * (1 + erf(x / math.sqrt(2)))),
    "GELU on nothing": (nn.GELU, (0, 4), lambda m, x: x),
    "Flatten": (nn.Flatten, (3, 2, 2), lambda m, x: x.reshape(3, 4)),
    "Flatten on no samples": (nn.Flatten, (0, 2, 2), lambda m, x: np.zeros((0, 4))),
    "Reshape": (lambda: nn.Reshape(2, 2), (3, 4), lambda m, x: x.reshape(3, 2, 2)),
    "LayerNorm": (
        lambda: nn.LayerNorm(4),
        (3, 4),
        lambda m, x: standardised(x, -1) * value(m.scale) + value(m.shift),
    ),
    "LayerNorm on a sequence": (
        lambda: nn.LayerNorm(4),
        (2, 3, 4),
        lambda m, x: standardised(x, -1) * value(m.scale) + value(m.shift),
    ),
    "LayerNorm without shift": (
        lambda: nn.LayerNorm(4, bias=False),
        (3, 4),
        lambda m, x: standardised(x, -1) * value(m.scale),
    ),
    "LayerNorm on no rows": (lambda: nn.LayerNorm(4), (0, 4), lambda m, x: x),
    "BatchNorm": (
        lambda: nn.BatchNorm(3),
        (5, 3),
        lambda m, x: standardised(x, 0) * value(m.scale) + value(m.shift),
    ),
    "BatchNorm in evaluation": (
        lambda: nn.BatchNorm(3).eval(),
        (5, 3),
        lambda m, x: (
            (x - value(m.running_mean)) / np.sqrt(value(m.running_var) + 1e-5) * value(m.scale)
            + value(m.shift)
        ),
    ),
    "SelfAttention": (lambda: nn.SelfAttention(4, 2), (2, 3, 4), lambda m, x: attended(m, x)),
    "Block": (
        lambda: nn.Block(4, 2, 1, dropout=0.0, rng=mg.Generator(0), noise=mg.Generator(1)),
        (2, 3, 4),
        block,
    ),
    "Block without biases": (
        lambda: nn.Block(4, 2, 1, dropout=0.0, bias=False, rng=mg.Generator(0), noise=mg.Generator(1)),
        (2, 3, 4),
        block,
    ),
    "Dropout in evaluation": (lambda: nn.Dropout(0.5).eval(), (3, 4), lambda m, x: x),
    "Sequential": (
        lambda: nn.Sequential(nn.Dense(3, 2), nn.Tanh()),
        (4, 3),
        lambda m, x: np.tanh(x @ value(m[0].weight) + value(m[0].bias)),
    ),
    "Sequential of nothing": (nn.Sequential, (4, 3), lambda m, x: x),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def test_every_layer_has_its_row():
    layers = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    own_tests = {"Module", "Embedding", "Dropout", "KeyValueCache"}
    assert layers - own_tests == {type(make()).__name__ for make, _, _ in LAYERS.values()} - own_tests


def test_every_layer_is_listed():
    from minigen.nn import attention, block, layers, norm

    defined = {
        name
        for room in (attention, block, layers, norm)
        for name, item in vars(room).items()
        if isinstance(item, type) and issubclass(item, nn.Module)
    }
    assert defined | {"init", "KeyValueCache"} == set(nn.__all__)


@every_layer
def test_a_layer_computes_its_equation(name, rng):
    make, shape, equation = LAYERS[name]
    module = double(make())
    x = rng.standard_normal(shape)
    result = module(Tensor(x))
    assert result.dtype == "float64"
    assert result.shape == equation(module, x).shape
    np.testing.assert_allclose(result.data, equation(module, x), rtol=1e-12, atol=1e-13)


@every_layer
def test_a_layer_stays_in_float32(name, rng):
    make, shape, equation = LAYERS[name]
    module = make()
    x = rng.standard_normal(shape).astype(np.float32)
    result = module(Tensor(x))
    assert result.dtype == "float32"
    np.testing.assert_allclose(result.data, equation(module, x.astype(float)), rtol=2e-4, atol=2e-6)


@every_layer
def test_a_layer_has_the_right_gradients_of_both_orders(name, rng):
    make, shape, _ = LAYERS[name]
    function, weights = as_function(double(make()))
    mg.gradcheck(function, off_kinks(rng, *shape), *weights, order=2)


@every_layer
def test_a_layer_takes_a_view_with_strides(name, rng):
    make, shape, equation = LAYERS[name]
    function, weights = as_function(module := double(make()))
    x = off_kinks(rng, *shape[:-1], 2 * shape[-1])[..., ::2]
    np.testing.assert_allclose(module(Tensor(x)).data, equation(module, x), rtol=1e-12, atol=1e-13)
    mg.gradcheck(function, x, *weights, order=2)


# Dense ------------------------------------------------------------------------------------------------------


def test_dense_weights_are_in_by_out_and_the_bias_starts_at_zero():
    layer = nn.Dense(5, 2)
    assert layer.weight.shape == (5, 2) and layer.bias.shape == (2,)
    assert not layer.bias.data.any() and layer.weight.data.all()
    assert layer.weight.dtype == layer.bias.dtype == "float32"
    assert layer.weight.requires_grad and layer.bias.requires_grad


def test_dense_draws_from_its_generator():
    one, same, other = (nn.Dense(4, 3, rng=Generator(s)).weight.data for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    rng = Generator(1)
    assert (nn.Dense(4, 3, rng=rng).weight.data != nn.Dense(4, 3, rng=rng).weight.data).all()


def test_dense_uses_the_initialiser_it_is_given():
    wide = nn.Dense(50, 40, init=nn.init.normal(3.0), rng=Generator(0))
    assert 2.8 < wide.weight.data.std() < 3.2


def test_without_a_generator_layers_draw_from_the_default_one():
    mg.seed(3)
    first = nn.Dense(4, 3).weight.data
    mg.seed(3)
    np.testing.assert_array_equal(nn.Dense(4, 3).weight.data, first)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 3)])
def test_dense_refuses_a_size_under_one(sizes):
    with pytest.raises(UsageError, match="both sizes must be whole numbers, at least 1"):
        nn.Dense(*sizes)


def test_dense_names_the_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"x \(4, 5\), weight \(3, 2\), bias \(2,\)"):
        nn.Dense(3, 2)(mg.tensor(np.ones((4, 5))))


def test_the_kink_belongs_to_the_negative_side():
    x = mg.tensor([0.0], requires_grad=True)
    nn.LeakyReLU(0.2)(x).backward(mg.tensor([1.0]))
    assert x.grad.item() == pytest.approx(0.2)


# Dropout ----------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_expectation():
    x = mg.tensor(np.ones((100, 100)))
    y = nn.Dropout(0.3, Generator(0))(x).data
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    kept = (y > 0).mean()
    assert abs(kept - 0.7) < 4 * math.sqrt(0.3 * 0.7 / y.size)
    assert y.mean() == pytest.approx(kept / 0.7, rel=1e-5)


def test_dropout_draws_anew_at_every_call_and_repeats_by_seed():
    x = mg.tensor(np.ones((8, 8)))
    layer, twin = nn.Dropout(0.5, Generator(7)), nn.Dropout(0.5, Generator(7))
    first, second = layer(x).data, layer(x).data
    assert (first != second).any()
    np.testing.assert_array_equal(twin(x).data, first)
    np.testing.assert_array_equal(twin(x).data, second)


def test_dropout_scales_the_gradient_by_the_mask_it_used():
    x = mg.tensor(np.full((4, 5), 2.0), requires_grad=True)
    y = nn.Dropout(0.5, Generator(1))(x)
    y.backward(mg.tensor(np.ones((4, 5))))
    assert 0 < (y.data == 0).sum() < 20
    np.testing.assert_array_equal(x.grad.data, y.data / 2)


def test_dropout_has_the_right_gradients_of_both_orders(rng):
    def function(x):
        return nn.Dropout(0.4, Generator(3))(x * x)  # the same mask at every call

    mg.gradcheck(function, rng.standard_normal((3, 4)), order=2)


def test_dropout_at_rate_zero_or_in_evaluation_is_the_identity_and_draws_nothing():
    rng = Generator(0)
    x = mg.tensor(np.ones((3, 4)))
    assert nn.Dropout(0.0, rng)(x) is x
    assert nn.Dropout(0.5, rng).eval()(x) is x
    assert rng.state() == (0, 0)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan])
def test_dropout_refuses_a_rate_outside_zero_to_one(rate):
    with pytest.raises(UsageError, match="at least 0 and under 1"):
        nn.Dropout(rate)


# Normalisation ----------------------------------------------------------------------------------------------


def test_batch_norm_gives_each_feature_mean_zero_and_variance_one(rng):
    y = nn.BatchNorm(4)(mg.tensor(3 + 5 * rng.standard_normal((50, 4)))).data
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(0), 1, rtol=1e-5)


def test_batch_norm_tracks_the_mean_and_the_unbiased_variance(rng):
    layer = nn.BatchNorm(3, momentum=0.2)
    mean, variance = np.zeros(3), np.ones(3)
    for n in (2, 5, 7):
        x = 1 + 2 * rng.standard_normal((n, 3))
        layer(mg.tensor(x))
        mean = 0.8 * mean + 0.2 * x.mean(0)
        variance = 0.8 * variance + 0.2 * x.var(0, ddof=1)
        np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.data, variance, rtol=1e-5)


def test_batch_norm_in_evaluation_changes_no_statistics_and_judges_each_row_alone(rng):
    layer = nn.BatchNorm(3)
    layer(mg.tensor(2 + rng.standard_normal((6, 3))))
    layer.eval()
    before = layer.state_dict()
    x = rng.standard_normal((5, 3))
    together = layer(mg.tensor(x)).data
    alone = np.concatenate([layer(mg.tensor(x[i : i + 1])).data for i in range(5)])
    np.testing.assert_array_equal(alone, together)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_batch_norm_statistics_take_no_part_in_the_gradient(rng):
    layer = nn.BatchNorm(3)
    x = mg.tensor(rng.standard_normal((5, 3)), requires_grad=True)
    (layer(x) * layer(x)).sum().backward()
    assert layer.running_mean.grad is None and not layer.running_mean.requires_grad
    assert set(layer.named_parameters()) == {"scale", "shift"}


def test_batch_norm_statistics_leave_no_graph(rng):
    tracked = []

    def note(op, inputs, attrs, output):
        if op.name == "ema_step":
            tracked.append(inputs[1].requires_grad)

    with mg.hook(note):
        nn.BatchNorm(3)(mg.tensor(rng.standard_normal((5, 3)), requires_grad=True))
    assert tracked == [False, False]


@pytest.mark.parametrize("shape", [(4, 2), (3,), (2, 3, 3)])
def test_batch_norm_refuses_another_shape(shape):
    with pytest.raises(ShapeError, match=r"BatchNorm\(3\) takes \(N, 3\), got \("):
        nn.BatchNorm(3)(mg.tensor(np.ones(shape)))


@pytest.mark.parametrize("n", [0, 1])
def test_batch_norm_refuses_to_train_on_a_single_sample(n):
    layer = nn.BatchNorm(3)
    with pytest.raises(ShapeError, match="at least two samples"):
        layer(mg.tensor(np.ones((n, 3))))
    assert not layer.running_mean.data.any()
    assert layer.eval()(mg.tensor(np.ones((n, 3)))).shape == (n, 3)


def test_layer_norm_is_the_same_in_both_modes_and_for_each_row_alone(rng):
    layer = nn.LayerNorm(4)
    x = rng.standard_normal((3, 4))
    y = layer(mg.tensor(x)).data
    np.testing.assert_array_equal(layer.eval()(mg.tensor(x)).data, y)
    np.testing.assert_allclose(layer(mg.tensor(x[1:2])).data, y[1:2], rtol=1e-6)
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-6)


def test_eps_keeps_a_constant_batch_finite():
    x = mg.tensor(np.ones((4, 3)), requires_grad=True)
    for layer in (nn.BatchNorm(3), nn.LayerNorm(3)):
        y = layer(x)
        y.sum().backward()
        assert not y.data.any() and np.isfinite(x.grad.data).all()


# Embedding --------------------------------------------------------------------------------------------------


def test_embedding_looks_rows_up():
    layer = nn.Embedding(5, 3)
    i = np.array([[0, 4], [4, 2]])
    y = layer(mg.tensor(i))
    assert y.shape == (2, 2, 3)
    np.testing.assert_array_equal(y.data, layer.weight.data[i])
    assert layer(mg.tensor(np.zeros((0, 2), int))).shape == (0, 2, 3)


def test_embedding_adds_up_the_gradient_of_a_repeated_row(rng):
    layer = double(nn.Embedding(4, 2))
    function, weights = as_function(layer)
    i = np.array([1, 1, 3])
    mg.gradcheck(lambda w: function(mg.tensor(i), w * w), *weights, order=2)
    w = mg.tensor(weights[0], requires_grad=True, dtype="float64")
    function(mg.tensor(i), w).sum().backward()
    np.testing.assert_array_equal(w.grad.data, [[0, 0], [2, 2], [0, 0], [1, 1]])


def test_embedding_rows_start_with_the_deviation_asked_for():
    w = nn.Embedding(100, 50, std=0.5, rng=Generator(0)).weight
    assert w.dtype == "float32"
    assert abs(w.data.mean()) < 4 * 0.5 / math.sqrt(5000)
    assert w.data.std() == pytest.approx(0.5, rel=0.05)
    assert nn.Embedding(100, 50, rng=Generator(0)).weight.data.std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("i", [[-1], [5], [0, 7]])
def test_embedding_refuses_an_index_outside_its_rows(i):
    with pytest.raises(ShapeError, match="rows 0 to 4, got indices"):
        nn.Embedding(5, 2)(mg.tensor(i))


def test_embedding_refuses_what_is_no_integer():
    with pytest.raises(DTypeError, match="takes integers, got float32"):
        nn.Embedding(5, 2)(mg.tensor([1.0]))


# Shapes -----------------------------------------------------------------------------------------------------


def test_flatten_needs_a_batch():
    with pytest.raises(ShapeError, match=r"needs a batch \(N, ...\), got shape \(4,\)"):
        nn.Flatten()(mg.tensor(np.ones(4)))


def test_reshape_says_what_does_not_fit():
    with pytest.raises(ShapeError, match="reshape"):
        nn.Reshape(3, 3)(mg.tensor(np.ones((2, 4))))


# Initialisers -----------------------------------------------------------------------------------------------

FAN_IN, FAN_OUT = 80, 120
INITIALISERS = {  # variance by the paper
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "he_uniform": 2 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "lecun_uniform": 1 / (3 * FAN_IN),
}


def test_every_initialiser_is_tested():
    assert set(INITIALISERS) == set(nn.init.__all__) - {"Initialiser", "normal"}


@pytest.mark.parametrize("name", INITIALISERS)
def test_an_initialiser_has_mean_zero_and_the_variance_of_its_paper(name):
    variance = INITIALISERS[name]
    w = getattr(nn.init, name)(Generator(1), (FAN_IN, FAN_OUT)).data
    fourth_moment = 1.8 if "uniform" in name else 3.0  # kurtosis: the sample variance's error follows from it
    assert w.shape == (FAN_IN, FAN_OUT) and w.dtype == "float32"
    assert abs(w.mean()) < 4 * math.sqrt(variance / w.size)
    assert abs(w.var() / variance - 1) < 4 * math.sqrt((fourth_moment - 1) / w.size)


@pytest.mark.parametrize("name", [name for name in INITIALISERS if "uniform" in name])
def test_a_uniform_initialiser_fills_its_bounds_and_no_more(name):
    bound = math.sqrt(3 * INITIALISERS[name])
    w = getattr(nn.init, name)(Generator(1), (FAN_IN, FAN_OUT)).data
    assert -bound <= w.min() < -0.998 * bound and 0.998 * bound < w.max() <= bound


def test_glorot_uniform_has_the_bound_of_equation_16():
    w = nn.init.glorot_uniform(Generator(1), (FAN_IN, FAN_OUT)).data
    assert np.abs(w).max() == pytest.approx(math.sqrt(6) / math.sqrt(FAN_IN + FAN_OUT), rel=2e-3)


def test_normal_initialiser_ignores_the_fan():
    for shape in ((10, 200), (200, 10)):
        assert nn.init.normal(0.02)(Generator(0), shape).data.std() == pytest.approx(0.02, rel=0.08)


# Module -----------------------------------------------------------------------------------------------------


class Nested(nn.Module):
    """One of everything: a parameter, a buffer, a child, a list of children, and what is none of these."""

    def __init__(self):
        self.scale = Parameter(np.ones(2, np.float32))
        self.count = Tensor(np.zeros(3, np.float32))
        self.first = nn.Dense(2, 2, rng=Generator(0))
        self.rest = [nn.Dense(2, 2, bias=False, rng=Generator(1)), "no module", nn.Dropout(0.5)]
        self.note = "text"

    def forward(self, x):
        return self.rest[0](self.first(x)) * self.scale


def test_parameters_buffers_and_children_are_found_by_name():
    net = Nested()
    assert list(net.children()) == ["first", "rest.0", "rest.2"]
    assert [name for name, _ in net.modules()] == ["", "first", "rest.0", "rest.2"]
    assert list(net.named_parameters()) == ["scale", "first.weight", "first.bias", "rest.0.weight"]
    assert set(net.named_tensors()) == {"count", *net.named_parameters()}
    assert [id(p) for p in net.parameters()] == [
        id(net.scale),
        id(net.first.weight),
        id(net.first.bias),
        id(net.rest[0].weight),
    ]


def test_names_are_dotted_all_the_way_down():
    net = nn.Sequential(nn.Sequential(nn.Dense(1, 1)), nn.BatchNorm(1))
    assert set(net.state_dict()) == {
        "layers.0.layers.0.weight",
        "layers.0.layers.0.bias",
        "layers.1.scale",
        "layers.1.shift",
        "layers.1.running_mean",
        "layers.1.running_var",
    }


def test_sequential_is_indexed_and_counted():
    layers = nn.Dense(2, 3), nn.Tanh()
    net = nn.Sequential(*layers)
    assert len(net) == 2 and net[0] is layers[0] and net[-1] is layers[1]


def test_a_module_without_forward_says_so():
    with pytest.raises(TypeError, match="Module defines no forward"):
        nn.Module()(mg.tensor([1.0]))


def test_train_and_eval_reach_every_module():
    net = Nested()
    assert net.training and net.eval() is net
    assert [m.training for _, m in net.modules()] == [False] * 4
    assert net.train() is net
    assert [m.training for _, m in net.modules()] == [True] * 4
    assert nn.Dense(1, 1).training, "the mode of one module is not that of its class"


def test_evaluating_restores_each_modules_own_mode():
    net = Nested()
    net.rest[2].eval()
    with net.evaluating() as same:
        assert same is net and not any(m.training for _, m in net.modules())
    assert [m.training for _, m in net.modules()] == [True, True, True, False]
    with pytest.raises(ZeroDivisionError), net.evaluating():
        1 / 0  # noqa: B018
    assert net.training


def test_frozen_parameters_get_no_gradient_and_let_it_through(rng):
    net = Nested()
    net.scale.requires_grad = False
    x = mg.tensor(rng.standard_normal((3, 2)), requires_grad=True)
    net(x).sum().backward()
    free = x.grad.data
    net.zero_grad()
    x.grad = None
    with net.frozen() as same:
        assert same is net and not any(p.requires_grad for p in net.parameters())
        net(x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, free)
    assert all(p.grad is None for p in net.parameters())
    thawed = {name for name, p in net.named_parameters().items() if p.requires_grad}
    assert thawed == {"first.weight", "first.bias", "rest.0.weight"}, "what was frozen before stays frozen"
    with pytest.raises(ZeroDivisionError), net.frozen():
        1 / 0  # noqa: B018
    assert net.first.weight.requires_grad


def test_zero_grad_forgets_all_gradients(rng):
    net = Nested()
    net(mg.tensor(rng.standard_normal((3, 2)))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_state_dict_goes_round():
    net, other = Nested(), Nested()
    for t in net.named_tensors().values():
        t.data[...] = np.arange(t.size).reshape(t.shape)
    state = net.state_dict()
    other.load_state_dict(state)
    for name, t in other.named_tensors().items():
        np.testing.assert_array_equal(t.data, np.arange(t.size).reshape(t.shape))
        assert not np.shares_memory(t.data, state[name])


def test_a_state_dict_is_a_copy():
    net = Nested()
    state = net.state_dict()
    net.first.weight.data[...] = 9
    assert (state["first.weight"] != 9).all()


def test_loading_moves_the_version_of_every_tensor():
    net = Nested()
    y = net(mg.tensor(np.ones((1, 2))))
    net.load_state_dict(net.state_dict())
    assert {t.version for t in net.named_tensors().values()} == {1}
    with pytest.raises(mg.errors.VersionError):
        y.sum().backward()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda s: [s.pop("scale"), s.pop("count")],
            r"lacks 'count' \(and 1 more\): it belongs to another architecture",
        ),
        (
            lambda s: s.update(more=s["scale"]),
            r"holds 'more' \(and 0 more\), which this architecture does not have",
        ),
        (
            lambda s: s.update(scale=np.ones(3, np.float32)),
            r"'scale' is \(3,\) float32 .* \(2,\) float32 in this",
        ),
        (
            lambda s: s.update(scale=np.ones(2)),
            r"'scale' is \(2,\) float64 in the saved state, \(2,\) float32",
        ),
    ],
)
def test_a_foreign_state_is_refused_whole(damage, message):
    net = Nested()
    before = net.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    damage(state)
    with pytest.raises(CheckpointError, match=message):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_summary_counts_parameters_and_no_buffers():
    net = nn.Sequential(nn.Dense(784, 128), nn.LeakyReLU(), nn.BatchNorm(128), nn.Dense(128, 1, bias=False))
    rows = [line.split() for line in net.summary().splitlines()]
    assert rows[0] == ["name", "layer", "parameters"]
    assert rows[1] == ["(all)", "Sequential", "of", "4", "100,864"]
    assert [row[0] for row in rows[2:]] == ["layers.0", "layers.1", "layers.2", "layers.3"]
    assert [row[-1] for row in rows[2:]] == ["100,480", "0", "256", "128"]
    assert len({len(line) for line in net.summary().splitlines()}) == 1, "the columns line up"


def test_the_summary_has_a_row_for_every_parameter_and_says_what_is_not_trained():
    models = GAN(generator=(3,), discriminator=(4,)), VAE(hidden=(3,), likelihood="gaussian")
    for model in models:
        rows = [line.rsplit(maxsplit=1) for line in model.summary().splitlines()[1:]]
        names = [row[0].split()[0] for row in rows]
        ends = [int(count.replace(",", "")) for name, (_, count) in zip(names, rows, strict=True)
                if not any(other.startswith(name + ".") for other in names)]
        assert sum(ends[1:]) == ends[0] == sum(p.size for p in model.parameters())
    assert "pixel_log_var" in models[1].summary() and "Parameter(1, 1)" in models[1].summary()
    told = [line.split()[0] for line in models[0].summary().splitlines() if "not trained" in line]
    assert told == ["average"] and "not trained" not in models[1].summary()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Dense(3, 2), "Dense(3, 2)"),
        (nn.Dense(3, 2, bias=False), "Dense(3, 2, bias=False)"),
        (nn.LeakyReLU(0.2), "LeakyReLU(0.2)"),
        (nn.Tanh(), "Tanh()"),
        (nn.Dropout(0.3), "Dropout(0.3)"),
        (nn.Reshape(2, 2), "Reshape(2, 2)"),
        (nn.Embedding(5, 3), "Embedding(5, 3)"),
        (nn.LayerNorm(4), "LayerNorm(4)"),
        (nn.BatchNorm(4), "BatchNorm(4)"),
        (nn.Sequential(nn.Tanh()), "Sequential of 1"),
    ],
)
def test_a_layer_is_written_with_its_sizes(layer, text):
    assert repr(layer) == layer.describe() == text


def test_frozen_parameters_get_no_gradient_even_from_a_later_backward():
    layer = nn.Dense(3, 2)
    x = mg.tensor(np.ones((4, 3)), requires_grad=True)
    with layer.frozen():
        loss = layer(x).sum()
    loss.backward()
    assert layer.weight.grad is None and layer.bias.grad is None
    assert x.grad is not None


def test_a_shared_parameter_is_listed_once():
    class Tied(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Dense(2, 2, bias=False), nn.Dense(2, 2, bias=False)
            self.second.weight = self.first.weight

    model = Tied()
    assert len(model.parameters()) == 1
    assert set(model.state_dict()) == {"first.weight", "second.weight"}


@pytest.mark.parametrize("hold", [list, tuple, lambda items: dict(zip("ab", items, strict=True))])
def test_parameters_and_modules_are_found_in_containers(hold):
    class Holder(nn.Module):
        def __init__(self):
            self.parts = hold([nn.Dense(2, 3), Parameter(np.ones(4, np.float32))])

    names = ["a", "b"] if hold not in (list, tuple) else ["0", "1"]
    expected = {f"parts.{names[0]}.weight", f"parts.{names[0]}.bias", f"parts.{names[1]}"}
    assert set(Holder().named_parameters()) == expected


def test_a_dense_layer_without_bias_takes_a_vector():
    layer = nn.Dense(3, 2, bias=False)
    x = mg.tensor([1.0, 2.0, 3.0])
    np.testing.assert_allclose(layer(x).data, x.data @ layer.weight.data, rtol=1e-6)


def test_an_embedding_takes_plain_integers():
    layer = nn.Embedding(5, 3)
    np.testing.assert_array_equal(layer(np.array([[1, 4]])).data, layer.weight.data[[[1, 4]]])
