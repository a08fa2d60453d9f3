"""Figures of generated text against values worked out by hand."""

import math

import numpy as np
import pytest

from minigen.errors import UsageError
from minigen.metrics.text import bleu, copying, distinct, evaluate_text, longest_copy, self_bleu, variety, words


def test_words_are_words_and_marks_in_lower_case():
    assert words("No, NO! It's 5 天.") == ["no", ",", "no", "!", "it", "'", "s", "5", "天", "."]
    assert words("今天abc好。") == ["今", "天", "abc", "好", "。"]  # no spaces: every character is a word


def test_distinct_is_a_share_of_ngrams():
    assert distinct(["a b a b"], 1) == 0.5
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct(["a b", "a b"], 2) == 0.5
    assert distinct(["a b c"], 3) == 1
    with pytest.raises(UsageError, match="no text has 3 words"):
        distinct(["a b"], 3)
    with pytest.raises(UsageError):
        distinct(["a"], 0)


def test_bleu_of_the_papers_examples():
    """Papineni et al. 2002, section 2.1: seven times `the` has a clipped unigram precision of 2/7."""
    references = ["the cat is on the mat".split(), "there is a cat on the mat".split()]
    assert bleu("the the the the the the the".split(), references, 1) == pytest.approx(2 / 7)
    assert bleu(references[0], references) == pytest.approx(1)
    short = "the cat is on".split()
    assert bleu(short, references) == pytest.approx(math.exp(1 - 6 / 4))
    assert bleu("the cat sat on the mat".split(), references, 2) == pytest.approx(math.sqrt(5 / 6 * 3 / 5))
    assert bleu("dogs bark".split(), references) == 0


def test_self_bleu_is_one_for_copies_and_zero_for_strangers():
    same = "it is a truth universally acknowledged"
    assert self_bleu([same] * 3) == pytest.approx(1)
    assert self_bleu(["a b c d e", "f g h i j"]) == 0
    mixed = self_bleu([same, same, "f g h i j k"])
    assert mixed == pytest.approx(2 / 3)
    with pytest.raises(UsageError, match="at least 2"):
        self_bleu([same])


def test_variety_of_texts_some_of_which_say_nothing():
    said = ["a b a b", "c d e"]
    expected = {"distinct_1": distinct(said, 1), "distinct_2": distinct(said, 2), "self_bleu": 0.0}
    assert variety(said) == expected == variety(["", *said, "word", "  "])
    assert set(variety(["a", "", "b c"]).values()) == {0.0}
    with pytest.raises(UsageError, match="got 1, expected at least 2"):
        variety(["a b c"])


def test_longest_copy_equals_the_search_over_all_passages():
    rng = np.random.default_rng(0)
    for _ in range(20):
        text, source = ("".join(rng.choice(list("abc"), n)) for n in (30, 60))
        longest = max(j - i for i in range(30) for j in range(i, 31) if text[i:j] in source)
        found = longest_copy(text, source)
        assert len(found) == longest and found in text and found in source
    assert longest_copy("xyz", "abc") == "" == longest_copy("", "abc")


def test_copying_stands_beside_what_is_ordinary():
    rng = np.random.default_rng(1)
    train, held_out = ("".join(rng.choice(list("abcdefgh "), n)) for n in (3000, 900))
    figures = copying([train[100:200], "x" * 50], train, held_out)
    assert figures["longest_copy"] == 100
    assert 2 <= figures["ordinary_copy"] < 12


def test_all_figures_of_a_model():
    class Model:
        def evaluate(self, windows):
            return {"loss": math.log(7), "bits_per_character": 1.5}

    held_out = "one two three four five six seven eight nine ten " * 20
    figures = evaluate_text(Model(), np.zeros((1, 2)), ["a b c d a b", "c d e f g h"], "a b c d", held_out)
    assert figures["perplexity"] == pytest.approx(7) and figures["bits_per_character"] == 1.5
    assert 0 < figures["ordinary_distinct_1"] <= 1
    assert figures["longest_copy"] == 7 and figures["distinct_1"] == pytest.approx(8 / 12)
    assert all(math.isfinite(value) for value in figures.values())
    assert {"self_bleu", "ordinary_self_bleu", "ordinary_distinct_2", "ordinary_copy"} <= figures.keys()
