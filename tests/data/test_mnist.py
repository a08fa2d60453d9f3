"""MNIST: the order of its sources, the checks of each, no hang without network. Nothing is downloaded."""

import gzip
import importlib
import logging
import math
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pooch
import pytest

from minigen.data import load_mnist, mnist
from minigen.data.idx import payload_sha256, read_idx, write_idx
from minigen.data.make_sample import main, make_sample
from minigen.errors import DataError, UsageError

# `minigen.data.mnist` as an attribute is the function; these are the modules.
module = importlib.import_module("minigen.data.mnist")
fetch = importlib.import_module("minigen.data.fetch")
NAMES = list(module._FILES)
# Beside a checkout, the four canonical files may lie here; tests that need them are skipped otherwise.
CANONICAL = Path(os.environ.get("MINIGEN_DATA") or Path(__file__).parents[3] / "shared" / "data" / "mnist")


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch, tmp_path):
    """No environment variable, an empty cache, and a network that does not answer."""

    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.delenv("MINIGEN_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(pooch, "retrieve", no_network)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with four small files under the canonical names, and their hashes pinned for MNIST's."""
    path = tmp_path / "data"
    path.mkdir()
    for name in NAMES:
        count = 60 if name.startswith("train") else 20
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.broadcast_to(labels[:, None, None] * 20, (count, 28, 28)).astype(np.uint8)
        write_idx(path / f"{name}.gz", images if "images" in name else labels)
    pin(monkeypatch, path)
    return path


def pin(monkeypatch, path):
    pins = {}
    for name in NAMES:
        array = read_idx(path / f"{name}.gz", ndim=3 if "images" in name else 1)
        gz = pooch.file_hash(str(path / f"{name}.gz"))
        pins[name] = module._FILES[name]._replace(gz=gz, full=payload_sha256(array))
    monkeypatch.setattr(module, "_FILES", pins)


def fill_cache(tmp_path, folder):
    cache = tmp_path / "cache" / "minigen" / "mnist"
    shutil.copytree(folder, cache)
    return cache


# --- a folder that the user named


def test_a_named_folder_serves(folder):
    images, labels = mnist("train", data_dir=folder)
    assert images.shape == (60, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (60,) and labels.dtype == np.uint8
    dataset = load_mnist("test", data_dir=str(folder))
    assert (dataset.source, dataset.name, len(dataset)) == ("data-dir", "mnist-test", 20)
    assert dataset.origin == str(folder) and not dataset.is_sample
    assert dataset.note == f"MNIST: 20 test images from {folder}"


def test_the_environment_variable_names_a_folder_and_the_argument_goes_first(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGEN_DATA", str(folder))
    assert load_mnist("train").source == "data-dir"
    with pytest.raises(DataError, match="elsewhere: no such folder"):
        load_mnist("train", data_dir=tmp_path / "elsewhere")
    monkeypatch.setenv("MINIGEN_DATA", "")
    assert load_mnist("train").source == "sample"


def test_uncompressed_files_serve_too(folder):
    for name in NAMES:
        (folder / name).write_bytes(gzip.decompress((folder / f"{name}.gz").read_bytes()))
        (folder / f"{name}.gz").unlink()
    assert len(load_mnist("train", data_dir=folder)) == 60


def test_a_named_folder_that_cannot_serve_is_an_error_and_never_the_sample(folder, monkeypatch):
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    message = (
        "holds neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz; put the MNIST files there"
    )
    with pytest.raises(DataError, match=message):
        mnist("train", data_dir=folder)
    monkeypatch.setenv("MINIGEN_DATA", str(folder))
    with pytest.raises(DataError, match=message):
        mnist("train")


def test_swapped_files_are_named(folder):
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"
    content = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(content)
    with pytest.raises(DataError, match="train-images.*looks like a labels file, expected an images file"):
        mnist("train", data_dir=folder)


def test_files_of_two_splits_mixed(folder):
    shutil.copy(folder / "t10k-labels-idx1-ubyte.gz", folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(
        DataError, match="holds 60 images and .* 20 labels, expected as many of both; were files"
    ):
        mnist("train", data_dir=folder)


def test_the_files_of_the_other_split(folder):
    for kind in ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"):
        shutil.copy(folder / f"t10k-{kind}", folder / f"train-{kind}")
    with pytest.raises(DataError, match="wrong hash: .*; this is t10k-images-idx3-ubyte, not train-images"):
        mnist("train", data_dir=folder)


def test_a_wrong_hash_names_both(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    images = read_idx(path, ndim=3)
    expected = payload_sha256(images)
    images[0, 0, 0] ^= 1
    write_idx(path, images)
    with pytest.raises(
        DataError, match=f"wrong hash: .*{payload_sha256(images)}, expected {expected}; fetch it again"
    ):
        mnist("train", data_dir=folder)


def test_a_label_out_of_range(folder):
    path = folder / "train-labels-idx1-ubyte.gz"
    labels = read_idx(path, ndim=1)
    labels[7] = 10
    write_idx(path, labels)
    with pytest.raises(DataError, match="a label is 10, expected 0 to 9"):
        mnist("train", data_dir=folder)


def test_another_split_is_a_usage_error():
    with pytest.raises(UsageError, match="split 'validation' does not exist: give 'train' or 'test'"):
        mnist("validation")


# --- cache, download, sample


def test_the_cache_serves_without_network(folder, tmp_path):
    cache = fill_cache(tmp_path, folder)
    dataset = load_mnist("test")
    assert (dataset.source, dataset.origin, len(dataset)) == ("cache", str(cache), 20)
    assert load_mnist("test", download=False).source == "cache"


def test_a_cache_that_lacks_a_file_does_not_mix_sources(folder, tmp_path):
    (fill_cache(tmp_path, folder) / "t10k-labels-idx1-ubyte.gz").unlink()
    assert load_mnist("train").source == "sample"


def test_a_cache_with_one_damaged_file_does_not_serve_for_the_others_either(folder, tmp_path):
    (fill_cache(tmp_path, folder) / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    for split in ("train", "test"):
        dataset = load_mnist(split, download=False)
        assert dataset.source == "sample" and "no good copy in the cache" in dataset.note


def test_a_download_fills_the_cache_with_all_four(folder, tmp_path, monkeypatch):
    asked = []

    def retrieve(url, known_hash, fname, path, downloader):
        asked.append((url, known_hash))
        Path(path).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / fname, path)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert load_mnist("test").source == "download"
    assert [url for url, _ in asked] == [f"{fetch.MIRRORS[0]}{name}.gz" for name in NAMES]
    assert [sha for _, sha in asked] == [f"sha256:{module._FILES[name].gz}" for name in NAMES]
    assert load_mnist("train").source == "cache"
    assert len(asked) == 4


def test_only_https_is_asked():
    assert len(fetch.MIRRORS) == 2 and all(url.startswith("https://") for url in fetch.MIRRORS)


def test_the_second_mirror_is_asked_when_the_first_fails(monkeypatch, tmp_path):
    asked = []

    def retrieve(url, known_hash, **kwargs):
        asked.append(url)
        if url.startswith(fetch.MIRRORS[0]):
            raise ValueError("SHA256 hash of downloaded file does not match")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    fetch.fetch_files({"name.gz": "00"}, tmp_path)
    assert asked == [mirror + "name.gz" for mirror in fetch.MIRRORS]


def test_when_no_mirror_serves_every_reason_is_told(tmp_path):
    with pytest.raises(OSError) as caught:
        fetch.fetch_files({"name.gz": "00"}, tmp_path)
    for host in ("ossci-datasets.s3.amazonaws.com", "storage.googleapis.com"):
        assert f"{host}: OSError: Name or service not known" in str(caught.value)


def test_reasons_are_short():
    nested = OSError("HTTPSConnectionPool(host='example.org', port=443): Max retries exceeded with url")
    assert fetch._reason(nested) == "OSError"
    assert fetch._reason(TimeoutError()) == "TimeoutError"
    assert fetch._reason(ValueError("wrong hash\nexpected")) == "ValueError: wrong hash"
    assert len(fetch._reason(ValueError("x" * 1000))) < 120


def test_without_data_the_sample_serves_with_one_notice(caplog):
    with caplog.at_level(logging.WARNING, logger="minigen.data"):
        images, labels = mnist("test")
    assert images.shape == (2000, 28, 28) and labels.shape == (2000,)
    assert len(caplog.records) == 1
    notice = caplog.text
    for part in (
        "sample of 2000 test images",
        "the download failed",
        "Name or service not known",
        "MINIGEN_DATA",
    ):
        assert part in notice


def test_switching_the_download_off_touches_no_network(monkeypatch):
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: pytest.fail("asked the network"))
    dataset = load_mnist("train", download=False)
    assert dataset.is_sample and "downloading is switched off" in dataset.note


# --- the transfer itself


class Transfer:
    """Stands in for pooch.HTTPDownloader."""

    behaviour = staticmethod(lambda progress, output: None)

    def __init__(self, progressbar, **kwargs):
        assert kwargs["allow_redirects"] is False and kwargs["timeout"] <= 5
        self.progress = progressbar

    def __call__(self, url, output_file, pooch_):
        type(self).behaviour(self.progress, output_file)


@pytest.fixture
def transfer(monkeypatch):
    monkeypatch.setattr(pooch, "HTTPDownloader", Transfer)
    return Transfer


def test_a_name_server_that_never_answers_is_given_up(transfer, monkeypatch):
    monkeypatch.setattr(fetch, "PATIENCE", 0.2)
    transfer.behaviour = staticmethod(lambda progress, output: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer for 0.2 seconds"):
        fetch._download("https://example.org/", "unused", None, deadline=math.inf)
    assert time.monotonic() - start < 1.5


def test_a_server_that_sends_a_little_now_and_then_is_given_up_too(transfer, monkeypatch, tmp_path):
    """The time is for all files and mirrors together."""

    def trickle(progress, output):
        while True:
            time.sleep(0.02)
            progress.update(1)

    def retrieve(url, known_hash, fname, path, downloader):
        downloader(url, str(path / fname), None)

    transfer.behaviour = staticmethod(trickle)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(fetch, "TOTAL", 0.3)
    start = time.monotonic()
    with pytest.raises(OSError, match="too slow: not all files came within 0.3 seconds"):
        fetch.fetch_files({"a.gz": "00", "b.gz": "00"}, tmp_path)
    dataset = load_mnist("train")
    assert dataset.is_sample and "too slow" in dataset.note
    assert time.monotonic() - start < 3


def test_pooch_does_not_tell_what_minigen_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(pooch.get_logger(), "level", logging.INFO)
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: None)
    fetch.fetch_files({"name.gz": "00"}, tmp_path)
    assert not pooch.get_logger().isEnabledFor(logging.INFO)


def test_a_transfer_that_was_given_up_stops_at_its_next_chunk():
    progress = fetch._Progress()
    progress.update(10)
    progress.given_up = True
    with pytest.raises(OSError, match="stopped after 20 bytes"):
        progress.update(10)


def test_a_server_that_never_stops_sending_is_stopped(transfer):
    def endless(progress, output):
        while True:
            progress.update(1 << 20)

    transfer.behaviour = staticmethod(endless)
    with pytest.raises(OSError, match="stopped after"):
        fetch._download("https://example.org/", "unused", None, deadline=math.inf)


def test_a_transfer_that_works(transfer, tmp_path):
    def work(progress, output):
        Path(output).write_bytes(b"content")
        progress.update(7)
        progress.reset()
        progress.update(7)
        progress.close()

    transfer.behaviour = staticmethod(work)
    fetch._download("https://example.org/", str(tmp_path / "file"), None, deadline=math.inf)
    assert (tmp_path / "file").read_bytes() == b"content"


# --- the sample


def test_the_sample_is_small_balanced_and_licensed():
    for split, count in (("train", 10_000), ("test", 2_000)):
        images, labels = module.read_split(module.SAMPLE_FOLDER, split, sample=True)
        assert images.shape == (count, 28, 28)
        share = np.bincount(labels, minlength=10) / count
        assert share.min() > 0.07 and share.max() < 0.13
    files = {path.name: path.stat().st_size for path in module.SAMPLE_FOLDER.iterdir()}
    assert set(files) == {f"{name}.gz" for name in NAMES} | {"DATA-LICENSE", "pride_and_prejudice.txt.gz"}
    assert sum(files.values()) < 2_200_000
    licence = (module.SAMPLE_FOLDER / "DATA-LICENSE").read_text()
    for part in ("LeCun", "Cortes", "National Institute of", "CC BY-SA 3.0", "make_sample"):
        assert part in licence


def test_the_samples_gzip_has_neither_time_nor_name():
    for name in NAMES:
        head = (module.SAMPLE_FOLDER / f"{name}.gz").read_bytes()[:10]
        assert head[3] == 0 and head[4:8] == b"\0\0\0\0"


def test_the_sample_taken_for_the_full_set_is_an_error():
    with pytest.raises(DataError, match="wrong hash"):
        mnist("train", data_dir=module.SAMPLE_FOLDER)


def test_make_sample_strides_through_the_files(folder, tmp_path):
    main([str(folder), str(tmp_path / "sample")])
    images = read_idx(tmp_path / "sample" / "train-images-idx3-ubyte.gz", ndim=3)
    assert np.array_equal(images, mnist("train", data_dir=folder)[0][::6])
    labels = read_idx(tmp_path / "sample" / "t10k-labels-idx1-ubyte.gz", ndim=1)
    assert np.array_equal(labels, mnist("test", data_dir=folder)[1][::5])
    with pytest.raises(UsageError, match="usage: .* SOURCE TARGET"):
        main([str(folder)])


@pytest.mark.skipif(not CANONICAL.is_dir(), reason="the canonical MNIST files are not here")
def test_the_canonical_files_give_the_sample_again(tmp_path):
    make_sample(CANONICAL, tmp_path)
    for name in NAMES:
        made, kept = (
            gzip.decompress((at / f"{name}.gz").read_bytes()) for at in (tmp_path, module.SAMPLE_FOLDER)
        )
        assert made == kept


@pytest.mark.skipif(not CANONICAL.is_dir(), reason="the canonical MNIST files are not here")
def test_the_canonical_files_are_the_pinned_ones():
    for split, count in (("train", 60_000), ("test", 10_000)):
        dataset = load_mnist(split, data_dir=CANONICAL)
        assert dataset.images.shape == (count, 28, 28) and dataset.source == "data-dir"
    for name in NAMES:
        if (path := CANONICAL / f"{name}.gz").is_file():
            assert pooch.file_hash(str(path)) == module._FILES[name].gz


# --- provenance


def test_the_record_of_a_dataset_is_for_json_and_tells_the_images_apart(folder):
    import json

    train, test = load_mnist("train", data_dir=folder), load_mnist("test", data_dir=folder)
    record = json.loads(json.dumps(train.record()))
    assert record == {"name": "mnist-train", "source": "data-dir", "count": 60, "sha256": train.sha256}
    assert train.sha256 != test.sha256 and len(train.sha256) == 64
    assert train.sha256 == load_mnist("train", data_dir=folder).sha256
