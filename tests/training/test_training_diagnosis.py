"""Each rule of the doctor at its threshold: measurements in, findings out."""

import math

import numpy as np
import pytest

from minigen.training import diagnosis
from minigen.training.diagnosis import PATIENCE, diagnose, effective_number, swing

HEALTHY = {
    "real_logit": 0.2, "fake_logit": -0.1, "unseen_logit": 0.15, "gap_errors": 1.0, "sure": 0.0, "signal": 0.5,
    "gradient": 4e-4, "variety": 0.9, "classes": 0.95, "top_class": 3.0, "top_share": 0.15, "swing": 0.1,
    "cycles": 12.0, "slowness": 2.0, "window": 2000.0,
}  # fmt: skip


def looks(*changes):
    return [{"epoch": 2 * i, "step": 1000 * i, **HEALTHY, **change} for i, change in enumerate(changes, start=1)]


def symptoms(*changes):
    return [finding.symptom for finding in diagnose(looks(*changes))]


def test_a_healthy_run_has_no_findings():
    assert diagnose([]) == [] and symptoms(*[{}] * 50) == []


# (symptom, signs that are just bad enough, one that is just not)
EDGES = [
    ("saturated", {"sure": 0.75}, {"sure": 0.749}),
    ("vanishing", {"signal": 0.01}, {"signal": 0.0101}),
    ("vanishing", {"gradient": 1e-8}, {"gradient": 1.01e-8}),
    ("collapsed", {"classes": 0.333}, {"classes": 0.334}),
    ("collapsed", {"variety": 0.25}, {"variety": 0.251}),
    ("collapsed", {"classes": math.nan, "variety": 0.25}, {"classes": math.nan}),
    ("memorised", {"unseen_logit": 0.05, "gap_errors": 4.0}, {"unseen_logit": 0.051, "gap_errors": 4.0}),
    ("memorised", {"unseen_logit": -2.0, "gap_errors": 4.0}, {"unseen_logit": -2.0, "gap_errors": 3.99}),
    ("oscillating", {"swing": 0.694, "cycles": 4.0, "slowness": 3.0}, {"swing": 0.693, "cycles": 4.0, "slowness": 3.0}),
    ("oscillating", {"swing": 2.0, "cycles": 4.0, "slowness": 3.0}, {"swing": 2.0, "cycles": 3.5, "slowness": 9.0}),
    ("oscillating", {"swing": 2.0, "cycles": 4.0, "slowness": 3.0}, {"swing": 2.0, "cycles": 9.0, "slowness": 2.9}),
]


@pytest.mark.parametrize("symptom, bad, good", EDGES)
def test_a_rule_at_its_threshold(symptom, bad, good):
    assert symptoms(*[bad] * PATIENCE) == [symptom]
    assert symptoms(*[good] * PATIENCE) == []


@pytest.mark.parametrize("symptom, bad, good", EDGES)
def test_a_sign_that_was_not_measured_says_nothing(symptom, bad, good):
    assert symptoms(*[dict.fromkeys(HEALTHY, math.nan)] * 9) == []
    assert diagnose([{"epoch": i, "step": i} for i in range(1, 9)]) == []


BAD = {"sure": 0.98, "real_logit": 9.12, "fake_logit": -8.71}


def test_it_begins_with_the_first_of_three_looks_and_ends_with_the_first_of_three_others():
    assert symptoms(BAD, BAD) == [] and symptoms(BAD, BAD, {}, BAD, BAD) == []
    (finding,) = diagnose(looks({}, BAD, BAD, BAD, {}, {}))
    assert (finding.epoch, finding.step, finding.over) == (4, 2000, None)
    assert str(finding).startswith("saturated since epoch 4, step 2000: the discriminator is sure of 98% of all images")
    assert "9.1 on real images, -8.7 on generated ones" in str(finding) and "lr_discriminator" in finding.helps
    (finding,) = diagnose(looks({}, BAD, BAD, BAD, {}, BAD, {}, {}, {}))
    assert (finding.step, finding.over) == (2000, 7000) and "over since step 7000" in str(finding)
    twice = diagnose(looks(*[BAD] * 3, *[{}] * 3, *[BAD] * 3))
    assert [(f.step, f.over) for f in twice] == [(1000, 4000), (7000, None)]


def test_a_gap_in_the_measurements_neither_ends_a_finding_nor_begins_one():
    gap = {"sure": math.nan}
    assert [f.over for f in diagnose(looks(*[BAD] * 3, *[gap] * 9))] == [None]
    assert [f.step for f in diagnose(looks(BAD, gap, BAD, gap, BAD))] == [1000]


def test_findings_come_in_the_order_in_which_they_began():
    bad = {"variety": 0.1}
    assert symptoms(bad, {**BAD, **bad}, {**BAD, **bad}, BAD) == ["collapsed", "saturated"]


@pytest.mark.parametrize(
    "change, cause, help_",
    [
        ({"signal": 1e-4, "fake_logit": -9.2}, "sure that the samples are generated", 'form="non_saturating"'),
        ({"signal": 1e-4, "fake_logit": 9.2}, "takes every sample for real", "a larger lr_discriminator"),
        ({"gradient": 1e-9}, "flat around the samples", "a weaker R1"),
    ],
)
def test_the_advice_fits_the_cause(change, cause, help_):
    (finding,) = diagnose(looks(*[change] * PATIENCE))
    assert cause in finding.what and help_ in finding.helps


def test_a_swing_of_known_size_and_number(rng):
    steps = np.arange(2000)
    wave = np.cos(2 * np.pi * steps / 250)
    move = swing(1.0 + 0.001 * steps + 0.5 * wave + 0.05 * rng.standard_normal(2000))
    # A sine is below sin(0.45 pi) for 95 % of the time: from the 5th to the 95th percentile it moves 1.97 amplitudes.
    assert move.size == pytest.approx(2 * 0.5 * math.sin(0.45 * math.pi), rel=0.05)
    assert move.cycles == pytest.approx(8, abs=0.5) and move.slowness > 100


def test_noise_trends_and_constants_do_not_swing(rng):
    noise = swing(rng.standard_normal(2000))
    assert 0.7 < noise.slowness < 1.4 and noise.slowness < diagnosis.SLOW
    assert swing(np.linspace(3.0, 0.1, 2000)).size == pytest.approx(0, abs=1e-9)
    assert swing(np.full(2000, 1.3)).size == pytest.approx(0, abs=1e-9)
    assert all(math.isnan(value) for value in swing(np.zeros(499)))
    assert swing(np.zeros(500)).size == 0


def test_random_walks_are_seldom_taken_for_swings(rng):
    """The figure in the constant's docstring: about one in twenty has so many cycles."""
    alarms = sum(swing(np.cumsum(rng.standard_normal(2000))).cycles >= diagnosis.CYCLES for _ in range(200))
    assert alarms <= 20


def test_the_effective_number_of_classes():
    assert effective_number(np.full(10, 0.1)) == pytest.approx(10)
    assert effective_number(np.array([0.0, 1.0, 0.0])) == 1
    assert effective_number(np.array([0.5, 0.5, 0.0])) == pytest.approx(2)
