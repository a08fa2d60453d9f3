"""The models on tiny images: what moves in a step, what does not, and that a state carries everything."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import minigen as mg
from minigen import checkpoint
from minigen.autograd import hook
from minigen.errors import CheckpointError, DataError, ShapeError, UsageError
from minigen.models import GAN, GPT, MODELS, VAE, GenerativeModel, TextVAE
from minigen.models import gan as gan_module
from minigen.models import vae as vae_module
from minigen.random import Generator
from minigen.tensor import Tensor


def gan(**changes):
    settings = dict(
        image_shape=(4, 4),
        latent=3,
        generator=(6,),
        discriminator=(5,),
        slope=0.2,
        batch_norm=False,
        dropout=0.0,
        lr=1e-3,
        lr_discriminator=None,
        beta1=0.5,
        r1=0.0,
        ema=0.0,
        seed=1,
    )
    return GAN(**{**settings, **changes})


def vae(**changes):
    return VAE(**{**dict(image_shape=(4, 4), latent=2, hidden=(6,), slope=0.2, seed=1), **changes})


def everything_gan(**changes):
    """A GAN with all that has a state: dropout, batch norm, the weight average, the penalty's turn."""
    return gan(batch_norm=True, dropout=0.3, ema=0.9, r1=1.0, r1_every=2, **changes)


MAKERS = {
    "gan": gan,
    "gan with everything": everything_gan,
    "vae": vae,
    "gaussian vae": lambda **changes: vae(likelihood="gaussian", **changes),
}
every_model = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (8, 4, 4), dtype=np.uint8)


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def moved(before, after):
    """The names of the arrays of which every element changed; of the rest none may have."""
    names = {name for name in before if (before[name] != after[name]).any()}
    for name in names:
        assert (before[name] != after[name]).all(), f"only part of {name} moved"
    return names


def under(prefix, model):
    return {name for name in model.named_parameters() if name.startswith(prefix)}


def still(optimizer):
    optimizer.step = lambda: None


# Who moves whom ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("player", "other"), [("generator", "discriminator"), ("discriminator", "generator")]
)
def test_a_player_moves_all_its_own_weights_and_no_other(player, other, images):
    model = gan()
    still(model.optimizers[other])
    before = model.state_dict()
    model.train_step(images)
    assert moved(before, model.state_dict()) == under(f"{player}.", model)


def test_a_step_moves_every_weight_of_both_players_once(images):
    model = gan()
    before, updated = model.state_dict(), []

    def note(op, inputs, attrs, output):
        if op.mutates:
            updated.append((op.name, id(inputs[0])))

    with hook(note):
        model.train_step(images)
    assert moved(before, model.state_dict()) == set(before)
    own = [[("adam_step", id(p)) for p in net.parameters()] for net in (model.discriminator, model.generator)]
    assert updated == own[0] + own[1], "the discriminator first, then the generator, each weight once"


def test_each_optimizer_sees_gradients_of_its_own_player_alone(images):
    model = gan(r1=1.0, r1_every=1)
    seen = {}
    for name, optimizer in model.optimizers.items():

        def step(name=name, step=optimizer.step):
            seen[name] = {key for key, p in model.named_parameters().items() if p.grad is not None}
            step()

        optimizer.step = step
    model.train_step(images)
    assert seen == {name: under(f"{name}.", model) for name in ("discriminator", "generator")}
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_optimizers_hold_the_weights_of_their_player_alone():
    model = everything_gan()
    for name in ("generator", "discriminator"):
        own = getattr(model, name).parameters()
        assert [id(p) for p in model.optimizers[name].parameters] == [id(p) for p in own]


def test_the_average_moves_by_averaging_and_is_never_trained(images):
    model = gan(ema=0.9)
    before = model.state_dict()
    model.train_step(images)
    after = model.state_dict()
    assert moved(before, after) == set(before)
    for name in before:
        if name.startswith("average."):
            new = after["generator." + name.removeprefix("average.")]
            np.testing.assert_allclose(after[name], 0.1 * before[name] + 0.9 * new, rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad for p in model.average.parameters())


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_vae_step_moves_every_weight(likelihood, images):
    model = vae(likelihood=likelihood)
    before = model.state_dict()
    model.train_step(images)
    assert moved(before, model.state_dict()) == set(before)
    assert [id(p) for p in model.optimizers["all"].parameters] == [id(p) for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())


