"""A user's own images, from .npy or .npz.

A file from elsewhere is not trusted: nothing is unpickled, the header is read first and held against the
bytes that are really there, and what the numbers mean must be beyond doubt, or the answer is an error that
says how to save them.
"""

import math
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from minigen.data.dataset import Dataset
from minigen.errors import DataError

__all__ = ["load_images", "load_raw", "to_pixels"]

_IMAGE_KEYS = ("images", "x", "x_train", "arr_0")
_LABEL_KEYS = ("labels", "y", "y_train")
_MAX_BYTES = 1 << 32  # 4 GiB in one array: everything here is held in memory at once
# What damaged or encrypted archives make zipfile raise, and what damaged headers make NumPy's parser raise.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_HEADER_ERRORS = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
_SLACK = 1e-6  # how far rounding may carry a value beyond its range


def load_images(path: str | Path) -> Dataset:
    """Images, and labels if there are any, from the .npy or .npz file `path`.

    .npz: images under "images", "x", "x_train" or "arr_0"; labels under "labels", "y" or "y_train".
    Images: (N, H, W), (N, H, W, 1), or (N, D) with D a square number; uint8 in 0..255, or floats in [0, 1] or
    [-1, 1]. Labels: (N,) integers in 0..255; of another type or range they are left out, as the note then says.
    Returns a Dataset with images (N, H, W), uint8 or float32 in [0, 1], whose `note` says what was read.
    Raises DataError for anything else.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    key, raw = arrays["images"]
    where = f"{path}, key {key!r}" if key else str(path)
    images, meaning = to_pixels(_to_stack(raw, where), where,
                                f"drop such images with `minigen data inspect {path} --clean FILE.npz`")
    note = f"{path.name}: {len(images)} images of {images.shape[1]} x {images.shape[2]}, {meaning}"
    labels, raw_labels = None, _raw_labels(arrays, len(images), path)
    if raw_labels is not None:
        labels, meaning = _to_labels(raw_labels)
        note += f", {meaning}"
    return Dataset(images, labels, path.name, "file", str(path), note)


def load_raw(path: str | Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """(images (N, H, W), labels or None) as they are in the file, whatever their values: to be looked at and cleaned.

    The same files, keys and shapes as `load_images`, and the same refusal of what is no such file.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    key, raw = arrays["images"]
    stack = _to_stack(raw, f"{path}, key {key!r}" if key else str(path))
    return stack, _raw_labels(arrays, len(stack), path)


def _raw_labels(arrays: dict[str, tuple[str, NDArray[Any]]], images: int, path: Path) -> NDArray[Any] | None:
    if "labels" not in arrays:
        return None
    key, labels = arrays["labels"]
    if labels.shape != (images,):
        raise DataError(
            f"{path}, key {key!r}: labels of shape {labels.shape}, expected ({images},), one for each image"
        )
    return labels


def _read(path: Path) -> dict[str, tuple[str, NDArray[Any]]]:
    """As `_read_arrays`, DataError for whatever goes wrong."""
    try:
        return _read_arrays(path)
    except DataError:
        raise
    except _ZIP_ERRORS as error:
        raise DataError(f"{path}: damaged or unusual .npz ({error}); save it with numpy.savez") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error


def _read_arrays(path: Path) -> dict[str, tuple[str, NDArray[Any]]]:
    """{"images": (key, array), "labels": ...} from the file; the key is "" for .npy."""
    if path.suffix == ".npy":
        with open(path, "rb") as stream:
            return {"images": ("", _read_npy(stream, path.stat().st_size, str(path)))}
    if path.suffix != ".npz":
        raise DataError(f"{path}: expected a .npy or .npz file; save with numpy.save or numpy.savez")
    with zipfile.ZipFile(path) as archive:
        return _read_npz(archive, path)


def _read_npz(archive: zipfile.ZipFile, path: Path) -> dict[str, tuple[str, NDArray[Any]]]:
    keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    found = {}
    for role, candidates in (("images", _IMAGE_KEYS), ("labels", _LABEL_KEYS)):
        key = next((candidate for candidate in candidates if candidate in keys), None)
        if key is not None:
            info = archive.getinfo(f"{key}.npy")
            with archive.open(info) as stream:
                found[role] = (key, _read_npy(stream, info.file_size, f"{path}, key {key!r}"))
    if "images" not in found:
        listed = ", ".join(keys[:8]) or "no arrays"
        raise DataError(f"{path}: holds {listed}; expected the images under one of {', '.join(_IMAGE_KEYS)}")
    return found


