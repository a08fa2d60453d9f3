"""Layers, losses, optimizers and models on the GPU: the CPU's numbers, and only what must cross crosses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigen as mg
from minigen import nn
from minigen.backend import to_device
from minigen.errors import CheckpointError, DeviceError, ShapeError
from minigen.losses import gan, vae

X = np.random.default_rng(5).standard_normal((6, 8)).astype(np.float32)

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Dense": lambda: nn.Dense(8, 3, rng=mg.Generator(1)),
    "Dense without bias": lambda: nn.Dense(8, 3, bias=False, rng=mg.Generator(1)),
    "ReLU": nn.ReLU,
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "GELU": nn.GELU,
    "Dropout": lambda: nn.Dropout(0.4, mg.Generator(3)),
    "Flatten": nn.Flatten,
    "Reshape": lambda: nn.Reshape(2, 4),
    "LayerNorm": lambda: nn.LayerNorm(8),
    "BatchNorm": lambda: nn.BatchNorm(8),
    "Embedding": lambda: nn.Embedding(9, 4, rng=mg.Generator(1)),
    "SelfAttention": lambda: nn.SelfAttention(8, 2, rng=mg.Generator(1)),
    "Block": lambda: nn.Block(8, 2, 3, dropout=0.2, rng=mg.Generator(1), noise=mg.Generator(2), causal=False),
    "Sequential": lambda: nn.Sequential(nn.Dense(8, 5, rng=mg.Generator(2)), nn.BatchNorm(5), nn.GELU()),
}


def alike(a: Any, b: Any, rtol: float = 2e-5, atol: float = 2e-6) -> None:
    host, expected = (to_device(t.data, "cpu") for t in (a, b))
    assert host.dtype == expected.dtype and np.isfinite(host).all() and np.isfinite(expected).all()
    np.testing.assert_allclose(host, expected, rtol=rtol, atol=atol)


def test_every_layer_is_here() -> None:
    assert set(LAYERS) - {"Dense without bias"} == set(nn.__all__) - {"Module", "KeyValueCache", "init"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_layer(gpu: str, name: str, training: bool) -> None:
    results = []
    for device in (gpu, "cpu"):
        layer = LAYERS[name]().to(device).train(training)
        value = {"Embedding": np.array([[0, 8], [3, 3]]), "SelfAttention": X[None], "Block": X[None]}.get(name, X)
        x = mg.tensor(value, requires_grad=value.dtype.kind == "f", device=device)
        y = layer(x)
        (y * y * 0.5 + y).sum().backward()
        gradients = [p.grad for p in layer.parameters()] + ([x.grad] if x.requires_grad else [])
        assert {t.device for t in [y, *gradients, *layer.named_tensors().values()]} == {device}
        results.append([y, *gradients, *layer.named_tensors().values()])
    for a, b in zip(*results, strict=True):
        alike(a, b, atol=2e-5)


def test_an_embedding_says_which_index_is_wrong(gpu: str) -> None:
    layer = nn.Embedding(3, 2).to(gpu)
    with pytest.raises(ShapeError, match="rows 0 to 2, got indices 1 to 3"):
        layer(mg.tensor([1, 3], device=gpu))
    with pytest.raises(DeviceError, match="embedding: arrays on the cpu"):
        layer(np.array([0, 1]))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "discriminator": lambda a, b: gan.discriminator_loss(a[:, :1], b[:, :1]),
    "discriminator, smooth": lambda a, b: gan.discriminator_loss(a[:, :1], b[:, :1], real_label=0.9),
    "discriminator, literal": lambda a, b: gan.discriminator_loss_literal(mg.sigmoid(a), mg.sigmoid(b)),
    "generator": lambda a, b: gan.generator_loss(a[:, 0]),
    "generator, minimax": lambda a, b: gan.generator_loss(a[:, 0], form="minimax"),
    "generator, literal": lambda a, b: gan.generator_loss_literal(mg.sigmoid(a)),
    "value": lambda a, b: gan.value(a[:, :1], b[:, :1]),
    "r1": lambda a, b: gan.r1_penalty(lambda x: mg.tanh(x @ a.T @ b) @ b.T, a.detach(), gamma=2.0),
    "kl": lambda a, b: vae.kl_normal(a, b),
    "kl, free bits": lambda a, b: vae.kl_free_bits(a, b, 0.6),
    "kl, literal": lambda a, b: vae.kl_normal_literal(a, mg.exp(b)),
    "kl, per sample": lambda a, b: vae.kl_normal(a, b, per_sample=True).sum(),
    "bernoulli": lambda a, b: vae.bernoulli_nll(a, mg.sigmoid(b).detach()),
    "bernoulli, literal": lambda a, b: vae.bernoulli_nll_literal(mg.sigmoid(a), mg.sigmoid(b).detach()),
    "gaussian": lambda a, b: vae.gaussian_nll(a, 0.3, b),
    "gaussian, learned": lambda a, b: vae.gaussian_nll(a, b[:1, :1], b),
    "gaussian, literal": lambda a, b: vae.gaussian_nll_literal(a, mg.exp(b) + 1, b),
    "elbo": lambda a, b: vae.negative_elbo(vae.bernoulli_nll(vae.reparameterise(a, b, a.detach()), a.detach()),
                                           vae.kl_normal(a, b), beta=0.5),
}  # fmt: skip


def test_every_loss_is_here() -> None:
    assert len(LOSSES) >= len(gan.__all__) + len(vae.__all__) - 1


@pytest.mark.parametrize("name", LOSSES)
def test_loss(gpu: str, name: str) -> None:
    results = []
    for device in (gpu, "cpu"):
        a, b = (mg.tensor(x, requires_grad=True, device=device) for x in (X, np.tanh(X[::-1])))
        y = LOSSES[name](a, b)
        results.append([y, *mg.grad(y, [a, b], allow_unused=True)])
    for ours, theirs in zip(*results, strict=True):
        alike(ours, theirs, rtol=1e-4, atol=1e-5)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: mg.optim.SGD(p, 0.1),
    "momentum": lambda p: mg.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: mg.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: mg.optim.RMSprop(p, 0.01),
    "Adam": lambda p: mg.optim.Adam(p, 0.01, weight_decay=0.01),
    "AdamW": lambda p: mg.optim.AdamW(p, 0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(gpu: str, name: str) -> None:
    """Made before the move or after it, loaded from the other device: the same steps."""
    results = []
    for device in (gpu, "cpu"):
        layer = nn.Dense(8, 3, rng=mg.Generator(1))
        optimizer = OPTIMIZERS[name](layer.parameters()).to(device)
        layer.to(device)
        for step in range(4):
            if step == 2:  # as a resumed run does
                fresh = OPTIMIZERS[name](layer.parameters())
                fresh.load_state_dict(optimizer.state_dict())
                optimizer = fresh
            (layer(mg.tensor(X, device=device)) ** 2).sum().backward()
            mg.optim.clip_norm(layer.parameters(), 5.0)
            mg.optim.clip_value(layer.parameters(), 0.8)
            optimizer.step()
            optimizer.zero_grad()
        assert {t.device for slot in optimizer.state.values() for t in slot} <= {device}
        assert all(type(a) is np.ndarray for a in optimizer.state_dict().values())
        results.append([*layer.parameters(), *(t for slot in optimizer.state.values() for t in slot)])
    for ours, theirs in zip(*results, strict=True):
        alike(ours, theirs, rtol=1e-4, atol=1e-5)


def test_weight_average(gpu: str) -> None:
    results = []
    for device in (gpu, "cpu"):
        source, average = (nn.Dense(4, 3, rng=mg.Generator(i)).to(device) for i in (1, 2))
        ema = mg.optim.EMA(source, average)
        with mg.no_grad():
            source.weight.copy_(source.weight * 2.0)
        ema.update()
        results.append(average.weight)
    alike(*results)


# Whole models ---------------------------------------------------------------------------------------------------

SHAPE = (6, 5)
IMAGES = np.random.default_rng(3).integers(0, 256, (40, *SHAPE)).astype(np.uint8)
MODELS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "gan default": (mg.models.GAN.preset, dict(name="default", r1_every=2)),
    "gan document": (mg.models.GAN.preset, dict(name="document")),
    "gan with all": (mg.models.GAN, dict(generator=(16,), discriminator=(16,), dropout=0.3, real_label=0.9,
                                         form="minimax")),
    "vae default": (mg.models.VAE.preset, dict(name="default")),
    "vae document": (mg.models.VAE.preset, dict(name="document")),
}  # fmt: skip


def model(name: str, **more: Any) -> Any:
    make, settings = MODELS[name]
    return make(**settings, image_shape=SHAPE, **more)


def batches(count: int) -> list[np.ndarray]:
    return [IMAGES[8 * i : 8 * i + 8] for i in range(count)]


@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_cpus(gpu: str, name: str) -> None:
    ours, theirs = model(name, device=gpu), model(name)
    assert (ours.device, theirs.device) == ("gpu", "cpu")
    assert all(t.device == "gpu" for t in ours.named_tensors().values())
    for key, array in ours.training_state().items():
        np.testing.assert_array_equal(array, theirs.training_state()[key])  # the same start, to the last bit
    for batch in batches(4):
        a, b = ours.train_step(batch), theirs.train_step(batch)
        assert a.keys() == b.keys() and np.isfinite(list(a.values())).all()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=2e-4)
    for key, expected in theirs.training_state().items():
        # Where a gradient is zero but for rounding, Adam makes a step of the full lr of it: of few weights, and of the
        # biases that batch normalisation takes away again, whose drift its running means hold.
        difference = abs(ours.training_state()[key].astype(float) - expected)
        assert np.isfinite(difference).all() and difference.max() <= 8 * 1e-3, key
        normalised = key.startswith(("model.generator", "model.average")) and key.endswith((".bias", "_mean"))
        assert normalised or (difference > 1e-4).mean() < 0.02, key
    for a, b in zip(ours.evaluate(IMAGES).values(), theirs.evaluate(IMAGES).values(), strict=True):
        assert abs(a - b) <= 1e-3 * abs(b)


@pytest.mark.parametrize("name", MODELS)
def test_what_comes_out_is_numpys(gpu: str, name: str) -> None:
    ours, theirs = model(name, device=gpu), model(name)
    pairs = [(ours.sample(3, seed=4), theirs.sample(3, seed=4))]
    if hasattr(ours, "encode"):
        pairs += [(ours.encode(IMAGES), theirs.encode(IMAGES))]
        pairs += [(ours.reconstruct(IMAGES), theirs.reconstruct(IMAGES))]
        pairs += [(ours.decode(theirs.encode(IMAGES)), theirs.decode(theirs.encode(IMAGES)))]
    for a, b in pairs:
        assert type(a) is np.ndarray and (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_in_a_step_the_batch_goes_up_and_the_losses_come_down(standin: Any, name: str) -> None:
    ours = model(name, device="gpu")
    ours.train_step(IMAGES[:8])
    standin.log.clear()
    for batch in batches(2):
        losses = ours.train_step(batch)
    assert standin.log.up == [IMAGES[:8].nbytes] * 2  # as uint8
    assert standin.log.down == [] and standin.log.reads == 2 * len(losses)


TEXT = np.random.default_rng(4).integers(0, 256, (12, 9))


def gpt(**more: Any) -> Any:
    return mg.models.GPT(context=8, layers=2, heads=2, width=8, warmup=2, steps=5, dropout=0.2, **more)


def test_a_language_models_training_is_the_cpus(gpu: str) -> None:
    ours, theirs = gpt(device=gpu), gpt()
    for n in range(6):
        a, b = ours.train_step(TEXT[n % 3 :: 3]), theirs.train_step(TEXT[n % 3 :: 3])
        assert np.isfinite(a["loss"]) and a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for key, expected in theirs.training_state().items():
        np.testing.assert_allclose(ours.training_state()[key].astype(float), expected, atol=2e-4, err_msg=key)
    assert ours.evaluate(TEXT) == pytest.approx(theirs.evaluate(TEXT), rel=1e-4)
    settings = {"seed": 2, "length": 20, "prompt": "a"}  # longer than the context: the cache is filled twice
    assert ours.sample(2, **settings) == theirs.sample(2, **settings)
    np.testing.assert_allclose(ours.attention_maps(TEXT[0, :8]), theirs.attention_maps(TEXT[0, :8]), atol=1e-4)
    np.testing.assert_allclose(ours.next_probabilities(TEXT[0, :8]), theirs.next_probabilities(TEXT[0, :8]), atol=1e-4)


def test_a_language_models_loss_as_it_is_written(gpu: str) -> None:
    rng = np.random.default_rng(0)
    p, targets = mg.softmax(mg.tensor(rng.normal(size=(2, 3, 5)), dtype="float64")), rng.integers(-1, 5, (2, 3))
    targets[0, 0] = -1
    expected = mg.losses.text.cross_entropy_literal(p, targets)
    found = mg.losses.text.cross_entropy_literal(p.to(gpu), mg.tensor(targets, device=gpu))
    assert found.device == "gpu" and float(found) == pytest.approx(float(expected), rel=1e-12)


def test_in_a_language_models_step_the_windows_go_up_and_the_loss_comes_down(standin: Any) -> None:
    ours = gpt(device="gpu")
    ours.train_step(TEXT[:4])
    standin.log.clear()
    ours.train_step(TEXT[:4])
    assert standin.log.up == [TEXT[:4].nbytes] and standin.log.down == []


def text_vae(**more: Any) -> Any:
    return mg.models.TextVAE(context=8, latent=3, layers=1, heads=2, width=8, warmup=2, steps=5, dropout=0.2, **more)


def test_a_text_vaes_training_is_the_cpus(gpu: str) -> None:
    ours, theirs = text_vae(device=gpu), text_vae()
    rows = np.hstack([np.arange(12)[:, None] % 8 + 1, TEXT[:, 1:]])
    for n in range(6):
        a, b = ours.train_step(rows[n % 3 :: 3]), theirs.train_step(rows[n % 3 :: 3])
        assert np.isfinite(a["loss"]) and a == pytest.approx(b, rel=1e-3)
    for key, expected in theirs.training_state().items():
        np.testing.assert_allclose(ours.training_state()[key].astype(float), expected, atol=5e-4, err_msg=key)
    assert ours.evaluate(rows) == pytest.approx(theirs.evaluate(rows), rel=1e-3)
    assert ours.sample(2, seed=2) == theirs.sample(2, seed=2)
    np.testing.assert_allclose(ours.encode(["abc", "d"]), theirs.encode(["abc", "d"]), atol=1e-3)
    assert len(ours.interpolate("abc", "d", 3)) == 3


def test_what_is_measured_of_a_vae_is_the_cpus(gpu: str) -> None:
    images = np.random.default_rng(4).integers(0, 256, (12, *SHAPE)).astype(np.uint8)
    for figures, make, data in (
        (mg.metrics.vae_figures, lambda **to: mg.models.VAE(image_shape=SHAPE, latent=2, hidden=(5,), **to), images),
        (mg.metrics.sentence_figures, text_vae, np.hstack([np.full((4, 1), 5), TEXT[:4, 1:]])),
    ):
        ours, theirs = (figures(make(**to), data, samples=3) for to in ({"device": gpu}, {}))
        for name, a, b in zip(ours._fields, ours, theirs, strict=True):
            np.testing.assert_allclose(getattr(a, "value", a), getattr(b, "value", b), rtol=1e-4, err_msg=name)


def test_in_a_text_vaes_step_the_rows_go_up_and_the_losses_come_down(standin: Any) -> None:
    ours, rows = text_vae(device="gpu"), np.hstack([np.full((4, 1), 5), TEXT[:4, 1:]])
    ours.train_step(rows)
    standin.log.clear()
    losses = ours.train_step(rows)
    assert set(standin.log.up) == {rows.nbytes} and standin.log.down == [] and len(losses) == 3


def test_images_that_are_on_the_gpu_stay_there(standin: Any) -> None:
    ours, theirs = model("vae default", device="gpu"), model("vae default", device="gpu")
    there = to_device(IMAGES, "gpu")
    standin.log.clear()
    losses = ours.train_step(there[:8])
    assert standin.log.up == [] and losses == theirs.train_step(IMAGES[:8])


@pytest.mark.parametrize("name", ["gan default", "vae default"])
def test_checkpoints_move_between_devices(gpu: str, name: str, tmp_path: Any) -> None:
    trained = model(name, device=gpu)
    trained.train_step(IMAGES[:8])
    trained.save(tmp_path / "model.safetensors")
    state = trained.training_state()
    assert all(type(array) is np.ndarray for array in state.values())
    for device in ("cpu", gpu):
        loaded = mg.load(tmp_path / "model.safetensors", device=device)
        assert loaded.device == device
        for key, array in loaded.state_dict().items():
            np.testing.assert_array_equal(array, trained.state_dict()[key])
        resumed = model(name, device=device)
        resumed.load_training_state(state)
        for key, array in resumed.training_state().items():
            np.testing.assert_array_equal(array, state[key])
        resumed.train_step(IMAGES[8:16])
    with pytest.raises(CheckpointError):
        model("vae document", device=gpu).load_training_state(state)


def test_a_model_moves_there_and_back(gpu: str) -> None:
    here, there = model("gan default"), model("gan default")
    for batch in batches(2):
        here.train_step(batch)
        there.to(gpu).train_step(batch)
        there.to("cpu")
    assert there.device == "cpu" and type(there.generator[0].weight.data) is np.ndarray
    for key, array in there.state_dict().items():
        assert key.endswith(".bias") or (abs(array - here.state_dict()[key]) > 1e-4).mean() < 0.02


def test_nan_is_found_on_the_gpu(gpu: str) -> None:
    with pytest.raises(mg.debug.NaNError, match=r"`log` gave 1 NaN and 1 infinite of 3 values(?s:.*)from -1 to 1"):
        with mg.detect_nan():
            mg.log(mg.tensor([1.0, -1.0, 0.0], device=gpu))