def test_statistics_of_the_generator_are_taken_once_a_step(images):
    model = gan(batch_norm=True)
    model.train_step(images)
    assert model.generator[1].running_mean.version == 1
    assert not isinstance(model.discriminator[1], mg.nn.BatchNorm)


# What a step computes ---------------------------------------------------------------------------------------


def dense(net, x):
    """Dense and leaky ReLU layers in NumPy."""
    for layer in net.layers:
        if isinstance(layer, mg.nn.Dense):
            x = x @ layer.weight.data.astype(float) + layer.bias.data
        elif isinstance(layer, mg.nn.LeakyReLU):
            x = np.where(x > 0, x, layer.slope * x)
        else:
            assert isinstance(layer, mg.nn.Tanh)
            x = np.tanh(x)
    return x


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("form", ["minimax", "non_saturating"])
@pytest.mark.parametrize("label", [1.0, 0.8])
def test_the_gans_losses_are_those_of_its_equations(form, label, images):
    model = gan(form=form, real_label=label)
    fake = dense(model.generator, Generator(*model.noise.state()).normal((8, 3)).data.astype(float))
    real = dense(model.discriminator, images.reshape(8, 16) / 127.5 - 1)
    d_loss = (label * softplus(-real) + (1 - label) * softplus(real)).mean() + softplus(
        dense(model.discriminator, fake)
    ).mean()
    found = model.train_step(images)
    logits = dense(model.discriminator, fake)  # the discriminator has moved by now, the fakes are the same
    g_loss = softplus(-logits).mean() if form == "non_saturating" else -softplus(logits).mean()
    assert found == {
        "discriminator_loss": pytest.approx(d_loss, rel=1e-5),
        "generator_loss": pytest.approx(g_loss, rel=1e-5),
    }


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_vaes_losses_are_those_of_its_equations(likelihood, rng):
    model = vae(likelihood=likelihood, beta=3.0)
    images = rng.integers(0, 2, (8, 4, 4), dtype=np.uint8) * 255  # binary: binarisation leaves them alone
    x = images.reshape(8, 16) / 255.0
    noise = Generator(*model.noise.state())
    if likelihood == "bernoulli":
        noise.uniform((8, 16))  # the binarisation's
    eps = noise.normal((8, 2)).data
    h = dense(model.encoder, x if likelihood == "bernoulli" else 2 * x - 1)
    mu, log_var = (h @ head.weight.data + head.bias.data for head in (model.mu, model.log_var))
    output = dense(model.decoder, mu + np.exp(log_var / 2) * eps)
    kl = 0.5 * (mu**2 + np.exp(log_var) - log_var - 1).sum(1).mean()
    if likelihood == "bernoulli":
        reconstruction = (softplus(output) - x * output).sum(1).mean()
    else:
        reconstruction = (0.5 * (2 * x - 1 - output) ** 2 + 0.5 * math.log(2 * math.pi)).sum(1).mean()
    found = model.train_step(images)
    assert found == {
        "reconstruction": pytest.approx(reconstruction, rel=1e-5),
        "kl": pytest.approx(kl, rel=1e-4),
        "loss": pytest.approx(reconstruction + 3 * kl, rel=1e-5),
    }


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_importance_weighted_step_reports_the_bound(rng, likelihood):
    """By SciPy's densities, from the same draws."""
    model = vae(likelihood=likelihood, activation="tanh", importance_samples=5)
    images = rng.integers(0, 2, (8, 4, 4), dtype=np.uint8) * 255
    x = images.reshape(8, 16) / 255.0
    noise = Generator(*model.noise.state())
    if likelihood == "bernoulli":
        noise.uniform((8, 16))
    eps = noise.normal((5, 8, 2)).data
    pixels = np.float32(x if likelihood == "bernoulli" else 2 * x - 1)
    mu, log_var = (t.data for t in model.posterior(Tensor(pixels)))
    z = mu + np.exp(log_var / 2) * eps
    output = model.decoder(Tensor(z.reshape(40, 2))).data.reshape(5, 8, 16)
    if likelihood == "bernoulli":
        log_likelihood = (x * output - softplus(output)).sum(-1)
    else:
        log_likelihood = stats.norm.logpdf(2 * x - 1, output).sum(-1)
    log_q = stats.norm.logpdf(z, mu, np.exp(log_var / 2)).sum(-1)
    log_w = log_likelihood + stats.norm.logpdf(z).sum(-1) - log_q
    found = model.train_step(images)
    assert found == {
        "loss": pytest.approx(-np.log(np.exp(log_w).mean(0)).mean(), rel=1e-5),
        "reconstruction": pytest.approx(-log_likelihood.mean(), rel=1e-5),
        "kl": pytest.approx(0.5 * (mu**2 + np.exp(log_var) - log_var - 1).sum(1).mean(), rel=1e-4),
    }
    assert model.noise.state() == noise.state()


