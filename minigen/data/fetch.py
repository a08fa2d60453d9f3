"""Bring files into the user's cache: https only, hash checked, and never a hang.

pooch keeps the cache (temporary file, SHA-256, then a rename). What is added here is patience with an end:
`requests` bounds each wait for a socket but not the wait for a name server, nor the sum over a host's many
addresses. So the transfer runs in a thread of its own and is given up when no bytes arrive for `PATIENCE`, or when
all files together have taken `TOTAL`; the files that came until then stay, so the next attempt has less to do.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pooch

__all__ = ["MIRRORS", "PATIENCE", "TOTAL", "fetch_files"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
PATIENCE = 4.0  # seconds without a single new chunk before a mirror is given up
TOTAL = 60.0  # seconds for all files together
_CHUNK = 1 << 14  # bytes: with PATIENCE also the slowest rate to accept, 4 KiB/s
_MAX_BYTES = 1 << 24  # the largest file has under 10 MB; a server that sends more is not the one we want


def fetch_files(hashes: Mapping[str, str], folder: Path, mirrors: Mapping[str, Sequence[str]] | None = None) -> None:
    """Put the files {name: SHA-256} into `folder`, each from the first mirror that has it, all within `TOTAL`.

    mirrors: for each name the addresses to which it is appended; MNIST's unless given.
    A good copy already there is kept. Raises OSError with every mirror's reason when none serves.
    """
    pooch.get_logger().setLevel("WARNING")  # where MNIST comes from is told in our own words
    deadline = time.monotonic() + TOTAL
    for name, sha256 in hashes.items():
        _fetch_file(name, sha256, folder, deadline, MIRRORS if mirrors is None else mirrors[name])


def _fetch_file(name: str, sha256: str, folder: Path, deadline: float, mirrors: Sequence[str]) -> None:
    downloader = functools.partial(_download, deadline=deadline)
    reasons = []
    for mirror in mirrors:
        try:
            pooch.retrieve(mirror + name, f"sha256:{sha256}", fname=name, path=folder, downloader=downloader)
            return
        except (OSError, ValueError) as error:  # requests raises OSErrors, pooch ValueError for a wrong hash
            reasons.append(f"{mirror.split('/')[2]}: {_reason(error)}")
    raise OSError("; ".join(reasons))


def _reason(error: Exception) -> str:
    """One short line. Of a lost connection requests tells a chain of nested objects: the name is enough."""
    text = str(error).split("\n")[0]
    if not text or "ConnectionPool(" in text:
        return type(error).__name__
    return f"{type(error).__name__}: {text if len(text) <= 100 else text[:97] + '...'}"


class _Progress:
    """What pooch takes for a progress bar: notes when bytes came, stops what is given up or too long."""

    def __init__(self) -> None:
        self.total = 0
        self.received = 0
        self.last = time.monotonic()
        self.given_up = False

    def update(self, count: int) -> None:
        self.received += count
        self.last = time.monotonic()
        if self.given_up or self.received > _MAX_BYTES:
            raise OSError(f"stopped after {self.received} bytes")

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        pass


def _download(url: str, output_file: str, _pooch: object, *, deadline: float) -> None:
    """A pooch downloader that gives up, at the latest at `deadline` (time.monotonic).

    Redirects are refused: they could lead to plain http.
    """
    progress = _Progress()
    transfer = pooch.HTTPDownloader(
        progressbar=progress, chunk_size=_CHUNK, timeout=PATIENCE, allow_redirects=False
    )
    failure: list[BaseException] = []

    def work() -> None:
        try:
            transfer(url, output_file, None)
        except BaseException as error:  # handed to the caller's thread, whatever it is
            failure.append(error)

    thread = threading.Thread(target=work, name="minigen-download", daemon=True)
    thread.start()
    _wait(thread, progress, deadline)
    if failure:
        raise failure[0]


def _wait(thread: threading.Thread, progress: _Progress, deadline: float) -> None:
    """Return when `thread` ends; raise TimeoutError when nothing came for PATIENCE seconds, and at `deadline`."""
    try:
        while thread.is_alive():
            thread.join(0.1)
            if thread.is_alive() and time.monotonic() - progress.last > PATIENCE:
                raise TimeoutError(f"no answer for {PATIENCE:g} seconds")
            if thread.is_alive() and time.monotonic() > deadline:
                raise TimeoutError(f"too slow: not all files came within {TOTAL:g} seconds")
    finally:
        progress.given_up = True  # also when the user presses Ctrl-C: the thread ends at its next chunk
