"""MNIST: 60 000 training and 10 000 test images of handwritten digits, 28 x 28, uint8.

Looked for in this order:

1. the folder `data_dir`, or else the one that the environment variable MINIGEN_DATA names. A folder that was
   named must serve: if it cannot, that is an error and nothing else is tried;
2. the user's cache folder, filled by an earlier download;
3. a download over https into that cache;
4. the sample inside this package, every sixth training and every fifth test image.

Wherever the bytes come from, the SHA-256 of the uncompressed file must be the pinned one.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", from NIST's
Special Databases 1 and 3.
"""

import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from numpy.typing import NDArray

from minigen.data.dataset import Dataset
from minigen.data.fetch import fetch_files
from minigen.data.idx import payload_sha256, read_idx
from minigen.errors import DataError, UsageError

__all__ = ["SAMPLE_FOLDER", "STEMS", "load_mnist", "mnist", "read_split"]

_log = logging.getLogger("minigen.data")

SAMPLE_FOLDER = Path(__file__).parent / "sample"
_MAX_BYTES = 1 << 26  # 64 MiB: the largest canonical file has 45 MiB


class _Pinned(NamedTuple):
    """SHA-256 of a file as downloaded, of the same uncompressed, and of its sample uncompressed."""

    gz: str
    full: str
    sample: str


_FILES = {
    "train-images-idx3-ubyte": _Pinned(
        gz="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        full="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        sample="438ba099335a695db401b4cc1a9ebb5e26f3f6800536cda63de250fa022053bd",
    ),
    "train-labels-idx1-ubyte": _Pinned(
        gz="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        full="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        sample="cdc933926617e78fa735e9296757e93f869734837ddb53260df98126675ca7c4",
    ),
    "t10k-images-idx3-ubyte": _Pinned(
        gz="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        full="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        sample="544b11e980491b35ea0a29d267be603798a522d267bd875eefdf185f2a90b4ed",
    ),
    "t10k-labels-idx1-ubyte": _Pinned(
        gz="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        full="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        sample="00c8ee896b56b1f141feedeefecd0ec606a7715b411eb44be7e1b1decd17e3fd",
    ),
}
STEMS = {"train": "train", "test": "t10k"}  # how the file names of each split begin


def mnist(
    split: str = "train", *, data_dir: str | Path | None = None, download: bool = True
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """MNIST as plain arrays: images (N, 28, 28) uint8 in 0..255 and labels (N,) uint8 in 0..9.

    When the sample stands in for the full set, the logger "minigen.data" says so with a warning. `load_mnist`
    tells which source served. Arguments and errors are the same as there.
    """
    dataset = load_mnist(split, data_dir=data_dir, download=download)
    assert dataset.images.dtype == np.uint8 and dataset.labels is not None
    if dataset.is_sample:
        _log.warning("%s", dataset.note)
    return dataset.images, dataset.labels  # type: ignore[return-value]


def load_mnist(split: str = "train", *, data_dir: str | Path | None = None, download: bool = True) -> Dataset:
    """One split of MNIST with its provenance: `source` is "data-dir", "cache", "download" or "sample".

    split: "train" or "test".
    data_dir: a folder with the canonical files, gzipped or not; None to follow the order above.
    download: False to touch no network.
    Raises UsageError for another split; DataError when a named folder lacks a file or holds a damaged or
    foreign one.
    """
    if split not in STEMS:
        raise UsageError(f"split {split!r} does not exist: give 'train' or 'test'")
    named = data_dir if data_dir is not None else os.environ.get("MINIGEN_DATA") or None
    if named is not None:
        return _from_folder(split, Path(named).expanduser())
    return _from_cache_or_sample(split, download)


def _from_folder(split: str, folder: Path) -> Dataset:
    images, labels = read_split(folder, split)
    return _dataset(split, "data-dir", folder, images, labels)


def _from_cache_or_sample(split: str, download: bool) -> Dataset:
    cache = Path(pooch.os_cache("minigen")) / "mnist"
    reason = "no good copy in the cache and downloading is switched off"
    if _is_complete(cache):
        return _dataset(split, "cache", cache, *read_split(cache, split))
    if download:
        try:
            fetch_files({f"{name}.gz": pinned.gz for name, pinned in _FILES.items()}, cache)
            return _dataset(split, "download", cache, *read_split(cache, split))
        except (OSError, DataError) as error:
            reason = f"no good copy in the cache and the download failed: {error}"
    images, labels = read_split(SAMPLE_FOLDER, split, sample=True)
    return _dataset(split, "sample", SAMPLE_FOLDER, images, labels, reason)


def _is_complete(cache: Path) -> bool:
    """All four files or none serve: training and test images must not come from different sources."""
    try:
        return all(pooch.file_hash(str(cache / f"{name}.gz")) == pins.gz for name, pins in _FILES.items())
    except OSError:  # a file that is not there, or cannot be read
        return False


def _dataset(
    split: str,
    source: str,
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    reason: str = "",
) -> Dataset:
    kind = {"train": "training", "test": "test"}[split]
    note = f"MNIST: {len(images)} {kind} images from {folder}"
    if source == "sample":
        note = (
            f"MNIST: a sample of {len(images)} {kind} images that comes with minigen stands in for the full "
            f"set ({reason}). For the full set, name a folder with the four MNIST files in MINIGEN_DATA."
        )
    return Dataset(images, labels, f"mnist-{split}", source, str(folder), note)


def read_split(
    folder: Path, split: str, *, sample: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, 28, 28) and labels (N,) of one split in `folder`, checked against the pinned hashes.

    sample: hold them against the sample's hashes rather than the full set's.
    Raises DataError.
    """
    stem = STEMS[split]
    images_path = _find(folder, f"{stem}-images-idx3-ubyte")
    labels_path = _find(folder, f"{stem}-labels-idx1-ubyte")
    images = read_idx(images_path, ndim=3, max_bytes=_MAX_BYTES)
    labels = read_idx(labels_path, ndim=1, max_bytes=_MAX_BYTES)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images and {labels_path} {len(labels)} labels, expected as "
            f"many of both; were files of the training and the test set mixed?"
        )
    if labels.max() > 9:
        raise DataError(f"{labels_path}: a label is {labels.max()}, expected 0 to 9; fetch the file again")
    _check_hash(images, images_path, f"{stem}-images-idx3-ubyte", sample)
    _check_hash(labels, labels_path, f"{stem}-labels-idx1-ubyte", sample)
    return images, labels


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with the MNIST files, such as {name}.gz")
    raise DataError(
        f"{folder}: holds neither {name} nor {name}.gz; put the MNIST files there, or leave the data folder "
        f"and MINIGEN_DATA unset to download them"
    )


def _check_hash(array: NDArray[np.uint8], path: Path, name: str, sample: bool) -> None:
    pinned = _FILES[name].sample if sample else _FILES[name].full
    came = payload_sha256(array)
    if came == pinned:
        return
    known = {pin: other for other, pins in _FILES.items() for pin in (pins.full, pins.sample)}
    hint = "fetch it again; images of your own are read with load_images (--data on the command line)"
    if came in known:
        hint = f"this is {known[came]}, not {name}"
    if came == _FILES[name].sample:
        hint = "this is the sample that comes with minigen: to use it, leave the data folder and MINIGEN_DATA unset"
    raise DataError(f"{path}: wrong hash: SHA-256 uncompressed is {came}, expected {pinned}; {hint}")
