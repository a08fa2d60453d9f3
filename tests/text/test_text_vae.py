"""The VAE of sentences: its equations, padding that means nothing, resuming, and what is called a collapse."""

import math

import numpy as np
import pytest

import minigen as mg
from minigen.data import CharacterTokenizer, RawText, pack, split_sentences, split_text
from minigen.errors import DataError, ShapeError, UsageError
from minigen.losses import vae as losses
from minigen.metrics import known_words, posterior_verdict, recovered_words, sentence_figures
from minigen.models import GPT, Sampling, TextVAE
from minigen.training import Interrupted, Silent

WORDS = "the sea shells she sells by shore are sure and I know".split()
rng = np.random.default_rng(0)
LINES = [" ".join(rng.choice(WORDS, rng.integers(3, 5))) + rng.choice([".", "!"]) for _ in range(150)]
TEXT = "\n\n".join(LINES)
TOKENIZER = CharacterTokenizer(TEXT)
SMALL = {"tokenizer": TOKENIZER.describe(), "context": 28, "latent": 3, "layers": 1, "heads": 2, "width": 16,
         "warmup": 5, "steps": 60, "anneal": 20}
PLAIN = {**SMALL, "dropout": 0.0, "word_dropout": 0.0}


def parts(context=28, lines=LINES):
    return split_sentences(RawText("\n\n".join(lines), "shells", "file", "", ""), context, TOKENIZER)


def loud(**changes):
    """A model whose weights are far from their small beginnings, so that every part of it matters."""
    model = TextVAE(**{**PLAIN, **changes})
    for p in model.parameters():
        p.data *= 5 if p.ndim == 2 else 1
    return model


def rows(n=4):
    return pack(LINES[:n], TOKENIZER, 28)


# Padding ----------------------------------------------------------------------------------------------------


def loss_and_gradients(model, batch):
    mu, log_var = model.posterior(batch)
    z = losses.reparameterise(mu, log_var, mg.Generator(1).normal(mu.shape))
    nll = model.reconstruction(batch, z)
    (mg.mean(nll) + losses.kl_normal(mu, log_var)).backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters().items()}
    model.zero_grad()
    return nll.numpy(), mu.numpy(), gradients


def test_what_stands_in_the_padding_changes_neither_loss_nor_gradients():
    model, batch = loud(), rows()
    other = batch.copy()
    for row in other:
        row[1 + row[0]:] = np.random.default_rng(3).integers(0, model.blank + 1, 28 - row[0])
    assert not np.array_equal(batch, other)
    before, after = loss_and_gradients(model, batch), loss_and_gradients(model, other)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    for name, gradient in before[2].items():
        assert np.isfinite(gradient).all() and abs(gradient).max() > 0, name
        np.testing.assert_allclose(gradient, after[2][name], atol=1e-6 * abs(gradient).max(), err_msg=name)
    other[0, 1] = (other[0, 1] + 1) % TOKENIZER.size  # a token that is there does matter
    assert loss_and_gradients(model, other)[0][0] != before[0][0]


def test_the_amount_of_padding_changes_neither_loss_nor_gradients():
    """A model of twice the context with the same weights sees the same sentences with more padding behind them."""
    short, long = loud(), loud(context=56)
    for name, p in long.named_parameters().items():
        own = short.named_parameters()[name].data
        p.data[:len(own)] = own
    wide = np.hstack([rows(), np.full((4, 28), 2)])
    before, after = loss_and_gradients(short, rows()), loss_and_gradients(long, wide)
    np.testing.assert_allclose(before[0], after[0], rtol=1e-5)
    np.testing.assert_allclose(before[1], after[1], atol=1e-5)
    for name, gradient in before[2].items():
        scale = abs(gradient).max()
        np.testing.assert_allclose(gradient, after[2][name][:len(gradient)], atol=2e-5 * scale, err_msg=name)
        assert not after[2][name][len(gradient):].any(), name


def test_a_sentence_does_not_depend_on_its_batch():
    model, batch = loud(), rows(5)
    together, z = model.posterior(batch)[0].numpy(), np.ones((5, 3), "float32")
    nll = model.reconstruction(batch, mg.tensor(z)).numpy()
    for i in range(5):
        np.testing.assert_allclose(model.posterior(batch[i:i + 1])[0].numpy()[0], together[i], atol=1e-5)
        one = model.reconstruction(batch[i:i + 1], mg.tensor(z[:1])).item()
        np.testing.assert_allclose(one, nll[i], rtol=1e-5)


