"""Compiled kernels kept on disk, in a private directory, and never trusted further than that.

Numba's own cache is a pickle next to the source. This one is one file an overload: a SHA-256 digest, then the
pickled machine code. The name of the file is a digest of all that the code depends on: the function's byte
code, the types, the processor, the versions, Numba's settings, and the source of every module of this package, so
that editing a formula recompiles the loops that call it. Whatever goes wrong - truncated or foreign content, a
directory that cannot be written or that others can write - the kernel is compiled again and nothing is raised.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

__all__ = ["PrivateCache", "cache_directory"]

_DIGEST = 32  # bytes of a SHA-256
_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML")
"""Numba's, of those that an environment variable changes, which make other machine code."""


def cache_directory() -> Path:
    """The folder of compiled kernels: `numba` under MINIGEN_CACHE_DIR, or under the user's cache folder."""
    chosen = os.environ.get("MINIGEN_CACHE_DIR")
    if chosen:
        return Path(chosen) / "numba"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "minigen" / "numba"


def _private(directory: Path) -> bool:
    """Whether the directory is ours and nobody else can write there: unpickling a stranger's file runs it."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return False
    if os.name == "nt":  # access lists, not mode bits; the user's profile is private already
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def _source_stamp() -> bytes:
    """A digest of every source file that CPU kernels are made of, by content."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted([*package.parent.glob("*.py"), *package.glob("**/*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def _describe(function: Callable[..., Any]) -> str:
    """What tells apart two functions made by the same factory: their byte code and what they close over, and so on
    for the functions that they close over.
    """
    code = function.__code__
    closed_over = [_describe_value(cell.cell_contents) for cell in function.__closure__ or ()]
    return repr(
        (function.__module__, function.__qualname__, code.co_code, code.co_names, code.co_consts, closed_over)
    )


def _describe_value(value: Any) -> str:
    function = getattr(value, "py_func", value)  # a jitted function is known by the one it was made of
    if inspect.isfunction(function):
        return _describe(function)
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else repr(value)


class PrivateCache(_Cache):
    """The cache of one jitted function, in the interface that Numba's dispatcher expects."""

    def __init__(self, function: Callable[..., Any], options: str) -> None:
        self._description = _describe(function) + options

    @property
    def cache_path(self) -> str:
        return str(cache_directory())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled overload, or None when there is no sound copy of it."""
        target_context.refresh()
        try:
            path = self._path(sig, target_context.codegen())
            if not _private(path.parent):
                return None
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
                return None
            return CompileResult._rebuild(target_context, *pickle.loads(content[_DIGEST:]))
        except Exception:  # a cache may fail in any way it likes; the answer is always to compile
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the overload, in one atomic step, if the directory is (or can be made) private."""
        if data.library.has_dynamic_globals:
            return  # machine code with addresses of this process in it
        with contextlib.suppress(Exception):
            path = self._path(sig, data.codegen)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _private(path.parent):
                _write_atomically(path, dumps(data._reduce()))

    def _path(self, sig: Any, codegen: Any) -> Path:
        versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
        settings = [getattr(numba.config, name) for name in _SETTINGS]
        identity = repr((self._description, str(sig), codegen.magic_tuple(), versions, settings))
        digest = hashlib.sha256(_source_stamp() + identity.encode()).hexdigest()
        return cache_directory() / f"{digest[:40]}.bin"

    def enable(self) -> None:
        """Part of Numba's interface: this cache is always on."""

    def disable(self) -> None:
        """Part of Numba's interface: this cache is always on."""

    def flush(self) -> None:
        """Part of Numba's interface: old files are never read again, and may be deleted at any time."""


def _write_atomically(path: Path, payload: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(payload).digest() + payload)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