def test_one_backward_has_the_gradient_of_all_draws_in_expectation(rng):
    """The same k draws, many choices of one of them: the mean gradient is that of L_k."""
    settings = dict(hidden=(3,), activation="tanh", importance_samples=3)
    images = rng.integers(0, 2, (4, 4, 4), dtype=np.uint8) * 255
    full, one = vae(**settings), vae(**settings, one_backward=True)

    def gradient(model, choice):
        noise = Generator(5)
        noise.uniform = Generator(choice).uniform  # of which draw; binary images are binarised to what they are
        objective, loss, *_ = model.importance_weighted_losses(images, noise)
        return loss.item(), np.concatenate([g.data.ravel() for g in mg.grad(objective, model.parameters())])

    bound, expected = gradient(full, 0)
    found = [gradient(one, choice) for choice in range(1500)]
    assert {loss for loss, _ in found} == {bound}
    gradients = np.array([single for _, single in found])
    error = gradients.std(0) / math.sqrt(len(found))
    np.testing.assert_array_less(np.abs(gradients.mean(0) - expected), 5 * error + 1e-5)
    assert np.abs(expected).max() > 20 * error.max()


def test_the_penalty_comes_in_its_turn_and_as_many_times_as_strong(images, monkeypatch):
    model, gammas = gan(r1=2.0, r1_every=3), []
    true = gan_module.losses.r1_penalty

    def spy(discriminator, real, *, gamma):
        gammas.append((len(turns), gamma))
        assert discriminator is model.discriminator
        return true(discriminator, real, gamma=gamma)

    monkeypatch.setattr(gan_module.losses, "r1_penalty", spy)
    turns = []
    for _ in range(7):
        model.train_step(images)
        turns.append(1)
    assert gammas == [(0, 6.0), (3, 6.0), (6, 6.0)]


def test_the_penalty_flattens_the_discriminator(images):
    slopes = []
    for r1 in (0.0, 10.0):
        model = gan(r1=r1, r1_every=1, lr=1e-2)
        for _ in range(30):
            model.train_step(images)
        x = model.preprocess(images)
        slopes.append(gan_module.losses.r1_penalty(model.discriminator, x, gamma=2.0).item())
    assert slopes[1] < 0.5 * slopes[0]


def test_pixels_are_scaled_for_the_network():
    black_and_white = np.array([0, 255] * 8, np.uint8).reshape(1, 4, 4)
    for model, low in ((gan(), -1), (vae(likelihood="gaussian"), -1), (vae(), 0)):
        x = model.preprocess(black_and_white)
        assert x.shape == (1, 16) and x.dtype == "float32"
        np.testing.assert_array_equal(x.data[0], [low, 1] * 8)
        as_floats = model.preprocess((black_and_white / 255).astype(np.float32))
        np.testing.assert_array_equal(as_floats.data, x.data)


def test_the_bernoulli_vae_binarises_anew_in_each_step():
    model = vae()
    grey = np.full((200, 4, 4), 64, np.uint8)
    first, second = (model.preprocess(grey, model.noise).data for _ in range(2))
    assert set(np.unique(first)) == {0, 1} and (first != second).any()
    assert abs(first.mean() - 64 / 255) < 4 * math.sqrt(0.25 * 0.75 / first.size)


# Determinism ------------------------------------------------------------------------------------------------