# The equations ----------------------------------------------------------------------------------------------


def test_reconstruction_is_the_sum_of_log_probabilities_one_token_after_another():
    model, batch = loud(), rows(2)
    z = np.random.default_rng(1).standard_normal((2, 3)).astype("float32")
    found = model.reconstruction(batch, mg.tensor(z)).numpy()
    for row, own, nll in zip(batch, z, found, strict=True):
        symbols = [model.end, *row[1:1 + row[0]], model.end]
        expected = 0.0
        for i in range(1, len(symbols)):
            logits = model(np.array([symbols[:i]]), mg.tensor(own[None])).numpy()[0, -1].astype("float64")
            assert logits.shape == (TOKENIZER.size + 1,)
            expected -= logits[symbols[i]] - np.logaddexp.reduce(logits)
        np.testing.assert_allclose(nll, expected, rtol=1e-4)


def test_the_encoder_sees_all_tokens_at_every_position_and_the_decoder_none_that_comes():
    model = loud()
    a = rows(1)
    b = a.copy()
    b[0, a[0, 0]] = (b[0, a[0, 0]] + 1) % TOKENIZER.size  # the last token
    z = mg.tensor(np.ones((1, 3), "float32"))
    first, second = (model(x[:, 1:], z).numpy()[0] for x in (a, b))
    np.testing.assert_array_equal(first[:a[0, 0] - 1], second[:a[0, 0] - 1])
    layer, x = model.encoder[0].attention, np.random.default_rng(0).standard_normal((1, 5, 16)).astype("float32")
    changed = x.copy()
    changed[0, 4] += 1
    moved = layer(mg.tensor(x)).numpy() - layer(mg.tensor(changed)).numpy()
    assert (abs(moved[0]).max(1) > 0).all()
    np.testing.assert_allclose(layer.weights(mg.tensor(x)).numpy().sum(-1), 1, rtol=1e-5)
    assert (layer.weights(mg.tensor(x)).numpy() > 0).all()


def test_every_position_of_the_decoder_is_told_z():
    model, tokens = loud(), rows(1)[:, 1:]
    a, b = (model(tokens, mg.tensor(np.full((1, 3), value, "float32"))).numpy()[0] for value in (0, 1))
    assert (abs(a - b).max(1) > 1e-3).all()


def test_free_bits_are_their_equation_and_give_no_gradient_below():
    mu = mg.tensor(np.array([[0.1, 2.0], [-0.1, 1.0]]), requires_grad=True)
    log_var = mg.tensor(np.zeros((2, 2)), requires_grad=True)
    loss = losses.kl_free_bits(mu, log_var, 0.5)
    each = 0.5 * (np.array([[0.1, 2.0], [-0.1, 1.0]]) ** 2).mean(0)
    np.testing.assert_allclose(loss.item(), np.maximum(each, 0.5).sum())
    loss.backward()
    np.testing.assert_allclose(mu.grad.numpy(), [[0, 1.0], [0, 0.5]])
    np.testing.assert_allclose(losses.kl_free_bits(mu, log_var, 0).item(), losses.kl_normal(mu, log_var).item())
    leaf = mg.tensor(np.random.default_rng(0).standard_normal((3, 4)), requires_grad=True)
    assert mg.gradcheck(lambda m, v: losses.kl_free_bits(m, v, 0.3), leaf, leaf * 0.7)


def test_the_weight_of_the_kl_rises_along_a_logistic_curve_or_is_there_from_the_start():
    model = TextVAE(**{**SMALL, "anneal": 100, "beta": 0.8})
    weights = np.array([model.kl_weight(step) for step in (0, 50, 100, 10_000)])
    np.testing.assert_allclose(weights, 0.8 / (1 + np.exp([6, 0, -6, -1194])))
    assert TextVAE(**{**SMALL, "anneal": 0}).kl_weight(0) == 1


def test_word_dropout_blanks_that_share_of_the_input_in_training_alone(monkeypatch):
    model, seen = TextVAE(**{**PLAIN, "word_dropout": 0.3}), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda tokens, z: seen.append(tokens.numpy()) or forward(tokens, z))
    batch, z = np.repeat(rows(), 40, 0), mg.tensor(np.zeros((160, 3), "float32"))
    model.reconstruction(batch, z)
    with model.evaluating():
        model.reconstruction(batch, z)
    blanks = seen[0] == model.blank
    assert not blanks[:, 0].any() and abs(blanks[:, 1:].mean() - 0.3) < 4 * math.sqrt(0.21 / blanks.size)
    np.testing.assert_array_equal(seen[0][~blanks], seen[1][~blanks])
    assert not (seen[1] == model.blank).any() and (seen[1][:, 0] == model.end).all()


