"""Random numbers that belong to an image: whatever batch it is in, and whatever was drawn for others."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from minigen import kernels
from minigen.errors import UsageError
from minigen.random import Generator

__all__ = ["Draws"]

_Kernel = Callable[[int, int, Sequence[int], str], NDArray[np.float32]]


class Draws:
    """Numbers for the images with the positions `indices` in epoch `epoch`, a function of both, `seed` and `purpose`.

    Every call of a method gives new numbers, from a Philox stream of its own (`minigen.random.Generator.fork`); within
    a stream, image i in epoch e is draw 2^32 e + i.
    """

    def __init__(self, seed: int, purpose: str, indices: NDArray[np.int64], epoch: int = 0) -> None:
        if len(indices) and not (0 <= indices.min() and indices.max() < 1 << 32):
            raise UsageError(f"positions {indices.min()} to {indices.max()}: expected 0 to 2^32 - 1")
        if not 0 <= epoch < 1 << 32:
            raise UsageError(f"epoch {epoch}: expected 0 to 2^32 - 1")
        self._root = Generator(seed)
        self._purpose = purpose
        self._indices = indices
        self._draws = [(epoch << 32) + int(i) for i in indices]
        self._calls = 0

    def in_epoch(self, epoch: int) -> "Draws":
        """The same images and streams from their beginning, in another epoch."""
        return Draws(self._root.seed, self._purpose, self._indices, epoch)

    def uniform(self, *shape: int) -> NDArray[np.float32]:
        """U[0, 1), (N, *shape)."""
        return self._each(kernels.uniform, shape)

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """N(0, 1), (N, *shape)."""
        return self._each(kernels.normal, shape)

    def _each(self, kernel: _Kernel, shape: tuple[int, ...]) -> NDArray[np.float32]:
        key = self._root.fork(f"{self._purpose}/{self._calls}").seed
        self._calls += 1
        out = np.empty((len(self._draws), *shape), np.float32)
        for row, draw in enumerate(self._draws):
            out[row] = kernel(key, draw, shape, "float32")
        return out
