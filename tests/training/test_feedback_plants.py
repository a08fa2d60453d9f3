"""Each controller on a plant in closed form: it reaches its set point, and would not with a flipped sign."""

import itertools
import math

import numpy as np
import pytest

from minigen.errors import UsageError
from minigen.training.feedback import AdaptiveAugmentation, Balance, KeepBest, KLTarget, OnPlateau, StopEarly


def settle(update, plant, steps, lag=1.0, start=0.0):
    """The measured figure and the setting, `steps` after both were free to move; the plant follows with a lag."""
    measured = plant(start)
    for _ in range(steps):
        setting = update(measured)
        measured += lag * (plant(setting) - measured)
    return measured, setting


@pytest.mark.parametrize("target", [2.0, 10.0, 40.0])
@pytest.mark.parametrize("lag", [1.0, 0.05])
def test_the_kl_reaches_its_target_from_both_sides(target, lag):
    """KL(beta) = 50 / (1 + beta): at the target beta is 50 / target - 1, above and below the 1 of the bound."""
    kl, beta = settle(KLTarget(target, ki=0.002).update, lambda beta: 50 / (1 + beta), 40_000, lag)
    assert kl == pytest.approx(target, rel=1e-3)
    assert beta == pytest.approx(50 / target - 1, rel=1e-2)


def test_where_beta_raises_the_kl_the_same_rule_runs_away():
    """What a flipped sign would look like: on the mirrored plant the target is never reached."""
    kl, beta = settle(KLTarget(10.0).update, lambda beta: 5 + beta, 40_000)
    assert abs(kl - 10) > 4 and beta in (0.0, 100.0)


def test_one_step_of_the_kl_is_the_printed_one():
    controller = KLTarget(15.0, kp=0.02, ki=0.003, low=0.1)
    assert controller.update(17.0) == pytest.approx(0.02 / (1 + math.exp(-2)) + 0.003 * 2 + 0.1, rel=1e-12)
    assert controller.update(15.5) == pytest.approx(0.02 / (1 + math.exp(-0.5)) + 0.003 * 2.5 + 0.1, rel=1e-12)
    assert controller.update(13.0) == pytest.approx(0.02 / (1 + math.exp(2)) + 0.003 * 0.5 + 0.1, rel=1e-12)
    assert KLTarget(1.0).update(1e6) == 100.0 and KLTarget(1e6).update(0.0) == 0.0  # nothing overflows


def test_beta_does_not_wind_up_while_the_target_is_out_of_reach():
    """50 nats are the most that the plant gives; 10 000 steps later the target becomes one that it can reach."""
    controller = KLTarget(60.0)
    assert settle(controller.update, lambda beta: 50 / (1 + beta), 10_000)[1] == 0.0
    controller.target = 25.0
    moved = [controller.update(50.0) > 0.02 for _ in range(3)]
    assert moved[-1], "the integral had run far below 0"


def test_beta_does_not_stick_beyond_its_range():
    """The published rule freezes I after a beta that is out of range, whatever the next error is."""
    controller = KLTarget(10.0, high=1.0)
    assert [controller.update(500.0) for _ in range(100)][-1] == 1.0
    assert controller.update(9.0) < 1.0


def test_the_probability_goes_where_the_discriminator_is_as_sure_as_wanted():
    """r(p) = 1 - p: at r = 0.6, p = 0.4. Every 4 batches p moves by the images in them."""
    controller = AdaptiveAugmentation(images=10_000)
    seen = []
    for n in itertools.cycle((50, 30)):
        moved = controller.update(1 - controller.p, n)
        seen += [] if moved is None else [moved[1]]
        if len(seen) == 400:
            break
    assert seen[0] == pytest.approx(160 / 10_000) and seen[1] == pytest.approx(320 / 10_000)
    assert np.mean(seen[-50:]) == pytest.approx(0.4, abs=0.02)


