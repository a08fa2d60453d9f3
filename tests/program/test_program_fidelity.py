"""Eager is the oracle: for every model, loss and optimizer a compiled step trains as the eager one does."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minigen as mg
from minigen import losses, nn, ops, optim
from minigen.program.step import CompiledStep
from minigen.random import Generator
from minigen.tensor import Tensor

STEPS = 100


def in_float64(*modules_and_optimizers):
    """The same weights and moments in float64, where rounding hides nothing."""
    for owner in modules_and_optimizers:
        tensors = owner.named_tensors().values() if isinstance(owner, nn.Module) else sum(owner.state.values(), [])
        for t in tensors:
            t.data = t.data.astype(np.float64)


def same_curve(make, batches, rtol, interpret=True):
    """Train twice from the same start, and hold the losses together at every step.

    Interpreted: the text of the loops is what Numba would compile, and takes no seconds to.
    """
    (eager_owner, eager), (owner, step) = make(), make()
    compiled = CompiledStep(step, interpret)
    for n in range(STEPS):
        batch = batches(n)
        expected = eager(*batch)
        found = compiled(*[b.data if isinstance(b, Tensor) else b for b in batch])
        for name in expected:
            ours, theirs = float(found[name]), float(expected[name])
            assert math.isfinite(ours) and math.isfinite(theirs)
            assert ours == pytest.approx(theirs, rel=rtol, abs=rtol), (n, name)
    return owner, eager_owner, compiled


# Optimizers -------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=1e-2, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=1e-2),
    "adamw": lambda p: optim.AdamW(p, lr=1e-2),
}


@pytest.mark.parametrize("clip", [None, "norm", "value"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name, clip):
    def make():
        net = nn.Sequential(nn.Dense(6, 5, rng=Generator(1)), nn.Tanh(), nn.Dense(5, 3, bias=False, rng=Generator(2)))
        optimizer = OPTIMIZERS[name](net.parameters())
        in_float64(net, optimizer)

        def step(x, y):
            error = net(x) - y
            loss = ops.mean(error * error)
            loss.backward()
            if clip == "norm":
                optim.clip_norm(net.parameters(), 0.1)
            if clip == "value":
                optim.clip_value(net.parameters(), 0.05)
            optimizer.step()
            optimizer.zero_grad()
            return {"loss": loss}

        return net, step

    rng = np.random.default_rng(0)
    data = rng.normal(size=(STEPS, 7, 9))
    ours, theirs, compiled = same_curve(make, lambda n: (Tensor(data[n, :, :6]), Tensor(data[n, :, 6:])), 1e-10)
    for name_, t in ours.named_tensors().items():
        np.testing.assert_allclose(t.data, theirs.named_tensors()[name_].data, rtol=1e-10, atol=1e-13)
    assert len(compiled.programs) == 1


# Losses -----------------------------------------------------------------------------------------------------

LOSSES = {
    "discriminator": lambda a, b, x: losses.gan.discriminator_loss(a[:, :1], b[:, :1]),
    "smoothed": lambda a, b, x: losses.gan.discriminator_loss(a[:, :1], b[:, :1], real_label=0.9),
    "minimax": lambda a, b, x: losses.gan.generator_loss(a[:, :1], form="minimax"),
    "non_saturating": lambda a, b, x: losses.gan.generator_loss(a[:, :1]),
    "value": lambda a, b, x: losses.gan.value(a[:, :1], b[:, :1]),
    "literal": lambda a, b, x: losses.gan.discriminator_loss_literal(ops.sigmoid(a), ops.sigmoid(b)),
    "kl": lambda a, b, x: losses.vae.kl_normal(a, b),
    "kl_per_sample": lambda a, b, x: losses.vae.kl_normal(a, b, per_sample=True).mean(),
    "kl_literal": lambda a, b, x: losses.vae.kl_normal_literal(a, ops.exp(b)),
    "bernoulli": lambda a, b, x: losses.vae.bernoulli_nll(a, x),
    "bernoulli_literal": lambda a, b, x: losses.vae.bernoulli_nll_literal(ops.sigmoid(a), x),
    "gaussian": lambda a, b, x: losses.vae.gaussian_nll(a, b, x),
    "gaussian_literal": lambda a, b, x: losses.vae.gaussian_nll_literal(a, ops.exp(b), x),
    "elbo": lambda a, b, x: losses.vae.negative_elbo(losses.vae.bernoulli_nll(a, x), losses.vae.kl_normal(a, b),
                                                     beta=0.5),
    "reparameterised": lambda a, b, x: losses.vae.reparameterise(a, b, x).mean(),
    "r1": None,
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name):
    def make():
        first, second = (nn.Sequential(nn.Dense(6, 5, rng=Generator(s)), nn.GELU(), nn.LayerNorm(5),
                                       nn.Dense(5, 4, rng=Generator(s + 9))) for s in (1, 2))
        optimizer = optim.Adam([*first.parameters(), *second.parameters()], lr=1e-2)
        in_float64(first, second, optimizer)

        def step(h, x):
            if name == "r1":
                loss = losses.gan.r1_penalty(lambda images: first(images)[:, :1], h, gamma=2.0)
            else:
                loss = LOSSES[name](first(h), second(h) * 0.1, x)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return {"loss": loss}

        return nn.Sequential(first, second), step

    rng = np.random.default_rng(0)
    h, x = rng.normal(size=(STEPS, 5, 6)), rng.uniform(size=(STEPS, 5, 4))
    same_curve(make, lambda n: (Tensor(h[n]), Tensor(x[n])), 1e-8 if name == "r1" else 1e-9)


# Models -----------------------------------------------------------------------------------------------------

SMALL = {"image_shape": (6, 5)}
MODELS = {
    "document GAN": lambda: mg.models.GAN.preset("document", **SMALL),
    "GAN": lambda: mg.models.GAN(latent=4, generator=(12,), discriminator=(12, 8), **SMALL),
    "GAN with dropout": lambda: mg.models.GAN(latent=4, generator=(12,), discriminator=(12,), dropout=0.3,
                                              form="minimax", real_label=0.9, ema=0.0, **SMALL),
    "document VAE": lambda: mg.models.VAE.preset("document", **SMALL),
    "VAE": lambda: mg.models.VAE(latent=3, hidden=(12,), beta=0.5, **SMALL),
    "importance-weighted VAE": lambda: mg.models.VAE(latent=3, hidden=(12,), activation="tanh", importance_samples=4,
                                                     **SMALL),
    "VAE with one backward": lambda: mg.models.VAE(latent=3, hidden=(12,), importance_samples=4, one_backward=True,
                                                   **SMALL),
    # 60 of the 100 steps are before the end of the schedule, 10 of them warm-up
    "GPT with dropout": lambda: mg.models.GPT(context=8, layers=2, heads=2, width=8, dropout=0.2, warmup=10, steps=60),
    "GPT": lambda: mg.models.GPT(context=5, layers=1, heads=1, width=6, warmup=1, steps=2000, lr=1e-2, clip=0.1),
    "text VAE with dropout": lambda: mg.models.TextVAE(context=6, latent=3, layers=1, heads=2, width=8, warmup=10,
                                                       steps=60, anneal=40),
}


def batches_for(name, count):
    rng = np.random.default_rng(0)
    if "text" in name:
        lengths = rng.integers(1, 7, (count, 4, 1))
        return np.concatenate([lengths, rng.integers(0, 256, (count, 4, 6))], axis=2)
    if "GPT" in name:
        return rng.integers(0, 256, (count, 4, MODELS[name]().config.context + 1))
    return rng.integers(0, 256, (count, 8, 6, 5)).astype(np.uint8)


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name):
    def make():
        model = MODELS[name]()
        return model, model.train_step

    images = batches_for(name, STEPS)
    # float32 throughout: the two ways of rounding part slowly, and faster in a game between two networks
    ours, theirs, compiled = same_curve(make, lambda n: (images[n],), 2e-3 if "GAN" in name else 2e-4,
                                        interpret="with" in name or name == "VAE")
    assert ours.noise.state() == theirs.noise.state()
    expected = {"GPT with dropout": 3, "GPT": 2, "text VAE with dropout": 3}  # warm-up, cosine, and what comes after it
    assert len(compiled.programs) == expected.get(name, 2 if ours.kind == "gan" and ours.config.r1 else 1)
    assert [o.lr for o in ours.optimizers.values()] == [o.lr for o in theirs.optimizers.values()]
    for key, array in ours.training_state().items():
        np.testing.assert_allclose(array, theirs.training_state()[key], rtol=0.1, atol=5e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_run_is_bitwise_the_same_again_and_after_a_checkpoint(name):
    images = batches_for(name, 12)

    def run(model, first, last):
        step = CompiledStep(model.train_step, interpret="with" in name or name == "VAE")
        return [tuple(float(v) for v in step(images[n]).values()) for n in range(first, last)]

    one, two, three = (MODELS[name]() for _ in range(3))
    curve = run(one, 0, 12)
    assert run(two, 0, 12) == curve
    start = run(three, 0, 7)
    resumed = MODELS[name]()
    resumed.load_training_state(three.training_state())
    assert start + run(resumed, 7, 12) == curve
    for key, array in one.training_state().items():
        np.testing.assert_array_equal(array, resumed.training_state()[key])


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_goes_from_eager_to_compiled_and_back(name):
    images = batches_for(name, 9)
    eager, mixed = MODELS[name](), MODELS[name]()
    step = CompiledStep(mixed.train_step, interpret=True)
    for n in range(9):
        expected = eager.train_step(images[n])
        if n % 3 == 2:
            other = MODELS[name]()
            other.load_training_state(mixed.training_state())
            mixed, step = other, CompiledStep(other.train_step, interpret=True)
        found = step(images[n]) if n % 2 else mixed.train_step(images[n])
        for key in expected:
            assert float(found[key]) == pytest.approx(expected[key], rel=1e-4)
