"""Augmentations that a discriminator sees the world through: real and generated images alike, with gradients.

Karras et al. 2020, arXiv:2006.06676, section 2: where training images are few, the discriminator learns them by heart.
If it sees every image, real or generated, through a random distortion T, it has more to tell apart, and the generator
still learns the undistorted images as long as T is *non-leaking*: no two distributions of images become the same
behind it. For that T, as a linear operator on distributions, must be one-to-one. Each of the four below is applied with
probability p, so its operator is (1 - p) I + p C, and they are applied one after the other, independently:

    flip     left to right, with probability 1/2            eigenvalues 1 and 1 - p
    shift    whole pixels, all up to SHIFT equally likely   C is a convolution over shifts; its spectrum lies in
                                                            [-1/4, 1], so all eigenvalues are at least 1 - 5 p / 4
    cutout   a square to the background                     C is an average of projections that commute, with
                                                            eigenvalues in [0, 1]: all are at least 1 - p
    noise    sigma n, n ~ N(0, I)                           the characteristic function of C is above 0: so are all

and T is one-to-one for every p < 4/5. (For a shift that holds where nothing is pushed out of the frame: the digits of
MNIST have a margin of 4 pixels.) The paper too finds leaks from p = 0.8 on, in practice.
"""

from __future__ import annotations

import numpy as np

from .. import ops
from ..host import HostNumber
from ..random import Generator
from ..tensor import Tensor

__all__ = ["Augmentation"]

SHIFT = 3  # pixels
NOISE = 0.2  # standard deviation, of pixels in [-1, 1]
CUTOUT = 0.5  # side of the square, in sides of the image


class Augmentation:
    """T: images (N, H W) in [-1, 1] to the same, each distorted by draws of its own; linear in the images, plus noise.

    `p` is a host number: a controller moves it between steps (`minigen.feedback.AdaptiveAugmentation`).
    """

    p = HostNumber()

    def __init__(self, image_shape: tuple[int, int], noise: Generator, device: str = "cpu") -> None:
        self.p = 0.0
        self.image_shape, self.noise, self.device = image_shape, noise, device
        self._rows, self._columns = (Tensor(np.arange(n, dtype=np.float32)).to(device) for n in image_shape)

    def __call__(self, images: Tensor) -> Tensor:
        """T(images), new draws at every call."""
        n, (height, width) = len(images), self.image_shape
        applied = (self.noise.uniform((4, n, 1, 1), device=self.device) < self.p).astype("float32")
        u = self.noise.uniform((5, n, 1, 1), device=self.device)
        flip, shift, cutout, noise = (applied[i] for i in range(4))

        flip = flip * (u[0] < 0.5).astype("float32")
        mirrored = (width - 1) * flip + (1 - 2 * flip) * self._columns  # the column that each column is read from
        down, across = shift * _whole(u[1]), shift * _whole(u[2])
        x = images.reshape(n, height, width) + 1  # 0 is the background, also beyond the frame
        x = _read_from(self._rows + down, self._rows) @ x @ ops.swap_last(_read_from(mirrored + across, self._columns))

        hidden = cutout * ops.swap_last(_near(self._rows, u[3])) * _near(self._columns, u[4])
        x = (x * (1 - hidden)).reshape(n, height * width) - 1
        grain = self.noise.normal((n, height * width), device=self.device)
        return x + noise.reshape(n, 1) * NOISE * grain


def _whole(u: Tensor) -> Tensor:
    """-SHIFT ... SHIFT, all equally likely, from u ~ U[0, 1)."""
    return (u * (2 * SHIFT + 1)).astype("int32").astype("float32") - SHIFT


def _read_from(place: Tensor, axis: Tensor) -> Tensor:
    """The matrices (N, size, size) that have a 1 in row i at column place_i, none where that is beyond the frame.

    place (N, 1, size), axis (size,): 0, 1, 2 ...
    """
    n, size = len(place), len(axis)
    return ops.equal(place.reshape(n, size, 1), axis).astype("float32")


def _near(axis: Tensor, u: Tensor) -> Tensor:
    """1 where a pixel lies within CUTOUT / 2 sides of the place u of the way along the axis: (N, 1, size)."""
    size = len(axis)
    return (ops.abs(axis + 0.5 - u * size) < CUTOUT * size / 2).astype("float32")
