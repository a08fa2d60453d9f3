"""Text: Austen's *Pride and Prejudice* from the package, tinyshakespeare by download, or a file of the user's own.

A text is cut in two, the first nine tenths to train on and the last to be tested on, and each part into windows of
`context` + 1 tokens: a model reads all but the last and is asked for all but the first.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pooch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .. import kernels
from ..errors import DataError, UsageError
from .fetch import fetch_files
from .mnist import SAMPLE_FOLDER
from .streams import stream_seed
from .tokenizer import Tokenizer

__all__ = ["AUSTEN", "SHAKESPEARE", "RawText", "TextDataset", "load_text", "read_text", "split_text"]

AUSTEN, SHAKESPEARE = "austen", "tinyshakespeare"

_AUSTEN_FILE = SAMPLE_FOLDER / "pride_and_prejudice.txt.gz"
_AUSTEN_SHA256 = "2e44edaa4946d64ad541c68e0224f5d672f43bf3ce2a8a0b0637ad5e02fc6eb3"
_SHAKESPEARE_FILE = "tinyshakespeare.txt"
_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_SHAKESPEARE_MIRRORS = {
    "input.txt": ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
}
_MAX_BYTES = 1 << 30  # 1 GiB: everything here is held in memory at once
_TEST_SHARE = 0.1
_WINDOWS = stream_seed(0, b"windows!")


@dataclass(frozen=True)
class RawText:
    """A text and where it came from: `name` is what a run's record calls it, `note` one line for a person."""

    text: str
    name: str
    source: str  # "sample", "data-dir", "cache", "download" or "file"
    origin: str
    note: str


def load_text(name: str = AUSTEN, *, data_dir: str | Path | None = None, download: bool = True) -> RawText:
    """The text called "austen" or "tinyshakespeare", or the one in the UTF-8 file `name`.

    tinyshakespeare (A. Karpathy's 1.1 MB of Shakespeare) is looked for in `data_dir` or MINIGEN_DATA as
    tinyshakespeare.txt, then in the user's cache, then downloaded over https; its SHA-256 must be the pinned one.
    Raises DataError.
    """
    if name == AUSTEN:
        text = _checked(gzip.decompress(_AUSTEN_FILE.read_bytes()), _AUSTEN_SHA256, str(_AUSTEN_FILE))
        return _raw(text, AUSTEN, "sample", str(_AUSTEN_FILE), "Pride and Prejudice by Jane Austen, in the package")
    if name == SHAKESPEARE:
        return _shakespeare(data_dir, download)
    path = Path(name).expanduser()
    return _raw(read_text(path), path.name, "file", str(path), path.name)


def _raw(text: str, name: str, source: str, origin: str, what: str) -> RawText:
    return RawText(text, name, source, origin, f"{what}: {len(text):,} characters, {len(set(text))} different ones")