# Training ---------------------------------------------------------------------------------------------------


def trained(path, epochs, *, interrupt=None, resume=False, compile=False):
    data, test = parts(lines=LINES[:50])
    model = TextVAE(**SMALL)

    class Stop(Silent):
        def step(self, done):
            if done.step == interrupt:
                raise Interrupted(done.step, None)

    try:
        mg.train(model, data, epochs=epochs, batch_size=16, test_images=test, out=path, resume=resume, report=Stop(),
                 checkpoint_seconds=0, compile=compile)
    except Interrupted:
        pass
    return model


@pytest.mark.parametrize("compile", [False, True])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(tmp_path, compile):
    whole = trained(tmp_path / "a", 2, compile=compile)
    trained(tmp_path / "b", 2, interrupt=5, compile=compile)
    again = trained(tmp_path / "b", 2, resume=True, compile=compile)
    for name, array in whole.training_state().items():
        np.testing.assert_array_equal(array, again.training_state()[name], err_msg=name)
    names = {p.name for p in (tmp_path / "b").iterdir()}
    assert {"samples.txt", "reconstructions.txt", "interpolations.txt", "losses.png", "history.csv"} <= names
    for epoch in range(3):
        texts = [(tmp_path / run / "samples" / f"epoch_{epoch:04d}.txt").read_text() for run in "ab"]
        assert texts[0] == texts[1] and "reconstructions" in texts[0] and "from '" in texts[0]
    loaded = mg.load(tmp_path / "b" / "model.safetensors")
    assert loaded.sample(3, seed=3) == whole.sample(3, seed=3)


def test_the_compiled_step_is_the_step():
    models = TextVAE(**SMALL), TextVAE(**SMALL)
    compiled = mg.compile(models[1].train_step)
    for i in range(4):
        batch = parts()[0].rows[16 * i:16 * i + 16]
        a, b = models[0].train_step(batch), compiled(batch)
        for name, value in a.items():
            np.testing.assert_allclose(value, float(b[name]), rtol=1e-4, err_msg=name)
    for name, p in models[0].named_parameters().items():
        np.testing.assert_allclose(p.numpy(), models[1].named_parameters()[name].numpy(), atol=1e-3, err_msg=name)


@pytest.fixture(scope="module")
def learned():
    data, test = parts()
    model = TextVAE(**{**SMALL, "width": 32, "latent": 8, "lr": 5e-3, "steps": 250, "anneal": 200, "free": 0.8,
                       "dropout": 0.0})
    history = mg.train(model, data, epochs=60, batch_size=32, test_images=test, compile=True)
    return model, test, history


@pytest.mark.compiled
def test_it_learns_to_use_z(learned):
    model, test, history = learned
    last = history.rows[-1]
    assert last["test_reconstruction"] < 0.9 * last["test_without_z"] and last["test_kl"] > 4
    assert last["test_negative_elbo"] == pytest.approx(last["test_reconstruction"] + last["test_kl"], rel=1e-6)
    assert last["test_active_units"] >= 4
    copies = model.reconstruct(test.texts)
    assert recovered_words(test.texts, copies) > recovered_words(test.texts, copies[1:] + copies[:1]) + 0.1
    assert known_words(model.sample(20), TEXT) > 0.5


@pytest.mark.compiled
def test_figures_agree_with_evaluate_and_the_bound_is_tighter_than_the_elbo(learned):
    model, test, _ = learned
    found, plain = sentence_figures(model, test.rows, samples=30), model.evaluate(test.rows)
    assert found.kl.value == pytest.approx(plain["kl"], rel=1e-4)
    assert found.without_z.value == pytest.approx(plain["without_z"], rel=1e-4)
    assert found.reconstruction.value == pytest.approx(plain["reconstruction"], rel=0.1)  # other z
    assert found.reconstruction.value < found.without_z.value < found.another_z.value
    assert -found.bound.value < found.negative_elbo.value
    assert found.active_units == plain["active_units"] and found.tokens == test.rows[:, 0].mean() + 1
    with pytest.raises(DataError, match="give 2 or more"):
        sentence_figures(model, test.rows[:1])