@every_model
def test_training_is_a_function_of_the_seed(make, images):
    first, again, other = make(), make(), make(seed=2)
    losses = [[model.train_step(images) for _ in range(3)] for model in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]
    same(first.training_state(), again.training_state())


@every_model
def test_networks_of_one_model_do_not_start_alike_and_other_draws_do_not_matter(make):
    model = make()
    mg.seed(99)
    mg.Generator(1).normal((3,))
    same(model.state_dict(), make().state_dict())
    weights = [
        p.data
        for name, p in model.named_parameters().items()
        if name.endswith("weight") and not name.startswith("average")
    ]
    assert len({w.ravel()[0] for w in weights}) == len(weights)


@every_model
def test_looking_at_a_model_does_not_disturb_its_training(make, images):
    quiet, watched = make(), make()
    for _ in range(3):
        quiet.train_step(images)
        watched.sample(2, seed=5)
        watched.evaluate(images)
        if isinstance(watched, VAE):
            watched.reconstruct(images)
        watched.train_step(images)
        watched.sample(2)
    same(quiet.training_state(), watched.training_state())
    assert all(module.training for _, module in watched.modules())


@every_model
def test_a_sample_depends_on_the_weights_and_its_seed_alone(make, images):
    model = make()
    model.train_step(images)
    first = model.sample(5, seed=3)
    assert first.shape == (5, 4, 4) and first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 1
    model.noise.normal((10,))
    mg.seed(123)
    model.evaluate(images)
    np.testing.assert_array_equal(model.sample(5, seed=3), first)
    assert (model.sample(5, seed=4) != first).any()
    assert (model.sample(5) == model.sample(5, seed=0)).all()
    assert (first[0] != first[1]).any()
    model.train_step(images)
    assert (model.sample(5, seed=3) != first).any()


def test_samples_come_from_the_average_where_there_is_one(images):
    model = gan(ema=0.9)
    model.train_step(images)
    before = model.sample(2)
    model.generator.layers[-2].bias.data[...] += 1
    np.testing.assert_array_equal(model.sample(2), before)
    model.average.layers[-2].bias.data[...] += 1
    assert (model.sample(2) != before).all()
    assert gan(ema=0.0).average is None


def test_the_generators_range_becomes_that_of_images():
    model = gan()
    rows = model.generate(3, seed=2, network=model.generator).data
    assert rows.min() < 0
    np.testing.assert_allclose(model.sample(3, seed=2).reshape(3, 16), (rows + 1) / 2, rtol=1e-6)


@every_model
def test_evaluation_is_repeatable_and_changes_nothing(make, images):
    model = make()
    model.train_step(images)
    before = model.training_state()
    first = model.evaluate(images)
    assert model.evaluate(images) == first
    assert all(isinstance(v, float) and math.isfinite(v) for v in first.values())
    same(model.training_state(), before)
    assert all(p.grad is None for p in model.parameters())


def test_evaluation_judges_the_generator_that_is_trained(images):
    model = gan(ema=0.9)
    before = model.evaluate(images)
    for p in model.average.parameters():
        p.data[...] += 1
    assert model.evaluate(images) == before
    model.generator.layers[-2].bias.data[...] += 1
    assert model.evaluate(images)["generator_loss"] != before["generator_loss"]


def test_evaluation_runs_without_dropout(images):
    model = gan(dropout=0.5)
    x, fake = model.preprocess(images).data, model.generate(8, seed=0, network=model.generator).data
    kept = SimpleNamespace(
        layers=[layer for layer in model.discriminator.layers if not isinstance(layer, mg.nn.Dropout)]
    )
    real, fake = dense(kept, x), dense(kept, fake)
    assert model.evaluate(images) == {
        "discriminator_loss": pytest.approx((softplus(-real) + softplus(fake)).mean(), rel=1e-5),
        "generator_loss": pytest.approx(softplus(-fake).mean(), rel=1e-5),
    }


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_negative_elbo_is_reconstruction_plus_kl_weighted_by_images(likelihood, images, monkeypatch):
    monkeypatch.setattr(vae_module, "CHUNK", 3)  # of 8 images: the last chunk is smaller than the others
    model = vae(likelihood=likelihood, beta=5.0)
    noise = Generator(0).fork("evaluate")
    parts = [
        (len(part), *(t.item() for t in model.losses(part, noise)))
        for part in (images[:3], images[3:6], images[6:])
    ]
    reconstruction, kl = (sum(part[0] * part[i] for part in parts) / 8 for i in (1, 2))
    assert model.evaluate(images) == {
        "reconstruction": pytest.approx(reconstruction, rel=1e-6),
        "kl": pytest.approx(kl, rel=1e-6),
        "negative_elbo": pytest.approx(reconstruction + kl, rel=1e-6),
    }


