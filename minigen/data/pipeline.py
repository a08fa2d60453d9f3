"""From raw images to what a network reads, as a list of small steps that a run can write down.

>>> pipeline = Pipeline(Clean(classes=10), Shift(2), Noise(0.1), seed=0)     # doctest: +SKIP
>>> images, labels, report = pipeline.clean(images, labels)                  # doctest: +SKIP
>>> batch = pipeline(images[indices], indices, epoch)                        # doctest: +SKIP
>>> history = mg.train(model, images, pipeline=pipeline)                     # doctest: +SKIP
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigen.data.augment import Elastic, Flip, Noise, Rotate, Scale, Shear, Shift
from minigen.data.clean import Clean, CleaningReport
from minigen.data.draws import Draws
from minigen.data.transforms import to_unit
from minigen.errors import DataError, ShapeError, UsageError

__all__ = ["STEPS", "Binarise", "Normalise", "Pipeline"]

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Normalise:
    """(x - mean) / std, and back. The default takes [0, 1] to [-1, 1]; `Normalise.of` measures a data set."""

    mean: float = 0.5
    std: float = 0.5

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and 0 < self.std < np.inf):
            raise UsageError(f"Normalise: mean = {self.mean}, std = {self.std}: expected finite numbers, std above 0")

    @staticmethod
    def of(images: NDArray[Any]) -> "Normalise":
        """With the mean and the standard deviation of all pixels, in [0, 1]: the result has mean 0 and variance 1."""
        x = to_unit(images)
        return Normalise(float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)))

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        return (images - np.float32(self.mean)) / np.float32(self.std)

    def invert(self, images: Images) -> Images:
        """The images that `apply` came from, but for rounding."""
        return images * np.float32(self.std) + np.float32(self.mean)


@dataclass(frozen=True)
class Binarise:
    """Pixels of 0 and 1: "dynamic" draws b ~ Bernoulli(x) anew in each epoch, "static" once, "threshold" x >= 1/2.

    Sources: see `binarise_dynamic` and `binarise_static`, which draw for whole arrays; here each image has its own.
    """

    how: str = "dynamic"

    def __post_init__(self) -> None:
        if self.how not in ("dynamic", "static", "threshold"):
            raise UsageError(f"Binarise: how = {self.how!r}: expected 'dynamic', 'static' or 'threshold'")

    def apply(self, images: Images, draws: Draws) -> Images:
        """The changed images, new memory."""
        if self.how == "threshold":
            return (images >= np.float32(0.5)).astype(np.float32)
        drawn = draws if self.how == "dynamic" else draws.in_epoch(0)
        return (drawn.uniform(*images.shape[1:]) < images).astype(np.float32)


STEPS: dict[str, Any] = {step.__name__: step for step in (
    Clean, Shift, Rotate, Scale, Shear, Elastic, Noise, Flip, Binarise, Normalise)}  # fmt: skip


class Pipeline:
    """Steps in order: `Clean` first, then changes of images in [0, 1], then `Normalise`.

    What comes out for an image is a function of its pixels, `seed`, its position in the set, and the epoch: neither
    the batch nor its order matters. `record()` is what a run keeps, and `Pipeline.of` makes the pipeline again.
    """

    def __init__(self, *steps: Any, seed: int = 0) -> None:
        for step in steps:
            if type(step) not in STEPS.values():
                raise UsageError(f"Pipeline: {step!r} is no step: expected some of {', '.join(STEPS)}")
        order = [0 if isinstance(step, Clean) else 2 if isinstance(step, Normalise) else 1 for step in steps]
        if order != sorted(order):
            names = ", ".join(type(step).__name__ for step in steps)
            raise UsageError(f"Pipeline: the order is {names}: put Clean first and Normalise last, since the steps "
                             "between them read and give pixels in [0, 1]")
        Draws(seed, "", np.zeros(0, np.int64))  # refuses a bad seed now and not at the first batch
        self.steps = steps
        self.seed = seed

    def clean(self, images: Sequence[Any] | NDArray[Any],
              labels: Any = None) -> tuple[NDArray[Any], NDArray[Any] | None, CleaningReport]:
        """The steps `Clean`, for a whole set, before anything else: (images, labels, report on the set that came)."""
        kept = np.arange(len(images))
        reasons: dict[str, NDArray[np.intp]] = {}
        for step in self.steps:
            if isinstance(step, Clean):
                images, labels, report = step.apply(images, labels)
                for reason, rows in report.dropped.items():
                    reasons[reason] = np.sort(np.concatenate([reasons.get(reason, rows[:0]), kept[rows]]))
                kept = kept[report.kept]
        came = len(kept) + sum(map(len, reasons.values()))
        return np.asarray(images), labels, CleaningReport(came, kept, reasons)

    def __call__(self, images: NDArray[Any], indices: NDArray[np.int64] | None = None, epoch: int = 0) -> Images:
        """The images (N, H, W), uint8 or float32 in [0, 1], after every step but `Clean`: float32, new memory.

        indices: the position of each in its set (0, 1, 2 ... unless given). Raises ShapeError, DataError, DTypeError.
        """
        indices = np.arange(len(images)) if indices is None else np.asarray(indices)
        if images.ndim != 3 or indices.shape != (len(images),):
            raise ShapeError(f"pipeline: images {images.shape}, positions {indices.shape}; expected (N, H, W) and (N,)")
        x = np.array(to_unit(images))
        for number, step in enumerate(self.steps):
            if not isinstance(step, Clean):
                x = step.apply(x, Draws(self.seed, f"{number}/{type(step).__name__}", indices, epoch))
        return x

    def invert(self, images: Images) -> Images:
        """What went in, from what came out; UsageError where a step has thrown something away.

        `Clean` drops whole images and is passed over; only `Normalise`, and a `Flip` that is certain, can be undone.
        """
        for step in reversed(self.steps):
            if isinstance(step, Clean):
                continue
            if not hasattr(step, "invert"):
                raise UsageError(f"{type(step).__name__} cannot be undone: it has drawn its change, or lost what was "
                                 "there; keep the images from before")
            images = step.invert(images)
        return images

    def record(self) -> dict[str, Any]:
        """Everything that the result depends on, ready for JSON."""
        steps = [{"step": type(step).__name__, **dataclasses.asdict(step)} for step in self.steps]
        for step in steps:
            step.update({name: list(value) for name, value in step.items() if isinstance(value, tuple)})
        return {"seed": self.seed, "steps": steps}

    @classmethod
    def of(cls, record: Any) -> "Pipeline":
        """The pipeline that `record()` describes; DataError where it describes none."""
        try:
            steps = []
            for entry in record["steps"]:
                settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
                steps.append(STEPS[settings.pop("step")](**settings))
            return cls(*steps, seed=record["seed"])
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise DataError(
                f"{record!r} describes no pipeline ({error}); expected what Pipeline.record() gives"
            ) from error

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(map(repr, self.steps))}, seed={self.seed})"