def test_an_untrained_model_has_collapsed_and_the_verdict_says_so():
    model, (_, test) = TextVAE(**SMALL), parts()
    found = model.evaluate(test.rows)
    words = posterior_verdict(found["reconstruction"], found["without_z"], found["kl"], int(found["active_units"]), 3)
    assert words.startswith("the posterior has collapsed")
    assert posterior_verdict(40, 60, 20, 8, 8).startswith("no collapse, z is used: KL 20 nats, 8 of 8")
    assert "5 of its units are idle" in posterior_verdict(40, 60, 20, 3, 8)
    for collapsed in (posterior_verdict(40, 60, 20, 0, 8), posterior_verdict(59, 60, 9, 8, 8)):
        assert "has collapsed" in collapsed
    assert posterior_verdict(59, 60, 9, 8, 8).endswith("to 59.0 nats per sentence, less than a twentieth off")


# Sentences --------------------------------------------------------------------------------------------------


@pytest.mark.compiled
def test_what_is_decoded_greedily_is_the_likeliest_next_symbol_each_time(learned):
    model, test, _ = learned
    z = model.encode(test.texts[:3])
    for own, text in zip(z, model.decode(z), strict=True):
        symbols = [model.end]
        with mg.no_grad(), model.evaluating():
            while len(symbols) <= model.config.context:
                symbols.append(int(model(np.array([symbols]), mg.tensor(own[None])).numpy()[0, -1].argmax()))
                if symbols[-1] == model.end:
                    break
        assert text == " ".join(TOKENIZER.decode(s for s in symbols if s != model.end).split())


@pytest.mark.compiled
def test_samples_and_interpolations_are_functions_of_their_arguments(learned):
    model, test, _ = learned
    assert model.sample(6, seed=1) == model.sample(6, seed=1) != model.sample(6, seed=2)
    warm = model.sample(6, seed=1, sampling=Sampling(1.0))
    assert warm == model.sample(6, seed=1, sampling=Sampling(1.0)) != model.sample(6, seed=1)
    way = model.interpolate(test.texts[0], test.texts[1], 5)
    assert len(way) == 5 and [way[0], way[-1]] == model.reconstruct(test.texts[:2])
    middle = model.encode(test.texts[:2]).mean(0, keepdims=True)
    assert way[2] == model.decode(middle)[0]
    assert model.training and model.decode(np.zeros((0, 8))) == []


def test_impossible_requests_and_settings_are_refused():
    model = TextVAE(**SMALL)
    for text, message in (("", "empty sentence"), ("the " * 20, "at most 28"), ("xyz", "not among")):
        with pytest.raises(DataError, match=message):
            model.interpolate("the sea.", text)
    with pytest.raises(UsageError, match="two ends"):
        model.interpolate("the sea.", "the shore.", 1)
    with pytest.raises(UsageError):
        model.sample(0)
    with pytest.raises(ShapeError, match="latents"):
        model.decode(np.zeros((2, 4)))
    with pytest.raises(ShapeError, match=r"rows \(N, 29\)"):
        model.train_step(np.zeros((2, 28), int))
    with pytest.raises(ShapeError):
        model.evaluate(rows()[:0])
    for changes in ({"heads": 3}, {"latent": 0}, {"free": -1.0}, {"word_dropout": 1.0}, {"anneal": -1}, {"beta": -1.0}):
        with pytest.raises(UsageError):
            TextVAE(**{**SMALL, **changes})


def test_text_cut_for_the_other_kind_of_model_is_refused():
    windows, _ = split_text(RawText(TEXT, "shells", "file", "", ""), 28, TOKENIZER)
    gpt = GPT(tokenizer=TOKENIZER.describe(), context=28, layers=1, heads=1, width=8)
    with pytest.raises(DataError, match="cut into windows, but a text-vae .*split_sentences"):
        mg.train(TextVAE(**SMALL), windows, epochs=1)
    with pytest.raises(DataError, match="cut into sentences, but a gpt .*split_text"):
        mg.train(gpt, parts()[0], epochs=1)
    with pytest.raises(DataError, match="context of 20"):
        mg.train(TextVAE(**SMALL), parts(20)[0], epochs=1)
    with pytest.raises(DataError, match="split_sentences"):
        mg.train(TextVAE(**SMALL), np.zeros((3, 28, 28), np.uint8), epochs=1)


def test_known_and_recovered_words_are_shares():
    assert known_words(["the cat, the dxg!"], "The cat sat; a dog.") == 0.75
    assert recovered_words(["a b b .", "c"], ["b a", "x c"]) == pytest.approx(3 / 5)
    assert known_words(["?!"], "a") == recovered_words([""], ["a"]) == 0
