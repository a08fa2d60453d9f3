"""Steps do what they say, are a function of (seed, image, epoch), and can be written down, made again and undone."""

import json

import numpy as np
import pytest
import scipy.ndimage

from minigen.data import (
    Binarise,
    Clean,
    Elastic,
    Flip,
    Noise,
    Normalise,
    Pipeline,
    Rotate,
    Scale,
    Shear,
    Shift,
    to_unit,
)
from minigen.data.augment import _affine, _gaussian_rows, _read
from minigen.data.draws import Draws
from minigen.errors import DataError, DTypeError, ShapeError, UsageError

CHANGES = [Shift(2), Rotate(30), Scale(1.3), Shear(20), Elastic(1.0), Noise(0.2), Flip(), Flip(0.5, vertical=True),
           Binarise("dynamic"), Binarise("static"), Normalise()]  # fmt: skip


@pytest.fixture
def images(rng):
    """20 smooth images of 11 x 14 with a dark rim."""
    x = scipy.ndimage.gaussian_filter(rng.uniform(0, 1, (20, 11, 14)), (0, 1, 1))
    x[:, [0, -1]] = x[:, :, [0, -1]] = 0
    return x.astype(np.float32)


@pytest.mark.parametrize("step", CHANGES, ids=repr)
def test_a_change_depends_on_seed_image_and_epoch_alone(step, images):
    pipeline = Pipeline(step, seed=7)
    before = images.copy()
    whole = pipeline(images, epoch=3)
    assert np.array_equal(images, before) and not np.shares_memory(whole, images)
    assert whole.dtype == np.float32 and whole.shape == images.shape
    order = np.array([5, 17, 0, 5])
    assert np.array_equal(pipeline(images[order], order, 3), whole[order]), "the batch does not matter"
    if not isinstance(step, Normalise):
        assert whole.min() >= 0 and whole.max() <= 1
        assert not np.array_equal(Pipeline(step, seed=8)(images, epoch=3), whole)
        same = np.array_equal(pipeline(images, epoch=4), whole)
        assert same == (step == Binarise("static")), "a static binarisation is the same in every epoch"


def test_two_equal_steps_draw_different_numbers(images):
    pipeline = Pipeline(Noise(0.1), Noise(0.1))
    inner = (images > 0.3) & (images < 0.7)
    once = Pipeline(Noise(0.1))(images) - images
    twice = pipeline(images) - images
    assert np.corrcoef(once[inner], (twice - once)[inner])[0, 1] < 0.1
    assert twice[inner].std() == pytest.approx(0.1 * np.sqrt(2), rel=0.1)


def test_shift_moves_whole_pixels_and_reaches_every_place():
    image = np.zeros((2000, 9, 9), np.float32)
    image[:, 4, 4] = 1
    moved = Pipeline(Shift(2))(image)
    assert np.all(moved.sum((1, 2)) == 1)
    counts = moved.sum(0)
    assert np.all(counts[2:7, 2:7] > 40) and counts.sum() == 2000, "25 places, 80 expected in each"


@pytest.mark.parametrize("matrix", [
    [[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]], [[1.2, 0], [0, 0.8]], [[1, 0], [0.3, 1]],
])
def test_an_affine_change_is_scipys(images, matrix):
    """Where scipy does not look outside the frame: it takes the rim as it is, here 0 lies beyond it."""
    matrix = np.array(matrix)
    centre = (np.array(images.shape[1:]) - 1) / 2
    came = _affine(images, *(np.full(len(images), c, np.float32) for c in matrix.ravel()))
    for got, image in zip(came, images, strict=True):
        right = scipy.ndimage.affine_transform(image, matrix, centre - matrix @ centre, order=1, mode="constant")
        assert np.allclose(got, right, atol=1e-5)


def test_reading_between_pixels_and_outside():
    image = np.array([[[1, 2], [3, 4]]], np.float32)
    y = np.array([[[0, 0.5], [-0.5, 99]]], np.float32)
    x = np.array([[[1, 0.5], [0, 0]]], np.float32)
    assert _read(image, y, x).tolist() == [[[2, 2.5], [0.5, 0]]]
    assert np.array_equal(_read(image.swapaxes(1, 2), x, y), _read(image, y, x)), "both axes alike"
    assert _read(image, np.full((1, 2, 2), 1.5, np.float32), x)[0, 0, 0] == pytest.approx(2.0), "half of it outside"


