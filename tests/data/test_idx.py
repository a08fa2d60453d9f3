"""The IDX reader: what it reads, and that damaged or hostile bytes end in a DataError that helps."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigen.data.idx import payload_sha256, read_idx, write_idx
from minigen.errors import DataError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([3, 1, 4, 1], dtype=np.uint8)


def idx(array, element=0x08):
    return (
        bytes([0, 0, element, array.ndim])
        + b"".join(n.to_bytes(4, "big") for n in array.shape)
        + array.tobytes()
    )


def header(*sizes):
    return bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)


@pytest.fixture
def write(tmp_path):
    def write(content: bytes, name="some-file") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_reads_plain_and_gzip_whatever_the_name(write):
    for content in (idx(IMAGES), gzip.compress(idx(IMAGES))):
        for name in ("images", "images.gz"):
            assert np.array_equal(read_idx(write(content, name), ndim=3), IMAGES)
    assert np.array_equal(read_idx(write(idx(LABELS)), ndim=1), LABELS)


def test_written_files_are_read_back_and_are_the_same_every_time(tmp_path):
    one, two = tmp_path / "one.gz", tmp_path / "another-name.gz"
    write_idx(one, IMAGES[::2])
    write_idx(two, IMAGES[::2])
    assert one.read_bytes() == two.read_bytes()
    assert np.array_equal(read_idx(one, ndim=3), IMAGES[::2])
    with pytest.raises(DataError, match="got float64; convert first"):
        write_idx(one, np.zeros((2, 2)))


def test_the_payload_hash_is_that_of_the_uncompressed_file():
    import hashlib

    assert payload_sha256(IMAGES) == hashlib.sha256(idx(IMAGES)).hexdigest()
    assert payload_sha256(IMAGES[:, ::2]) == hashlib.sha256(idx(IMAGES[:, ::2])).hexdigest()


@pytest.mark.parametrize(
    "content, ndim, message",
    [
        (
            idx(LABELS),
            3,
            "starts with 00000801, expected 00000803: looks like a labels file, expected an images file",
        ),
        (idx(IMAGES), 1, "looks like an images file, expected a labels file; were images and labels swapped"),
        (idx(IMAGES[0]), 1, "looks like a file of 2 dimensions"),
        (idx(IMAGES, element=0x0D), 3, "elements are float32, expected uint8"),
        (b"<!DOCTYPE html>", 3, "starts with 3c21444f, expected 00000803: not an IDX file; was a web page"),
        (idx(IMAGES, element=0x07), 3, "not an IDX file"),
        (b"", 3, "starts with nothing, expected 00000803: too short"),
        (idx(IMAGES)[:3], 3, "starts with 000008, expected 00000803: too short"),
        (idx(IMAGES)[:13], 3, "cut short inside its header: 13 bytes came, expected 16"),
        (idx(IMAGES)[:-1], 3, "cut short: its header promises 3 x 4 x 5 = 60 bytes, 59 came"),
        (idx(IMAGES) + b"!", 3, "goes on after the 3 x 4 x 5 = 60 bytes that its header promises"),
        (gzip.compress(idx(IMAGES) + b"!"), 3, "goes on after the 3 x 4 x 5 = 60 bytes"),
        (header(0, 28, 28), 3, "holds nothing, its header says 0 x 28 x 28"),
        (
            header(1 << 31, 1 << 31, 1 << 31),
            3,
            "asks for 2147483648 x 2147483648 x 2147483648 = .* more than the",
        ),
        (gzip.compress(idx(IMAGES))[:-9], 3, "damaged gzip"),
        (gzip.compress(idx(IMAGES))[:-3], 3, "damaged gzip"),
        (gzip.compress(idx(IMAGES))[:12], 3, "damaged gzip"),
        (gzip.compress(idx(IMAGES))[:-8] + b"\0" * 8, 3, "damaged gzip .*CRC"),
        (gzip.compress(idx(IMAGES)) + b"junk", 3, "damaged gzip"),
        (gzip.compress(gzip.compress(idx(IMAGES))), 3, "not an IDX file"),
    ],
)
def test_every_kind_of_damage_is_named(write, content, ndim, message):
    path = write(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, ndim=ndim)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="absent: cannot be read .*; check the name"):
        read_idx(tmp_path / "absent", ndim=3)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path, ndim=3)


def test_memory_follows_the_bytes_that_come_and_not_the_header(write):
    path = write(header(200, 1000, 1000) + b"few")
    tracemalloc.start()
    with pytest.raises(DataError, match="3 came"):
        read_idx(path, ndim=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20  # the header asks for 190 MiB


def test_a_gzip_bomb_stays_packed(write):
    path = write(gzip.compress(header(10, 10, 10) + bytes(1 << 27)))
    tracemalloc.start()
    with pytest.raises(DataError, match="goes on after"):
        read_idx(path, ndim=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20  # it would unpack to 128 MiB


def test_the_caller_sets_the_limit(write):
    path = write(idx(IMAGES))
    assert read_idx(path, ndim=3, max_bytes=60).shape == (3, 4, 5)
    with pytest.raises(DataError, match="3 x 4 x 5 = 60 bytes, more than the 59"):
        read_idx(path, ndim=3, max_bytes=59)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), packed=st.booleans())
def test_corrupted_bytes_end_in_the_array_or_a_data_error(write, data, packed):
    content = bytearray(gzip.compress(idx(IMAGES)) if packed else idx(IMAGES))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    path = write(bytes(content[:cut] if data.draw(st.booleans()) else content))
    try:
        array = read_idx(path, ndim=3, max_bytes=1 << 20)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert array.dtype == np.uint8 and array.ndim == 3


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60),
    start=st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08", b"\0\0\x08\x03"]),
)
def test_arbitrary_bytes_end_in_a_data_error_or_an_array(write, content, start):
    try:
        read_idx(write(start + content), ndim=3, max_bytes=1 << 20)
    except DataError:
        pass
