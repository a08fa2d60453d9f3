"""Counter-based random numbers: a draw is a function of (seed, number of the draw), whatever else was drawn.

The bits are Philox4x32-10 (Salmon et al. 2011), in `minigen.kernels`. The whole state of a Generator is two
integers, which a checkpoint stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from . import ops
from .errors import UsageError
from .host import HostNumber, Number
from .tensor import Tensor

__all__ = ["Generator", "default_generator", "seed"]


class Generator:
    """Independent random tensors, the n-th of which depends on `seed` and n alone."""

    seed = HostNumber()
    draw = HostNumber()

    def __init__(self, seed: int, draw: int = 0) -> None:
        if not isinstance(seed, int | np.integer | Number) or isinstance(seed, bool) or not 0 <= seed < 2**64:
            raise UsageError(f"seed must be an integer from 0 to 2^64 - 1, got {seed!r}")
        self.seed = seed
        self.draw = draw

    def fork(self, name: str) -> Generator:
        """A generator whose numbers are independent of this one's, for the purpose called `name`."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return Generator(int.from_bytes(digest[:8], "little"))

    def normal(self, shape: int | Sequence[int], dtype: str = "float32", device: str = "cpu") -> Tensor:
        """Elements from N(0, 1), the same on every device."""
        return ops.normal(seed=self.seed, draw=self._next(), shape=_shape(shape), dtype=dtype, device=device)

    def uniform(self, shape: int | Sequence[int], dtype: str = "float32", device: str = "cpu") -> Tensor:
        """Elements from U[0, 1), the same on every device."""
        return ops.uniform(seed=self.seed, draw=self._next(), shape=_shape(shape), dtype=dtype, device=device)

    def bernoulli(self, p: Tensor) -> Tensor:
        """Zeros and ones, one with probability `p`, in shape, type and device of `p`; no gradient reaches p."""
        return ops.astype(self.uniform(p.shape, str(p.dtype), p.device) < p, dtype=p.dtype)

    def dropout_mask(self, shape: int | Sequence[int], rate: float, dtype: str = "float32",
                     device: str = "cpu") -> Tensor:
        """Zeros with probability `rate`, else 1 / (1 - rate)."""
        return ops.dropout_mask(rate=rate, seed=self.seed, draw=self._next(), shape=_shape(shape), dtype=dtype,
                                device=device)

    def state(self) -> tuple[int, int]:
        """(seed, draws so far): all that there is."""
        return self.seed, self.draw

    def _next(self) -> int:
        self.draw += 1
        return self.draw - 1


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


default_generator = Generator(0)


def seed(value: int) -> None:
    """Restart the default generator, which layers made without a generator of their own draw from."""
    fresh = Generator(value)
    default_generator.seed, default_generator.draw = fresh.seed, 0
