"""The GPT: its equations, its training step, and that a run goes on as if it had not stopped."""

import math

import numpy as np
import pytest

import minigen as mg
from minigen.data import BytePairTokenizer, CharacterTokenizer, RawText, split_text
from minigen.errors import CheckpointError, DataError, ShapeError, UsageError
from minigen.losses import text as losses
from minigen.models import GPT, VAE
from minigen.nn import KeyValueCache, SelfAttention
from minigen.training import Interrupted, Silent

TEXT = "she sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure.\n" * 25
TOKENIZER = CharacterTokenizer(TEXT)
SMALL = {"tokenizer": TOKENIZER.describe(), "context": 12, "layers": 2, "heads": 2, "width": 16, "warmup": 5,
         "steps": 60}


def parts(context=12, text=TEXT, tokenizer=TOKENIZER):
    return split_text(RawText(text, "shells", "file", "", ""), context, tokenizer)


def windows(n=4, t=12, seed=0):
    return np.random.default_rng(seed).integers(0, TOKENIZER.size, (n, t + 1))


# The layer and the model ------------------------------------------------------------------------------------


def test_self_attention_is_its_equation():
    layer, x = SelfAttention(8, 2, rng=mg.Generator(1)), np.random.default_rng(0).standard_normal((2, 5, 8), "float32")
    q, k, v = np.split(x @ layer.qkv.weight.numpy() + layer.qkv.bias.numpy(), 3, axis=-1)
    y = np.zeros_like(x)
    for b, t, h in np.ndindex(2, 5, 2):
        part = slice(4 * h, 4 * h + 4)
        scores = np.exp(k[b, :t + 1, part] @ q[b, t, part] / math.sqrt(4))
        y[b, t, part] = scores @ v[b, :t + 1, part] / scores.sum()
        row = layer.weights(mg.tensor(x)).numpy()[b, h, t]
        np.testing.assert_allclose(row, np.append(scores / scores.sum(), np.zeros(4 - t)), atol=1e-6)
    expected = y @ layer.out.weight.numpy() + layer.out.bias.numpy()
    np.testing.assert_allclose(layer(mg.tensor(x)).numpy(), expected, atol=1e-5)


def test_padding_changes_nothing_that_is_there():
    layer, x = SelfAttention(8, 2, rng=mg.Generator(1)), np.random.default_rng(0).standard_normal((2, 6, 8), "float32")
    lengths = np.array([6, 4])
    before = layer.forward(mg.tensor(x), lengths).numpy()
    x[1, 4:] = 1e6
    after = layer.forward(mg.tensor(x), lengths).numpy()
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1, :4], after[1, :4])


def test_a_cache_that_is_full_says_so():
    layer, cache = SelfAttention(4, 1), KeyValueCache(1, 2, 4)
    with pytest.raises(ShapeError, match="holds 2 positions, got 3"):
        layer.extend(mg.tensor(np.zeros((1, 3, 4))), cache)


def test_no_token_sees_a_later_one():
    model, tokens = GPT(**SMALL), windows(1)[:, :-1]
    before = model(tokens).numpy()
    tokens[0, 7] = (tokens[0, 7] + 1) % TOKENIZER.size
    after = model(tokens).numpy()
    np.testing.assert_array_equal(before[0, :7], after[0, :7])
    assert (abs(before[0, 7:] - after[0, 7:]).max(axis=1) > 0).all()


def test_the_embedding_is_shared_and_its_gradient_has_both_parts():
    model, batch = GPT(**SMALL), windows()
    assert sum("tokens" in name for name in model.named_parameters()) == 1
    model.loss(batch).backward()
    embedding, eps = model.tokens.weight, 1e-3
    rare = np.setdiff1d(np.arange(TOKENIZER.size), batch)
    assert len(rare) and abs(embedding.grad.numpy()[rare]).max() > 0  # from the output side alone
    direction = np.random.default_rng(1).standard_normal(embedding.shape).astype("float32")
    slope = []
    for sign in (1, -1):
        embedding.data += sign * eps * direction
        slope.append(model.loss(batch).item())
        embedding.data -= sign * eps * direction
    np.testing.assert_allclose((slope[0] - slope[1]) / (2 * eps), (embedding.grad.numpy() * direction).sum(), rtol=1e-2)


def test_an_untrained_model_knows_nothing():
    loss = GPT(**SMALL).evaluate(windows(64))["loss"]
    assert abs(loss - math.log(TOKENIZER.size)) < 0.05


def test_initial_weights_are_those_of_gpt2():
    model = GPT(**{**SMALL, "width": 64, "layers": 4})
    for name, p in model.named_parameters().items():
        if p.ndim == 2:
            std = 0.02 / math.sqrt(8) if name.endswith(("out.weight", "down.weight")) else 0.02
            assert abs(p.numpy().std() / std - 1) < 0.1, name
        else:
            assert set(p.numpy()) == {1.0 if "scale" in name else 0.0}, name


