"""The arithmetic of timing, by a clock that only moves when somebody works."""

import math
import time

import pytest
from bench_fakes import Clock, timing

from minigen.kernels.bench.timing import alternate, geometric_mean, rotate, wall


def test_a_call_takes_what_the_clock_says_divided_by_the_calls():
    clock = Clock()
    found = alternate({"slow": clock.taking(0.02), "fast": clock.taking(0.001)}, seconds=0.5, stopwatch=wall(clock))
    assert found["slow"].median == pytest.approx(0.02) and found["fast"].median == pytest.approx(0.001)
    assert found["fast"].times_as_fast_as(found["slow"]) == pytest.approx(20)
    assert found["slow"].calls == 1 and found["fast"].calls == 10  # half a second in 51 rounds
    assert len(found["slow"].seconds) == len(found["fast"].seconds) == 25  # what the slow one has time for


def test_competitors_take_turns_and_nobody_is_always_first():
    clock, order = Clock(), []
    calls = {name: clock.taking(1.0, lambda name=name: order.append(name)) for name in "abc"}
    found = alternate(calls, seconds=0.1, least=4, stopwatch=wall(clock))
    assert "".join(order) == "abc" + "abc" + "abc" + "bca" + "cab" + "abc"  # warm-up, trial, four rounds
    assert all(len(t.seconds) == 4 for t in found.values())


def test_the_first_of_many_calls_in_a_round_meets_what_the_one_before_left_and_is_not_counted():
    clock, last = Clock(), []

    def call(name):
        clock.work(0.001 if last[-1:] == [name] else 5.0)  # whoever comes after another finds the cache cold
        last.append(name)

    found = alternate({name: lambda name=name: call(name) for name in "ab"}, seconds=1000.0, most=10,
                      stopwatch=lambda call, times: wall(clock)(call, min(times, 3)))  # fmt: skip
    assert found["a"].calls > 1 and max(found["a"].seconds) * found["a"].calls < 0.1


def test_for_a_while_at_the_beginning_of_a_turn_nothing_is_counted(monkeypatch):
    clock, last, since = Clock(), [], []
    monkeypatch.setattr(time, "perf_counter", clock)

    def call(name):
        if last[-1:] != [name]:
            since[:] = [clock()]
        last.append(name)
        clock.work(2e-3 if clock() - since[0] < 0.1 else 1e-3)  # two threads on one core, until the system sees it

    calls = {name: lambda name=name: call(name) for name in "ab"}
    late = alternate(calls, seconds=0.5, most=5, settle=0.15, stopwatch=wall(clock))
    assert late["a"].median == pytest.approx(1e-3) and max(late["b"].seconds) == pytest.approx(1e-3)
    early = alternate(calls, seconds=0.5, most=5, stopwatch=wall(clock))
    assert early["a"].median == pytest.approx(2e-3)


def test_the_warm_up_is_not_counted():
    clock = Clock()
    costs = iter([100.0, 1.0, *[1.0] * 5])
    found = alternate({"compiles": lambda: clock.work(next(costs))}, seconds=1.0, stopwatch=wall(clock))
    assert found["compiles"].seconds == (1.0,) * 5


def test_ratios_are_taken_within_a_round():
    """The machine halves its speed from round to round; the ratio does not move."""
    ours, theirs = timing(1, 2, 4, 8, 16), timing(1.5, 3, 6, 12, 24)
    assert ours.times_as_fast_as(theirs) == pytest.approx(1.5)
    assert theirs.times_as_fast_as(ours) == pytest.approx(1 / 1.5)
    with pytest.raises(ValueError):
        ours.times_as_fast_as(timing(1, 2))  # of another run


def test_median_best_and_quartiles():
    t = timing(5.0, 1.0, 2.0, 4.0, 3.0, calls=7)
    assert (t.median, t.best, t.quartiles) == (3.0, 1.0, (2.0, 4.0))
    assert timing(2.0).quartiles == (2.0, 2.0)
    assert t.record() == {"median": 3.0, "quartiles": [2.0, 4.0], "best": 1.0, "rounds": 5, "calls": 7}


def test_one_disturbed_round_moves_neither_median_nor_ratio():
    clock = Clock()
    costs = {"ours": iter([1.0] * 2 + [1.0, 1.0, 50.0, 1.0, 1.0]), "theirs": iter([2.0] * 7)}
    calls = {name: lambda name=name: clock.work(next(costs[name])) for name in costs}
    found = alternate(calls, seconds=1.0, stopwatch=wall(clock))
    assert found["ours"].median == 1.0 and found["ours"].times_as_fast_as(found["theirs"]) == 2.0


def test_the_number_of_rounds_is_bounded():
    clock = Clock()
    assert len(alternate({"f": clock.taking(1e-3)}, seconds=1.03, stopwatch=wall(clock))["f"].seconds) == 51
    assert len(alternate({"f": clock.taking(60.0)}, seconds=0.1, least=3, stopwatch=wall(clock))["f"].seconds) == 3
    assert alternate({}, seconds=1.0) == {}


def test_a_clock_too_coarse_to_see_a_call_is_no_division_by_zero():
    found = alternate({"f": lambda: None}, seconds=1e-7, stopwatch=lambda call, times: 0.0)
    assert found["f"].median == 0.0


def test_rotated_inputs_come_in_turn():
    seen = []
    call = rotate(lambda x, y: seen.append((x, y)), [(1, 2), (3, 4)])
    for _ in range(3):
        call()
    assert seen == [(1, 2), (3, 4), (1, 2)]
    rotate(seen.append, [(9,)])()
    assert seen[-1] == 9


def test_geometric_mean():
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert math.isnan(geometric_mean([]))
