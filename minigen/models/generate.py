"""Drawing text from a language model, a token at a time: what temperature, top-k and top-p do, and the cache.

The next token is drawn from the model's probabilities p after

    temperature  p_i^(1/T) / sum_j p_j^(1/T);  0 takes the likeliest
    top-k        only the k likeliest (Fan, Lewis & Dauphin 2018, arXiv:1805.04833, section 5)
    top-p        only the likeliest whose probabilities together reach p (Holtzman et al. 2020, arXiv:1904.09751, eq. 2)

in this order. A model sees at most `context` tokens: when they are full, it goes on from the later half of them, so
that with a cache the cost of reading them again is shared by half a context of tokens.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..autograd import no_grad
from ..data.tokenizer import Tokenizer
from ..errors import DataError, UsageError
from ..nn import KeyValueCache
from ..random import Generator

__all__ = ["PLAIN", "LanguageModel", "Reader", "Sampling", "complete", "generate", "next_distribution", "stream"]


class LanguageModel(Protocol):
    """What is needed of a model."""

    config: Any  # with a `context`
    tokenizer: Tokenizer
    training: bool

    def __call__(self, *args: Any) -> Any:
        """The logits (N, T, symbols), a Tensor, of tokens (N, T) and perhaps the caches of what they follow on."""

    def new_caches(self, size: int) -> list[KeyValueCache]:
        """Empty caches."""

    def evaluating(self) -> Any:
        """A context without dropout."""


_COLDEST = 1e-9  # below, as at 0: a quotient by it could overflow


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; by default from the model's own probabilities."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature = {self.temperature}: expected 0 (the likeliest token) or more, and finite")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k = {self.top_k}: expected 1 or more, or none for all tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p = {self.top_p}: expected above 0 and at most 1, or none for all tokens")


PLAIN = Sampling()


def next_distribution(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The probabilities (N, symbols), float64, that the next tokens are drawn from, of logits (N, symbols)."""
    x = logits.astype(np.float64)
    if sampling.temperature < _COLDEST:
        return np.eye(x.shape[1])[x.argmax(1)]
    x = (x - x.max(1, keepdims=True)) / sampling.temperature
    p = np.exp(x)
    if sampling.top_k is None and sampling.top_p is None:
        return p / p.sum(1, keepdims=True)
    order = np.argsort(-x, axis=1, kind="stable")
    p = np.take_along_axis(p, order, 1)
    if sampling.top_k is not None:
        p[:, sampling.top_k:] = 0
    p /= p.sum(1, keepdims=True)
    if sampling.top_p is not None:
        before = np.cumsum(p, axis=1) - p  # the likeliest is kept whatever top_p is
        p[before >= sampling.top_p] = 0
        p /= p.sum(1, keepdims=True)
    kept = np.zeros_like(p)
    np.put_along_axis(kept, order, p, 1)
    return kept


class Reader:
    """Reads tokens and says what may come next; it remembers all that it has read.

    cached: keep the keys and values of what was read. Without, everything in sight is read again. Both say the same.
    """

    def __init__(self, model: LanguageModel, size: int, *, cached: bool = True) -> None:
        self.model = model
        self.cached = cached
        self.tokens = np.zeros((size, 0), np.int64)
        self._start = 0  # the first token in sight
        self._caches: list[KeyValueCache] | None = None

    def read(self, tokens: np.ndarray) -> np.ndarray:
        """The logits (N, symbols) of what follows on all that was read and `tokens` (N, t)."""
        self.tokens = np.concatenate([self.tokens, tokens], axis=1)
        total, context = self.tokens.shape[1], self.model.config.context
        if total - self._start > context:
            self._start, self._caches = total - max(1, context // 2), None
        if self._caches is None:
            self._caches = self.model.new_caches(len(tokens))
        caches = self._caches if self.cached else None
        unread = self.tokens[:, self._start + self._caches[0].length:]
        # To enter evaluation costs a walk over all layers, a third of the time of one token: only where it is not on.
        with no_grad(), self.model.evaluating() if self.model.training else contextlib.nullcontext():
            return self.model(unread, caches)[:, -1].to("cpu").numpy()


def generate(model: LanguageModel, tokens: np.ndarray, rng: Generator, sampling: Sampling = PLAIN, *,
             cached: bool = True) -> Iterator[np.ndarray]:
    """Without end, the next token of each sequence, (N,): drawn after tokens (N, T > 0) and what was drawn before."""
    reader = Reader(model, len(tokens), cached=cached)
    while True:
        cumulative = next_distribution(reader.read(tokens), sampling).cumsum(1)
        u = rng.uniform((len(tokens), 1), "float64").numpy() * cumulative[:, -1:]
        drawn = (cumulative <= u).sum(1)
        yield drawn
        tokens = drawn[:, None]


def complete(model: LanguageModel, n: int, *, seed: int, prompt: str, length: int, sampling: Sampling,
             stop: str | None) -> list[str]:
    """`n` texts that go on after `prompt`, each of at most `length` tokens, and ending before the first `stop`."""
    texts, going = [""] * n, set(range(n))
    with model.evaluating():
        for parts in _parts(model, n, seed, prompt, length, sampling, stop):
            for i in sorted(going):
                texts[i] += parts[i]
                if stop is not None and stop in texts[i]:
                    texts[i] = texts[i][:texts[i].index(stop)]
                    going.remove(i)
            if not going:
                break
    return texts


def stream(model: LanguageModel, *, seed: int, prompt: str, length: int, sampling: Sampling,
           stop: str | None) -> Iterator[str]:
    """The one text of `complete(model, 1, ...)` in pieces; what may be the beginning of `stop` is held back."""
    text, told = "", 0
    for (part,) in _parts(model, 1, seed, prompt, length, sampling, stop):
        text += part
        if stop is not None and stop in text:
            yield text[told:text.index(stop)]
            return
        safe = len(text) - (len(stop) - 1 if stop else 0)
        if safe > told:
            yield text[told:safe]
            told = safe
    if told < len(text):
        yield text[told:]


def _parts(model: LanguageModel, n: int, seed: int, prompt: str, length: int, sampling: Sampling,
           stop: str | None) -> Iterator[list[str]]:
    """For each token what it adds to the text of each of `n` sequences; a character of several tokens comes whole."""
    if n < 1 or length < 1:
        raise UsageError(f"cannot draw {n} texts of {length} tokens: ask for at least one of each")
    if stop == "":
        raise UsageError("stop is empty, which every text contains: give the text to stop at, or none")
    start = model.tokenizer.encode(prompt or _beginning(model.tokenizer))
    pieces = model.tokenizer.pieces()
    decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in range(n)]
    tokens = generate(model, np.tile(start, (n, 1)), Generator(seed).fork("samples"), sampling)
    for drawn in itertools.islice(tokens, length):
        yield [decoder.decode(pieces[i]) for decoder, i in zip(decoders, drawn, strict=True)]
    yield [decoder.decode(b"", True) for decoder in decoders]


def _beginning(tokenizer: Tokenizer) -> str:
    """What stands for no prompt at all: the end of a line, after which anything may begin."""
    try:
        tokenizer.encode("\n")
        return "\n"
    except DataError:
        return tokenizer.decode([0])