def test_the_recipe_of_nanogpt_has_no_biases():
    model = GPT.preset("nanogpt", tokenizer=TOKENIZER.describe())
    vectors = [name for name, p in model.named_parameters().items() if p.ndim == 1]
    assert len(vectors) == 9 and all(name.endswith("scale") for name in vectors)


def test_decay_acts_on_matrices_alone():
    model = GPT(**SMALL)
    groups = model.optimizers
    assert all(p.ndim == 2 for p in groups["matrices"].parameters) and groups["matrices"].weight_decay == 0.1
    assert all(p.ndim == 1 for p in groups["vectors"].parameters) and groups["vectors"].weight_decay == 0
    both = [*groups["matrices"].parameters, *groups["vectors"].parameters]
    assert {id(p) for p in both} == {id(p) for p in model.parameters()} and len(both) == len(model.parameters())


def test_the_learning_rate_warms_up_and_falls_to_a_tenth():
    model, rates = GPT(**SMALL), []
    for _ in range(70):
        model.train_step(windows(2))
        rates.append(model.optimizers["matrices"].lr)
    np.testing.assert_allclose(rates[:5], np.arange(1, 6) * 2e-4)
    assert rates[5] == pytest.approx(1e-3) and rates[5:61] == sorted(rates[5:61], reverse=True)
    np.testing.assert_allclose(rates[61:], 1e-4)


def test_gradients_are_clipped_before_the_step(monkeypatch):
    import minigen.models.gpt as module

    norms = []

    def spy(parameters, bound):
        norms.append(bound)
        parameters = list(parameters)
        before = mg.optim.clip_norm(parameters, bound)
        after = math.sqrt(sum(float((p.grad.numpy() ** 2).sum()) for p in parameters))
        assert after <= bound * 1.0001 and before > bound
        return before

    monkeypatch.setattr(module, "clip_norm", spy)
    GPT(**{**SMALL, "clip": 0.01}).train_step(windows())
    assert norms == [0.01]


def test_dropout_is_on_in_training_alone():
    model, tokens = GPT(**{**SMALL, "dropout": 0.5}), windows(1)[:, :-1]
    assert not np.array_equal(model(tokens).numpy(), model(tokens).numpy())
    with model.evaluating():
        np.testing.assert_array_equal(model(tokens).numpy(), model(tokens).numpy())


def test_settings_that_make_no_model_are_refused():
    for changes in ({"heads": 3}, {"layers": 0}, {"context": 0}, {"dropout": 1.0}, {"tokenizer": 3}):
        with pytest.raises(UsageError):
            GPT(**{**SMALL, **changes})
    with pytest.raises(DataError, match="not the description of a tokenizer"):
        GPT(tokenizer="{}")
    with pytest.raises(ShapeError, match="made for a context of 12"):
        GPT(**SMALL)(windows(1, 13))


# The loss ---------------------------------------------------------------------------------------------------


def test_cross_entropy_is_the_literal_one_and_does_not_count_padding():
    rng = np.random.default_rng(0)
    logits, targets = mg.tensor(rng.standard_normal((3, 5, 7)), dtype="float64"), rng.integers(0, 7, (3, 5))
    targets[1, 2:] = -1
    expected = losses.cross_entropy_literal(mg.softmax(logits), targets)
    np.testing.assert_allclose(losses.cross_entropy(logits, targets).item(), expected.item())
    changed = logits.numpy().copy()
    changed[1, 2:] = 1e6
    same = losses.cross_entropy(mg.tensor(changed, dtype="float64"), targets).item()
    np.testing.assert_allclose(same, expected.item())
    with pytest.raises(ShapeError, match="no target to count"):
        losses.cross_entropy(logits, np.full((3, 5), -1))
    with pytest.raises(ShapeError, match="expected .*classes"):
        losses.cross_entropy(logits, targets[:2])


def test_nats_bits_and_perplexity():
    assert losses.perplexity(math.log(50)) == pytest.approx(50)
    assert losses.bits_per_character(math.log(2), 10, 10) == pytest.approx(1)
    assert losses.bits_per_character(math.log(2), 10, 40) == pytest.approx(0.25)


def test_bits_per_character_count_characters_and_not_tokens():
    text = "天地玄黃,宇宙洪荒。" * 40
    tokenizer = BytePairTokenizer.train(text, 300)
    data, _ = parts(8, text, tokenizer)
    found = GPT(tokenizer=tokenizer.describe(), context=8, layers=1, heads=1, width=8).evaluate(data.items)
    asked = data.items[:, 1:]
    characters = sum(len(piece.decode("utf-8", "ignore")) or sum(b & 0xC0 != 0x80 for b in piece)
                     for piece in (tokenizer.pieces()[i] for i in asked.ravel()))
    assert found["bits_per_character"] == pytest.approx(found["loss"] * asked.size / characters / math.log(2))


