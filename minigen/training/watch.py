"""The doctor beside a GAN in training: looks now and then, says what it finds, and touches nothing.

A look is a forward pass of some images in evaluation mode, from noise of its own: no random stream moves, no gradient
and no buffer is left changed. A run with the doctor is bitwise the run without. A resumed run goes on with the signs on
disk; only the window of losses in which a swing is looked for begins anew.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd import grad, no_grad
from ..backend import to_device
from ..checkpoint import atomic_file
from ..data import Dataset, to_unit
from ..errors import CheckpointError
from ..losses.gan import generator_loss
from ..metrics import Classifier, mnist_classifier
from ..models import GAN
from ..tensor import Tensor
from .diagnosis import PATIENCE, SURE, WINDOW, Finding, diagnose, effective_number, swing
from .folder import RunFolder
from .history import History, Row
from .report import Reporter

__all__ = ["EVERY", "Watch"]

EVERY = 1000
"""Steps between two looks. On one thread of a shared machine looking took 0.3 % of the default GAN's run and 0.4 % of
the document's; every 500 steps, on a busier day, 0.9 and 1.4 %. The first finding comes after 3000 of 20 000 steps."""

IMAGES = 128
"""In a look, of each kind. A tenth of them is then known to 3 %, the mean of a logit to 9 % of its spread."""

KNOWN = 0.95
"""Mean top probability that the shipped classifier must give real images to be asked about generated ones."""


