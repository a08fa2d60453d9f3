"""Arrays on disk: safetensors files that are whole and untouched, or an error that says so.

A checkpoint is an ordinary safetensors file (8 bytes of header length, a JSON header, the bytes of the arrays)
with a format tag and a SHA-256 of its content in the metadata. The file is written here rather than by the
safetensors package, whose metadata come in an arbitrary order: equal content gives equal bytes, so on reading the
whole header can be held against the only one that fits the content. Nothing is ever unpickled.

Format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from .errors import CheckpointError, OutputError, UsageError

__all__ = ["Recovered", "atomic_file", "load", "load_or_previous", "previous_path", "save"]

Arrays = dict[str, np.ndarray]
Metadata = dict[str, str]

FORMAT = "1"
_FORMAT_KEY = "minigen.format"
_HASH_KEY = "minigen.sha256"
_MAX_HEADER = 1 << 24  # bytes: room for a hundred thousand tensors
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


class Recovered(NamedTuple):
    """What `load_or_previous` read; `notice` is a line for the user where the previous file had to serve."""

    arrays: Arrays
    metadata: Metadata
    notice: str | None


def save(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    keep_previous: bool = False,
) -> None:
    """Write `arrays` and `metadata` to `path`: all of it, or the old file stays as it was.

    The bytes go to a temporary file in the same folder, are forced to the disk, and are then renamed.
    keep_previous: the file that was there becomes NAME.previous.safetensors, the one before that is given up.
    Raises UsageError for what safetensors cannot hold, OutputError where the file cannot be written.
    """
    path = Path(path)
    contiguous = {name: _storable(name, array) for name, array in arrays.items()}
    header = _header(contiguous, _checked_metadata(metadata or {}))
    with atomic_file(path, keep=previous_path(path) if keep_previous else None) as stream:
        stream.write(header)
        for name in _order(contiguous):
            stream.write(contiguous[name].data.cast("B") if contiguous[name].size else b"")


def load(path: str | Path) -> tuple[Arrays, Metadata]:
    """The arrays (fresh, writable, in memory) and the metadata that `save` was given.

    Raises CheckpointError where the file is missing, damaged, or was not written by `save`.
    """
    path = Path(path)
    raw, header_end = _read(path)
    stored = _stored_header(raw, header_end, path)
    _check_tag(stored, path)
    try:
        arrays = {name: array.copy() for name, array in safetensors.numpy.load(raw).items()}
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, str(error).split("\n")[0]) from error
    metadata = {k: v for k, v in stored.items() if k not in (_FORMAT_KEY, _HASH_KEY)}
    if stored.get(_HASH_KEY) != _content_hash(arrays, metadata):
        raise _damaged(path, "its content does not match the SHA-256 in its header")
    if raw[:header_end] != _header(arrays, metadata):
        raise _damaged(path, "its header is not the one that was written")
    return arrays, metadata


def load_or_previous(path: str | Path) -> Recovered:
    """As `load`, but where `path` is missing or damaged the previous file serves, and `notice` says so."""
    path = Path(path)
    try:
        return Recovered(*load(path), notice=None)
    except CheckpointError as error:
        older = previous_path(path)
        if not older.exists():
            raise
        try:
            arrays, metadata = load(older)
        except CheckpointError as second:
            raise CheckpointError(f"{error}; neither does the one kept before it serve: {second}") from second
        return Recovered(arrays, metadata, f"{error}; going on from the one before it, {older.name}")


def previous_path(path: str | Path) -> Path:
    """Where `save(keep_previous=True)` keeps the file before: a.safetensors -> a.previous.safetensors."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