# Training ---------------------------------------------------------------------------------------------------


def trained(path, epochs, *, interrupt=None, resume=False, dropout=0.1):
    data, test = parts()
    model = GPT(**SMALL, dropout=dropout)

    class Stop(Silent):
        def step(self, done):
            if done.step == interrupt:
                raise Interrupted(done.step, None)

    history = None
    try:
        history = mg.train(model, data, epochs=epochs, batch_size=32, test_images=test, out=path, resume=resume,
                           report=Stop(), checkpoint_seconds=0)
    except Interrupted:
        pass
    return model, history


@pytest.mark.compiled
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(tmp_path):
    whole, history = trained(tmp_path / "a", 3)
    trained(tmp_path / "b", 3, interrupt=8)
    again, resumed = trained(tmp_path / "b", 3, resume=True)
    for name, array in whole.training_state().items():
        np.testing.assert_array_equal(array, again.training_state()[name], err_msg=name)
    for row, other in zip(history.rows, resumed.rows, strict=True):
        assert {k: v for k, v in row.items() if "second" not in k} == {k: v for k, v in other.items()
                                                                      if "second" not in k}
    names = {p.name for p in (tmp_path / "b").iterdir()}
    assert {"samples.txt", "attention.png", "next_character.png", "losses.png", "history.csv"} <= names
    for epoch in range(4):
        texts = [(tmp_path / run / "samples" / f"epoch_{epoch:04d}.txt").read_text() for run in "ab"]
        assert texts[0] == texts[1]
    loaded = mg.load(tmp_path / "b" / "model.safetensors")
    assert loaded.sample(2, seed=3, length=20) == whole.sample(2, seed=3, length=20)
    assert loaded.tokenizer.describe() == TOKENIZER.describe()


@pytest.mark.compiled
def test_it_learns_the_text():
    data, test = parts()
    model = GPT(**{**SMALL, "width": 32, "lr": 5e-3, "steps": 200})
    history = mg.train(model, data, epochs=20, batch_size=16, test_images=test)
    assert history["test_loss"][-1] < 0.8 < 2.0 < history["test_loss"][0]
    assert history["test_bits_per_character"][-1] == pytest.approx(history["test_loss"][-1] / math.log(2))
    assert "sea" in "".join(model.sample(8, length=60))


def test_text_of_another_tokenizer_or_context_is_refused():
    model = GPT(**SMALL)
    for data in (parts(tokenizer=BytePairTokenizer())[0], parts(tokenizer=CharacterTokenizer(TEXT + "?"))[0]):
        with pytest.raises(DataError, match="cut by another tokenizer .* model.tokenizer"):
            mg.train(model, data, epochs=1)
    with pytest.raises(DataError, match="context of 8"):
        mg.train(model, parts(8)[0], epochs=1)
    with pytest.raises(DataError, match="trained on text"):
        mg.train(model, np.zeros((3, 28, 28), np.uint8), epochs=1)
    with pytest.raises(DataError, match="trained on images"):
        mg.train(VAE(hidden=(4,)), parts()[0], epochs=1)


def test_weights_of_a_run_with_another_tokenizer_do_not_load(tmp_path):
    GPT(**SMALL).save(tmp_path / "a.safetensors")
    other = GPT(**{**SMALL, "tokenizer": CharacterTokenizer(TEXT + "?!").describe()})
    with pytest.raises(CheckpointError, match="tokens.weight"):
        other.load_state_dict(mg.load(tmp_path / "a.safetensors").state_dict())
    arrays, metadata = mg.models.checkpoint.load(tmp_path / "a.safetensors")
    metadata["config"] = metadata["config"].replace("characters", "letters")
    mg.models.checkpoint.save(tmp_path / "b.safetensors", arrays, metadata)
    with pytest.raises(CheckpointError, match="not the description of a tokenizer"):
        mg.load(tmp_path / "b.safetensors")


def test_maps_and_probabilities_are_distributions():
    model, tokens = GPT(**SMALL), windows(1)[0, :9]
    maps = model.attention_maps(tokens)
    assert maps.shape == (2, 2, 9, 9) and np.isfinite(maps).all()
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
    assert not np.triu(maps, 1).any()
    p = model.next_probabilities(tokens)
    np.testing.assert_allclose(p.sum(1), 1)
    nll = -np.log(p[np.arange(8), tokens[1:]]).mean()
    np.testing.assert_allclose(nll, model.evaluate(tokens[None])["loss"], rtol=1e-5)
