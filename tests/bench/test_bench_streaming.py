"""Streaming kernels: every one has its row, every row is right, and a wrong one is not timed."""

import dataclasses

import numpy as np
import pytest
from bench_fakes import Clock

from minigen.kernels.bench import streaming
from minigen.kernels.bench.streaming import ROWS, measure
from minigen.kernels.bench.timing import wall
from minigen.kernels.cpu import elementwise, optimizers, random

BY_NAME = {row.name: row for row in ROWS}


def test_every_streaming_kernel_has_a_row():
    names = {*elementwise.__all__, *optimizers.__all__, *random.__all__}
    names = {name for name in names if not name.endswith("_into")}  # the same loops, into memory of the caller's
    assert names <= set(BY_NAME)
    assert set(BY_NAME) - names == {"momentum", "adamw"}  # variants
    assert len(BY_NAME) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_kernel_and_numpy_agree_with_the_reference(row):
    for dtype in row.dtypes:
        assert streaming._wrong(row, dtype) is None
        if row.numpy is not None and row.group != "random":  # whose numbers are others
            inputs = row.inputs(101, dtype, seed=1)
            theirs = tuple(x.astype(np.float64) for x in inputs)
            with np.errstate(all="ignore"):
                result, expected = row.numpy(*inputs), row.expected(*theirs)
            for ours, right in zip(inputs, theirs, strict=True) if row.in_place else [(result, expected)]:
                assert ours.dtype == dtype  # NumPy is not slowed down by a detour through float64
                np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)
        elif row.numpy is not None:
            drawn = row.numpy(np.empty(50, dtype))
            assert drawn.shape == (50,) and drawn.dtype == dtype


@pytest.mark.parametrize("name", ["tanh", "adam", "normal", "random_bits"])
def test_a_wrong_kernel_is_reported_and_not_timed(name):
    row, called = BY_NAME[name], []

    def wrong(*arrays):
        called.append(name)
        result = row.ours(*arrays)
        target = arrays[0] if row.in_place else result
        target[-1] = target[-1] + target.dtype.type(1)
        return result

    spoilt = dataclasses.replace(row, ours=wrong)
    (result,) = measure([spoilt], dtypes=("float32",), places=("cache",))
    assert "1 of 1003 numbers are off" in result.wrong and not result.timings
    assert called == [name]
    assert "wrong" in result.record() and "seconds" not in result.record()


@pytest.mark.parametrize("which", range(4))
def test_an_optimizer_that_spoils_any_of_its_arrays_is_wrong(which):
    row = BY_NAME["adam"]

    def wrong(*arrays):
        row.ours(*arrays)
        arrays[which][5] += 1

    assert "1 of 1003" in streaming._wrong(dataclasses.replace(row, ours=wrong), "float32")


def test_bytes_are_what_is_read_and_written():
    expected = {"tanh": 8, "gate": 12, "sgd": 12, "momentum": 20, "adam": 28, "ema": 12, "uniform": 4}
    assert {name: BY_NAME[name].bytes_moved(1, "float32") for name in expected} == expected
    assert BY_NAME["adam"].bytes_moved(10, "float64") == 560


def test_shares_and_ratios(monkeypatch):
    """The kernel takes 2 ms, the copy of as many bytes 1 ms, NumPy 8 ms."""
    clock, copied = Clock(), []

    def copy(target, source, times):
        copied.append(2 * source.nbytes * times)
        clock.work(1e-3)

    monkeypatch.setattr(streaming, "stream_copy", copy)
    row = BY_NAME["adam"]
    slow = dataclasses.replace(row, ours=clock.taking(2e-3, row.ours), numpy=clock.taking(8e-3))
    (result,) = measure([slow], dtypes=("float32",), places=("cache",), seconds=0.02, stopwatch=wall(clock))
    n = result.numbers
    assert result.of_floor == pytest.approx(0.5) and result.over_numpy == pytest.approx(4.0)
    assert result.ns_per_number == pytest.approx(2e6 / n) and result.gbytes == pytest.approx(28 * n / 2e6)
    assert set(copied) == {28 * n}
    none = dataclasses.replace(slow, numpy=None)
    (result,) = measure([none], dtypes=("float32",), places=("cache",), seconds=0.02, stopwatch=wall(clock))
    assert result.over_numpy is None and set(result.timings) == {"ours", "copy"}


def test_inputs_from_memory_are_larger_than_the_last_cache(monkeypatch):
    monkeypatch.setattr(streaming, "last_cache", lambda: 1 << 20)
    monkeypatch.setattr(streaming, "_MEMORY_NUMBERS", 1 << 12)
    seen, row = set(), BY_NAME["exp"]

    def spy(x):
        if x.size == 1 << 12:  # not the few on which it is checked
            seen.add(x.ctypes.data)
        return row.ours(x)


    def stopwatch(call, times):
        for _ in range(20):
            call()
        return 1e-3 * times

    (result,) = measure([dataclasses.replace(row, ours=spy, numpy=None)], dtypes=("float32",), places=("memory",),
                        seconds=1e-3, stopwatch=stopwatch)  # fmt: skip
    moved = row.bytes_moved(1 << 12, "float32")
    assert len(seen) * moved >= 2 << 20


def test_in_the_cache_all_arrays_fit_in_half_of_the_second_level():
    second = streaming.caches()[0][1].size
    for row in ROWS:
        for dtype in row.dtypes:
            n = streaming._numbers(row, dtype, "cache")
            assert second / 3 < n * np.dtype(dtype).itemsize * max(row.arrays, row.read + row.written) <= second / 2