def read_text(path: str | Path) -> str:
    """The text in a UTF-8 file, line ends as they are; DataError where it is none, or empty."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: {path.stat().st_size} bytes, more than the {_MAX_BYTES} that fit; cut it")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {raw[error.start]:#04x} at {error.start}); a text file is needed: if "
                        "it is one, save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{path}: has a zero byte at {text.index(chr(0))}, so it is binary; a text file is needed")
    if not text.strip():
        raise DataError(f"{path}: an empty text; nothing to learn from")
    if len(set(text)) == 1:
        raise DataError(f"{path}: every character is {text[0]!r}; nothing to learn from")
    return text


def _shakespeare(data_dir: str | Path | None, download: bool) -> RawText:
    what = "tinyshakespeare, collected by A. Karpathy"
    named = data_dir if data_dir is not None else os.environ.get("MINIGEN_DATA") or None
    if named is not None and (Path(named).expanduser() / _SHAKESPEARE_FILE).is_file():
        path = Path(named).expanduser() / _SHAKESPEARE_FILE
        text = _checked(path.read_bytes(), _SHAKESPEARE_SHA256, str(path))
        return _raw(text, SHAKESPEARE, "data-dir", str(path), what)
    folder = Path(pooch.os_cache("minigen")) / "text"
    path, source = folder / "input.txt", "cache"
    if not path.is_file():
        if not download:
            raise DataError(f"tinyshakespeare is not in {folder}, and downloading is switched off; put "
                            f"{_SHAKESPEARE_FILE} into a folder and name that with --data-dir")
        source = "download"
        try:
            fetch_files({"input.txt": _SHAKESPEARE_SHA256}, folder, _SHAKESPEARE_MIRRORS)
        except OSError as error:
            raise DataError(f"tinyshakespeare could not be downloaded ({error}); put {_SHAKESPEARE_FILE} into a folder "
                            "and name that with --data-dir, or train on another text") from error
    text = _checked(path.read_bytes(), _SHAKESPEARE_SHA256, str(path))
    return _raw(text, SHAKESPEARE, source, str(path), what)


def _checked(raw: bytes, sha256: str, where: str) -> str:
    came = hashlib.sha256(raw).hexdigest()
    if came != sha256:
        raise DataError(f"{where}: wrong hash: SHA-256 is {came}, expected {sha256}; delete it and fetch it again")
    return raw.decode("utf-8")


@dataclass(frozen=True, eq=False)
class TextDataset:
    """A tokenized text cut into windows, with its provenance: for training what `Dataset` is for images.

    tokens: (n,) int64. context: how many of them a model sees. The other fields are those of `Dataset`.
    """

    tokens: NDArray[np.int64]
    context: int
    tokenizer: Tokenizer
    name: str
    source: str
    origin: str
    note: str

    unit = "windows"
    labels = None

    def __post_init__(self) -> None:
        if len(self.tokens) < 2 * self.context:
            raise DataError(f"{self.name}: {len(self.tokens)} tokens in this part of the text, expected at least twice "
                            f"the context of {self.context}: give a longer text, or a smaller --context")

    def __len__(self) -> int:
        """Windows in an epoch, in which every token is asked for about once."""
        return (len(self.tokens) - self.context) // self.context

    @property
    def items(self) -> NDArray[np.int64]:
        """All windows from the beginning on, one after the other: (N, context + 1), a view."""
        return sliding_window_view(self.tokens, self.context + 1)[:: self.context]

    def batch(self, indices: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """The windows with these numbers, (batch, context + 1). Where the text is cut differs from epoch to epoch."""
        shift = int(kernels.random_bits(_WINDOWS, epoch, 1)[0]) % self.context
        return sliding_window_view(self.tokens, self.context + 1)[indices * self.context + shift]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the tokens and of what they stand for."""
        digest = hashlib.sha256(self.tokenizer.describe().encode())
        digest.update(np.ascontiguousarray(self.tokens, "<i8").data)
        return digest.hexdigest()

    def record(self) -> dict[str, str | int]:
        """What a run's configuration keeps, ready for JSON. `origin` stays out: a private path."""
        return {"name": self.name, "source": self.source, "count": len(self), "sha256": self.sha256}


def require_cut(context: int, tokenizer: Tokenizer) -> None:
    """UsageError unless a text can be cut by this tokenizer for a context of so many tokens."""
    if not isinstance(context, int | np.integer) or context < 1:
        raise UsageError(f"context = {context!r}: expected a whole number of tokens, at least 1")
    if not hasattr(tokenizer, "encode"):
        raise UsageError(f"tokenizer is of type {type(tokenizer).__name__}: expected one with `encode`, such as "
                         "minigen.data.CharacterTokenizer(text)")


def text_parts(raw: RawText) -> tuple[str, str]:
    """The first nine tenths of the characters to train on, and the rest to be tested on; UsageError for no RawText."""
    if not isinstance(raw, RawText):
        raise UsageError(f"a text of type {type(raw).__name__}: expected a RawText, which minigen.data.load_text gives")
    border = len(raw.text) - int(len(raw.text) * _TEST_SHARE)
    return raw.text[:border], raw.text[border:]


def split_text(raw: RawText, context: int, tokenizer: Tokenizer) -> tuple[TextDataset, TextDataset]:
    """Both of `text_parts`, as windows. DataError for a text that is too short, UsageError for other arguments."""
    require_cut(context, tokenizer)
    parts = zip(("train", "test"), text_parts(raw), strict=True)
    train, test = (
        TextDataset(tokenizer.encode(part), context, tokenizer, f"{raw.name}-{name}", raw.source, raw.origin, raw.note)
        for name, part in parts
    )
    return train, test
