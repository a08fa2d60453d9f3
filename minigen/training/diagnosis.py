"""What the signs of a GAN mean: measurements in, findings out. `watch.py` measures.

Five things go wrong with a GAN again and again. Each has a sign that is a number, a threshold with a reason, words for
a person, and what usually helps:

    saturated    the discriminator is sure of nearly every image, and its own loss teaches it nothing more
    vanishing    hardly any gradient reaches the generator
    collapsed    the samples are (nearly) all of a kind
    memorised    the discriminator knows the training images by heart, not what makes an image real
    oscillating  the losses swing round instead of settling

One look may deceive, most of all early in a run: a finding is what `PATIENCE` looks in a row agree on, and it is over
when as many disagree. A sign that was not measured (NaN) agrees with nothing and ends nothing.

What healthy runs measured, below, is in the signs.csv of `minigen train gan`, alone and with `--set r1=0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .history import Row

__all__ = ["PATIENCE", "SURE", "WINDOW", "Finding", "Swing", "diagnose", "effective_number", "swing"]

PATIENCE = 3
"""Looks in a row. A generator's first samples are alike in healthy runs too: those of the default GAN are at step 500,
and at step 1000 are not."""

SURE = math.log(99)
"""A logit: D = 0.99. The gradient of D's loss with respect to this logit is 0.01 of the largest there is."""

SATURATED = 0.75
"""Share of images, real and generated, of which D is sure and right: under a quarter of a batch still teaches it.
Healthy runs measured 0."""

VANISHING = 0.01
"""Mean |dL_G / dlogit| of at most 1: the generator sees a hundredth of the gradient that its loss could give.
Healthy runs measured 0.4 to 0.7."""

STANDSTILL = 1e-8
"""Root mean square of the generator's gradient per weight: Adam divides by sqrt(v) + 1e-8, which makes up for a
gradient's size only while it is above that. Healthy runs measured 1e-4 to 1e-3."""

CLASSES = 1 / 3
"""Effective number of classes, of that of the data: two thirds are missing. From step 1250 on healthy runs measured
0.85 to 1 with R1 and 0.45 to 0.9 without, collapsed ones 0.1 to 0.2."""

VARIETY = 0.25
"""Total variance of the samples, of that of the data. The ones, the least varied digit of MNIST, still have 0.43:
below 0.25 even a single class is not drawn in its variety. Healthy runs measured 0.6 to 1."""

MEMORISED = 0.5
"""r_v = (E D(train) - E D(unseen)) / (E D(train) - E D(fake)) in logits, 0 without and 1 with full memorisation
(Karras et al. 2020, arXiv:2006.06676, equation 1): unseen real images look to D more like fakes than like those it
has seen. Healthy runs measured up to 0.25."""

CERTAIN = 4.0
"""Standard errors that the gap between training and unseen images must have: chance reaches it once in 30 000 looks."""

WINDOW = 2000
"""Steps over which a swing is looked for."""

BLOCK = 10
"""Steps averaged into one point of the curve, so that the noise of a batch hardly shows: periods from about 3 blocks
on are seen."""

LEAST_BLOCKS = 50

SWING = math.log(2)
"""From trough to crest of D's loss, in nats: half of the way from a D that is always right (0) to one that guesses
(log 4). Healthy runs measured at most 0.2 with R1, 0.4 without."""

CYCLES = 4.0
"""Full swings in the window. Of 500 random walks 5 % have as many."""

SLOW = 3.0
"""Variance of the block means, of that which independent batches would give them: above it, the curve itself moves.
White noise has 1."""


@dataclass(frozen=True)
class Finding:
    """What is the matter, since when, by which figure, and what usually helps; `over` is None while it lasts."""

    symptom: str
    epoch: int
    step: int
    what: str
    helps: str
    over: int | None = None

    def __str__(self) -> str:
        """Two sentences and a half, for a person."""
        since = f"{self.symptom} since epoch {self.epoch}, step {self.step}"
        end = "" if self.over is None else f", over since step {self.over}"
        return f"{since}{end}: {self.what}. What usually helps: {self.helps}."


class Swing(NamedTuple):
    """How a loss moves over a window, the trend taken away."""

    size: float  # nats, from the 5th to the 95th percentile of the block means
    cycles: float  # full ones, of at least half that size
    slowness: float  # 1 for independent batches


def swing(losses: np.ndarray) -> Swing:
    """The swing of the last steps of a loss (steps,); NaN of fewer than `LEAST_BLOCKS` blocks.

    A cycle is counted when the curve has been a quarter of `size` above its median and then as much below, or the
    other way round, twice.
    """
    blocks = len(losses) // BLOCK
    if blocks < LEAST_BLOCKS:
        return Swing(math.nan, math.nan, math.nan)
    steps = np.asarray(losses, np.float64)[-blocks * BLOCK:].reshape(blocks, BLOCK)
    means = steps.mean(1)
    noise = float(steps.var(1, ddof=1).mean()) / BLOCK
    time = np.arange(blocks) - (blocks - 1) / 2
    curve = means - means.mean() - time * (time @ means) / (time @ time)
    low, middle, high = (float(q) for q in np.quantile(curve, (0.05, 0.5, 0.95)))
    side = np.where(curve > middle + (high - low) / 4, 1, np.where(curve < middle - (high - low) / 4, -1, 0))
    side = side[side != 0]
    cycles = np.count_nonzero(side[1:] != side[:-1]) / 2
    return Swing(high - low, cycles, float(curve.var()) / noise if noise > 0 else math.inf)