# Encoding and decoding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_encode_decode_and_reconstruct(likelihood, images, monkeypatch):
    model = vae(likelihood=likelihood)
    z = model.encode(images)
    assert z.shape == (8, 2) and z.dtype == np.float32
    np.testing.assert_array_equal(z, model.posterior(model.preprocess(images))[0].data)
    monkeypatch.setattr(vae_module, "CHUNK", 3)
    np.testing.assert_allclose(model.encode(images), z, rtol=1e-5, atol=1e-6)
    assert model.encode(images[:0]).shape == (0, 2)

    output = dense(model.decoder, z.astype(float))
    pictures = model.decode(z)
    assert pictures.shape == (8, 4, 4) and pictures.dtype == np.float32
    expected = 1 / (1 + np.exp(-output)) if likelihood == "bernoulli" else (output + 1) / 2
    np.testing.assert_allclose(pictures.reshape(8, 16), expected, rtol=1e-4)
    np.testing.assert_array_equal(model.reconstruct(images), model.decode(model.encode(images)))
    assert model.decode(z.tolist()[:1]).shape == (1, 4, 4)


def test_a_vae_samples_by_decoding_the_prior():
    model = vae()
    z = Generator(7).fork("samples").normal((4, 2)).data
    np.testing.assert_array_equal(model.sample(4, seed=7), model.decode(z))


@pytest.mark.parametrize("z", [np.zeros(2), np.zeros((3, 4)), np.zeros((1, 2, 2))])
def test_decode_refuses_latents_of_another_shape(z):
    with pytest.raises(ShapeError, match=r"decode takes latents \(N, 2\), got"):
        vae().decode(z)


# Files and states -------------------------------------------------------------------------------------------


@every_model
def test_a_saved_model_comes_back_bit_by_bit(make, images, tmp_path):
    model = make()
    model.train_step(images)
    model.save(tmp_path / "model.safetensors")
    loaded = mg.load(tmp_path / "model.safetensors")
    assert type(loaded) is type(model) and loaded.config == model.config
    same(loaded.state_dict(), model.state_dict())
    np.testing.assert_array_equal(loaded.sample(4, seed=9), model.sample(4, seed=9))
    assert loaded.evaluate(images) == model.evaluate(images)


@every_model
def test_a_restored_training_state_continues_bit_by_bit(make, images):
    model = make()
    for _ in range(3):
        model.train_step(images)
    state = model.training_state()
    expected = [model.train_step(images) for _ in range(4)]
    other = make(seed=77)
    other.load_training_state(state)
    assert [other.train_step(images) for _ in range(4)] == expected
    same(other.training_state(), model.training_state())
    np.testing.assert_array_equal(other.sample(3), model.sample(3))


def test_the_training_state_survives_a_file(images, tmp_path):
    model = everything_gan()
    model.train_step(images)
    checkpoint.save(tmp_path / "state.safetensors", model.training_state())
    arrays, _ = checkpoint.load(tmp_path / "state.safetensors")
    other = everything_gan()
    other.load_training_state(arrays)
    assert other.train_step(images) == model.train_step(images)


def test_a_model_file_is_no_training_state_and_the_other_way_round(tmp_path):
    model = vae()
    with pytest.raises(CheckpointError, match="holds no training state"):
        model.load_training_state(model.state_dict())
    checkpoint.save(tmp_path / "state.safetensors", model.training_state())
    with pytest.raises(CheckpointError, match="holds no model: its kind is None, expected one of gan, vae"):
        mg.load(tmp_path / "state.safetensors")


@every_model
def test_the_state_of_another_architecture_is_refused(make):
    state = make().training_state()
    with pytest.raises(CheckpointError, match="architecture"):
        make(latent=5).load_training_state(state)
    foreign = vae() if isinstance(make(), GAN) else gan()
    with pytest.raises(CheckpointError, match="another architecture"):
        foreign.load_training_state(state)


