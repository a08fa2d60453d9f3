"""What a student easily gets wrong: the error says what came, what was expected and what to do."""

import numpy as np
import pytest

import minigen as mg
from minigen import nn, ops, optim
from minigen.data import Pipeline, Shift
from minigen.errors import DTypeError, GraphError, MinigenError, ShapeError, UsageError
from minigen.training.feedback import StopEarly

X = mg.tensor([[1.0, 2.0]], requires_grad=True)
P = [mg.Parameter(np.ones(2, np.float32))]
IMAGES = np.zeros((4, 2, 2), np.uint8)


def vae():
    return mg.models.VAE(latent=1, hidden=(2,), image_shape=(2, 2))


CALLS = {
    "a gradient of a number": (lambda: mg.grad(3, []), DTypeError, "a gradient is of must be a Tensor, got int"),
    "a gradient by a number": (lambda: mg.grad(X.sum(), [3]), DTypeError, r"inputs\[0\] must be a Tensor, got int"),
    "a gradient by a tensor": (lambda: mg.grad(X.sum(), X), GraphError, r"one tensor: expected a list of them, \[x\]"),
    "a drawing of a number": (lambda: mg.draw(3), MinigenError, "a Tensor"),
    "an axis by position": (lambda: mg.softmax(X, 1), GraphError, r"got 2; settings are given by name, such as axis"),
    "a product with a number": (lambda: X @ 3, DTypeError, "a number where a tensor is expected"),
    "a layer of a number": (lambda: nn.Dense(2, 1)(3), DTypeError, "a number where a tensor is expected"),
    "a tensor of a list": (lambda: mg.Tensor([1.0]), DTypeError, r"got list: make one with mg.tensor\("),
    "a parameter of a list": (lambda: mg.Parameter([1.0]), DTypeError, r"got list: make one with mg.tensor\("),
    "float16": (lambda: X * np.ones(2, np.float16), DTypeError, "got ndarray of float16: a tensor holds float32"),
    "complex numbers": (lambda: X.astype("complex64"), DTypeError, r"astype\(complex64\): a tensor holds float32"),
    "half precision": (lambda: X.astype(np.float16), DTypeError, r"astype\(float16\): a tensor holds float32"),
    "a ragged list": (lambda: X + [[1.0], [2.0, 3.0]], DTypeError, "add: argument 'b' must be .* got list"),
    "an axis twice": (lambda: mg.mean(X, axis=(0, -2)), ShapeError, "names an axis of 2 twice"),
    "a shape below zero": (lambda: mg.Generator(0).normal((2, -1)), ShapeError, r"normal\(seed=0, draw=0, shape="),
    "a seed that is a word": (lambda: mg.Generator("a"), UsageError, "seed must be an integer .* got 'a'"),
    "a seed that is a fraction": (lambda: mg.Generator(1.5), UsageError, "seed must be an integer .* got 1.5"),
    "a seed for all": (lambda: mg.seed("a"), UsageError, "seed must be an integer .* got 'a'"),
    "a size that is a word": (lambda: nn.Dense("a", 3), UsageError, r"Dense\('a', 3\): .* whole numbers"),
    "a size that is a fraction": (lambda: nn.Dense(3.0, 2), UsageError, r"Dense\(3.0, 2\): .* whole numbers"),
    "a generator that is a seed": (lambda: nn.Dense(3, 2, rng=3), UsageError, r"rng = 3: .* mg.Generator\(0\)"),
    "a rate that is a word": (lambda: nn.Dropout("a"), UsageError, "rate must be .* got 'a'"),
    "a slope that is a word": (lambda: nn.LeakyReLU("a"), UsageError, "slope must be a number, got 'a'"),
    "no width": (lambda: nn.BatchNorm(0), UsageError, r"BatchNorm\(0\): the width"),
    "no layer": (lambda: nn.Sequential(3), UsageError, "Sequential got 3: expected layers one by one"),
    "layers in a list": (lambda: nn.Sequential([nn.Tanh()]), UsageError, "expected layers one by one"),
    "a class of layers": (lambda: nn.Sequential(nn.Tanh), UsageError, "expected layers one by one"),
    "a warmup below zero": (lambda: optim.Warmup(-1), UsageError, "steps >= 0, got -1"),
    "no parameters": (lambda: optim.Adam(3), UsageError, "Adam got one int: expected the parameters of a module"),
    "a module": (lambda: optim.Adam(nn.Dense(2, 1)), UsageError, r"Adam got one Dense: .* net.parameters\(\)"),
    "one parameter": (lambda: optim.Adam(P[0]), UsageError, "Adam got one Parameter"),
    "an array": (lambda: optim.SGD([np.ones(2)]), UsageError, r"parameters\[0\] is a ndarray, expected a Parameter"),
    "a constant": (lambda: optim.SGD([mg.tensor([1.0])]), UsageError, r"parameters\[0\] is a Tensor, expected"),
    "a rate in words": (lambda: optim.Adam(P, "a"), UsageError, "lr must be .* got 'a'"),
    "a momentum in words": (lambda: optim.SGD(P, momentum="x"), UsageError, "momentum must be .* got 'x'"),
    "an unknown type": (lambda: X.astype("nonsense"), DTypeError, "astype.*nonsense"),
    "one beta": (lambda: optim.Adam(P, 1e-3, 0.9), UsageError, r"betas = 0.9: expected two numbers"),
    "a model's name": (lambda: mg.train("vae", IMAGES), UsageError, r"model = 'vae': .* mg.models.VAE\(\)"),
    "a model's class": (lambda: mg.train(mg.models.VAE, IMAGES), UsageError, r"expected a model, such as"),
    "images and labels": (lambda: mg.train(vae(), (IMAGES, [0])), UsageError, "a tuple of 2: give the images alone"),
    "one controller": (lambda: mg.train(vae(), IMAGES, feedback=StopEarly("loss")), UsageError, "a list of contr"),
    "a list of transforms": (lambda: mg.train(vae(), IMAGES, pipeline=[Shift(1)]), UsageError, "expected a Pipeline"),
    "a transform": (lambda: mg.train(vae(), IMAGES, pipeline=Shift(1)), UsageError, "expected a Pipeline"),
    "a function that reports": (lambda: mg.train(vae(), IMAGES, report=print), UsageError, "expected a Reporter"),
    "a folder that is a number": (lambda: mg.train(vae(), IMAGES, out=5), UsageError, "out = 5: expected the path"),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_error_says_what_to_do(name):
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message):
        call()


