"""Pictures of a run: sample grids, reconstructions, loss curves, latent spaces, an animation.

Images come as floats in [0, 1] of shape (N, H, W), 0 black and 1 white.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..errors import DataError, DTypeError, ShapeError, UsageError
from .control import Control, Mark, draw_control, draw_marks
from .style import DPI, LINE_STYLES, PALETTE, atomic, open_axes, save_figure

__all__ = [
    "image_grid",
    "manifold_points",
    "save_gif",
    "save_grid",
    "save_latent_scatter",
    "save_losses",
    "save_manifold",
    "save_reconstructions",
]

_SEPARATOR = 90  # grey level of the lines between images: seen beside black and beside white
_STRIPE = 3  # times as long as wide: from here on the axes of a scatter have scales of their own
_SMOOTH_FROM = 200  # points from which a curve is drawn pale, with its running mean on top


def image_grid(images: NDArray[Any], columns: int = 10, gap: int = 1) -> NDArray[np.uint8]:
    """Images (N, H, W) in rows of `columns`, separated by `gap` pixels of grey: one 2-d uint8 array.

    Places that the last row leaves empty are grey. Raises ShapeError, DTypeError, DataError.
    """
    pixels = _to_bytes(images, "image_grid")
    if columns < 1 or gap < 0:
        raise UsageError(f"image_grid: {columns} columns, gap {gap}; expected at least 1 and at least 0")
    count, height, width = pixels.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    tiles = np.full((rows * columns, height + gap, width + gap), _SEPARATOR, np.uint8)
    tiles[:count, gap:, gap:] = pixels
    grid = tiles.reshape(rows, columns, height + gap, width + gap).transpose(0, 2, 1, 3)
    joined = grid.reshape(rows * (height + gap), columns * (width + gap))
    return np.pad(joined, ((0, gap), (0, gap)), constant_values=_SEPARATOR)


def save_grid(images: NDArray[Any], path: str | Path, columns: int = 10, scale: int = 2) -> None:
    """Write `image_grid(images, columns)` as a greyscale PNG, every pixel `scale` x `scale`."""
    picture = _enlarge(image_grid(images, columns), scale)
    with atomic(path) as stream:
        picture.save(stream, format="PNG", optimize=True)


def save_reconstructions(
    originals: NDArray[Any], reconstructions: NDArray[Any], path: str | Path, columns: int = 10
) -> None:
    """Pairs of rows, each original above what the model made of it: both (N, H, W) in [0, 1]."""
    name = "save_reconstructions"
    if originals.shape != reconstructions.shape:
        raise ShapeError(
            f"{name}: originals {originals.shape}, reconstructions {reconstructions.shape}; expected the same"
        )
    for images in (originals, reconstructions):
        _to_bytes(images, name)
    columns = max(1, min(columns, len(originals)))
    pairs = [
        _pair(originals[start : start + columns], reconstructions[start : start + columns], columns)
        for start in range(0, len(originals), columns)
    ]
    picture = np.concatenate(pairs)[: -_pair_gap(originals)]
    figure, axes = _image_figure(picture, width=0.55 * columns + 1.2)
    row = (originals.shape[1] + 1.0) / 2
    middles = [len(pairs[0]) * pair + row * half for pair in range(len(pairs)) for half in (1, 3)]
    axes.set_yticks(middles, ["original", "decoded"] * len(pairs))
    axes.tick_params(length=0)
    save_figure(figure, path)


def save_losses(
    history: Mapping[str, Sequence[float]],
    path: str | Path,
    *,
    steps: Sequence[float] | None = None,
    xlabel: str = "epoch",
    ylabel: str = "loss (nats)",
    title: str = "",
    controls: Sequence[Control] = (),
    marks: Sequence[Mark] = (),
) -> None:
    """Curves of a run, one for each name in `history`, over `steps` (1, 2, 3 ... unless given).

    `controls` get a panel each below, `marks` a line across.
    A long curve is drawn pale with its running mean on top. Values that are not finite leave a gap.
    """
    if not history or not all(len(values) for values in history.values()):
        raise DataError(
            f"save_losses: got curves {list(history)} with nothing in one; expected values to draw"
        )
    figure = Figure(figsize=(7, 4 + 1.6 * len(controls)), dpi=DPI, layout="constrained")
    panels: Any = figure.subplots(
        1 + len(controls), sharex=True, squeeze=False, height_ratios=[4.0] + [1.6] * len(controls)
    )
    axes, *below = panels[:, 0]
    for number, (name, values) in enumerate(history.items()):
        x = np.arange(1, len(values) + 1) if steps is None else np.asarray(steps)
        if len(x) != len(values):
            raise ShapeError(
                f"save_losses: {name!r} has {len(values)} values for {len(x)} steps; expected as many"
            )
        _draw_curve(axes, x, np.asarray(values, dtype=np.float64), name, number)
    axes.set(ylabel=ylabel, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    open_axes(axes)
    axes.legend(frameon=False)
    draw_marks(axes, marks)
    for panel, control in zip(below, controls, strict=True):
        draw_control(panel, control)
    panels[-1, 0].set_xlabel(xlabel)
    save_figure(figure, path)


def manifold_points(side: int = 20) -> NDArray[np.float32]:
    """Latent points (side^2, 2) that cut the prior N(0, I) of a plane into squares of equal probability.

    z = Phi^-1((i + 1/2) / side) along each axis. They run as one reads a picture: the first row, where z2 is
    largest, comes first, and z1 grows along a row.
    Source: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes" (2014), appendix A.
    """
    if side < 1:
        raise UsageError(f"manifold_points: got side {side}, expected at least 1")
    quantiles = [NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)]
    points = [(z1, z2) for z2 in reversed(quantiles) for z1 in quantiles]
    return np.array(points, dtype=np.float32)


def save_manifold(images: NDArray[Any], path: str | Path) -> None:
    """The plane of a 2-d latent: images (side^2, H, W) in [0, 1], decoded at `manifold_points(side)`."""
    pixels = _to_bytes(images, "save_manifold")
    side = math.isqrt(len(pixels))
    if side * side != len(pixels):
        raise ShapeError(f"save_manifold: got {len(pixels)} images, expected a square number of them")
    figure, axes = _image_figure(image_grid(images, side, gap=0), width=7)
    # z lies Phi(z) of the way along an axis, in the same scale as the quantiles of manifold_points.
    shown = (-2, -1, 0, 1, 2)
    across = [NormalDist().cdf(z) for z in shown]
    height, width = side * pixels.shape[1], side * pixels.shape[2]
    axes.set_xticks([part * width - 0.5 for part in across], map(str, shown))
    axes.set_yticks([(1 - part) * height - 0.5 for part in across], map(str, shown))
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    save_figure(figure, path)


def save_latent_scatter(z: NDArray[Any], labels: NDArray[Any], path: str | Path) -> None:
    """Encoded images z (N, 2) as points coloured by label (N,) 0..9, each digit written at its median.

    Both axes have one scale, unless one would be a stripe.
    """
    if z.ndim != 2 or z.shape[1] != 2 or labels.shape != (len(z),) or len(z) == 0:
        raise ShapeError(
            f"save_latent_scatter: z {z.shape} and labels {labels.shape}, expected (N, 2) and (N,) with "
            f"N > 0; of a larger latent give two columns"
        )
    if labels.dtype.kind not in "ui" or labels.min() < 0 or labels.max() >= len(PALETTE):
        raise DataError(f"save_latent_scatter: labels are {labels.dtype}, expected whole numbers 0 to 9")
    if not np.isfinite(z).all():
        raise DataError("save_latent_scatter: z has NaN or infinite values, expected finite ones")
    figure = Figure(figsize=(7, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    colours = np.array(PALETTE)[labels]
    # In the order of the data, not class by class: no class hides another.
    axes.scatter(z[:, 0], z[:, 1], s=5, c=colours, alpha=0.6, linewidths=0)
    for label in np.unique(labels):
        axes.scatter([], [], s=30, color=PALETTE[label], label=str(label))
        _write_digit(axes, np.median(z[labels == label], axis=0), int(label))
    spans = np.ptp(z, axis=0)
    axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal" if spans.max() <= _STRIPE * spans.min() else "auto")
    open_axes(axes)
    axes.legend(
        title="label",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        handletextpad=0.1,
        fontsize=11,
    )
    save_figure(figure, path)


def save_gif(
    frames: Sequence[NDArray[Any]],
    path: str | Path,
    *,
    captions: Sequence[str] | None = None,
    columns: int = 8,
    scale: int = 2,
    milliseconds: int = 250,
) -> None:
    """An endless animation of grids, one frame an epoch; the last stays for two seconds.

    frames: each (N, H, W) in [0, 1], all of the same shape.
    captions: a line above each frame, such as "epoch 3".
    """
    if not len(frames) or len({frame.shape for frame in frames}) != 1:
        raise ShapeError(
            f"save_gif: shapes {[f.shape for f in frames]}, expected one frame or more, all alike"
        )
    if captions is not None and len(captions) != len(frames):
        raise ShapeError(f"save_gif: {len(captions)} captions for {len(frames)} frames; expected as many")
    texts = captions if captions is not None else [""] * len(frames)
    pictures = [_frame(frame, text, columns, scale) for frame, text in zip(frames, texts, strict=True)]
    durations = [milliseconds] * (len(pictures) - 1) + [2000]
    with atomic(path) as stream:
        pictures[0].save(
            stream,
            "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            optimize=True,
        )


def _to_bytes(images: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Hold images against the contract, floats in [0, 1] of shape (N, H, W), and make them uint8."""
    if images.ndim != 3 or images.size == 0:
        raise ShapeError(
            f"{name}: got images {images.shape}, expected (N, H, W), none of them 0; "
            "rows become images with x.reshape(-1, H, W)"
        )
    if images.dtype.kind != "f":
        raise DTypeError(f"{name}: got {images.dtype}, expected floats in [0, 1]; scale with to_unit first")
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4):  # written so that NaN does not pass
        raise DataError(
            f"{name}: got values from {low:g} to {high:g}, expected [0, 1]; from [-1, 1], (x + 1) / 2 leads there"
        )
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _pair_gap(images: NDArray[Any]) -> int:
    return max(2, images.shape[1] // 4)


def _pair(above: NDArray[Any], below: NDArray[Any], columns: int) -> NDArray[np.uint8]:
    """Two rows as one picture, white where the last row is short, with a white strip underneath."""
    grid = np.concatenate([image_grid(above, columns), image_grid(below, columns)[1:]])
    full = columns * (above.shape[2] + 1) + 1
    return np.pad(grid, ((0, _pair_gap(above)), (0, full - grid.shape[1])), constant_values=255)


def _image_figure(picture: NDArray[np.uint8], width: float) -> tuple[Figure, Axes]:
    """A figure, `width` inches wide, that is all picture."""
    height = width * picture.shape[0] / picture.shape[1]
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    return figure, axes


def _draw_curve(axes: Axes, x: NDArray[Any], y: NDArray[np.float64], name: str, number: int) -> None:
    colour = PALETTE[number % len(PALETTE)]
    style = LINE_STYLES[number % len(LINE_STYLES)]
    y = np.where(np.isfinite(y), y, np.nan)
    if len(y) < _SMOOTH_FROM:
        marker = "o" if len(y) <= 30 else None
        axes.plot(x, y, style, color=colour, label=name, marker=marker, markersize=4)
        return
    axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
    window = len(y) // 50
    mean = np.convolve(y, np.full(window, 1 / window), mode="valid")
    start = (window - 1) // 2
    axes.plot(
        x[start : start + len(mean)], mean, color=colour, label=f"{name} (mean of {window})", lw=2, zorder=3
    )


def _write_digit(axes: Axes, place: NDArray[Any], label: int) -> None:
    outline = [effects.withStroke(linewidth=3, foreground="white")]
    axes.text(
        place[0],
        place[1],
        str(label),
        ha="center",
        va="center",
        fontsize=15,
        weight="bold",
        path_effects=outline,
    )


def _enlarge(grid: NDArray[np.uint8], scale: int) -> Image.Image:
    if scale < 1:
        raise UsageError(f"scale {scale}: expected a whole number of at least 1")
    picture = Image.fromarray(grid)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def _frame(images: NDArray[Any], caption: str, columns: int, scale: int) -> Image.Image:
    """One frame of the animation. 32 grey levels are enough for the eye and make the file much smaller."""
    grid = _enlarge(image_grid(images, columns), scale)
    if caption:
        strip = 22
        page = Image.new("L", (grid.width, grid.height + strip), 255)
        page.paste(grid, (0, strip))
        ImageDraw.Draw(page).text((6, 3), caption, fill=0, font=ImageFont.load_default(14))
        grid = page
    return grid.point([round(level / 255 * 31) * 255 // 31 for level in range(256)])
