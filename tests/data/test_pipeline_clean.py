"""Cleaning drops what it should, keeps the rest as it was, and says which and why."""

import numpy as np
import pytest

from minigen.data import Clean, Pipeline, Shift
from minigen.errors import DataError


@pytest.fixture
def dirty(rng):
    """(images, labels, {reason: rows}): one or two of each fault among twelve images."""
    images = rng.uniform(0, 1, (12, 5, 6))
    images[1, 2, 3], images[2, 0, 0] = np.nan, np.inf
    images[3] = 0.25
    images[5] = images[4]
    images[6, 1, 1] = 1.5
    images[7, 1, 1] = -0.5
    labels = np.arange(12) % 4
    labels[8], labels[9] = 4, -1
    return images, labels, {"wrong shape": [], "not finite": [1, 2], "out of range": [6, 7], "constant": [3],
                            "mislabelled": [8, 9], "duplicate": [5]}  # fmt: skip


def told(report):
    return {reason: rows.tolist() for reason, rows in report.dropped.items()}


def test_every_fault_is_found_and_the_rest_is_kept(dirty):
    images, labels, faults = dirty
    kept, kept_labels, report = Clean(classes=4).apply(images, labels)
    assert told(report) == faults and report.came == 12 and report.kept.tolist() == [0, 4, 10, 11]
    assert np.array_equal(kept, images[report.kept]) and np.array_equal(kept_labels, labels[report.kept])
    assert report.lines() == [
        "4 of 12 images kept", "2 dropped, not finite: image 1, 2", "2 dropped, out of range: image 6, 7",
        "1 dropped, constant: image 3", "2 dropped, mislabelled: image 8, 9", "1 dropped, duplicate: image 5",
    ]  # fmt: skip


def test_what_is_not_asked_for_is_kept(dirty):
    images, labels, _ = dirty
    report = Clean(constant=False, duplicates=False, low=-1).examine(images, labels)
    assert told(report) == {"wrong shape": [], "not finite": [1, 2], "out of range": [6], "constant": [],
                            "mislabelled": [9], "duplicate": []}  # fmt: skip
    assert told(Clean().examine(images))["mislabelled"] == []


def test_images_of_several_shapes(rng):
    images = [rng.uniform(0, 1, shape) for shape in ((4, 4), (4, 5), (4, 4), (4,), (4, 4, 3))]
    images += [np.full((4, 4), "a"), [[1.0, 2.0], [3.0]]]
    kept, _, report = Clean().apply(images)
    assert told(report)["wrong shape"] == [1, 3, 4, 5, 6] and kept.shape == (2, 4, 4)
    assert Clean(shape=(4, 5)).apply(images)[0].shape == (1, 4, 5)
    with pytest.raises(DataError, match="cleaning leaves no image: 0 of 7 images kept; 7 dropped, wrong shape"):
        Clean(shape=(9, 9)).apply(images)


@pytest.mark.parametrize("labels, wrong", [
    (np.array([0.0, 1.5, np.nan, 2.0]), [1, 2]),
    (np.array(["a", "b", "c", "d"]), [0, 1, 2, 3]),
    (np.array([0, 1, 2, 2**60]), []),
])
def test_labels_that_are_no_whole_numbers(rng, labels, wrong):
    report = Clean().examine(rng.uniform(0, 1, (4, 3, 3)), labels)
    assert told(report)["mislabelled"] == wrong


def test_bytes_have_no_range_to_leave(rng):
    images = rng.integers(0, 256, (6, 3, 3)).astype(np.uint8)
    images[4] = images[2]
    assert told(Clean().examine(images))["duplicate"] == [4]
    with pytest.raises(DataError, match="labels of shape .5,. for 6 images"):
        Clean().examine(images, np.arange(5))


def test_a_pipeline_cleans_in_turn_and_reports_rows_of_the_set_that_came(dirty):
    images, labels, _ = dirty
    pipeline = Pipeline(Clean(duplicates=False, constant=False), Clean(classes=4), Shift(1))
    kept, kept_labels, report = pipeline.clean(images, labels)
    assert report.kept.tolist() == [0, 4, 10, 11] and report.came == 12
    dropped = told(report)
    assert dropped["duplicate"] == [5] and dropped["mislabelled"] == [8, 9] and dropped["constant"] == [3]
    assert np.array_equal(kept, images[report.kept]) and np.array_equal(kept_labels, labels[report.kept])
    same, none, report = Pipeline(Shift(1)).clean(images)
    assert same is images and none is None and len(report.kept) == 12 and report.lines() == ["12 of 12 images kept"]