def test_the_models_that_a_file_can_hold():
    assert MODELS == {"gan": GAN, "vae": VAE, "gpt": GPT, "text-vae": TextVAE}
    assert all(model.kind == kind and issubclass(model, GenerativeModel) for kind, model in MODELS.items())


# Settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAN.preset("dcgan"), "GAN has no preset 'dcgan': choose from default, document"),
        (lambda: VAE.preset("big"), "VAE has no preset 'big': choose from default, document"),
        (lambda: gan(hidden=(3,)), "GAN has no setting 'hidden': it has batch_norm, beta1"),
        (lambda: vae(depth=3), "VAE has no setting 'depth': it has activation, beta, hidden"),
        (lambda: gan(form="wasserstein"), "form = 'wasserstein': expected one of minimax, non_saturating"),
        (lambda: vae(likelihood="laplace"), "likelihood = 'laplace': expected one of bernoulli, gaussian"),
        (lambda: vae(latent=0), "latent = 0: expected at least 1"),
        (lambda: vae(hidden=()), r"hidden = \(\): expected the width of one hidden layer or more, such as \(400,\)"),
        (lambda: vae(activation="elu"), "activation = 'elu': expected relu or tanh"),
        (lambda: vae(importance_samples=0), "importance_samples = 0: expected at least 1"),
        (lambda: vae(importance_samples=5, beta=0.5), "beta = 0.5 with importance_samples = 5: beta weighs the KL"),
        (lambda: gan(latent=-1), "^latent = -1: expected at least 1$"),
        (lambda: gan(generator=()), r"generator = \(\): expected the width of one hidden layer or more"),
        (lambda: gan(discriminator=()), r"discriminator = \(\): expected the width of one hidden layer or more"),
        (lambda: gan(r1=-1.0), "^r1 = -1.0: expected at least 0$"),
        (lambda: gan(r1_every=0), "^r1_every = 0: expected at least 1$"),
        (lambda: gan(r1=math.inf), "r1 = inf: expected a finite number"),
        (lambda: gan(dropout=1.0), "^dropout = 1.0: expected at least 0 and under 1"),
        (lambda: gan(ema=2.0), "^ema = 2.0: expected at least 0 and under 1"),
        (lambda: vae(lr=-1.0), "lr must be at least 0 and finite, got -1.0"),
        (lambda: vae(seed=-1), "seed must be an integer from 0 to"),
        (lambda: vae(seed=1.5), "seed = 1.5: expected an integer"),
        (lambda: vae(hidden=400), "hidden = 400: expected positive integers"),
        (lambda: vae(hidden=(0,)), r"hidden = \(0,\): expected positive integers"),
        (lambda: vae(beta=math.nan), "beta = nan: expected a finite number"),
        (lambda: vae(beta=-1.0), "beta = -1.0: expected at least 0"),
        (lambda: vae(image_shape=(28,)), r"image_shape = \(28,\): expected two positive integers"),
        (lambda: gan(batch_norm=1), "batch_norm = 1: expected True or False"),
        (lambda: gan(lr_discriminator="x"), "lr_discriminator = 'x': expected a finite number or None"),
        (lambda: gan(real_label=1.5), "real_label = 1.5: expected above 0, at most 1"),
        (lambda: gan().sample(0), "cannot draw 0 samples: ask for a whole number, at least one"),
        (lambda: gan().sample("many"), "cannot draw 'many' samples: ask for a whole number"),
        (lambda: vae().sample(2.5), "cannot draw 2.5 samples: ask for a whole number"),
        (lambda: vae().sample(-1), "cannot draw -1 samples: ask for a whole number, at least one"),
    ],
)
def test_a_bad_setting_is_refused_by_name(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@every_model
@pytest.mark.parametrize("shape", [(8, 4, 5), (8, 16), (4, 4), (8, 1, 4, 4)])
def test_images_of_another_shape_are_refused(make, shape):
    model = make()
    before = model.training_state()
    for use in (model.train_step, model.evaluate):
        with pytest.raises(ShapeError, match=r"takes images \(N, 4, 4\), got \("):
            use(np.zeros(shape, np.uint8))
    with pytest.raises(ShapeError, match="takes images as one array, got list"):
        model.train_step([np.zeros((4, 4), np.uint8)])
    same(model.training_state(), before)


@every_model
def test_a_last_batch_of_one_image_trains(make, images):
    losses = make().train_step(images[:1])
    assert all(math.isfinite(v) for v in losses.values())


@every_model
def test_an_empty_batch_is_refused(make, images):
    with pytest.raises(ShapeError):
        make().train_step(images[:0])


@every_model
def test_values_outside_their_range_are_refused(make):
    with pytest.raises(DataError):
        make().train_step(np.full((4, 4, 4), 2.0, np.float32))


@every_model
def test_evaluating_on_no_images_is_refused(make, images):
    with pytest.raises((ShapeError, UsageError), match="at least one"):
        make().evaluate(images[:0])


def test_the_base_class_neither_trains_nor_samples(images):
    with pytest.raises(TypeError, match="defines no train_step"):
        GenerativeModel().train_step(images)
    with pytest.raises(TypeError, match="defines no sample"):
        GenerativeModel().sample(1)


@every_model
def test_a_config_rebuilds_the_model_from_lists_too(make):
    model = make()
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(model.config).items()
    }
    again = type(model)(**settings)
    assert again.config == model.config
    same(again.state_dict(), model.state_dict())


