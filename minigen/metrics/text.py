"""How good is generated text: how well it is predicted, how varied it is, and how much of it is copied.

Likelihood (perplexity, bits per character) says how well a model knows held-out text, and nothing about its samples;
distinct-n and self-BLEU say how much samples repeat themselves and each other, and nothing about whether they make
sense; the longest copy says whether they were learned by heart. Texts are cut into words and marks; of Chinese and
Japanese, which has no spaces, every character is a word.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ..errors import UsageError

__all__ = ["bleu", "copying", "distinct", "evaluate_text", "known_words", "longest_copy", "recovered_words",
           "self_bleu", "variety", "words"]

_ALONE = "\u3040-\u30ff\u3400-\u9fff"
_WORDS = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+|[^\w\s]")


class _Evaluated(Protocol):
    def evaluate(self, windows: np.ndarray) -> Mapping[str, float]:
        """`loss` in nats per token, and `bits_per_character`."""


def words(text: str) -> list[str]:
    """Words and marks in lower case: "No, no!" is no , no !"""
    return _WORDS.findall(text.lower())


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1))


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """distinct-n: different n-grams of words over all n-grams, in all texts together; 1 where none comes twice.

    Li et al. 2016, arXiv:1510.03055, section 4. It falls with the amount of text: compare equal amounts.
    """
    if n < 1:
        raise UsageError(f"distinct-{n}: expected n of at least 1")
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        counts += _ngrams(words(text), n)
    if not counts:
        raise UsageError(f"distinct-{n}: no text has {n} words; give longer ones")
    return len(counts) / counts.total()


def bleu(candidate: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> float:
    """BLEU-n of the words `candidate`: min(1, e^(1 - r/c)) (p_1 ... p_n)^(1/n), 0 where one precision is 0.

    p_k is the share of its k-grams that a reference has, each counted at most as often as in one reference; c is its
    length and r the length of a reference that is nearest to it. Papineni et al. 2002, section 2.3.
    """
    log_precision = 0.0
    for k in range(1, n + 1):
        own = _ngrams(candidate, k)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= _ngrams(reference, k)
        shared = (own & most).total()
        if not shared:
            return 0.0
        log_precision += math.log(shared / own.total()) / n
    nearest = min((len(r) for r in references), key=lambda r: (abs(r - len(candidate)), r))
    return math.exp(min(0.0, 1 - nearest / len(candidate)) + log_precision)


def self_bleu(texts: Sequence[str], n: int = 4) -> float:
    """The mean BLEU-n of each text against all others: 1 where all say the same, low where they differ.

    Zhu et al. 2018 (Texygen), arXiv:1802.01886, section 3.
    """
    if len(texts) < 2:
        raise UsageError(f"self-BLEU compares texts with each other: got {len(texts)}, expected at least 2")
    cut = [words(text) for text in texts]
    return sum(bleu(own, cut[:i] + cut[i + 1:], n) for i, own in enumerate(cut)) / len(cut)


def variety(texts: Sequence[str]) -> dict[str, float]:
    """distinct-1, distinct-2 and self-BLEU of at least 2 texts.

    Those of fewer than two words, as a model that has learned nothing writes some, are left out; 0 where no two
    are left.
    """
    if len(texts) < 2:
        raise UsageError(f"how varied texts are shows in several: got {len(texts)}, expected at least 2")
    told = [text for text in texts if len(words(text)) > 1]
    if len(told) < 2:
        return {"distinct_1": 0.0, "distinct_2": 0.0, "self_bleu": 0.0}
    return {"distinct_1": distinct(told, 1), "distinct_2": distinct(told, 2), "self_bleu": self_bleu(told)}


def longest_copy(text: str, source: str) -> str:
    """The longest passage of `text` that stands, character for character, in `source`."""
    begin = length = 0
    for i in range(len(text)):
        while i + length < len(text) and text[i:i + length + 1] in source:
            begin, length = i, length + 1
    return text[begin:begin + length]


def copying(texts: Sequence[str], train: str, held_out: str) -> dict[str, float]:
    """How many characters in a row are taken from the training text, at most, against what is ordinary.

    `longest_copy` is of the texts; `ordinary_copy` the same figure for as many passages of held-out text, of the same
    lengths and evenly spread: authors repeat themselves too. Far above it means learned by heart.
    """
    passages = []
    for i, text in enumerate(texts):
        start = i * max(0, len(held_out) - len(text)) // max(1, len(texts) - 1)
        passages.append(held_out[start:start + len(text)])
    return {"longest_copy": float(max(len(longest_copy(text, train)) for text in texts)),
            "ordinary_copy": float(max(len(longest_copy(text, train)) for text in passages))}


def known_words(texts: Sequence[str], source: str) -> float:
    """The share of the words of `texts` that occur in `source`: 1 where all are real words, 0 where there is none.

    Marks are not counted.
    """
    known = set(words(source))
    found = [word for text in texts for word in words(text) if word[0].isalnum()]
    return sum(word in known for word in found) / max(1, len(found))


def recovered_words(texts: Sequence[str], copies: Sequence[str]) -> float:
    """The share of the words and marks of `texts` that their copies have too, each as often: 1 where all come back."""
    pairs = [(_ngrams(words(text), 1), _ngrams(words(copy), 1)) for text, copy in zip(texts, copies, strict=True)]
    return sum((text & copy).total() for text, copy in pairs) / max(1, sum(text.total() for text, _ in pairs))


def evaluate_text(model: _Evaluated, windows: np.ndarray, samples: Sequence[str], train: str,
                  held_out: str) -> dict[str, float]:
    """All of it: likelihood on held-out `windows` (N, T + 1), variety and copying of `samples`.

    train, held_out: the two parts of the text. The same distinct-n and self-BLEU of held-out passages stand beside
    those of the samples, as `ordinary_...`.
    """
    varied = variety(samples)
    likelihood = model.evaluate(windows)
    length = max(1, *map(len, samples))
    passages = [held_out[i * length:(i + 1) * length] for i in range(min(len(samples), len(held_out) // length))]
    figures = {"perplexity": math.exp(likelihood["loss"]), "bits_per_character": likelihood["bits_per_character"],
               **varied}
    if len(passages) > 1:
        figures |= {f"ordinary_{name}": value for name, value in variety(passages).items()}
    return figures | copying(samples, train, held_out)
