"""Pictures: their pixels where that can be said, written whole or not at all, and what is refused."""

import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minigen import plots
from minigen.errors import DataError, DTypeError, OutputError, ShapeError, UsageError

RAMP = np.linspace(0, 1, 12 * 5 * 4, dtype=np.float32).reshape(12, 5, 4)
GREY = plots.image_grid(np.zeros((1, 1, 1)))[0, 0]


def opened(path):
    with Image.open(path) as picture:
        picture.load()
        return picture


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, to look at their parts."""
    kept = []
    real = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kw: (kept.append(self), real(self, *args, **kw))[1]
    )
    return kept


def test_a_grid_places_each_image_and_separates_them():
    grid = plots.image_grid(RAMP[:5], columns=3, gap=2)
    assert grid.dtype == np.uint8 and grid.shape == (2 * 7 + 2, 3 * 6 + 2)
    for number in range(5):
        row, column = divmod(number, 3)
        tile = grid[row * 7 + 2 : row * 7 + 7, column * 6 + 2 : column * 6 + 6]
        assert np.array_equal(tile, np.rint(RAMP[number] * 255).astype(np.uint8))
    assert (grid[:2] == GREY).all() and (grid[7:9] == GREY).all() and (grid[:, 6:8] == GREY).all()
    assert (grid[9:14, 14:18] == GREY).all()  # the place that stays empty


def test_a_grid_is_never_wider_than_its_images():
    assert plots.image_grid(RAMP[:2], columns=10, gap=0).shape == (5, 8)


def test_save_grid(tmp_path):
    plots.save_grid(RAMP, tmp_path / "new" / "folder" / "grid.png", columns=4, scale=3)
    picture = opened(tmp_path / "new" / "folder" / "grid.png")
    assert picture.mode == "L" and picture.size == (3 * (4 * 5 + 1), 3 * (3 * 6 + 1))
    assert np.array_equal(np.asarray(picture)[1::3, 1::3], plots.image_grid(RAMP, 4))


def test_reconstructions_alternate_and_are_named(tmp_path, figures):
    plots.save_reconstructions(RAMP[:5], 1 - RAMP[:5], tmp_path / "r.png", columns=3)
    opened(tmp_path / "r.png")
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["original", "decoded"] * 2
    shown = np.asarray(axes.images[0].get_array())
    for tick, stack in zip(axes.get_yticks(), (RAMP, 1 - RAMP, RAMP[3:], 1 - RAMP[3:]), strict=True):
        # the middle line of the first image in the row that this tick names
        assert np.array_equal(shown[round(tick), 1:5], np.rint(stack[0, 2] * 255).astype(np.uint8))


def test_losses_have_units_names_and_every_value(tmp_path, figures):
    plots.save_losses(
        {"training": [3.0, 2.0, 1.5], "test": [3.5, np.inf, 2.0]}, tmp_path / "l.png", title="VAE"
    )
    opened(tmp_path / "l.png")
    axes = figures[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "loss (nats)", "VAE")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "test"]
    training, test = axes.get_lines()
    assert training.get_xdata().tolist() == [1, 2, 3] and training.get_ydata().tolist() == [3.0, 2.0, 1.5]
    assert np.isnan(test.get_ydata()[1])
    assert training.get_color() != test.get_color() and training.get_linestyle() != test.get_linestyle()


def test_a_long_curve_has_a_running_mean_in_its_middle(tmp_path, figures):
    values = np.arange(500.0)
    plots.save_losses({"d": values.tolist()}, tmp_path / "l.png", steps=(values * 10).tolist(), xlabel="step")
    raw, mean = figures[0].axes[0].get_lines()
    assert np.array_equal(raw.get_ydata(), values)
    assert mean.get_label() == "d (mean of 10)"
    assert np.allclose(mean.get_ydata(), mean.get_xdata() / 10, atol=0.51)


def test_manifold_points_are_quantiles_of_the_prior_in_reading_order():
    points = plots.manifold_points(4)
    assert points.shape == (16, 2) and points.dtype == np.float32
    expected = [-1.15034938, -0.31863936, 0.31863936, 1.15034938]  # Phi^-1 of 1/8, 3/8, 5/8, 7/8
    assert np.allclose(points[:4, 0], expected) and np.allclose(points[:4, 1], expected[3])
    assert np.allclose(points[::4, 1], expected[::-1])
    assert np.allclose(plots.manifold_points(1), 0)


def test_the_manifold_is_labelled_with_the_latent_plane(tmp_path, figures):
    images = np.zeros((9, 4, 4), np.float32)
    images[0] = 1
    plots.save_manifold(images, tmp_path / "m.png")
    opened(tmp_path / "m.png")
    axes = figures[0].axes[0]
    shown = np.asarray(axes.images[0].get_array())
    assert shown.shape == (12, 12) and (shown[:4, :4] == 255).all() and shown[4:].max() == 0
    ticks = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    assert ticks["0"] == pytest.approx(5.5) and ticks["2"] < ticks["1"] < ticks["0"]  # z2 grows upwards


def test_the_scatter_gives_every_label_a_colour_of_its_own(tmp_path, figures):
    rng = np.random.default_rng(0)
    labels = np.arange(50, dtype=np.uint8) % 10
    plots.save_latent_scatter(rng.normal(size=(50, 2)), labels, tmp_path / "s.png")
    opened(tmp_path / "s.png")
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(label) for label in range(10)]
    colours = axes.collections[0].get_facecolors()
    assert len(np.unique(colours, axis=0)) == 10
    assert all((colours[labels == label] == colours[label]).all() for label in range(10))


@pytest.mark.parametrize("width, aspect", [(1.0, 1.0), (0.1, "auto")])
def test_the_scatter_of_a_stripe_fills_its_picture(tmp_path, figures, width, aspect):
    z = np.random.default_rng(0).uniform(size=(50, 2)) * [width, 1]
    plots.save_latent_scatter(z, np.zeros(50, np.uint8), tmp_path / "s.png")
    assert figures[0].axes[0].get_aspect() == aspect


@pytest.mark.parametrize("classes, named", [(10, True), (40, False)])
def test_an_inspection_names_every_class_where_they_are_few(tmp_path, monkeypatch, classes, named):
    shown = []
    monkeypatch.setattr("minigen.plots.inspection.save_figure", lambda figure, path: shown.append(figure))
    images = np.random.default_rng(0).random((80, 6, 6), np.float32)
    plots.save_inspection(images, np.arange(80) % classes, {}, tmp_path / "i.png")
    (axes,) = [axes for axes in shown[0].axes if axes.get_title().startswith("labels")]
    assert (list(axes.get_xticks()) == list(range(classes))) == named


def test_the_animation_has_its_frames_and_rests_on_the_last(tmp_path):
    frames = [np.full((4, 8, 8), level, np.float32) for level in (0.0, 0.5, 1.0)]
    path = tmp_path / "a.gif"
    plots.save_gif(frames, path, captions=["epoch 1", "epoch 2", "epoch 3"], columns=2)
    with Image.open(path) as animation:
        assert animation.n_frames == 3 and animation.info["loop"] == 0
        assert animation.size == (2 * 19, 2 * 19 + 22)
        durations, middles = [], []
        for number in range(3):
            animation.seek(number)
            durations.append(animation.info["duration"])
            middles.append(animation.convert("L").getpixel((10, 32)))
    assert durations == [250, 250, 2000]
    assert middles[0] == 0 and abs(middles[1] - 128) < 9 and middles[2] == 255


def test_an_animation_without_captions(tmp_path):
    plots.save_gif([RAMP, RAMP * 0.5], tmp_path / "a.gif", columns=4, scale=1)
    assert opened(tmp_path / "a.gif").size == (21, 19)


def test_an_interrupted_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "l.png"
    plots.save_losses({"a": [1.0, 2.0]}, path)
    before = path.read_bytes()

    def interrupted(self, stream, **kwargs):
        stream.write(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plots.save_losses({"a": [1.0, 2.0]}, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["l.png"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "grid.png", tmp_path / "folder.png"):
        with pytest.raises(OutputError, match=f"{path.name}: cannot be written .*; name another folder"):
            plots.save_grid(RAMP, path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_pyplot_is_never_touched(tmp_path):
    import sys

    had = "matplotlib.pyplot" in sys.modules
    plots.save_losses({"a": [1.0]}, tmp_path / "l.png")
    assert ("matplotlib.pyplot" in sys.modules) == had


@pytest.mark.parametrize(
    "images, error, message",
    [
        (RAMP.reshape(12, 20), ShapeError, r"got images \(12, 20\), expected \(N, H, W\).*x.reshape"),
        (RAMP[:0], ShapeError, r"got images \(0, 5, 4\), expected"),
        (
            (RAMP * 255).astype(np.uint8),
            DTypeError,
            r"got uint8, expected floats in \[0, 1\]; scale with to_unit",
        ),
        (RAMP * 2 - 1, DataError, r"got values from -1 to 1, expected \[0, 1\]; from \[-1, 1\]"),
        (RAMP * np.float32(np.nan), DataError, "got values from nan to nan"),
    ],
)
def test_every_writer_holds_images_against_the_contract(tmp_path, images, error, message):
    for write in (
        lambda: plots.image_grid(images),
        lambda: plots.save_grid(images, tmp_path / "p.png"),
        lambda: plots.save_reconstructions(images, images, tmp_path / "p.png"),
        lambda: plots.save_manifold(images, tmp_path / "p.png"),
        lambda: plots.save_gif([images], tmp_path / "p.gif"),
    ):
        with pytest.raises(error, match=message):
            write()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda p: plots.save_grid(RAMP, p, columns=0), UsageError, "0 columns, gap 1; expected at least 1"),
        (lambda p: plots.save_grid(RAMP, p, scale=0), UsageError, "scale 0: expected a whole number"),
        (lambda p: plots.save_reconstructions(RAMP, RAMP[1:], p), ShapeError, "expected the same"),
        (lambda p: plots.save_losses({}, p), DataError, "with nothing in one; expected values"),
        (lambda p: plots.save_losses({"a": [1.0], "b": []}, p), DataError, "with nothing in one"),
        (
            lambda p: plots.save_losses({"a": [1.0]}, p, steps=[1, 2]),
            ShapeError,
            "'a' has 1 values for 2 steps",
        ),
        (lambda p: plots.manifold_points(0), UsageError, "got side 0, expected at least 1"),
        (lambda p: plots.save_manifold(RAMP, p), ShapeError, "got 12 images, expected a square number"),
        (lambda p: plots.save_gif([], p), ShapeError, "expected one frame or more, all alike"),
        (lambda p: plots.save_gif([RAMP, RAMP[1:]], p), ShapeError, "all alike"),
        (lambda p: plots.save_gif([RAMP], p, captions=[]), ShapeError, "0 captions for 1 frames"),
        (
            lambda p: plots.save_latent_scatter(np.zeros((3, 5)), np.zeros(3, int), p),
            ShapeError,
            r"z \(3, 5\) and labels \(3,\), expected .* of a larger latent give two columns",
        ),
        (
            lambda p: plots.save_latent_scatter(np.zeros((3, 2)), np.array([0, 1, 10]), p),
            DataError,
            "expected whole numbers 0 to 9",
        ),
        (
            lambda p: plots.save_latent_scatter(np.full((3, 2), np.nan), np.zeros(3, int), p),
            DataError,
            "z has NaN or infinite values",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, call, error, message):
    with pytest.raises(error, match=message):
        call(tmp_path / "p.png")
    assert os.listdir(tmp_path) == []
