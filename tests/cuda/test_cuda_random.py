"""Random numbers on the GPU: bit by bit those of the reference, and so of the CPU's kernels."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
from cuda_on import on

from minigen import kernels
from minigen.kernels import reference
from minigen.kernels.cuda import random

ONES = 2**64 - 1
SEEDS = [(0, 0), (0x123456789ABCDEF0, 0xFEDCBA9876543210), (ONES, ONES), (7, 2**40)]
LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 1023, 1024, 1025, 4099]


@pytest.mark.parametrize(("seed", "draw"), SEEDS)
def test_words_are_those_of_the_reference(machine: Any, monkeypatch: Any, seed: int, draw: int) -> None:
    on(machine, monkeypatch)
    for n in LENGTHS:
        words = machine.numpy(random.random_bits(seed, draw, n))
        assert words.dtype == np.uint32
        np.testing.assert_array_equal(words, reference.random_bits(seed, draw, n))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["uniform", "normal"])
@pytest.mark.parametrize(("seed", "draw"), SEEDS)
def test_the_same_bits_as_on_the_cpu(
    machine: Any, monkeypatch: Any, name: str, dtype: type, seed: int, draw: int
) -> None:
    on(machine, monkeypatch)
    for shape in [(n,) for n in LENGTHS] + [(), (5, 7), (60_001,)]:
        ours = machine.numpy(getattr(random, name)(seed, draw, shape, dtype))
        assert ours.dtype == dtype and ours.shape == shape
        assert ours.tobytes() == getattr(kernels, name)(seed, draw, shape, dtype).tobytes()
        assert ours.tobytes() == getattr(reference, name)(seed, draw, shape, dtype).tobytes()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="a register of x86 flushes subnormals")
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_the_bits_need_no_subnormal_numbers(emulated: Any, monkeypatch: Any, name: str) -> None:
    """A GPU has none in float32."""
    on(emulated(flush=True), monkeypatch)
    for seed, draw in SEEDS:
        for dtype in (np.float32, np.float64):
            ours = getattr(random, name)(seed, draw, (60_001,), dtype)
            assert ours.tobytes() == getattr(kernels, name)(seed, draw, (60_001,), dtype).tobytes()


def test_many_blocks_to_a_thread(emulated: Any, monkeypatch: Any) -> None:
    """More numbers than one pass of the grid makes."""
    on(emulated(), monkeypatch)
    n = 4 * 256 * 8 * 108 + 4 * 300 + 3
    assert random.uniform(1, 2, (n,), np.float32).tobytes() == kernels.uniform(1, 2, (n,), np.float32).tobytes()


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 2\*\*64\)"):
        random.random_bits(-1, 0, 3)
    with pytest.raises(ValueError, match=r"\[0, 2\*\*64\)"):
        random.normal(0, 2**64, (3,), np.float32)
    with pytest.raises(TypeError, match="^normal: expected an array of float32 or float64, got int32$"):
        random.normal(0, 0, (3,), np.int32)
