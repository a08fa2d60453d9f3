"""Discriminator overfitting held at a set point by how much is distorted of what the discriminator sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...errors import UsageError
from ...models.augment import Augmentation
from .controller import Action, Controller, require

__all__ = ["AdaptiveAugmentation"]


@dataclass
class AdaptiveAugmentation(Controller):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676, section 3).

        r_t = E[sign(D(real))],  over `every` batches
        p  <-  p + sign(r_t - target) n / images,  held within [0, high]

    with n the number of images in those batches, D the logit and real images as the discriminator sees them. r_t is 0
    without overfitting and 1 where the discriminator knows every training image. p starts at 0 and needs `images`
    images to get from 0 to 1 (the paper's 500 000). `high` is where the augmentations (`minigen/models/augment.py`)
    are no longer sure not to leak; the paper has no such bound, and warns of it.
    """

    target: float = 0.6
    images: int = 500_000
    every: int = 4
    high: float = 0.8
    p: float = field(default=0.0, init=False)
    signs: float = field(default=0.0, init=False)  # the sum over `seen` images of the `steps` batches so far
    seen: int = field(default=0, init=False)
    steps: int = field(default=0, init=False)

    name: ClassVar[str] = "adaptive_augmentation"

    def __post_init__(self) -> None:
        require(self, "target", "a number between -1 and 1", lambda v: -1 < v < 1)
        require(self, "images", "a whole number from 1", lambda v: v >= 1, int)
        require(self, "every", "a whole number from 1", lambda v: v >= 1, int)
        require(self, "high", "a number above 0, at most 1", lambda v: 0 < v <= 1)

    def attach(self, model: Any) -> None:
        if not hasattr(model, "augmentation"):
            raise UsageError(f"AdaptiveAugmentation is for a gan's discriminator, and a {model.kind} has none: leave "
                             "it out")
        model.augmentation = Augmentation(model.config.image_shape, model.noise, model.device)
        model.watched = True

    def detach(self, model: Any) -> None:
        model.augmentation, model.watched = None, False

    def update(self, sign: float, images: int) -> tuple[float, float] | None:
        """Take in the mean sign over a batch of that many images; (r_t, p) where `every` batches are complete."""
        self.signs, self.seen, self.steps = self.signs + sign * images, self.seen + images, self.steps + 1
        if self.steps < self.every:
            return None
        r = self.signs / self.seen
        step = self.seen / self.images
        self.p = min(max(self.p + (step if r > self.target else -step if r < self.target else 0.0), 0.0), self.high)
        self.signs, self.seen, self.steps = 0.0, 0, 0
        return r, self.p

    def after_step(self, measured: Mapping[str, float], images: int) -> Action | None:
        moved = self.update(measured["real_sign"], images)
        return None if moved is None else Action("real_sign", moved[0], "p", moved[1])

    def apply(self, model: Any) -> None:
        model.augmentation.p = self.p