def _read_npy(stream: IO[bytes], size: int, where: str) -> NDArray[Any]:
    """The array in a .npy stream of `size` bytes, whose header must promise just what is there."""
    shape, fortran_order, dtype = _read_header(stream, where)
    if dtype.hasobject:
        raise DataError(f"{where}: an object array, never unpickled here; save it as uint8 or float32")
    if not all(type(n) is int and n >= 0 for n in shape):  # NumPy lets True pass
        raise DataError(f"{where}: shape {shape} in its header, expected whole numbers from 0; save it again")
    promised, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if promised != there:
        raise DataError(
            f"{where}: its header promises {dtype} of shape {shape} = {promised} bytes, {there} are there; "
            f"the file is damaged or cut short: save it again"
        )
    if promised > _MAX_BYTES:
        raise DataError(f"{where}: {promised} bytes, more than the {_MAX_BYTES} that fit; save fewer images")
    data = stream.read(promised)
    if len(data) != promised:
        raise DataError(f"{where}: {len(data)} bytes came, expected {promised}; save it again")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format version {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings():  # about headers of Python 2
            warnings.simplefilter("ignore")
            return read(stream)
    except _HEADER_ERRORS as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{where}: not a .npy array ({reason}); save it with numpy.save") from error


def _to_stack(raw: NDArray[Any], where: str) -> NDArray[Any]:
    """Any of the accepted shapes as (N, H, W)."""
    if raw.dtype.kind not in "biuf":
        raise DataError(f"{where}: elements are {raw.dtype}, expected numbers; save it as uint8 or float32")
    if raw.size == 0:
        raise DataError(f"{where}: shape {raw.shape} holds no images; expected at least one")
    if raw.ndim == 4 and raw.shape[3] == 1:
        return raw[..., 0]
    if raw.ndim == 3:
        return raw
    if raw.ndim != 2:
        hint = "; turn colour into grey first" if raw.ndim == 4 else ""
        raise DataError(f"{where}: shape {raw.shape}, expected (N, H, W), (N, H, W, 1) or (N, D){hint}")
    side = math.isqrt(raw.shape[1])
    if side * side != raw.shape[1]:
        raise DataError(
            f"{where}: shape {raw.shape}: {raw.shape[1]} pixels make no square image; save as (N, H, W)"
        )
    return raw.reshape(len(raw), side, side)


def to_pixels(stack: NDArray[Any], where: str,
              cure: str = "make the file anew") -> tuple[NDArray[np.uint8] | NDArray[np.float32], str]:
    """(images (N, H, W) as uint8, or as float32 in [0, 1]; what the numbers were taken to be).

    Raises DataError, beginning with `where`, for numbers that could mean something else. `cure` is what to do about
    images that are not finite.
    """
    if stack.dtype != np.uint8 and stack.dtype.kind != "f":
        raise DataError(
            f"{where}: elements are {stack.dtype}, expected uint8 in 0..255 or floats in [0, 1] or [-1, 1]; "
            f"convert with .astype"
        )
    low, high = float(stack.min()), float(stack.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(stack)))
        raise DataError(f"{where}: {bad} values are NaN or infinite; expected finite numbers: {cure}")
    if stack.dtype != np.uint8 and (low < -1 - _SLACK or high > 1 + _SLACK):
        raise DataError(
            f"{where}: floats from {low:g} to {high:g}, expected [0, 1] or [-1, 1]; "
            f"divide by 255, or save as uint8, if these are bytes"
        )
    if low == high:
        raise DataError(f"{where}: every pixel is {low:g}, nothing to learn; was the right array saved?")
    if stack.dtype == np.uint8:
        if high <= 1:
            raise DataError(f"{where}: uint8 but only 0 and 1; multiply by 255, or save as float32")
        return np.ascontiguousarray(stack), "uint8 in 0..255"
    return _floats_to_unit(stack, low)


def _floats_to_unit(stack: NDArray[Any], low: float) -> tuple[NDArray[np.float32], str]:
    images = np.ascontiguousarray(stack, dtype=np.float32)
    if low < -_SLACK:
        return np.clip((images + np.float32(1)) * np.float32(0.5), 0, 1), f"{stack.dtype} in [-1, 1]"
    return np.clip(images, 0, 1), f"{stack.dtype} in [0, 1]"


def _to_labels(raw: NDArray[Any]) -> tuple[NDArray[np.uint8] | None, str]:
    """(the labels, or None where they are of no use here: training needs none; what was made of them)."""
    if raw.dtype.kind not in "ui":
        return None, f"without its labels: they are {raw.dtype}, expected integers; convert with .astype"
    if raw.min() < 0 or raw.max() > 255:
        return None, f"without its labels: they go from {raw.min()} to {raw.max()}, expected 0 to 255; number them anew"
    return raw.astype(np.uint8), f"with labels {raw.min()} to {raw.max()}"
