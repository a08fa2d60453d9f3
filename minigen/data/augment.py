"""Small changes of an image that leave what it shows: one class each, to be put into a `Pipeline`.

Images are float32 (N, H, W) in [0, 1], and stay there; what is moved in from outside the frame is 0. Each change is
drawn for each image by `Draws`, so it is a function of (seed, image, epoch), whatever the batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigen.data.draws import Draws
from minigen.errors import UsageError

__all__ = ["Elastic", "Flip", "Noise", "Rotate", "Scale", "Shear", "Shift"]

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Shift:
    """Up to `pixels` whole pixels along each axis, all shifts equally likely."""

    pixels: int = 2

    def __post_init__(self) -> None:
        whole = isinstance(self.pixels, int) and self.pixels >= 1
        _require(whole, f"Shift: pixels = {self.pixels}", "a whole number from 1")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        p = self.pixels
        count, height, width = images.shape
        _require(p < min(height, width), f"Shift: pixels = {p} for images of {height} x {width}",
                 "less, or nothing of some is left")
        padded = np.pad(images, ((0, 0), (p, p), (p, p)))
        corner = np.minimum(draws.uniform(2) * np.float32(2 * p + 1), 2 * p).astype(np.intp)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        return windows[np.arange(count), corner[:, 0], corner[:, 1]]


@dataclass(frozen=True)
class Rotate:
    """By an angle from U(-degrees, degrees), about the centre."""

    degrees: float = 10.0

    def __post_init__(self) -> None:
        _require(0 < self.degrees <= 180, f"Rotate: degrees = {self.degrees}", "above 0, at most 180")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        angle = np.deg2rad(self.degrees) * _symmetric(draws)
        return _affine(images, np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle))


@dataclass(frozen=True)
class Scale:
    """By a factor whose logarithm is from U(-log ratio, log ratio), about the centre: as often larger as smaller."""

    ratio: float = 1.1

    def __post_init__(self) -> None:
        _require(1 < self.ratio <= 4, f"Scale: ratio = {self.ratio}", "above 1, at most 4")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        back = np.exp(-np.log(self.ratio) * _symmetric(draws))
        return _affine(images, back, np.zeros_like(back), np.zeros_like(back), back)


@dataclass(frozen=True)
class Shear:
    """A slant by an angle from U(-degrees, degrees): rows slide along, as in italics."""

    degrees: float = 10.0

    def __post_init__(self) -> None:
        _require(0 < self.degrees <= 60, f"Shear: degrees = {self.degrees}", "above 0, at most 60")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        slope = np.tan(np.deg2rad(self.degrees) * _symmetric(draws))
        one, zero = np.ones_like(slope), np.zeros_like(slope)
        return _affine(images, one, zero, slope, one)


@dataclass(frozen=True)
class Elastic:
    """Each pixel is read from a place displaced by a smooth random field.

    White noise smoothed by a Gaussian of `smooth` pixels, with the standard deviation `pixels` after it. After Simard,
    Steinkraus & Platt 2003, section 2, whose alpha scales the field before it is smoothed.
    """

    pixels: float = 1.0
    smooth: float = 4.0

    def __post_init__(self) -> None:
        _require(0 < self.pixels <= 1000 and 0 < self.smooth <= 1000,
                 f"Elastic: pixels = {self.pixels}, smooth = {self.smooth}", "both above 0, at most 1000")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        _, height, width = images.shape
        noise = draws.normal(2, height, width)
        # Rows of length one: each sum of independent N(0, 1) is N(0, 1) again.
        field = _gaussian_rows(height, self.smooth) @ noise @ _gaussian_rows(width, self.smooth).T
        y, x = np.mgrid[:height, :width].astype(np.float32)
        shift = np.float32(self.pixels)
        return _read(images, y + shift * field[:, 0], x + shift * field[:, 1])


@dataclass(frozen=True)
class Noise:
    """x + sigma n with n ~ N(0, 1) for each pixel, cut off at 0 and 1."""

    sigma: float = 0.1

    def __post_init__(self) -> None:
        _require(0 < self.sigma <= 1000, f"Noise: sigma = {self.sigma}", "above 0, at most 1000")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        noisy = draws.normal(*images.shape[1:])
        noisy *= np.float32(self.sigma)
        noisy += images
        return np.clip(noisy, 0, 1, out=noisy)


@dataclass(frozen=True)
class Flip:
    """Mirrored with the probability `chance`: left and right, or with `vertical` top and bottom. Not for digits."""

    chance: float = 0.5
    vertical: bool = False

    def __post_init__(self) -> None:
        _require(0 < self.chance <= 1, f"Flip: chance = {self.chance}", "above 0, at most 1")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        return np.where(draws.uniform(1)[..., None] < self.chance, self._mirrored(images), images)

    def invert(self, images: Images) -> Images:
        """Mirrored back, where that is certain; UsageError for a chance below 1."""
        _require(self.chance == 1, f"Flip: chance = {self.chance} cannot be undone", "a chance of 1")
        return np.array(self._mirrored(images))

    def _mirrored(self, images: Images) -> Images:
        return images[:, ::-1] if self.vertical else images[:, :, ::-1]


def _require(holds: bool, came: str, expected: str) -> None:
    if not holds:
        raise UsageError(f"{came}: expected {expected}")


def _symmetric(draws: Draws) -> Images:
    """U(-1, 1), (N,)."""
    return draws.uniform(1)[:, 0] * np.float32(2) - np.float32(1)


def _gaussian_rows(size: int, sigma: float) -> Images:
    """(size, size): row i is a Gaussian about i, with the Euclidean length 1."""
    i = np.arange(size)
    rows = np.exp(-np.square(i[:, None] - i) / (2 * sigma**2))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _affine(images: Images, yy: Images, yx: Images, xy: Images, xx: Images) -> Images:
    """Each pixel at (y, x) from the centre is read at (yy y + yx x, xy y + xx x); the coefficients (N,)."""
    _, height, width = images.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    middle_y, middle_x = np.float32((height - 1) / 2), np.float32((width - 1) / 2)
    y, x = y - middle_y, x - middle_x
    yy, yx, xy, xx = (c.astype(np.float32)[:, None, None] for c in (yy, yx, xy, xx))
    return _read(images, yy * y + yx * x + middle_y, xy * y + xx * x + middle_x)


def _read(images: Images, y: Images, x: Images) -> Images:
    """The images at the places (y, x), (N, H, W) each: bilinear between pixels, 0 outside."""
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    # In the padded image a place outside is on the rim of zeros.
    y, x = np.clip(y + 1, 0, height + 1), np.clip(x + 1, 0, width + 1)
    top, left = np.minimum(y.astype(np.intp), height), np.minimum(x.astype(np.intp), width)
    down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
    corner = np.arange(count)[:, None, None] * (height + 2) * (width + 2) + top * (width + 2) + left
    pixels = padded.ravel()
    upper = pixels[corner] * (1 - right) + pixels[corner + 1] * right
    lower = pixels[corner + width + 2] * (1 - right) + pixels[corner + width + 3] * right
    return upper * (1 - down) + lower * down
