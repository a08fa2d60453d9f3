"""Tokenizers: text as whole numbers and back, exactly.

Two, both written out: characters, one number each, and byte pairs, which begin with the 256 bytes of UTF-8 and give
frequent neighbours a number of their own. `tokenizer_from` reads what `describe` gives: a model keeps it in its config.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError

__all__ = ["BytePairTokenizer", "CharacterTokenizer", "Tokenizer", "tokenizer_from"]

Tokens = NDArray[np.int64]
Pair = tuple[int, int]


class Tokenizer(Protocol):
    """What both have."""

    @property
    def size(self) -> int:
        """How many symbols there are."""

    def encode(self, text: str) -> Tokens:
        """The text as numbers from 0 to size - 1; DataError for a text that has no such form."""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of the numbers."""

    def pieces(self) -> list[bytes]:
        """The UTF-8 bytes of every symbol; of a byte pair tokenizer they may be part of a character."""

    def describe(self) -> str:
        """All that there is to it, as JSON."""


class CharacterTokenizer:
    """Every character of `alphabet` is a symbol, in the order of their code points.

    >>> CharacterTokenizer("hello").encode("hole").tolist()
    [1, 3, 2, 0]
    """

    def __init__(self, alphabet: str) -> None:
        self.alphabet = "".join(sorted(set(alphabet)))
        if not self.alphabet:
            raise DataError("a character tokenizer needs at least one character, got an empty text")
        self._codes = np.array([ord(c) for c in self.alphabet], np.int64)

    @property
    def size(self) -> int:
        """How many characters there are."""
        return len(self.alphabet)

    def encode(self, text: str) -> Tokens:
        """The place of each character in the alphabet: (characters,). DataError for one that is not in it."""
        codes = np.fromiter(map(ord, text), np.int64, len(text))
        places = np.minimum(np.searchsorted(self._codes, codes), self.size - 1)
        strangers = self._codes[places] != codes
        if strangers.any():
            unknown = sorted({text[i] for i in np.flatnonzero(strangers)})
            listed = ", ".join(map(repr, unknown[:8])) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
            raise DataError(f"{listed}: not among the {self.size} characters of the text that the tokenizer was made "
                            "from; leave them out, or use byte pairs (--tokenizer bytes), which take any text")
        return places

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of the numbers."""
        return "".join(self.alphabet[i] for i in tokens)

    def pieces(self) -> list[bytes]:
        """The UTF-8 bytes of every character."""
        return [c.encode("utf-8", "surrogatepass") for c in self.alphabet]

    def describe(self) -> str:
        """JSON, from which `tokenizer_from` makes it again."""
        return json.dumps({"kind": "characters", "alphabet": self.alphabet})


# A word with the space before it, or marks, or space: pairs are sought within these parts and never across.
_PARTS = re.compile(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+")


class BytePairTokenizer:
    """Symbols 0 to 255 are the bytes of UTF-8; symbol 256 + i is the pair merges[i] of earlier symbols.

    Byte pair encoding: Gage 1994; for words of a text Sennrich, Haddow & Birch 2016, arXiv:1508.07909, algorithm 1;
    on bytes Radford et al. 2019, section 2.2. It takes every text.

    >>> tokenizer = BytePairTokenizer.train("low lower lowest", 258)
    >>> tokenizer.decode(tokenizer.encode("slow \u732b"))
    'slow \u732b'
    """

    def __init__(self, merges: Sequence[Sequence[int]] = ()) -> None:
        self.merges: tuple[Pair, ...] = tuple((int(a), int(b)) for a, b in merges)
        self._bytes = [bytes([i]) for i in range(256)]
        for i, (a, b) in enumerate(self.merges):
            if not (0 <= a < 256 + i and 0 <= b < 256 + i):
                raise DataError(f"byte pair {i} is ({a}, {b}): expected two symbols below {256 + i}")
            self._bytes.append(self._bytes[a] + self._bytes[b])
        self._ranks = {pair: i for i, pair in enumerate(self.merges)}
        self._encode_part = functools.lru_cache(1 << 16)(self._merged)

    @classmethod
    def train(cls, text: str, size: int) -> BytePairTokenizer:
        """Merge the most frequent pair of neighbours, again and again, until there are `size` symbols.

        Of equally frequent pairs the lower comes first. A text with too few pairs gives fewer symbols.
        """
        if size < 256:
            raise UsageError(f"a vocabulary of {size}: expected 256 or more, the number of bytes")
        words = Counter(_PARTS.findall(text))
        parts, weights = [list(_utf8(word)) for word in words], list(words.values())
        counts, where = _count_pairs(parts, weights)
        queue = [(-count, pair) for pair, count in counts.items()]
        heapq.heapify(queue)
        merges: list[Pair] = []
        while len(merges) < size - 256 and queue:
            count, pair = heapq.heappop(queue)
            if counts[pair] != -count or count == 0:
                continue  # an old entry: a newer one with the right count is in the queue
            changed = _merge_everywhere(pair, 256 + len(merges), parts, weights, counts, where)
            merges.append(pair)
            for other in changed:
                if counts[other] > 0:
                    heapq.heappush(queue, (-counts[other], other))
        return cls(merges)

    @property
    def size(self) -> int:
        """How many symbols there are: 256, and one for each merge."""
        return len(self._bytes)

    def encode(self, text: str) -> Tokens:
        """The symbols of the text, (n,): its bytes, merged part by part. DataError for half a surrogate pair."""
        parts = [self._encode_part(part) for part in _PARTS.findall(text)]
        return np.fromiter(itertools.chain.from_iterable(parts), np.int64)

    def _merged(self, part: str) -> tuple[int, ...]:
        """The symbols of one part: the earliest merge that applies, until none does."""
        symbols = list(_utf8(part))
        while True:
            ranks = [self._ranks.get(pair, len(self.merges)) for pair in itertools.pairwise(symbols)]
            first = min(ranks, default=len(self.merges))
            if first == len(self.merges):
                return tuple(symbols)
            symbols = _replace(symbols, self.merges[first], 256 + first)

    def decode(self, tokens: Iterable[int]) -> str:
        """Bytes that are no UTF-8, which a model may well put together, become U+FFFD."""
        return b"".join(self._bytes[i] for i in tokens).decode("utf-8", "replace")

    def pieces(self) -> list[bytes]:
        """The bytes of every symbol, which may be part of a character."""
        return list(self._bytes)

    def describe(self) -> str:
        """JSON, from which `tokenizer_from` makes it again."""
        return json.dumps({"kind": "bytes", "merges": self.merges})


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"the text has half of a surrogate pair at {error.start}: not text; clean it") from error


def _count_pairs(parts: list[list[int]], weights: list[int]) -> tuple[Counter[Pair], dict[Pair, set[int]]]:
    """How often each pair occurs, and in which parts."""
    counts: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = defaultdict(set)
    for i, symbols in enumerate(parts):
        for pair in itertools.pairwise(symbols):
            counts[pair] += weights[i]
            where[pair].add(i)
    return counts, where


def _merge_everywhere(pair: Pair, symbol: int, parts: list[list[int]], weights: list[int], counts: Counter[Pair],
                      where: dict[Pair, set[int]]) -> set[Pair]:
    """Replace `pair` in all parts that have it, and keep the counts right; the pairs whose count changed."""
    changed: set[Pair] = set()
    for i in where.pop(pair):
        for old in itertools.pairwise(parts[i]):
            counts[old] -= weights[i]
            changed.add(old)
        parts[i] = _replace(parts[i], pair, symbol)
        for new in itertools.pairwise(parts[i]):
            counts[new] += weights[i]
            where[new].add(i)
            changed.add(new)
    return changed


def _replace(symbols: list[int], pair: Pair, symbol: int) -> list[int]:
    """Every occurrence of `pair`, from the left, as one `symbol`."""
    out: list[int] = []
    i = 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbol)
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def tokenizer_from(description: str) -> Tokenizer:
    """The tokenizer that `describe` described; DataError for anything else."""
    try:
        told: Any = json.loads(description)
        if told["kind"] == "characters":
            return CharacterTokenizer(told["alphabet"])
        if told["kind"] == "bytes":
            return BytePairTokenizer(told["merges"])
        raise ValueError(f"kind {told['kind']!r}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"not the description of a tokenizer ({type(error).__name__}: {error})") from error