def test_what_is_nearly_wrong_is_right():
    assert mg.Generator(0).normal(3).shape == mg.Generator(np.int64(0)).normal(np.array([3])).shape == (3,)
    nn.Sequential(nn.Dense(np.int64(2), 1), ops.tanh)(X)
    optim.SGD([mg.Parameter(np.ones(2, np.float32), requires_grad=False), X], lr=np.float32(0.1))
    mg.train(vae(), IMAGES, epochs=1, batch_size=2, pipeline=Pipeline(Shift(1), seed=0))


def test_a_parameter_is_changed_in_place_by_the_operators_that_say_so():
    w, kept = mg.Parameter(np.ones(2, np.float32)), mg.tensor([1.0, 1.0])
    alias = w
    with pytest.raises(GraphError, match="requires grad, and an in-place change has no gradient"):
        w -= 1
    with mg.no_grad():
        w -= 0.5
        w += 1
        w *= 4
        w /= 3
    assert w is alias and w.requires_grad and w.version == 4
    np.testing.assert_array_equal(w.data, 2)
    frozen = average = mg.Parameter(np.ones(2, np.float32), requires_grad=False)
    frozen -= 1
    frozen **= 2
    assert frozen is average and not average.data.any()
    total = kept
    for _ in range(2):
        total += w * 1.0  # no leaf that is trained: a new tensor, through which gradients flow
    np.testing.assert_array_equal(kept.data, 1)
    total.sum().backward()
    np.testing.assert_array_equal(w.grad.data, 2)