def test_the_probability_stays_in_its_range_and_follows_the_weighted_mean():
    controller = AdaptiveAugmentation(images=400, every=2)
    for _ in range(50):
        controller.update(1.0, 100)
    assert controller.p == 0.8
    assert controller.update(1.0, 10) is None
    r, p = controller.update(0.0, 30)
    assert r == pytest.approx(0.25) and p == pytest.approx(0.8 - 40 / 400)
    for _ in range(50):
        controller.update(-1.0, 100)
    assert controller.p == 0.0
    at_target = AdaptiveAugmentation(target=0.5, every=1)
    assert at_target.update(0.5, 100) == (0.5, 0.0)


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_accuracy_reaches_its_target(target):
    """a(k) = (1 + k) / 2: the faster the discriminator learns, the surer it is."""
    accuracy, ratio = settle(Balance(target).update, lambda k: (1 + k) / 2, 5000, lag=0.1, start=1.0)
    assert accuracy == pytest.approx(target, abs=1e-3) and ratio == pytest.approx(2 * target - 1, abs=1e-3)


def test_a_weak_discriminator_keeps_its_learning_rate():
    controller = Balance(0.8)
    assert [controller.update(0.5) for _ in range(10)][-1] == 1.0
    assert controller.factor("discriminator") == 1.0
    controller.update(1.0)
    assert controller.factor("discriminator") == pytest.approx(1 - 0.01 * 0.2)
    assert controller.factor("generator") == 1.0


def test_the_accuracy_is_counted_from_the_signs():
    action = Balance(0.8).after_step({"real_sign": 0.5, "fake_sign": -1.0}, 32)  # 3 of 4 real, all fakes
    assert action.measured == "accuracy" and action.value == pytest.approx((0.75 + 1) / 2)


def test_the_learning_rate_is_halved_until_the_loss_can_fall_again():
    """A loss that ends at the noise floor of its learning rate: floor = 8 lr, reached at once."""
    controller = OnPlateau("loss", patience=3)
    acted = [controller.after_epoch({"loss": 8 * controller.scale}) for _ in range(13)]
    # The first is an improvement, and so is each first after a halving: 3 epochs without one lie between.
    assert [i for i, action in enumerate(acted) if action] == [3, 7, 11]
    assert [action.to for action in acted if action] == [0.5, 0.25, 0.125]
    falling = OnPlateau("loss", patience=1)
    assert all(falling.after_epoch({"loss": 0.9**t}) is None for t in range(50))


def test_a_run_ends_after_its_minimum_and_the_minimum_is_kept():
    """A held-out loss (t - 20)^2: the best is epoch 20, the end 7 epochs later."""
    stop, best = StopEarly("loss", patience=7), KeepBest("loss")
    for epoch in range(1, 100):
        row = {"epoch": epoch, "loss": (epoch - 20.0) ** 2}
        best.after_epoch(row)
        action = stop.after_epoch(row)
        if stop.stopped:
            break
    assert epoch == 27 and (best.epoch, best.best) == (20, 0.0)
    assert action.setting == "last_epoch" and action.value == 49.0 and "below 0 for 7 epochs" in stop.says(action)
    equal = StopEarly("loss", patience=2)
    assert [equal.after_epoch({"epoch": 1, "loss": 1.0}) is not None for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("make, message", [
    (lambda: KLTarget(0), "KLTarget: target = 0, expected nats above 0"),
    (lambda: KLTarget(math.nan), "target = nan"),
    (lambda: KLTarget("15"), "target = '15', expected nats"),
    (lambda: KLTarget(15, ki=-0.1), "ki = -0.1, expected a number above 0"),
    (lambda: KLTarget(15, low=2, high=1), "high = 1, expected a number above low = 2"),
    (lambda: AdaptiveAugmentation(1.0), "target = 1.0, expected a number between -1 and 1"),
    (lambda: AdaptiveAugmentation(images=0), "images = 0, expected a whole number from 1"),
    (lambda: AdaptiveAugmentation(every=2.5), "every = 2.5, expected a whole number from 1"),
    (lambda: AdaptiveAugmentation(high=1.5), "high = 1.5"),
    (lambda: Balance(0.5), "Balance: target = 0.5, expected an accuracy above 0.5 and below 1"),
    (lambda: Balance(gain=0), "gain = 0"),
    (lambda: OnPlateau("loss", patience=0), "OnPlateau: patience = 0"),
    (lambda: OnPlateau("loss", shrink=1), "shrink = 1"),
    (lambda: StopEarly("loss", patience=True), "StopEarly: patience = True"),
])
def test_bad_settings(make, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        make()


def test_a_numpy_number_is_recorded_as_pythons():
    assert KLTarget(np.float32(15)).settings()["target"] == 15.0
    assert type(AdaptiveAugmentation(images=np.int64(5)).settings()["images"]) is int
