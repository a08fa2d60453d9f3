"""A user's own .npy and .npz: what is read, and that whatever is doubtful is refused with help."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigen.data import load_images
from minigen.errors import DataError

BYTES = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4) * 8
UNIT = (BYTES / 255).astype(np.float32)


@pytest.fixture
def save(tmp_path):
    def save(array=None, **arrays):
        path = tmp_path / ("own.npy" if array is not None else "own.npz")
        with open(path, "wb") as stream:
            np.save(stream, array) if array is not None else np.savez(stream, **arrays)
        return path

    return save


def npy_with_header(text, body=b""):
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


@pytest.mark.parametrize(
    "array",
    [BYTES, BYTES[..., None], BYTES.reshape(2, 16), np.asfortranarray(BYTES)],
    ids=["3d", "4d", "2d", "f"],
)
def test_bytes_in_every_shape(save, array):
    dataset = load_images(save(array))
    assert dataset.images.dtype == np.uint8 and np.array_equal(dataset.images, BYTES)
    assert dataset.images.flags.c_contiguous and dataset.labels is None
    assert (dataset.source, dataset.name) == ("file", "own.npy")
    assert dataset.note == "own.npy: 2 images of 4 x 4, uint8 in 0..255"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_in_both_ranges_become_float32_in_unit_range(save, dtype):
    unit = load_images(save(UNIT.astype(dtype)))
    assert unit.images.dtype == np.float32 and np.allclose(unit.images, UNIT, atol=1e-3)
    assert "in [0, 1]" in unit.note
    symmetric = load_images(save((UNIT * 2 - 1).astype(dtype)))
    assert symmetric.images.dtype == np.float32 and np.allclose(symmetric.images, UNIT, atol=1e-3)
    assert "in [-1, 1]" in symmetric.note


def test_rounding_beyond_the_range_is_clipped(save):
    stack = UNIT.astype(np.float64)
    stack[0, 0, 0], stack[1, 1, 1] = -1e-7, 1 + 1e-7
    images = load_images(save(stack)).images
    assert images.min() == 0 and images.max() == 1


@pytest.mark.parametrize("image_key", ["images", "x", "x_train", "arr_0"])
@pytest.mark.parametrize("label_key", [None, "labels", "y", "y_train"])
def test_the_keys_of_an_npz(save, image_key, label_key):
    labels = {} if label_key is None else {label_key: np.array([3, 7], dtype=np.int64)}
    dataset = load_images(save(**{image_key: BYTES, "other": np.zeros(3)}, **labels))
    assert np.array_equal(dataset.images, BYTES)
    if label_key is None:
        assert dataset.labels is None
    else:
        assert dataset.labels.dtype == np.uint8 and dataset.labels.tolist() == [3, 7]
        assert dataset.note.endswith(", with labels 3 to 7")


def test_a_compressed_npz(tmp_path):
    np.savez_compressed(tmp_path / "own.npz", x=BYTES)
    assert np.array_equal(load_images(str(tmp_path / "own.npz")).images, BYTES)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.where(UNIT == 0, np.nan, UNIT), "expected finite numbers: drop such images with `minigen data inspect "),
        (np.where(UNIT == 0, np.inf, UNIT), "1 values are NaN or infinite"),
        (UNIT * 255, "floats from 0 to 248, expected .*; divide by 255"),
        (UNIT * 2 - 1.5, "floats from -1.5 to 0.4.*, expected"),
        (np.full((2, 4, 4), 7.0), "floats from 7 to 7, expected"),
        (np.full((2, 4, 4), 0.5), "every pixel is 0.5, nothing to learn"),
        (np.zeros((2, 4, 4), np.uint8), "every pixel is 0, nothing to learn"),
        (BYTES % 2 + np.eye(4, dtype=np.uint8), "uint8 but only 0 and 1; multiply by 255"),
        (BYTES.astype(np.int64), "elements are int64, expected uint8 in 0..255 or floats"),
        (BYTES > 9, "elements are bool, expected uint8"),
        (BYTES.astype(np.complex64), "elements are complex64, expected numbers"),
        (np.array(["a", "b"]), "elements are <U1, expected numbers"),
        (BYTES.astype(object), "an object array, never unpickled here; save it as uint8 or float32"),
        (np.zeros((0, 4, 4), np.uint8), r"shape \(0, 4, 4\) holds no images"),
        (np.array(3.0), r"shape \(\), expected \(N, H, W\)"),
        (np.zeros(5), r"shape \(5,\), expected \(N, H, W\)"),
        (np.zeros((2, 4, 4, 3)), r"shape \(2, 4, 4, 3\), expected .*; turn colour into grey first"),
        (np.zeros((2, 15)), "15 pixels make no square image; save as"),
    ],
)
def test_images_that_are_refused(save, array, message):
    path = save(array)
    with pytest.raises(DataError, match=message) as caught:
        load_images(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.array([1, 2, 3]), r"key 'labels': labels of shape \(3,\), expected \(2,\), one for each image"),
        (np.eye(2, dtype=int), r"labels of shape \(2, 2\), expected \(2,\)"),
        (np.array([1, None]), "an object array"),
    ],
)
def test_labels_that_are_refused(save, labels, message):
    with pytest.raises(DataError, match=message):
        load_images(save(images=BYTES, labels=labels))


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.array([1.0, 2.0]), "they are float64, expected integers; convert with .astype"),
        (np.array([True, False]), "they are bool, expected integers; convert with .astype"),
        (np.array(["cat", "dog"]), "they are <U3, expected integers; convert with .astype"),
        (np.array([-1, 2]), "they go from -1 to 2, expected 0 to 255; number them anew"),
        (np.array([1, 256]), "they go from 1 to 256, expected 0 to 255; number them anew"),
    ],
)
def test_labels_that_are_of_no_use_are_left_out(save, labels, message):
    dataset = load_images(save(images=BYTES, labels=labels))
    assert dataset.labels is None and np.array_equal(dataset.images, BYTES)
    assert dataset.note.endswith(f"uint8 in 0..255, without its labels: {message}")


def test_an_npz_without_images_lists_what_it_holds(save):
    with pytest.raises(
        DataError, match="holds a, b; expected the images under one of images, x, x_train, arr_0"
    ):
        load_images(save(a=BYTES, b=BYTES))


def test_files_that_are_something_else(tmp_path):
    for name, content, message in (
        ("a.png", b"", "expected a .npy or .npz file"),
        ("a.npy", b"", "not a .npy array"),
        ("a.npy", b"PK\3\4 or anything", "not a .npy array"),
        ("a.npz", b"not a zip", "damaged or unusual .npz .*; save it with numpy.savez"),
        ("a.npy", b"\x93NUMPY\x03\x00" + bytes(99), "not a .npy array .format version"),
        (
            "a.npy",
            npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2,"),
            "not a .npy array",
        ),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_images(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read .*; check the name"):
        load_images(tmp_path / "absent.npy")
    with pytest.raises(DataError, match="cannot be read"):
        load_images(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    "shape", ["(9, 99999, 99999)", "(2, 4, 3)", "(99999999999999999999, 4, 4)"]
)
def test_a_header_is_held_against_the_bytes_that_are_there(tmp_path, shape):
    content = npy_with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}", bytes(15))
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for name in ("a.npy", "a.npz"):
        tracemalloc.start()
        with pytest.raises(DataError, match="its header promises uint8 of shape .* 15 are there"):
            load_images(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20


@pytest.mark.parametrize("shape", ["(True, 4, 4)", "(-1, -1, 16)"])
def test_a_shape_that_is_none(tmp_path, shape):
    content = npy_with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}", bytes(16))
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match="in its header, expected whole numbers from 0; save it again"):
        load_images(tmp_path / "a.npy")


def test_an_array_too_large_to_read_at_once(save, monkeypatch):
    monkeypatch.setattr("minigen.data.files._MAX_BYTES", 31)
    with pytest.raises(DataError, match="32 bytes, more than the 31 that fit"):
        load_images(save(BYTES))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["npy", "npz", "packed"]))
def test_corrupted_files_end_in_a_dataset_or_a_data_error(tmp_path, data, kind):
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, BYTES)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(stream, x=BYTES, y=np.array([0, 1]))
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / ("a.npy" if kind == "npy" else "a.npz")
    path.write_bytes(bytes(content))
    try:
        dataset = load_images(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert dataset.images.ndim == 3
