"""Drawing text: the cache equals the uncached pass, each setting does what it says, a stop stops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigen as mg
from minigen.data import BytePairTokenizer, CharacterTokenizer
from minigen.errors import DataError, UsageError
from minigen.models import GPT, Sampling
from minigen.models.generate import Reader, generate, next_distribution

ALPHABET = CharacterTokenizer("abcdefgh \n")


@pytest.fixture(scope="module")
def model():
    model = GPT(tokenizer=ALPHABET.describe(), context=10, layers=2, heads=2, width=16, seed=3)
    for p in model.parameters():
        p.data *= 8 if p.ndim == 2 else 1  # far from uniform
    return model


@pytest.mark.parametrize("prompt", [1, 4, 10, 11, 37])
def test_logits_with_the_cache_are_those_without_token_by_token(model, prompt):
    """Also where the context is full and goes on from its later half, three times over."""
    tokens = np.random.default_rng(prompt).integers(0, ALPHABET.size, (3, prompt + 30))
    cached, plain = Reader(model, 3, cached=True), Reader(model, 3, cached=False)
    seen = []
    for part in np.split(tokens, range(prompt, prompt + 30), axis=1):
        with_cache, without = cached.read(part), plain.read(part)
        np.testing.assert_allclose(with_cache, without, atol=2e-4, rtol=1e-4)
        seen.append(without)
    assert np.ptp(np.stack(seen), axis=0).min() > 0.1  # it does depend on what was read


def test_up_to_the_context_the_cache_gives_what_one_pass_over_all_gives(model):
    tokens = np.random.default_rng(0).integers(0, ALPHABET.size, (2, 10))
    reader = Reader(model, 2)
    steps = np.stack([reader.read(tokens[:, i:i + 1]) for i in range(10)], axis=1)
    np.testing.assert_allclose(steps, model(tokens).numpy(), atol=2e-4, rtol=1e-4)


def test_cached_and_uncached_draw_the_same_text(model):
    start = np.array([[1, 2, 3]])
    drawn = [[int(t[0]) for t in itertools.islice(generate(model, start, mg.Generator(5), cached=cached), 60)]
             for cached in (True, False)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 2


LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1], [0.1, 0.1, 0.2, 0.6]]))


def test_temperature_top_k_and_top_p_are_their_definitions():
    p = np.exp(LOGITS)
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling()), p)
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(0.5)), p**2 / (p**2).sum(1, keepdims=True))
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(0)), [[1, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(1e-3)), [[1, 0, 0, 0], [0, 0, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(top_k=2)), [[2 / 3, 1 / 3, 0, 0], [0, 0, 0.25, 0.75]])
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(top_k=99)), p)
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(top_p=0.7)),
                               [[2 / 3, 1 / 3, 0, 0], [0, 0, 0.25, 0.75]])
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(top_p=1e-9)), [[1, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(top_p=1.0)), p)
    np.testing.assert_allclose(next_distribution(LOGITS, Sampling(top_k=3, top_p=0.8)),
                               [[2 / 3, 1 / 3, 0, 0], [0, 0, 0.25, 0.75]])


def test_equal_logits_leave_exactly_k():
    assert (next_distribution(np.zeros((1, 9)), Sampling(top_k=4)) > 0).sum() == 4


@given(st.integers(0, 2**32), st.floats(0, 50), st.none() | st.integers(1, 9), st.none() | st.floats(1e-6, 1))
def test_whatever_the_settings_it_is_a_distribution(seed, temperature, top_k, top_p):
    logits = 30 * np.random.default_rng(seed).standard_normal((2, 7))
    p = next_distribution(logits, Sampling(temperature, top_k, top_p))
    assert np.isfinite(p).all() and (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p[np.arange(2), logits.argmax(1)] > 0).all()
    assert top_k is None or ((p > 0).sum(1) <= top_k).all()


class Constant:
    """A language model that always says the same."""

    training = False

    def __init__(self, p, tokenizer):
        self.p, self.tokenizer = np.asarray(p), tokenizer
        self.config = type("Config", (), {"context": 4})

    def __call__(self, tokens, caches=None):
        if caches:
            caches[0].length += tokens.shape[1]
        return mg.tensor(np.broadcast_to(np.log(self.p), (*tokens.shape, len(self.p))))

    def new_caches(self, size):
        return [mg.nn.KeyValueCache(size, 4, 1)]

    def evaluating(self):
        return mg.no_grad()


def test_tokens_come_as_often_as_their_probability_says():
    p = np.array([0.5, 0.3, 0.0, 0.2])
    with np.errstate(divide="ignore"):
        model = Constant(p, CharacterTokenizer("abcd"))
        n = 4000
        drawn = next(generate(model, np.zeros((n, 1), int), mg.Generator(1)))
    counts = np.bincount(drawn, minlength=4)
    assert counts[2] == 0
    assert (abs(counts - n * p) < 4 * np.sqrt(n * p * (1 - p)) + 1e-9).all()


@pytest.mark.parametrize("settings, message", [
    ({"temperature": -0.1}, "temperature = -0.1"), ({"temperature": math.nan}, "temperature = nan"),
    ({"temperature": math.inf}, "temperature = inf"), ({"top_k": 0}, "top_k = 0"), ({"top_p": 0.0}, "top_p = 0.0"),
    ({"top_p": 1.5}, "top_p = 1.5"), ({"top_p": math.nan}, "top_p = nan"),
])
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Sampling(**settings)


def test_impossible_requests_are_refused(model):
    for request in ({"n": 0}, {"length": 0}, {"stop": ""}):
        with pytest.raises(UsageError):
            model.sample(**request)
    with pytest.raises(DataError, match="'X', 'Y': not among the 10 characters"):
        model.sample(prompt="abXY")
    with pytest.raises(DataError):
        next(model.stream(prompt="Z"))


def test_samples_are_a_function_of_seed_and_settings_and_stream_alike(model):
    texts = model.sample(3, seed=1, length=40, prompt="ab")
    assert texts == model.sample(3, seed=1, length=40, prompt="ab") and len(set(texts)) == 3
    assert all(len(text) == 40 for text in texts)
    assert texts != model.sample(3, seed=2, length=40, prompt="ab")
    pieces = list(model.stream(seed=1, length=40, prompt="ab"))
    assert len(pieces) == 40 and "".join(pieces) == model.sample(1, seed=1, length=40, prompt="ab")[0]


def test_a_stop_ends_each_text_where_it_first_comes(model):
    free = model.sample(6, seed=4, length=80)
    stop = next(a + b for a, b in itertools.product("abcdefgh", repeat=2) if sum(a + b in t for t in free) > 1)
    stopped = model.sample(6, seed=4, length=80, stop=stop)
    assert stopped == [text.split(stop)[0] for text in free]
    assert "".join(model.stream(seed=4, length=80, stop=stop)) == model.sample(1, seed=4, length=80, stop=stop)[0]


def test_a_stop_longer_than_a_token_is_held_back_and_never_shown():
    tokenizer = CharacterTokenizer("ab")
    model = Constant([0.5, 0.5], tokenizer)
    from minigen.models.generate import complete, stream

    settings = {"seed": 3, "prompt": "", "length": 400, "sampling": Sampling()}
    pieces = list(stream(model, **settings, stop="aabba"))
    whole = complete(model, 1, **settings, stop=None)[0]
    assert "aabba" in whole and "".join(pieces) == whole.split("aabba")[0]


def test_characters_of_several_bytes_come_whole():
    tokenizer = BytePairTokenizer()
    p = np.full(256, 1e-12)
    from minigen.models.generate import stream

    order = list("é天".encode())

    class Cycle(Constant):
        read = 0

        def __call__(self, tokens, caches=None):
            self.p = p.copy()
            self.p[order[self.read % len(order)]] = 1
            self.read += 1
            return super().__call__(tokens, caches)

    pieces = list(stream(Cycle(p, tokenizer), seed=0, prompt="", length=10, sampling=Sampling(0), stop=None))
    assert "".join(pieces) == "é天é天" and all("\ufffd" not in piece for piece in pieces)
    cut = list(stream(Cycle(p, tokenizer), seed=0, prompt="", length=3, sampling=Sampling(0), stop=None))
    assert "".join(cut) == "é\ufffd"