def test_rotate_scale_and_shear_stay_within_their_bounds():
    """The second moments of a blob tell the angle, the size and the slant."""
    y, x = np.mgrid[-20:21, -20:21].astype(np.float32)
    bar = np.exp(-(x**2 / 50 + y**2 / 4))[None].repeat(200, 0)

    def moments(images):
        total = images.sum((1, 2))
        return [(images * w).sum((1, 2)) / total for w in (x * x, y * y, x * y)]

    xx, yy, xy = moments(Pipeline(Rotate(25))(bar))
    angles = np.rad2deg(0.5 * np.arctan2(2 * xy, xx - yy))
    assert np.abs(angles).max() < 25.5 and angles.std() == pytest.approx(50 / np.sqrt(12), rel=0.15)
    xx, yy, xy = moments(Pipeline(Scale(1.5))(bar))
    factors = np.log((xx * yy) ** 0.25 / (25 * 2) ** 0.25)
    assert np.abs(factors).max() < np.log(1.5) + 0.03 and abs(factors.mean()) < 0.05
    assert factors.std() == pytest.approx(2 * np.log(1.5) / np.sqrt(12), rel=0.15)
    tall = bar.transpose(0, 2, 1)
    xx, yy, xy = moments(Pipeline(Shear(20))(tall))
    slant = np.rad2deg(np.arctan(xy / yy))
    assert np.abs(slant).max() < 20.5 and slant.std() > 8
    assert np.allclose(yy, 25, rtol=0.05), "rows slide along, they do not move up or down"


def test_elastic_displaces_as_far_as_it_says():
    """A ramp shows the displacement: its standard deviation is `pixels`, and neighbours move together.

    The correlation of noise smoothed by a Gaussian is a Gaussian too, with twice the variance.
    """
    ramp = np.tile(np.arange(40, dtype=np.float32) / 100 + 0.3, (200, 40, 1))
    moved = (Pipeline(Elastic(2.0, smooth=3.0))(ramp) - ramp)[:, 12:-12, 12:-12] * 100
    assert moved.std() == pytest.approx(2.0, rel=0.1) and abs(moved.mean()) < 0.2
    for lag in (1, 4):
        correlation = np.corrcoef(moved[:, :, lag:].ravel(), moved[:, :, :-lag].ravel())[0, 1]
        assert correlation == pytest.approx(np.exp(-(lag**2) / (4 * 3.0**2)), abs=0.04)
    assert np.allclose(np.linalg.norm(_gaussian_rows(9, 2.0), axis=1), 1), "at the rim too"


def test_noise_and_flip(images):
    grey = np.full((50, 20, 20), 0.5, np.float32)
    noise = Pipeline(Noise(0.1))(grey) - grey
    assert noise.std() == pytest.approx(0.1, rel=0.02) and abs(noise.mean()) < 0.003
    came = Pipeline(Flip(0.3))(np.tile(images[:1], (1000, 1, 1)))
    mirrored = np.array([np.array_equal(image, images[0][:, ::-1]) for image in came])
    assert 240 < mirrored.sum() < 360 and np.array_equal(came[~mirrored][0], images[0])
    assert np.array_equal(Pipeline(Flip(1.0, vertical=True))(images), images[:, ::-1])


def test_binarise_is_bernoulli(images):
    x = np.tile(images[:1], (3000, 1, 1))
    came = Pipeline(Binarise("dynamic"))(x)
    assert set(np.unique(came)) == {0, 1}
    assert np.abs(came.mean(0) - images[0]).max() < 4.5 * 0.5 / np.sqrt(3000)
    assert np.array_equal(Pipeline(Binarise("threshold"))(images), images >= 0.5)


def test_normalise_to_mean_0_and_variance_1_and_back(images):
    pipeline = Pipeline(Normalise.of(images))
    came = pipeline(images)
    assert abs(came.mean()) < 1e-5 and came.std() == pytest.approx(1, rel=1e-5)
    assert np.allclose(pipeline.invert(came), images, atol=1e-6)
    bytes_ = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    symmetric = Pipeline(Normalise())
    assert symmetric(bytes_).min() == -1 and symmetric(bytes_).max() == 1
    assert np.allclose(symmetric.invert(symmetric(bytes_)), to_unit(bytes_), atol=1e-6)