def test_settings_reach_the_optimizers_and_layers():
    model = gan(lr=0.5, lr_discriminator=0.25, beta1=0.3, dropout=0.2, slope=0.1, generator=(6, 7))
    assert [layer.describe() for layer in model.generator.layers] == [
        "Dense(3, 6)",
        "LeakyReLU(0.1)",
        "Dense(6, 7)",
        "LeakyReLU(0.1)",
        "Dense(7, 16)",
        "Tanh()",
    ]
    assert [layer.describe() for layer in model.discriminator.layers] == [
        "Dense(16, 5)",
        "LeakyReLU(0.1)",
        "Dropout(0.2)",
        "Dense(5, 1)",
    ]
    rates = {name: (o.lr, o.betas) for name, o in model.optimizers.items()}
    assert rates == {"generator": (0.5, (0.3, 0.999)), "discriminator": (0.25, (0.3, 0.999))}
    assert gan(lr=0.5).optimizers["discriminator"].lr == 0.5
    assert gan(lr_discriminator=0.0).optimizers["discriminator"].lr == 0.0
    assert [layer.describe() for layer in gan(batch_norm=True).generator.layers][:3] == [
        "Dense(3, 6)",
        "BatchNorm(6)",
        "LeakyReLU(0.2)",
    ]
    assert vae(lr=0.5).optimizers["all"].lr == 0.5


def test_the_children_and_parameters_of_a_gan():
    assert list(gan().children()) == ["generator", "discriminator"]
    assert list(gan(ema=0.9).children()) == ["generator", "discriminator", "average"]
    assert sum(p.size for p in gan().parameters()) == (3 * 6 + 6) + (6 * 16 + 16) + (16 * 5 + 5) + (5 + 1)


def test_the_children_and_parameters_of_a_vae():
    assert list(vae().children()) == ["encoder", "mu", "log_var", "decoder"]
    size = (16 * 6 + 6) + 2 * (6 * 2 + 2) + (2 * 6 + 6) + (6 * 16 + 16)
    assert sum(p.size for p in vae().parameters()) == size
    gaussian = vae(likelihood="gaussian")
    assert gaussian.pixel_log_var.shape == (1, 1)
    assert sum(p.size for p in gaussian.parameters()) == size + 1


def test_the_documents_gan_has_the_documents_sizes():
    model = GAN.preset("document", seed=3)
    assert [layer.describe() for layer in model.generator.layers] == [
        "Dense(100, 128)",
        "LeakyReLU(0.01)",
        "Dense(128, 784)",
        "Tanh()",
    ]
    assert [layer.describe() for layer in model.discriminator.layers] == [
        "Dense(784, 128)",
        "LeakyReLU(0.01)",
        "Dense(128, 1)",
    ]
    for optimizer in model.optimizers.values():
        assert type(optimizer) is mg.optim.Adam and optimizer.lr == 1e-4
    assert model.config.seed == 3 and model.config.form == "non_saturating"
    assert model.average is None and model.config.r1 == 0 and model.config.real_label == 1


