"""The limits: the two loops do what they say, and what is made of their times."""

import threading

import numpy as np
import pytest
from bench_fakes import timing

from minigen.kernels.bench import roofline
from minigen.kernels.bench.machine import Cache
from minigen.kernels.bench.roofline import (
    Bandwidth,
    Peak,
    Roofline,
    make_floor,
    measure_bandwidth,
    measure_peak,
    thread_counts,
)
from minigen.kernels.cpu.limits import Chains, chains_for, stream_copy


def once(call, times):
    """A stopwatch that knows the answer: a millisecond."""
    call()
    return 1e-3 * times


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chains_are_multiply_adds_of_every_number(dtype, rng):
    chains = chains_for(np.dtype(dtype))
    assert chains.numbers % chains.width == 0 and chains.numbers // chains.width >= 8  # latency times units
    state = rng.standard_normal(chains.numbers).astype(dtype)
    factor, addend = (rng.uniform(0.5, 1.0, chains.width).astype(dtype) for _ in range(2))
    expected = state.astype(np.float64).reshape(-1, chains.width)
    chains.run(state, factor, addend, 3)
    for _ in range(3 * chains.steps):
        expected = expected * factor + addend
    np.testing.assert_allclose(state.reshape(expected.shape), expected, rtol=1e-5)
    assert chains.flops(3) == 2 * chains.numbers * 3 * chains.steps


@pytest.mark.parametrize("size", [0, 1, 255, 256, 1000, 4096, 5003])
def test_a_copy_is_a_copy_and_stays_within_its_array(size, rng):
    source = rng.integers(0, 256, size + 64).astype(np.uint8)
    target = np.full(size + 64, 7, np.uint8)
    stream_copy(target[32 : 32 + size], source[32 : 32 + size], 2)
    assert np.array_equal(target[32 : 32 + size], source[32 : 32 + size])
    assert (target[:32] == 7).all() and (target[32 + size :] == 7).all()


def test_peaks_of_every_dtype_and_number_of_threads(monkeypatch):
    monkeypatch.setattr(roofline, "_PEAK_SECONDS", (1e-6, 1e-6))
    peaks = measure_peak((1, 2), seconds=1e-3, stopwatch=once)
    assert [(p.dtype, p.threads) for p in peaks] == [("float32", 1), ("float32", 2), ("float64", 1), ("float64", 2)]
    for one, two in (peaks[:2], peaks[2:]):
        assert one.gflops == pytest.approx(one.flops / 1e-3 / 1e9)
        assert two.flops == 2 * one.flops and two.gflops == pytest.approx(2 * one.gflops)


def test_instructions_by_hand():
    """16 numbers a vector, 4 vectors a nanosecond on each of 2 threads: 2 * 16 * 4 * 2 operations a nanosecond."""
    peak = Peak("float32", 2, 16, 256_000_000, timing(1e-3, 2e-3))
    assert peak.gflops == pytest.approx(256.0) and peak.instructions_per_ns == pytest.approx(4.0)
    roof = Roofline((peak,), ())
    assert roof.peak("float32", 2) is peak
    assert roof.record()["peaks"][0]["gflops"] == pytest.approx(256.0)


def test_chains_that_do_not_end_where_they_must_are_not_timed(monkeypatch):
    broken = Chains(lambda state, factor, addend, rounds: state.fill(1.5), 8, 8, 4)
    monkeypatch.setattr(roofline, "chains_for", lambda dtype: broken)
    with pytest.raises(ArithmeticError, match="end at 1.5, not at 2: nothing is timed"):
        measure_peak((1,), stopwatch=once)


def test_a_copy_that_is_none_is_not_timed(monkeypatch):
    monkeypatch.setattr(roofline, "stream_copy", lambda target, source, times: None)
    with pytest.raises(ArithmeticError, match="differs from its source: nothing is timed"):
        measure_bandwidth((1,), levels=[Cache("L1", 4096, 1)], stopwatch=once)


@pytest.mark.parametrize("moved", [0, 7, 4_000_000])
def test_a_floor_does_so_many_operations_and_moves_so_many_bytes(moved, monkeypatch):
    rounds, copied = [], []

    def copy(target, source, times):
        target[:] = source
        copied.append((source.size, times))

    def run(state, factor, addend, count):
        state.fill(2)
        rounds.append(count)

    monkeypatch.setattr(roofline, "chains_for", lambda dtype: Chains(run, 32, 8, 4))
    monkeypatch.setattr(roofline, "stream_copy", copy)
    monkeypatch.setattr(roofline, "caches", lambda: ([Cache("L1", 1 << 15, 1), Cache("L2", 1 << 20, 1)], ""))
    floor = make_floor(2 * 32 * 4 * 5 - 1, moved)
    rounds.clear(), copied.clear()
    floor()
    assert rounds == [5]
    ((size, times),) = copied
    assert 2 * size <= 1 << 19 and abs(2 * size * times - moved) <= 2 * times


def test_working_sets_are_half_a_cache_shared_by_those_who_share_it(monkeypatch):
    monkeypatch.setattr(roofline, "_COPIED", (1 << 16, 1 << 16))
    levels = [Cache("L1", 8192, 1), Cache("L2", 32768, 2)]
    found = {(b.level, b.threads): b for b in measure_bandwidth((1, 2), seconds=1e-3, levels=levels, stopwatch=once)}
    assert {key: b.working_set for key, b in found.items()} == {
        ("L1", 1): 4096, ("L1", 2): 4096, ("L2", 1): 16384, ("L2", 2): 8192,
        ("memory", 1): 3 * 32768, ("memory", 2): 3 * 16384,
    }  # fmt: skip
    for b in found.values():
        assert b.moved >= b.threads * (1 << 16) and b.moved % (b.threads * b.working_set) == 0
        assert b.gbytes == pytest.approx(b.moved / 1e-3 / 1e9)


def test_bandwidth_by_hand():
    b = Bandwidth("L1", 1, 4096, 10**9, timing(0.02, 0.01, 0.04))
    assert b.gbytes == pytest.approx(100.0) and b.record()["gbytes"] == pytest.approx(100.0)


def test_a_team_works_side_by_side():
    """Each waits for the other, so that one thread alone would wait for ever."""
    barrier = threading.Barrier(2, timeout=20)
    names = set()

    def task():
        barrier.wait()
        names.add(threading.current_thread().name)

    with roofline._Team(2) as team:
        team.call(2, [task, task])()
    assert len(names) == 2


def test_an_error_in_a_thread_is_not_lost():
    def broken():
        raise ArithmeticError("in a thread")

    with roofline._Team(2) as team, pytest.raises(ArithmeticError, match="in a thread"):
        team.call(2, [lambda: None, broken])()


@pytest.mark.parametrize("cores, counts", [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))])
def test_thread_counts(monkeypatch, cores, counts):
    monkeypatch.setattr(roofline, "processors", lambda: cores)
    assert thread_counts() == counts
