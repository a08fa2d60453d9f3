"""A set of images in memory, and where it came from."""

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigen.data.pipeline import Pipeline

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, perhaps labels, and their provenance.

    images: (N, H, W), either uint8 in 0..255 or float32 in [0, 1].
    labels: (N,) uint8, or None.
    name: what a run's record calls it, such as "mnist-train" or "faces.npz".
    source: "data-dir", "cache", "download", "sample", "file", or "array" for one of the caller's own.
    origin: the folder or file that served.
    note: one line for a person: what was read, or why the sample serves.
    pipeline: what `batch` does with images before they are learned from; None for nothing.
    """

    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.uint8] | None
    name: str
    source: str
    origin: str
    note: str
    pipeline: Pipeline | None = None

    unit = "images"

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def items(self) -> NDArray[np.uint8] | NDArray[np.float32]:
        """All that a model is evaluated on: the images."""
        return self.images

    @property
    def is_sample(self) -> bool:
        """True when the small set inside the package stands in for the full one."""
        return self.source == "sample"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the image values in C order: the same images give the same, wherever they lay."""
        return hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()

    def part(self, rows: NDArray[np.int64]) -> "Dataset":
        """The images in these rows, in this order, under the same name."""
        labels = None if self.labels is None else self.labels[rows]
        return dataclasses.replace(self, images=self.images[rows], labels=labels)

    def batch(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.uint8] | NDArray[np.float32]:
        """The images in these rows as the pipeline gives them in this epoch, or as they are."""
        images = self.images[rows]
        return images if self.pipeline is None else self.pipeline(images, rows, epoch)

    def record(self) -> dict[str, Any]:
        """What a run's configuration keeps, ready for JSON. `origin` stays out: a private path."""
        told = {"name": self.name, "source": self.source, "count": len(self), "sha256": self.sha256}
        return told if self.pipeline is None else {**told, "pipeline": self.pipeline.record()}