def test_what_can_be_undone_is_and_what_cannot_says_so(images):
    pipeline = Pipeline(Clean(), Flip(1.0), Flip(1.0, vertical=True), Normalise(0.2, 3.0))
    assert np.allclose(pipeline.invert(pipeline(images)), images, atol=1e-6)
    for step in (Shift(1), Rotate(), Noise(), Binarise(), Elastic(), Scale(), Shear()):
        with pytest.raises(UsageError, match=f"{type(step).__name__} cannot be undone"):
            Pipeline(step).invert(images)
    with pytest.raises(UsageError, match="chance = 0.5 cannot be undone"):
        Pipeline(Flip()).invert(images)


def test_a_pipeline_is_its_record(images):
    pipeline = Pipeline(Clean(shape=(11, 14), classes=10), *CHANGES[:-1], Normalise(0.1, 0.3), seed=5)
    record = json.loads(json.dumps(pipeline.record()))
    again = Pipeline.of(record)
    assert again.steps == pipeline.steps and again.record() == pipeline.record()
    assert again(images).tobytes() == pipeline(images).tobytes()
    assert record["steps"][1] == {"step": "Shift", "pixels": 2} and record["seed"] == 5


@pytest.mark.parametrize("record", [{}, [], 3, None, {"seed": 0, "steps": [{"pixels": 2}]}, {"seed": 0, "steps": [3]},
                                    {"seed": 0, "steps": [{"step": "Melt"}]}, {"seed": -1, "steps": []},
                                    {"seed": 0, "steps": [{"step": "Shift", "pixels": 0}]},
                                    {"seed": 0, "steps": [{"step": "Shift", "colour": 1}]}])  # fmt: skip
def test_a_record_that_is_none(record):
    with pytest.raises(DataError, match="describes no pipeline"):
        Pipeline.of(record)


@pytest.mark.parametrize("make, message", [
    (lambda: Pipeline(Shift(), Clean()), "the order is Shift, Clean: put Clean first and Normalise last"),
    (lambda: Pipeline(Normalise(), Noise()), "the order is Normalise, Noise"),
    (lambda: Pipeline("Shift"), "'Shift' is no step: expected some of Clean, Shift"),
    (lambda: Pipeline(seed=-1), "seed"),
    (lambda: Shift(0), "pixels = 0: expected a whole number from 1"),
    (lambda: Rotate(0), "degrees = 0"), (lambda: Rotate(float("nan")), "degrees = nan"),
    (lambda: Scale(1.0), "ratio = 1.0"), (lambda: Shear(90), "degrees = 90"), (lambda: Elastic(0), "pixels = 0"),
    (lambda: Noise(-1), "sigma = -1"), (lambda: Flip(2), "chance = 2"), (lambda: Binarise("soft"), "how = 'soft'"),
    (lambda: Normalise(std=0), "std = 0"), (lambda: Clean(classes=0), "classes = 0"),
])
def test_settings_out_of_range(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_images_that_do_not_fit(images):
    pipeline = Pipeline(Shift())
    with pytest.raises(ShapeError, match=r"images \(11, 14\), positions \(11,\); expected \(N, H, W\)"):
        pipeline(images[0])
    with pytest.raises(ShapeError, match=r"positions \(3,\)"):
        pipeline(images, np.arange(3))
    with pytest.raises(DataError, match="values from"):
        pipeline(images * 300)
    with pytest.raises(DTypeError, match="float64"):
        pipeline(images.astype(np.float64))
    with pytest.raises(UsageError, match="positions -1 to 4"):
        pipeline(images[:5], np.array([-1, 0, 1, 2, 4]))
    for epoch in (-1, 1 << 32):
        with pytest.raises(UsageError, match=f"epoch {epoch}"):
            pipeline(images, epoch=epoch)
    assert pipeline(images[:0]).shape == (0, 11, 14)


def test_draws_of_one_image_do_not_depend_on_the_others_or_on_the_call_before():
    whole = Draws(3, "test", np.arange(10), epoch=2)
    first, second = whole.uniform(4), whole.normal(2, 3)
    part = Draws(3, "test", np.array([8]), epoch=2)
    assert np.array_equal(part.uniform(4)[0], first[8]) and np.array_equal(part.normal(2, 3)[0], second[8])
    assert len(np.unique(first)) == first.size
    assert not np.array_equal(Draws(3, "other", np.arange(10), epoch=2).uniform(4), first)
    assert np.array_equal(part.in_epoch(2).uniform(4)[0], first[8])
    assert not np.array_equal(part.in_epoch(1).uniform(4)[0], first[8])
