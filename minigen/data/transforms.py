"""From pixels to what a network reads. Plain arrays in, plain arrays out, on one device; inputs are never changed.

Two scales are in use: [0, 1] for a VAE, whose decoder gives Bernoulli probabilities, and [-1, 1] for a GAN,
whose generator ends in tanh. Whatever goes to a network is float32.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigen import kernels
from minigen.backend import device_of, namespace
from minigen.data.streams import stream_seed
from minigen.errors import DataError, DTypeError

__all__ = [
    "binarise_dynamic",
    "binarise_static",
    "to_symmetric",
    "to_unit",
]

_SLACK = 1e-6  # how far rounding may carry a value beyond its range


def to_unit(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """uint8 in 0..255 to float32 in [0, 1]: x / 255. float32 must lie in [0, 1] already and is passed on."""
    if images.dtype == np.uint8:
        return namespace(images).divide(images, np.float32(255), dtype=np.float32)
    _check(images, 0.0, "to_unit", "uint8, or float32 in [0, 1]")
    return images  # type: ignore[return-value]


def to_symmetric(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """uint8 in 0..255, or float32 in [0, 1], to float32 in [-1, 1]: 2 x - 1 with x in [0, 1]."""
    x = to_unit(images) * np.float32(2)
    x -= np.float32(1)
    return x


def binarise_static(x: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Draw each pixel once, b ~ Bernoulli(x): apply it to the whole set, before training.

    x: float32 in [0, 1], any shape. Returns 0.0 and 1.0 in the same shape, a function of (x, seed).
    Source: R. Salakhutdinov and I. Murray, "On the Quantitative Analysis of Deep Belief Networks" (2008).
    """
    return _bernoulli(x, stream_seed(seed, b"bin-stat"), 0, "binarise_static")


def binarise_dynamic(x: NDArray[np.float32], seed: int, draw: int) -> NDArray[np.float32]:
    """Draw each pixel anew, b ~ Bernoulli(x): apply it to each batch, with `draw` the number of the step.

    x: float32 in [0, 1], any shape. Returns 0.0 and 1.0 in the same shape, a function of (x, seed, draw), so
    that a resumed run sees the same pixels.
    Source: Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders" (2016), appendix.
    """
    return _bernoulli(x, stream_seed(seed, b"bin-dyna"), draw, "binarise_dynamic")


def _bernoulli(x: NDArray[np.float32], seed: int, draw: int, name: str) -> NDArray[np.float32]:
    """1 where u < x with u uniform on [0, 1): never for x = 0, always for x = 1."""
    _check(x, 0.0, name, "float32 in [0, 1]; scale with to_unit first")
    return (kernels.on(device_of(x)).uniform(seed, draw, x.shape, np.float32) < x).astype(np.float32)


def _check(x: NDArray[Any], low: float, name: str, expected: str) -> None:
    """Refuse another element type, NaN, and values outside [low, 1]."""
    if x.dtype != np.float32:
        raise DTypeError(f"{name}: got {x.dtype}, expected {expected}")
    if x.size == 0:
        return
    smallest, largest = float(x.min()), float(x.max())
    # Written so that NaN, for which every comparison is false, does not pass.
    if not (smallest >= low - _SLACK and largest <= 1 + _SLACK):
        raise DataError(f"{name}: got values from {smallest:g} to {largest:g}, expected {expected}")
