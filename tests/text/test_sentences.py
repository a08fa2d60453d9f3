"""Sentences: where they end, how they are padded, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.data import BytePairTokenizer, CharacterTokenizer, RawText, load_text, pack, sentences, split_sentences
from minigen.errors import DataError


@pytest.mark.parametrize("text, expected", [
    ("One here. Two there! Three?", ["One here.", "Two there!", "Three?"]),
    ("It is so; and so:\nthus.", ["It is so;", "and so:", "thus."]),
    ("Mr. Collins met Mrs. Hill.", ["Mr. Collins met Mrs. Hill."]),
    ('"Oh!" said she. "Go."', ['"Oh!" said she.', '"Go."']),
    ('"It is. They are not. Come."', ["It is.", "They are not.", "Come."]),
    ("Chapter 1\n\nIt begins.\n\n\n  THE END", ["It begins."]),
    ("It cost 3.50 and no more.", ["It cost 3.50 and no more."]),
    ("No. I do not.", ["No.", "I do not."]),
    ("天地玄黃。宇宙洪荒！日月", ["天地玄黃。", "宇宙洪荒！"]),
    ("“A b.” “C d. E.”", ["“A b.”", "C d.", "E."]),
    ("", []),
])
def test_a_sentence_ends_at_its_mark(text, expected):
    assert sentences(text) == expected


@given(st.text(alphabet="ab .!?;:\"\n。“”", max_size=60))
def test_no_letter_is_lost_but_of_what_has_no_mark(text):
    found = sentences(text)
    assert all(found) and all("\n" not in part and part == part.strip() for part in found)
    letters = "".join(c for c in text if c in "ab")
    kept = "".join(c for part in found for c in part if c in "ab")
    remaining = iter(letters)
    assert all(c in remaining for c in kept)  # in order
    if text and "\n" not in text and text[-1] in ".!?;:":
        assert kept == letters


def test_rows_hold_the_length_the_tokens_and_padding():
    tokenizer = CharacterTokenizer("abc ")
    rows = pack(["ab", " a  b\nc "], tokenizer, 6)
    assert rows.shape == (2, 7) and rows.dtype == np.int64 and rows[:, 0].tolist() == [2, 5]
    assert [tokenizer.decode(row[1:1 + row[0]]) for row in rows] == ["ab", "a b c"]
    assert pack([], tokenizer, 6).shape == (0, 7)
    for text, message in (("", "empty sentence"), (" \n", "empty sentence"), ("abcabca", "7 tokens.*at most 6"),
                          ("abx", "'x': not among")):
        with pytest.raises(DataError, match=message):
            pack(["ab", text], tokenizer, 6)


def test_the_novel_is_cut_into_two_parts_without_a_common_sentence():
    raw = load_text()
    tokenizer = BytePairTokenizer.train(raw.text, 512)
    train, test = split_sentences(raw, 24, tokenizer)
    assert len(train) > 1500 and len(test) > 200 and len(set(train.texts)) == len(train)
    assert not set(train.texts) & set(test.texts)
    flat = " ".join(raw.text.split())
    for data in (train, test):
        assert len(data.texts) == len(data) == len(data.items) and data.unit == "sentences"
        assert data.rows[:, 0].min() > 2 and data.rows[:, 0].max() == 24
        for text, row in list(zip(data.texts, data.rows, strict=True))[::50]:
            assert tokenizer.decode(row[1:1 + row[0]]) == text and text in flat
    assert train.sha256 != test.sha256 and train.record()["name"] == "austen-train"
    np.testing.assert_array_equal(train.batch(np.array([3, 1]), 7), train.rows[[3, 1]])


def test_a_chinese_text_has_sentences():
    raw = RawText("".join(f"天地{chr(0x4e00 + i)}黃。好。" for i in range(60)), "chinese.txt", "file", "", "")
    train, test = split_sentences(raw, 8, CharacterTokenizer(raw.text))
    assert 50 <= len(train) <= 54 and len(train) + len(test) in (59, 60)
    assert all(len(text) == 5 for text in test.texts[1:])


def test_a_text_without_sentences_says_so():
    raw = RawText("no mark " * 400, "plain.txt", "file", "", "")
    with pytest.raises(DataError, match="plain.txt-train: no sentence of 3 words .* marks at the ends"):
        split_sentences(raw, 10, BytePairTokenizer())
