"""All figures of a set of images, against the same real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..data import to_unit
from ..errors import DataError, ShapeError, UsageError
from ..random import Generator
from .cheats import centroids, independent_pixels, random_rows
from .checks import require_a
from .classes import ClassHistogram, class_histogram
from .classifier import Classifier
from .copies import Copies, copies, nearest_training
from .frechet import frechet_distance, frechet_over_n
from .inception import inception_score
from .interval import Estimate
from .kernel import kernel_distance
from .manifold import K, Manifold, manifold_figures
from .neighbours import Cloud
from .parzen import parzen_log_likelihood

__all__ = ["Judge", "Verdict"]

COPIES = 1000  # samples whose nearest training image is looked for
PARZEN = 1000  # images for the Parzen estimate, and as many to choose its width
LEAST = 200  # samples: below, 1 % is two


@dataclass(frozen=True)
class Verdict:
    """The figures of one set of images by name, its class histogram, and its nearest training images."""

    figures: dict[str, Estimate]
    classes: ClassHistogram
    copies: Copies
    frechet_over_n: list[float]


@dataclass
class Judge:
    """Holds images against `count` real ones, drawn from the training images by `seed`.

    training, held_out: (N, H, W), uint8 or float32 in [0, 1]. The held-out images are the floor: what new real images
    get is what a perfect model would get. The Parzen estimate is of training images that are neither in the reference
    nor among the copies: the floor needs all the held-out ones.
    """

    net: Classifier
    training: np.ndarray
    held_out: np.ndarray
    count: int
    seed: int = 0
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        require_a(Classifier, self.net, "net", "such as minigen.metrics.mnist_classifier()")
        features = self.net.config.hidden[-1]
        least = max(LEAST, features + 2, K + 1)
        if self.count < least:
            raise UsageError(f"{self.count} sample{'s' if self.count > 1 else ''}: too few, a figure over {features} "
                             f"features needs {least} or more")
        self.count = min(self.count, len(self.held_out), (len(self.training) - LEAST) // 2)
        if self.count < least:
            raise DataError(
                f"too few images: a figure over {features} features needs {least} samples or more and as many real "
                f"ones, of which {len(self.training)} training and {len(self.held_out)} held-out images are too few; "
                "give a larger set"
            )
        rng = Generator(self.seed).fork("judge")
        order = random_rows(len(self.training), len(self.training), rng)
        self._copied = order[self.count:2 * self.count]
        reference = self.training[order[:self.count]]
        self._features, self._probabilities = self.net.describe_images(reference)
        self._manifold = Manifold(self._features, name="reference")
        self._rows = Cloud(self._pixels(self.training))
        self._usual = nearest_training(self._pixels(self.held_out[:COPIES]), self._rows)[0]
        self._parzen = np.array_split(self._rows.points[order[2 * self.count:][:2 * PARZEN]], 2)
        self.sizes = sorted({n for n in (500, 1000, 2000, 5000) if features < n < self.count} | {self.count})
        self._cheat_rng = rng

    def floor(self) -> np.ndarray:
        """Held-out real images (count, H, W)."""
        return self.held_out[random_rows(len(self.held_out), self.count, self._cheat_rng.fork("floor"))]

    def cheats(self) -> dict[str, np.ndarray]:
        """Images (count, H, W) made without a model, by name."""
        rows, shape = self._rows.points[self._copied], (self.count, *self.training.shape[1:])
        rng = self._cheat_rng
        return {
            "copies": rows.reshape(shape),
            "centroids": centroids(rows, max(1, self.count // 10), rng.fork("centroids")).reshape(shape),
            "pixels": independent_pixels(rows, rng.fork("pixels")).reshape(shape),
        }

    def examine(self, images: np.ndarray) -> Verdict:
        """All figures of images (N, H, W), as many as the reference has or more; the first `count` are taken."""
        if images.ndim != 3 or images.shape[1:] != self.training.shape[1:]:
            raise ShapeError(f"samples {images.shape}, training images {self.training.shape}: expected the same size; "
                             "name the data that the run was trained on with --data")
        if len(images) < self.count:
            raise DataError(f"{len(images)} samples for {self.count} reference images: give as many")
        images, seed = images[:self.count], self.seed
        features, probabilities = self.net.describe_images(images)
        rows = self._pixels(images)
        manifold = manifold_figures(Manifold(features, name="samples"), self._manifold, seed=seed)
        classes = class_histogram(probabilities, self._probabilities, seed=seed)
        copied = copies(rows[:COPIES], self._rows, self._usual, seed=seed)
        parzen, _ = parzen_log_likelihood(rows, *self._parzen, seed=seed)
        figures = {
            "frechet": frechet_distance(features, self._features, seed=seed),
            "kernel": kernel_distance(features, self._features),
            "inception": inception_score(probabilities, seed=seed),
            **manifold._asdict(),
            "classes": classes.distance,
            "copies": copied.share,
            "parzen": parzen,
        }
        return Verdict(figures, classes, copied, frechet_over_n(features, self._features, self.sizes))

    def _pixels(self, images: np.ndarray) -> np.ndarray:
        return to_unit(images.reshape(len(images), -1))
