"""Sentences: a text cut at the ends of its sentences, each padded to one length, with how many of its tokens are real.

A row of 1 + T whole numbers is one sentence of n <= T tokens:

    n, x_1, ..., x_n, padding

What stands in the padding means nothing and may be anything.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .text import RawText, require_cut, text_parts
from .tokenizer import Tokenizer

__all__ = ["SentenceDataset", "pack", "sentences", "split_sentences"]

Rows = NDArray[np.int64]

_LEAST = 3  # words, or Chinese or Japanese characters: "Yes." would be learned by heart
_WORDS = re.compile("[\u3040-\u30ff\u3400-\u9fff]|\\w+")
_TITLES = "Mr Mrs Ms Dr St Esq Messrs Rev Col Capt Gen Hon Prof".split()
_CLOSING = "[\"'\u201d\u2019)\\]]*"
# Where a sentence ends: before the space behind its mark, not in the midst of one ("Oh!" said she); in Chinese and
# Japanese, which have no such space, behind the mark itself.
_END = re.compile("".join(rf"(?<!\b{title}\.)" for title in _TITLES)
                  + f"(?:(?<=[.!?\u2026]){_CLOSING}\\s+(?![a-z\u00df-\u00f6\u00f8-\u00ff\u0430-\u044f])|(?<=[;:])\\s+"
                  "|(?<=[\u3002\uff01\uff1f\uff1b])[\u201d\u2019]*)")
_MARKED = re.compile(f"[.!?;:\u2026\u3002\uff01\uff1f\uff1b]{_CLOSING}$")


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, each on one line.

    A sentence ends with . ! ? or their like, and also with ; or :, behind which writers of long sentences begin another
    one; not after a title such as Mr. A paragraph ends a sentence too, but one without a mark, a heading, is left out.
    Where speech of several sentences leaves a quotation mark without its partner, the mark goes. UsageError for what is
    no str.

    >>> sentences('Chapter 1\\n\\n"Mr. Bingley!" she cried; "are you\\nhere? Come in."')
    ['"Mr. Bingley!" she cried;', 'are you here?', 'Come in.']
    """
    if not isinstance(text, str):
        raise UsageError(f"a text of type {type(text).__name__}: expected a str")
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        ends = [0, *(match.end() for match in _END.finditer(line)), len(line)]
        for part in (line[a:b].strip() for a, b in itertools.pairwise(ends)):
            if part.count('"') % 2 or part.count("\u201c") != part.count("\u201d"):
                part = part.strip(' "\u201c\u201d')
            if _MARKED.search(part):
                found.append(part)
    return found


def pack(texts: Sequence[str], tokenizer: Tokenizer, context: int) -> Rows:
    """The sentences as rows (N, 1 + context). DataError for one that is empty, has more tokens or unknown symbols."""
    rows = np.zeros((len(texts), 1 + context), np.int64)
    for row, text in zip(rows, texts, strict=True):
        tokens = tokenizer.encode(" ".join(text.split()))
        if not len(tokens):
            raise DataError("an empty sentence: give at least one word")
        if len(tokens) > context:
            raise DataError(f"{text[:30]!r}...: a sentence of {len(tokens)} tokens, but this model takes at most "
                            f"{context}: give a shorter one")
        row[0] = len(tokens)
        row[1:1 + len(tokens)] = tokens
    return rows


@dataclass(frozen=True, eq=False)
class SentenceDataset:
    """Sentences of at most `context` tokens, with their provenance: what `TextDataset` is for windows.

    rows: (N, 1 + context) int64. texts: the same as they are read. The other fields are those of `Dataset`.
    """

    rows: Rows
    texts: tuple[str, ...]
    context: int
    tokenizer: Tokenizer
    name: str
    source: str
    origin: str
    note: str

    unit = "sentences"
    labels = None

    def __post_init__(self) -> None:
        if not len(self.rows):
            raise DataError(f"{self.name}: no sentence of {_LEAST} words or more and at most {self.context} tokens in "
                            "this part of the text: give a longer text, with marks at the ends of sentences, or a "
                            "larger --context")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def items(self) -> Rows:
        """All sentences, as rows."""
        return self.rows

    def batch(self, indices: NDArray[np.int64], epoch: int) -> Rows:
        """The sentences with these numbers: (batch, 1 + context)."""
        return self.rows[indices]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the tokens and of what they stand for."""
        digest = hashlib.sha256(self.tokenizer.describe().encode())
        digest.update(np.ascontiguousarray(self.rows, "<i8").data)
        return digest.hexdigest()

    def record(self) -> dict[str, str | int]:
        """What a run's configuration keeps, ready for JSON. `origin` stays out: a private path."""
        return {"name": self.name, "source": self.source, "count": len(self), "sha256": self.sha256}


def split_sentences(raw: RawText, context: int, tokenizer: Tokenizer) -> tuple[SentenceDataset, SentenceDataset]:
    """The sentences of both of `text_parts`, of three words or more and at most `context` tokens.

    A sentence that comes twice is there once, and one of the first part is not in the second.
    """
    require_cut(context, tokenizer)
    train, test = text_parts(raw)
    seen: set[str] = set()
    return tuple(_dataset(_fresh(sentences(part), seen), raw, name, context, tokenizer)  # type: ignore[return-value]
                 for part, name in ((train, "train"), (test, "test")))


def _fresh(texts: Iterable[str], seen: set[str]) -> list[str]:
    """The sentences of some words that are not in `seen`, which takes them in."""
    found = [text for text in dict.fromkeys(texts) if text not in seen and len(_WORDS.findall(text)) >= _LEAST]
    seen.update(found)
    return found


def _dataset(texts: list[str], raw: RawText, name: str, context: int, tokenizer: Tokenizer) -> SentenceDataset:
    kept = tuple(text for text in texts if len(tokenizer.encode(text)) <= context)
    return SentenceDataset(pack(kept, tokenizer, context), kept, context, tokenizer, f"{raw.name}-{name}", raw.source,
                           raw.origin, raw.note)
