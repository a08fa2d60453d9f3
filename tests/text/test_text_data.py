"""Texts and windows: where they come from, what is refused, and that every token is asked for."""

import gzip
import hashlib

import numpy as np
import pytest

from minigen.data import (
    CharacterTokenizer,
    RawText,
    TextDataset,
    load_text,
    read_text,
    sentences,
    split_sentences,
    split_text,
)
from minigen.data import text as module
from minigen.errors import DataError, UsageError

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30


def raw(text=TEXT):
    return RawText(text, "fox", "file", "", "")


def test_the_text_in_the_package_is_the_novel():
    novel = load_text()
    assert (novel.name, novel.source) == ("austen", "sample")
    assert novel.text.lstrip().startswith("PRIDE AND PREJUDICE\n\nBy Jane Austen")
    assert novel.text.endswith("had been the means of uniting them.")
    assert len(novel.text) == 684_767
    licence = (module.SAMPLE_FOLDER / "DATA-LICENSE").read_text()
    assert "pride_and_prejudice.txt.gz" in licence and hashlib.sha256(novel.text.encode()).hexdigest() in licence


def test_a_damaged_text_in_the_package_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"Emma"))
    monkeypatch.setattr(module, "_AUSTEN_FILE", tmp_path / "x.gz")
    with pytest.raises(DataError, match="wrong hash"):
        load_text()


def test_tinyshakespeare_comes_from_a_folder_the_cache_or_the_network(tmp_path, monkeypatch):
    content = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"
    monkeypatch.setattr(module, "_SHAKESPEARE_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(module.pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv("MINIGEN_DATA", raising=False)
    with pytest.raises(DataError, match="downloading is switched off.*--data-dir"):
        load_text("tinyshakespeare", download=False)

    def refuse(hashes, folder, mirrors):
        raise OSError("no network")

    def fetch(hashes, folder, mirrors):
        assert all(address.startswith("https://") for name in hashes for address in mirrors[name])
        folder.mkdir(parents=True)
        (folder / "input.txt").write_bytes(content)

    monkeypatch.setattr(module, "fetch_files", refuse)
    with pytest.raises(DataError, match="could not be downloaded .no network."):
        load_text("tinyshakespeare")
    monkeypatch.setattr(module, "fetch_files", fetch)
    assert load_text("tinyshakespeare").source == "download"
    assert load_text("tinyshakespeare", download=False).source == "cache"
    (tmp_path / "tinyshakespeare.txt").write_bytes(content)
    assert load_text("tinyshakespeare", data_dir=tmp_path).source == "data-dir"
    monkeypatch.setenv("MINIGEN_DATA", str(tmp_path))
    assert load_text("tinyshakespeare").text == content.decode()
    (tmp_path / "tinyshakespeare.txt").write_bytes(content + b"!")
    with pytest.raises(DataError, match="wrong hash"):
        load_text("tinyshakespeare", data_dir=tmp_path)


@pytest.mark.parametrize("content, message", [
    (b"aaaa", "every character is 'a'"),
    (b"", "an empty text"), (b" \n\t ", "an empty text"), (b"\x89PNG\r\n\x1a\n\x00", "not UTF-8"),
    (b"abc\0def", "zero byte at 3"), ("caf\xe9".encode("latin-1"), "not UTF-8 .byte 0xe9 at 3."),
])
def test_what_is_no_text_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_text(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_text(str(tmp_path / "none.txt"))


def test_line_ends_and_marks_of_the_file_are_kept(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffa\r\nb\u2028c".encode())
    assert load_text(str(path)).text == "a\r\nb\u2028c"


def test_the_parts_are_nine_tenths_and_the_rest():
    train, test = split_text(raw(), 8, CharacterTokenizer(TEXT))
    assert (train.name, test.name) == ("fox-train", "fox-test")
    assert train.tokenizer.decode(train.tokens) + test.tokenizer.decode(test.tokens) == TEXT
    assert len(test.tokens) == len(TEXT) // 10


def test_windows_ask_for_every_token_once_in_an_epoch():
    data, _ = split_text(raw(), 10, CharacterTokenizer(TEXT))
    indices = np.arange(len(data))
    shifts = set()
    for epoch in range(20):
        windows = data.batch(indices, epoch)
        assert windows.shape == (len(data), 11)
        shift = next(s for s in range(10) if (data.tokens[s:s + 11] == windows[0]).all()
                     and (data.tokens[s + 10:s + 21] == windows[1]).all())
        shifts.add(shift)
        np.testing.assert_array_equal(windows[:, 1:].ravel(), data.tokens[shift + 1:][:10 * len(data)])
        np.testing.assert_array_equal(data.batch(indices[:3], epoch), windows[:3])
    assert len(shifts) > 3
    items = data.items
    np.testing.assert_array_equal(items[:, 1:].ravel(), data.tokens[1:][:10 * len(items)])
    assert len(data.tokens) - 1 - 10 * len(items) < 10


def test_a_text_shorter_than_the_context_is_one_clear_error():
    with pytest.raises(DataError, match=r"fox-test: 135 tokens in this part of the text, .* smaller --context"):
        split_text(raw(), 100, CharacterTokenizer(TEXT))


@pytest.mark.parametrize("call, message", [
    (lambda: split_text("abc", 3, CharacterTokenizer(TEXT)), "a text of type str: expected a RawText, which"),
    (lambda: split_text(raw(), 3, None), "tokenizer is of type NoneType: expected one with `encode`"),
    (lambda: split_text(raw(), 0, CharacterTokenizer(TEXT)), "context = 0: expected a whole number of tokens"),
    (lambda: split_sentences(raw(), 2.5, CharacterTokenizer(TEXT)), "context = 2.5: expected a whole number"),
    (lambda: sentences(3), "a text of type int: expected a str"),
])
def test_arguments_that_are_no_text_and_no_tokenizer(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_the_hash_tells_texts_and_tokenizers_apart():
    def dataset(tokens, alphabet="ab"):
        return TextDataset(np.array(tokens), 2, CharacterTokenizer(alphabet), "x", "file", "", "")

    same = dataset([0, 1, 0, 1]).sha256
    assert dataset([0, 1, 0, 1]).sha256 == same
    assert len({same, dataset([0, 1, 1, 1]).sha256, dataset([0, 1, 0, 1], "ac").sha256}) == 3
    assert dataset([0, 1, 0, 1]).record()["sha256"] == same