@dataclass
class Watch:
    """What has been seen of one run, and what has been said about it.

    real, unseen: images (N, H, W) of the training set and, if there are any, held out.
    batches: steps in an epoch. folder: where signs.csv and diagnosis.txt go; None for nowhere.
    """

    gan: GAN
    real: np.ndarray
    unseen: np.ndarray | None
    batches: int
    reporter: Reporter
    folder: RunFolder | None
    signs: History = field(default_factory=History)
    classifier: Classifier | None = field(init=False, default=None)
    said: list[Finding] = field(init=False)

    @classmethod
    def beside(cls, model: Any, data: Any, test: Any, batches: int, reporter: Reporter, folder: RunFolder | None, *,
               step: int) -> Watch | None:
        """The watch of a run that stands at `step`; None beside a model that is no GAN."""
        if not isinstance(model, GAN) or not isinstance(data, Dataset):
            return None
        unseen = _some(test.images) if isinstance(test, Dataset) else None
        signs = _signs_until(folder, step, reporter) if folder and step else History()
        return cls(model, _some(data.images), unseen, batches, reporter, folder, signs)

    def __post_init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._variety = _variety(to_unit(self.real))
        self.said = diagnose(self.signs.rows)
        if self.gan.config.image_shape == mnist_classifier().config.image_shape:
            probabilities = mnist_classifier().describe_images(self.real)[1]
            if probabilities.max(axis=1).mean() >= KNOWN:
                self.classifier = mnist_classifier()
                self._classes = effective_number(_shares(probabilities))

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        """To be called after every step, counted from 1."""
        self._losses.append(losses["discriminator_loss"])
        if step % EVERY == 0:
            self._look(step)

    def _look(self, step: int) -> None:
        with np.errstate(all="ignore"):  # a ratio that does not exist is NaN, a sign not measured
            signs = self._measure()
        if signs is None:
            return
        self.signs.rows.append({"epoch": -(-step // self.batches), "step": step, **signs})
        before, self.said = self.said, diagnose(self.signs.rows)
        for finding in self.said:
            if finding not in before:
                self.reporter.notice(_told(finding))
        if self.folder:
            self.signs.write_csv(self.folder.signs)
            with atomic_file(self.folder.diagnosis) as stream:
                stream.write(self._written(step).encode())

    def _written(self, step: int) -> str:
        """The content of diagnosis.txt."""
        early = len(self.signs) < PATIENCE
        nothing = f"too early to say: a finding takes {PATIENCE} looks" if early else "nothing found"
        lines = [str(finding) for finding in self.said] or [nothing]
        looks = f"{len(self.signs)} look{'' if len(self.signs) == 1 else 's'}"
        return "\n".join([*lines, f"({looks}, the last at step {step}; the figures are in signs.csv)"]) + "\n"

    def _measure(self) -> Row | None:
        """The columns that `diagnosis.py` reads; None where the weights are broken, of which the loop will tell."""
        gan = self.gan
        rows = gan.generate(IMAGES, seed=0, network=gan.generator)
        samples = gan.to_images((rows + 1) * 0.5)
        if not np.isfinite(samples).all():
            return None
        real, fake = self._logits(gan.preprocess(self.real)), self._logits(rows)
        move = swing(np.array(self._losses))
        signs = {
            "real_logit": real.mean(),
            "fake_logit": fake.mean(),
            **self._gap(real),
            "sure": ((real >= SURE).mean() + (fake <= -SURE).mean()) / 2,
            "signal": (_sigmoid(fake) if gan.config.form == "minimax" else _sigmoid(-fake)).mean(),
            "gradient": self._gradient(),
            "variety": _variety(samples) / self._variety if self._variety else math.nan,
            **self._kinds(samples),
            "swing": move.size, "cycles": move.cycles, "slowness": move.slowness, "window": len(self._losses),
        }  # fmt: skip
        return {name: float(value) for name, value in signs.items()}

    def _logits(self, rows: Tensor) -> np.ndarray:
        with no_grad(), self.gan.evaluating():
            return to_device(self.gan.discriminator(rows).data, "cpu").astype(np.float64).ravel()

    def _gap(self, real: np.ndarray) -> Row:
        """How D takes real images that it has not seen, and how many standard errors that is from those it has."""
        if self.unseen is None:
            return {"unseen_logit": math.nan, "gap_errors": math.nan}
        unseen = self._logits(self.gan.preprocess(self.unseen))
        error = np.sqrt(real.var() / len(real) + unseen.var() / len(unseen))
        return {"unseen_logit": unseen.mean(), "gap_errors": (real.mean() - unseen.mean()) / error}

    def _gradient(self) -> float:
        """Root mean square over G's weights of dL_G / dw."""
        gan = self.gan
        z = gan.noise.fork("watch").normal((IMAGES // 4, gan.config.latent), device=gan.device)
        with gan.evaluating(), gan.discriminator.frozen():
            loss = generator_loss(gan.discriminator(gan.generator(z)), form=gan.config.form)
            slopes = [to_device(g.data, "cpu").astype(np.float64) for g in grad(loss, gan.generator.parameters())]
        return math.sqrt(sum(float((g * g).sum()) for g in slopes) / sum(g.size for g in slopes))

    def _kinds(self, samples: np.ndarray) -> Row:
        """The class histogram, where the classifier knows the data."""
        if self.classifier is None:
            return dict.fromkeys(("classes", "top_class", "top_share"), math.nan)
        shares = _shares(self.classifier.describe_images(samples)[1])
        return {"classes": effective_number(shares) / self._classes, "top_class": shares.argmax(),
                "top_share": shares.max()}


def _told(finding: Finding) -> str:
    """One line: the whole story when it begins, a word when it is over."""
    if finding.over is None:
        return f"doctor: {finding}"
    return f"doctor: no longer {finding.symptom}, since step {finding.over}"


def _some(images: np.ndarray) -> np.ndarray:
    """`IMAGES` of them, from all parts of a set that may be sorted."""
    return images[np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(np.int64)]


def _signs_until(folder: RunFolder, step: int, reporter: Reporter) -> History:
    """What was seen before the run was stopped; the record of it is no reason not to go on."""
    if not folder.signs.exists():
        return History()
    try:
        return History.read_csv(folder.signs).until(step)
    except CheckpointError as error:
        reporter.notice(f"note: {error}; the doctor begins anew")
        return History()


def _variety(images: np.ndarray) -> float:
    """Total variance, summed over pixels."""
    return float(images.var(axis=0, dtype=np.float64).sum())


def _shares(probabilities: np.ndarray) -> np.ndarray:
    return np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]) / len(probabilities)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))