def test_the_documents_vae_has_the_documents_sizes():
    model = VAE.preset("document")
    assert [layer.describe() for layer in model.encoder.layers] == [
        "Dense(784, 64)",
        "LeakyReLU(0.01)",
        "Dense(64, 32)",
        "LeakyReLU(0.01)",
    ]
    assert (model.mu.describe(), model.log_var.describe()) == ("Dense(32, 2)", "Dense(32, 2)")
    assert [layer.describe() for layer in model.decoder.layers] == [
        "Dense(2, 32)",
        "LeakyReLU(0.01)",
        "Dense(32, 64)",
        "LeakyReLU(0.01)",
        "Dense(64, 784)",
        "Tanh()",
    ]
    assert type(model.optimizers["all"]) is mg.optim.Adam and model.optimizers["all"].lr == 1e-3
    assert model.config.likelihood == "gaussian" and model.config.beta == 1


def test_a_preset_can_be_changed():
    model = VAE.preset("document", image_shape=(4, 4), latent=3)
    assert model.config.latent == 3 and model.config.hidden == (64, 32)


# Learning ---------------------------------------------------------------------------------------------------


def stripes(rng, n):
    """Images of one bright column each, the column at random."""
    images = np.full((n, 4, 4), 0.05, np.float32)
    images[np.arange(n), :, rng.integers(0, 4, n)] = 0.95
    return images


def test_a_vae_learns_stripes(rng):
    model, images = vae(hidden=(16,), lr=1e-2), stripes(rng, 64)
    before = model.evaluate(images)["negative_elbo"]
    for _ in range(150):
        model.train_step(images[rng.integers(0, 64, 32)])
    after = model.evaluate(images)["negative_elbo"]
    assert before > 0.95 * 16 * math.log(2)
    assert after < before - 2
    brightest = model.reconstruct(images).mean(1).argmax(1)
    assert (brightest == images.mean(1).argmax(1)).mean() > 0.9


def test_beta_presses_the_kl_down(rng):
    images, kl = stripes(rng, 64), {}
    for beta in (0.1, 5.0):
        model = vae(hidden=(16,), lr=1e-2, beta=beta)
        for _ in range(80):
            model.train_step(images[:32])
        kl[beta] = model.evaluate(images)["kl"]
    assert kl[5.0] < 0.3 * kl[0.1]


def test_the_gaussian_learns_the_variance_that_no_decoder_can_explain(rng):
    deviation = 0.1  # on the scale of [0, 1]; twice that on the network's
    images = (0.5 + deviation * rng.standard_normal((512, 4, 4))).clip(0, 1).astype(np.float32)
    model = vae(likelihood="gaussian", latent=1, lr=3e-2)
    for start in range(0, 512 * 16, 32):
        model.train_step(images[start % 512 : start % 512 + 32])
    assert math.exp(model.pixel_log_var.item()) == pytest.approx((2 * deviation) ** 2, rel=0.2)


def test_a_gan_brings_its_samples_to_the_data(rng):
    pattern = np.where(np.arange(16).reshape(4, 4) % 3 == 0, 0.9, 0.1).astype(np.float32)
    images = (pattern + 0.03 * rng.standard_normal((64, 4, 4))).clip(0, 1).astype(np.float32)
    model = gan(lr=5e-3)

    def distance():
        return np.abs(model.sample(64).mean(0) - images.mean(0)).mean()

    before = distance()
    for _ in range(150):
        model.train_step(images[rng.integers(0, 64, 16)])
    assert distance() < 0.5 * before


@pytest.mark.parametrize(
    ("player", "other"), [("generator", "discriminator"), ("discriminator", "generator")]
)
def test_a_player_alone_lowers_its_own_loss(player, other, rng):
    model, images = gan(lr=1e-2), stripes(rng, 32)
    still(model.optimizers[other])
    before = model.evaluate(images)[f"{player}_loss"]
    for _ in range(40):
        model.train_step(images)
    assert model.evaluate(images)[f"{player}_loss"] < before - 0.2
