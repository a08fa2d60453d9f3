"""Which images make which batch: an order that depends on (seed, epoch) alone.

Nothing is remembered between batches, so a run that stopped after any step goes on as if it had not: the
position is one integer, the number of steps done.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from minigen import kernels
from minigen.data.streams import stream_seed
from minigen.errors import UsageError

__all__ = ["Loader", "permutation"]


def permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A uniformly random order of 0 .. count-1, (count,) int64, a function of the arguments.

    Every item gets a random key of 64 bits and the keys are sorted. The sort is stable, so that two equal
    keys (chance n^2 / 2^65: one in 10^10 for MNIST) still give the same order on every machine.
    """
    bits = kernels.random_bits(stream_seed(seed, b"shuffle!"), epoch, 2 * count).astype(np.uint64)
    keys = (bits[0::2] << np.uint64(32)) | bits[1::2]
    return np.argsort(keys, kind="stable")


class Loader:
    """Cuts a freshly shuffled order of `count` items into batches of indices, epoch after epoch.

    count: the number of items.
    batch_size: indices in a batch; the last batch of an epoch is shorter when it does not divide `count`.
    seed: with the epoch number, all that the order depends on.
    drop_last: leave the shorter last batch out, where every step needs the same shape. What is left out
        differs from epoch to epoch.
    Raises UsageError when no batch can be made.

    >>> loader = Loader(10, batch_size=4, seed=0)
    >>> [len(indices) for indices in loader.epoch(0)]
    [4, 4, 2]
    """

    def __init__(self, count: int, batch_size: int, seed: int, *, drop_last: bool = False) -> None:
        if count < 1:
            raise UsageError(f"the data set is empty: got {count} items, expected at least one")
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}: expected at least 1")
        if batch_size > count:
            raise UsageError(
                f"batch size {batch_size} is larger than the {count} items there are: give {count} or less"
            )
        stream_seed(seed, b"shuffle!")  # refuses a bad seed now and not at the first batch
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self._order: tuple[int, NDArray[np.int64]] | None = None  # the latest epoch's, to sort once an epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def position(self, step: int) -> tuple[int, int]:
        """(epoch, batch within it) of the step with this number, both from 0."""
        _check_number("step", step)
        return divmod(step, len(self))

    def batch(self, epoch: int, index: int) -> NDArray[np.int64]:
        """The indices of one batch, (batch_size,) or fewer at an epoch's end. Read-only."""
        _check_number("epoch", epoch)
        if not 0 <= index < len(self):
            raise UsageError(f"batch {index} does not exist: an epoch has batches 0 to {len(self) - 1}")
        start = index * self.batch_size
        return self._order_of(epoch)[start : start + self.batch_size]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[NDArray[np.int64]]:
        """The batches of one epoch from batch number `start` on; none when start == len(loader)."""
        _check_number("epoch", epoch)
        if not 0 <= start <= len(self):
            raise UsageError(f"cannot start at batch {start}: an epoch has batches 0 to {len(self) - 1}")
        return (self.batch(epoch, index) for index in range(start, len(self)))

    def steps(self, first: int = 0) -> Iterator[NDArray[np.int64]]:
        """Batches without end, from step number `first` on: how a resumed run picks up its place."""
        epoch, start = self.position(first)
        return self._steps(epoch, start)

    def _steps(self, epoch: int, start: int) -> Iterator[NDArray[np.int64]]:
        while True:
            yield from self.epoch(epoch, start)
            epoch, start = epoch + 1, 0

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            order = permutation(self.count, self.seed, epoch)
            order.flags.writeable = False  # batches are views of it
            self._order = (epoch, order)
        return self._order[1]


def _check_number(name: str, number: int) -> None:
    if number < 0:
        raise UsageError(f"{name} {number}: counted from 0, expected 0 or more")