def effective_number(shares: np.ndarray) -> float:
    """exp(-sum_c p_c log p_c): 10 for ten equal classes, 1 where one class has all."""
    p = shares[shares > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def diagnose(signs: Sequence[Row]) -> list[Finding]:
    """The findings of a run, in the order in which they began, those that are over too.

    signs: a row a look, with epoch, step and the columns that the rules below read; a column may be missing.
    """
    found = [finding for rule in _RULES for finding in _episodes(rule, signs)]
    return sorted(found, key=lambda finding: finding.step)


def _episodes(rule: _Rule, signs: Sequence[Row]) -> list[Finding]:
    found: list[Finding] = []
    first, agreeing, lasts = None, 0, False  # of the looks in a row that speak against the present state
    for row in signs:
        seen = rule.seen(row)
        if seen is None:
            continue
        agreeing = agreeing + 1 if seen is not lasts else 0
        first = row if agreeing == 1 else first
        if first is None or agreeing < PATIENCE:
            continue
        lasts, agreeing = seen, 0
        if lasts:
            found.append(Finding(rule.symptom, int(first["epoch"]), int(first["step"]), *rule.words(row)))
        else:
            found[-1] = replace(found[-1], over=int(first["step"]))
    return found


class _Rule(NamedTuple):
    symptom: str
    seen: Callable[[Row], bool | None]
    words: Callable[[Row], tuple[str, str]]


def _get(row: Row, *names: str) -> list[float]:
    return [row.get(name, math.nan) for name in names]


def _known(*values: float) -> bool:
    return not any(math.isnan(value) for value in values)


def _saturated(row: Row) -> bool | None:
    (sure,) = _get(row, "sure")
    return sure >= SATURATED if _known(sure) else None


def _saturated_words(row: Row) -> tuple[str, str]:
    what = (f"the discriminator is sure of {row['sure']:.0%} of all images to 99 % or more (mean logit "
            f"{row['real_logit']:.1f} on real images, {row['fake_logit']:.1f} on generated ones), so that its loss "
            "hardly teaches it anything more, and what it tells the generator is noise")
    return what, "a smaller lr_discriminator, the R1 penalty (r1), one-sided label smoothing (real_label=0.9)"


def _vanishing(row: Row) -> bool | None:
    signal, gradient = _get(row, "signal", "gradient")
    return signal <= VANISHING or gradient <= STANDSTILL if _known(signal, gradient) else None


def _vanishing_words(row: Row) -> tuple[str, str]:
    signal, gradient, logit = row["signal"], row["gradient"], row["fake_logit"]
    figures = (f"hardly any gradient reaches the generator: {signal:.2g} of at most 1 at the discriminator's logit, "
               f"{gradient:.2g} per weight")
    if signal > VANISHING:
        return (f"{figures}. The discriminator is flat around the samples",
                "a weaker R1 penalty (r1), a larger lr_discriminator, a wider discriminator")
    if logit < 0:
        return (f"{figures}. The discriminator is sure that the samples are generated (mean logit {logit:.1f}), and "
                "there the minimax loss is flat",
                'form="non_saturating", a smaller lr_discriminator, the R1 penalty (r1)')
    return (f"{figures}. The discriminator takes every sample for real (mean logit {logit:.1f}): it is too weak",
            "a larger lr_discriminator, a smaller lr, a wider discriminator, a weaker R1 penalty (r1)")


def _collapsed(row: Row) -> bool | None:
    classes, variety = _get(row, "classes", "variety")
    if not (_known(classes) or _known(variety)):
        return None
    return classes <= CLASSES or variety <= VARIETY  # a comparison with NaN is false


def _collapsed_words(row: Row) -> tuple[str, str]:
    classes, variety, top, share = _get(row, "classes", "variety", "top_class", "top_share")
    what = f"the samples are too much alike: their variance is {variety:.0%} of the data's"
    if _known(classes):
        what += (f", their classes count for {classes:.0%} of the data's, and {share:.0%} of them are taken for "
                 f"class {top:.0f}")
    return what, ("the R1 penalty (r1), batch normalisation in the generator, beta1=0.5, smaller learning rates; or "
                  "more steps, where the run is young")


def _memorised(row: Row) -> bool | None:
    real, unseen, fake, errors = _get(row, "real_logit", "unseen_logit", "fake_logit", "gap_errors")
    if not _known(real, unseen, fake, errors):
        return None
    return errors >= CERTAIN and real - unseen >= MEMORISED * (real - fake)


def _memorised_words(row: Row) -> tuple[str, str]:
    real, unseen, fake = row["real_logit"], row["unseen_logit"], row["fake_logit"]
    what = ("the discriminator knows the training images by heart: its mean logit is "
            f"{real:.1f} on them, {unseen:.1f} on real images that it has not seen, {fake:.1f} on generated ones")
    return what, ("more data, adaptive augmentation (--ada), a stronger R1 penalty (r1), dropout, a smaller "
                  "discriminator, or stopping here")


def _oscillating(row: Row) -> bool | None:
    size, cycles, slowness = _get(row, "swing", "cycles", "slowness")
    if not _known(size, cycles, slowness):
        return None
    return size >= SWING and cycles >= CYCLES and slowness >= SLOW


def _oscillating_words(row: Row) -> tuple[str, str]:
    what = (f"the discriminator's loss swings by {row['swing']:.1f} nats, {row['cycles']:.0f} times in the last "
            f"{row['window']:.0f} steps: each player undoes what the other has learned")
    return what, "smaller learning rates, beta1=0.5 or less, the R1 penalty (r1), a weight average (ema)"


_RULES = (
    _Rule("saturated", _saturated, _saturated_words),
    _Rule("vanishing", _vanishing, _vanishing_words),
    _Rule("collapsed", _collapsed, _collapsed_words),
    _Rule("memorised", _memorised, _memorised_words),
    _Rule("oscillating", _oscillating, _oscillating_words),
)
