"""Tokenizers: exact on any input, the same after saving, and what byte pairs are."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.data import BytePairTokenizer, CharacterTokenizer, tokenizer_from
from minigen.errors import DataError, UsageError

TEXTS = st.text(max_size=60)
CHINESE = "天地玄黃,宇宙洪荒。日月盈昃,辰宿列張。"


@given(TEXTS.filter(bool), st.data())
def test_characters_come_back_exactly(text, data):
    tokenizer = CharacterTokenizer(text)
    piece = data.draw(st.text(alphabet=sorted(set(text)), max_size=20))
    for whole in (text, piece):
        tokens = tokenizer.encode(whole)
        assert tokens.dtype == np.int64 and len(tokens) == len(whole)
        assert tokenizer.decode(tokens) == whole
        assert not len(tokens) or 0 <= tokens.min() <= tokens.max() < tokenizer.size
    again = tokenizer_from(tokenizer.describe())
    assert again.describe() == tokenizer.describe()
    np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))


@given(TEXTS, TEXTS)
def test_byte_pairs_take_any_text_and_give_it_back_exactly(learned, text):
    tokenizer = BytePairTokenizer.train(learned, 270)
    for whole in (learned, text):
        tokens = tokenizer.encode(whole)
        assert tokenizer.decode(tokens) == whole
        assert b"".join(tokenizer.pieces()[i] for i in tokens) == whole.encode()
    again = tokenizer_from(tokenizer.describe())
    assert again.size == tokenizer.size <= 270
    np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))


def test_a_chinese_text_works_with_both():
    for tokenizer in (CharacterTokenizer(CHINESE), BytePairTokenizer.train(CHINESE * 9, 280), BytePairTokenizer()):
        assert tokenizer_from(tokenizer.describe()).decode(tokenizer.encode(CHINESE)) == CHINESE
    assert BytePairTokenizer().encode("天").tolist() == list("天".encode())


def test_merges_are_those_of_the_algorithm_written_down_naively():
    """Sennrich et al. 2016, algorithm 1: count all pairs, merge the most frequent, begin again."""
    text = "low low low lower lower newest newest newest newest widest widest " * 3
    parts = [list(word.encode()) for word in [f" {w}" if i else w for i, w in enumerate(text.split())]]
    expected = []
    for symbol in range(256, 270):
        pairs = Counter(pair for part in parts for pair in itertools.pairwise(part))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        expected.append(best)
        for i, part in enumerate(parts):
            joined = []
            while part:
                if tuple(part[:2]) == best:
                    joined.append(symbol)
                    part = part[2:]
                else:
                    joined.append(part.pop(0))
            parts[i] = joined
    assert BytePairTokenizer.train(text.rstrip(), 270).merges == tuple(expected)


def test_frequent_words_become_one_symbol_and_pairs_do_not_cross_them():
    tokenizer = BytePairTokenizer.train("the cat and the dog " * 50, 300)
    assert len(tokenizer.encode("the cat")) == 2
    assert all(piece.strip().isalpha() for piece in tokenizer.pieces()[256:])


def test_a_small_text_gives_fewer_symbols_than_asked_for():
    assert BytePairTokenizer.train("ab", 400).merges == ((97, 98),)
    assert BytePairTokenizer.train("", 400).size == 256


def test_bytes_that_are_no_text_are_replaced_and_not_an_error():
    assert BytePairTokenizer().decode([0xE5, 0x41]) == "\ufffdA"


def test_unknown_characters_are_one_error_that_names_them():
    with pytest.raises(DataError, match=r"^'\?', 'z': not among the 4 characters .*--tokenizer bytes"):
        CharacterTokenizer("abcd").encode("az?b")
    with pytest.raises(DataError, match="and 2 more"):
        CharacterTokenizer("z").encode("abcdefghij")
    with pytest.raises(DataError, match="empty"):
        CharacterTokenizer("")
    with pytest.raises(DataError, match="surrogate"):
        BytePairTokenizer().encode("a\ud800")
    with pytest.raises(UsageError, match="expected 256 or more"):
        BytePairTokenizer.train("abc", 255)


@pytest.mark.parametrize("description", [
    "", "[]", "{}", "null", '{"kind": "words"}', '{"kind": "characters"}', '{"kind": "characters", "alphabet": 3}',
    '{"kind": "bytes", "merges": [[300, 1]]}', '{"kind": "bytes", "merges": [[1]]}', "[" * 100_000,
    json.dumps({"kind": "characters", "alphabet": ""}),
])
def test_a_description_that_is_none_is_a_data_error(description):
    with pytest.raises(DataError):
        tokenizer_from(description)
