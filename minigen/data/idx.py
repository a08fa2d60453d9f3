"""IDX, the file format of MNIST, read by hand.

A file is a header of big-endian numbers and then the elements in C order:

    2 bytes   zero
    1 byte    element type (0x08 is uint8, the only one that MNIST uses)
    1 byte    number of dimensions d
    4 d bytes the size of each dimension
    elements

Either plain or inside gzip, told apart by the first two bytes and not by the name. A header is a claim, not a
fact: memory grows with the bytes that really arrive, and never beyond `max_bytes`.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section
"File formats".
"""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from minigen.errors import DataError

__all__ = ["payload_sha256", "read_idx", "write_idx"]

_GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08
_ELEMENT_TYPES = {
    0x08: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}
_KINDS = {1: "a labels file", 3: "an images file"}
_Stream = IO[bytes] | gzip.GzipFile
_CHUNK = 1 << 20  # bytes read at a time: what a false header can cost


def read_idx(path: Path, *, ndim: int, max_bytes: int = 1 << 28) -> NDArray[np.uint8]:
    """The uint8 array in the IDX file `path`, gzipped or plain.

    ndim: dimensions expected, 3 for images (N, H, W) and 1 for labels (N,).
    max_bytes: the most elements (one byte each) to accept; 256 MiB unless told.
    Raises DataError, and nothing else, for a file that is missing, damaged, truncated, too long, too big or
    of another kind.
    """
    try:
        with open(path, "rb") as raw:
            magic = raw.read(2)
            raw.seek(0)
            if magic == _GZIP_MAGIC:
                with gzip.GzipFile(fileobj=raw) as stream:
                    return _read_array(stream, path, ndim, max_bytes)
            return _read_array(raw, path, ndim, max_bytes)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{path}: damaged gzip ({error}); the copy is broken or cut short: delete it and fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write `array` as gzipped IDX: best compression, no time stamp and no name, so the same every time."""
    if array.dtype != np.uint8:
        raise DataError(f"{path}: IDX is written from uint8, got {array.dtype}; convert first")
    payload = _header(array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(payload, compresslevel=9, mtime=0))


def payload_sha256(array: NDArray[np.uint8]) -> str:
    """SHA-256 (hex) of the uncompressed IDX file that holds `array`: header, then elements."""
    digest = hashlib.sha256(_header(array.shape))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _header(shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    return bytes([0, 0, _UINT8, len(shape)]) + sizes


def _read_array(stream: _Stream, path: Path, ndim: int, max_bytes: int) -> NDArray[np.uint8]:
    _check_magic(stream.read(4), path, ndim)
    shape = _read_shape(stream, path, ndim)
    expected = math.prod(shape)
    if expected == 0:
        raise DataError(f"{path}: holds nothing, its header says {_times(shape)}; expected at least one item")
    if expected > max_bytes:
        raise DataError(
            f"{path}: its header asks for {_times(shape)} = {expected} bytes, more than the {max_bytes} "
            f"allowed; the header is damaged, or this is not the file it is named after"
        )
    body = _read_body(stream, expected + 1)
    if len(body) < expected:
        raise DataError(
            f"{path}: cut short: its header promises {_times(shape)} = {expected} bytes, {len(body)} came; "
            f"fetch the file again"
        )
    if len(body) > expected:
        raise DataError(
            f"{path}: goes on after the {_times(shape)} = {expected} bytes that its header promises; "
            f"fetch the file again"
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _check_magic(magic: bytes, path: Path, ndim: int) -> None:
    expected = bytes([0, 0, _UINT8, ndim])
    if magic == expected:
        return
    came = f"{path}: starts with {magic.hex() or 'nothing'}, expected {expected.hex()}"
    if len(magic) < 4:
        raise DataError(f"{came}: too short for an IDX file; fetch the file again")
    if magic[:2] != b"\0\0" or magic[2] not in _ELEMENT_TYPES:
        raise DataError(f"{came}: not an IDX file; was a web page or another format saved under this name?")
    if magic[2] != _UINT8:
        raise DataError(f"{came}: elements are {_ELEMENT_TYPES[magic[2]]}, expected uint8; convert the file")
    looks = _KINDS.get(magic[3], f"a file of {magic[3]} dimensions")
    wanted = _KINDS.get(ndim, f"{ndim} dimensions")
    raise DataError(f"{came}: looks like {looks}, expected {wanted}; were images and labels swapped?")


def _read_shape(stream: _Stream, path: Path, ndim: int) -> tuple[int, ...]:
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(
            f"{path}: cut short inside its header: {4 + len(sizes)} bytes came, expected {4 + 4 * ndim}; "
            f"fetch the file again"
        )
    return tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * ndim, 4))


def _read_body(stream: _Stream, limit: int) -> bytearray:
    """Up to `limit` bytes. Reading until nothing more comes also makes gzip check its own checksum."""
    body = bytearray()
    while len(body) < limit:
        chunk = stream.read(min(_CHUNK, limit - len(body)))
        if not chunk:
            break
        body += chunk
    return body


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
