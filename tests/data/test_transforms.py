"""Scales are undone, binarisation is Bernoulli and repeatable, inputs stay as they are."""

import numpy as np
import pytest

from minigen.data import (
    binarise_dynamic,
    binarise_static,
    to_symmetric,
    to_unit,
)
from minigen.errors import DataError, DTypeError, UsageError

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def test_bytes_to_unit_range():
    unit = to_unit(EVERY_BYTE)
    assert unit.dtype == np.float32 and unit.min() == 0 and unit.max() == 1
    assert np.array_equal(unit, EVERY_BYTE.astype(np.float32) / np.float32(255))


def test_bytes_to_symmetric_range():
    symmetric = to_symmetric(EVERY_BYTE)
    assert symmetric.dtype == np.float32 and symmetric.min() == -1 and symmetric.max() == 1
    assert np.allclose(symmetric, EVERY_BYTE / 127.5 - 1, atol=1e-6)


def test_unit_and_symmetric():
    unit = to_unit(EVERY_BYTE)
    assert to_unit(unit) is unit
    symmetric = to_symmetric(unit)
    assert symmetric.dtype == np.float32 and symmetric.min() == -1 and symmetric.max() == 1
    assert np.allclose((symmetric + 1) / 2, unit, atol=1e-7)


def test_static_binarisation_is_a_function_of_image_and_seed():
    x = to_unit(EVERY_BYTE)
    once = binarise_static(x, 1)
    assert once.dtype == np.float32 and set(np.unique(once)) == {0.0, 1.0}
    assert np.array_equal(once, binarise_static(x, 1))
    assert not np.array_equal(once, binarise_static(x, 2))
    assert not np.array_equal(once, binarise_dynamic(x, 1, 0))


def test_dynamic_binarisation_is_fresh_at_every_draw():
    x = to_unit(EVERY_BYTE)
    first = binarise_dynamic(x, 1, 0)
    assert np.array_equal(first, binarise_dynamic(x, 1, 0))
    assert not np.array_equal(first, binarise_dynamic(x, 1, 1))
    assert not np.array_equal(first, binarise_dynamic(x, 2, 0))


def test_binarisation_draws_a_pixel_with_its_probability():
    x = np.tile(np.array([0, 0.25, 0.5, 0.9, 1], np.float32), (1500, 1))
    mean = binarise_dynamic(x, 3, 7).mean(axis=0)
    assert mean[0] == 0 and mean[4] == 1
    assert np.abs(mean - x[0]).max() < 4 * 0.5 / np.sqrt(1500)


def test_binarisation_leaves_its_input_alone():
    x = to_unit(EVERY_BYTE)
    before = x.copy()
    binarise_static(x, 0), binarise_dynamic(x, 0, 0), to_symmetric(x)
    assert np.array_equal(x, before)


@pytest.mark.parametrize(
    "function, x, error, message",
    [
        (to_unit, np.zeros(3), DTypeError, "to_unit: got float64, expected uint8, or float32 in"),
        (to_unit, np.float32([0, 255]), DataError, "to_unit: got values from 0 to 255, expected"),
        (to_symmetric, np.float32([-1, 1]), DataError, "to_unit: got values from -1 to 1"),
        (to_unit, np.float32([0, np.nan]), DataError, "to_unit: got values from nan to nan"),
        (
            lambda x: binarise_static(x, 0),
            EVERY_BYTE,
            DTypeError,
            "binarise_static: got uint8.*to_unit first",
        ),
        (
            lambda x: binarise_static(x, 0),
            np.float32([-1, 1]),
            DataError,
            "binarise_static: got values from -1",
        ),
        (
            lambda x: binarise_dynamic(x, 0, 0),
            np.float32([2]),
            DataError,
            "binarise_dynamic: got values from 2",
        ),
        (
            lambda x: binarise_static(x, -1),
            np.float32([1]),
            UsageError,
            "seed -1: expected a whole number from 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(function, x, error, message):
    with pytest.raises(error, match=message):
        function(x)
