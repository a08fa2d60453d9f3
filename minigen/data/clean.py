"""Which images of a set are fit to be learned from, and why the others are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigen.errors import DataError, UsageError

__all__ = ["Clean", "CleaningReport"]

_SLACK = 1e-6  # how far rounding may carry a value beyond its range


@dataclass(frozen=True, eq=False)
class CleaningReport:
    """What was dropped: rows of the set that came, by the reason, and those that were kept, all in ascending order."""

    came: int
    kept: NDArray[np.intp]
    dropped: dict[str, NDArray[np.intp]]

    def lines(self) -> list[str]:
        """For a person: one line for the whole, and one for each reason that occurred."""
        shown = [f"{len(self.kept)} of {self.came} images kept"]
        for reason, rows in self.dropped.items():
            if len(rows):
                first = ", ".join(map(str, rows[:5])) + (" ..." if len(rows) > 5 else "")
                shown.append(f"{len(rows)} dropped, {reason}: image {first}")
        return shown


@dataclass(frozen=True)
class Clean:
    """The step that comes first: drops images, and says which and why. Each is dropped for the first reason that holds.

    wrong shape      another (H, W) than `shape`, or than most images have; or not a matrix of numbers
    not finite       a pixel that is NaN or infinite
    out of range     a pixel outside [`low`, 1] for floats (uint8 cannot be); low = -1 for the scale of a GAN
    constant         every pixel the same, where `constant` asks for it
    mislabelled      a label outside 0 .. classes - 1, or no whole number; where `classes` is given, else below 0
    duplicate        the same pixels as an earlier image, where `duplicates` asks for it
    """

    shape: tuple[int, int] | None = None
    classes: int | None = None
    constant: bool = True
    duplicates: bool = True
    low: float = 0.0

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 1:
            raise UsageError(f"Clean: classes = {self.classes}: expected a whole number from 1")

    def examine(self, images: Sequence[Any] | NDArray[Any], labels: Any = None) -> CleaningReport:
        """The report on images (N, H, W), or a list of matrices, with labels (N,) if there are any.

        Raises DataError where not one label comes with each image.
        """
        if labels is not None and np.shape(labels) != (len(images),):
            raise DataError(f"labels of shape {np.shape(labels)} for {len(images)} images: give one for each")
        reasons: dict[str, list[int]] = {name: [] for name in _REASONS}
        kept: list[int] = []
        seen: set[bytes] = set()
        matrices = [_matrix(image) for image in images]
        shape = self.shape or _most_frequent(matrices)
        wrong = self._mislabelled(labels, len(images))
        for row, image in enumerate(matrices):
            reason = self._reason(image, shape)
            if reason is None and wrong[row]:
                reason = "mislabelled"
            if reason is None and self.duplicates and image is not None:
                pixels = image.tobytes()
                reason = "duplicate" if pixels in seen else None
                seen.add(pixels)
            (kept if reason is None else reasons[reason]).append(row)
        return CleaningReport(len(images), np.array(kept, np.intp),
                              {name: np.array(rows, np.intp) for name, rows in reasons.items()})

    def apply(self, images: Sequence[Any] | NDArray[Any],
              labels: Any = None) -> tuple[NDArray[Any], NDArray[Any] | None, CleaningReport]:
        """(images (M, H, W), labels (M,) or None, the report); DataError where nothing is left."""
        report = self.examine(images, labels)
        if not len(report.kept):
            raise DataError(f"cleaning leaves no image: {'; '.join(report.lines())}")
        chosen = np.stack([np.asarray(images[row]) for row in report.kept])
        return chosen, None if labels is None else np.asarray(labels)[report.kept], report

    def _reason(self, image: NDArray[Any] | None, shape: tuple[int, ...] | None) -> str | None:
        if image is None or image.shape != shape:
            return "wrong shape"
        low, high = float(image.min()), float(image.max())
        if not np.isfinite(image).all():
            return "not finite"
        if image.dtype.kind == "f" and (low < self.low - _SLACK or high > 1 + _SLACK):
            return "out of range"
        return "constant" if self.constant and low == high else None

    def _mislabelled(self, labels: Any, count: int) -> NDArray[np.bool_]:
        if labels is None:
            return np.zeros(count, bool)
        labels = np.asarray(labels)
        if labels.dtype.kind not in "uif":
            return np.ones(count, bool)
        # Written so that NaN, for which every comparison is false, is wrong.
        right = labels >= 0
        right &= labels == np.floor(labels)
        if self.classes is not None:
            right &= labels < self.classes
        return np.asarray(~right)


_REASONS = ("wrong shape", "not finite", "out of range", "constant", "mislabelled", "duplicate")


def _matrix(image: Any) -> NDArray[Any] | None:
    """The image as a matrix of numbers, None where it is none."""
    try:
        matrix = np.asarray(image)
    except ValueError:  # a list of lists of different lengths
        return None
    return matrix if matrix.ndim == 2 and matrix.size and matrix.dtype.kind in "uifb" else None


def _most_frequent(matrices: Sequence[NDArray[Any] | None]) -> tuple[int, ...] | None:
    shapes = [m.shape for m in matrices if m is not None]
    return max(shapes, key=shapes.count) if len(set(shapes)) > 1 else shapes[0] if shapes else None