@contextlib.contextmanager
def atomic_file(path: Path, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """A stream into a temporary file that takes the place of `path` when the block ends without an error.

    keep: where the old file goes. Raises OutputError where the system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if keep is not None and path.exists():
            _keep(path, keep)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: cannot be written ({reason}); free space or name another folder") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _keep(path: Path, keep: Path) -> None:
    """Give the file at `path` the second name `keep`, so that at no moment there is none at `path`."""
    link = keep.with_name(f".{keep.name}.{os.getpid()}.tmp")
    link.unlink(missing_ok=True)  # of a process that crashed here
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links: for a moment there is only `keep`
        os.replace(path, keep)
        return
    try:
        os.replace(link, keep)
    finally:
        link.unlink(missing_ok=True)  # it stays where both names were one file already


def _sync_folder(folder: Path) -> None:
    """Force the rename itself to the disk; where folders cannot be opened, as on Windows, that is left to fate."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    """C-contiguous and little-endian. `ascontiguousarray` would turn a scalar array into one of shape (1,)."""
    array = np.asarray(array)
    if array.dtype.name not in _DTYPES:
        raise UsageError(f"checkpoint: {name!r} has elements of {array.dtype}; expected one of {', '.join(_DTYPES)}")
    if name == "__metadata__":
        raise UsageError("checkpoint: '__metadata__' cannot be the name of an array; choose another")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _checked_metadata(metadata: Mapping[str, str]) -> Metadata:
    for key, value in metadata.items():
        if not (isinstance(key, str) and isinstance(value, str)) or key in (_FORMAT_KEY, _HASH_KEY):
            raise UsageError(f"checkpoint metadata {key!r}: {value!r}; expected strings, not under {_FORMAT_KEY!r}")
        (key + value).encode()  # refuses half a surrogate pair, which no reader could read back
    return dict(metadata)


def _order(arrays: Arrays) -> list[str]:
    """Wide elements first, so that every array lies at a multiple of its element size; then by name."""
    return sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))


def _header(arrays: Arrays, metadata: Metadata) -> bytes:
    """The length and the JSON header, padded with spaces to a multiple of 8: a function of the content."""
    tagged = {**metadata, _FORMAT_KEY: FORMAT, _HASH_KEY: _content_hash(arrays, metadata)}
    entries: dict[str, Any] = {"__metadata__": dict(sorted(tagged.items()))}
    offset = 0
    for name in _order(arrays):
        end = offset + arrays[name].nbytes
        entries[name] = {**_describe(arrays[name]), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise UsageError(f"checkpoint: a header of {len(text)} bytes, at most {_MAX_HEADER} fit; shorten the metadata")
    return len(text).to_bytes(8, "little") + text


def _describe(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape)}


def _content_hash(arrays: Arrays, metadata: Metadata) -> str:
    """SHA-256 (hex) of names, types, shapes, metadata and bytes."""
    described = {name: _describe(arrays[name]) for name in sorted(arrays)}
    digest = hashlib.sha256(json.dumps([FORMAT, described, sorted(metadata.items())]).encode("ascii"))
    for name in sorted(arrays):
        if arrays[name].size:  # an array without elements has no buffer to look at
            digest.update(arrays[name].data.cast("B"))
    return digest.hexdigest()


def _read(path: Path) -> tuple[bytes, int]:
    """The whole file, and where its header ends; the header's length is held against the file's first."""
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{path}: not a file; name a checkpoint such as model.safetensors")
            start = stream.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(_MAX_HEADER, status.st_size - 8):
                raise _foreign(path, f"{status.st_size} bytes that do not begin like a safetensors file")
            return start + stream.read(), 8 + length
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint; check the name") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error


def _stored_header(raw: bytes, end: int, path: Path) -> Metadata:
    """The metadata in the header, whose keys are held to be unique and whose values to be strings."""
    try:
        header = json.loads(raw[8:end].decode("utf-8"), object_pairs_hook=_unique)
        metadata = header.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"its header cannot be read: {error}") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "its metadata are not text")
    return metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name occurs twice")
    return unique


def _check_tag(metadata: Metadata, path: Path) -> None:
    if _FORMAT_KEY not in metadata:
        raise _foreign(path, f"a safetensors file without the tag {_FORMAT_KEY!r}")
    if metadata[_FORMAT_KEY] != FORMAT:
        raise CheckpointError(
            f"{path}: format {metadata[_FORMAT_KEY]!r}, this minigen reads {FORMAT!r}; install a newer one"
        )


def _foreign(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: not a minigen checkpoint but {what}; name a file that minigen saved")


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged checkpoint ({reason}); use another copy or train again")
