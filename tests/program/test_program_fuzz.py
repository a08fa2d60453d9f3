"""Random steps: the compiled one and the eager one leave the same results and the same weights.

2 000 steps run with the generated loops interpreted (the same text that Numba compiles, element by element), which
covers the trace, all passes, memory and source; 30 of them run through Numba as well.
"""

from __future__ import annotations

import numpy as np
import pytest
from random_programs import Step

from minigen.program.step import CompiledStep
from minigen.tensor import Tensor

TOLERANCE = {"float64": dict(rtol=1e-10, atol=1e-12), "float32": dict(rtol=2e-4, atol=2e-5)}


def alike(a, b, dtype):
    assert a.shape == b.shape and a.dtype == b.dtype
    finite = np.isfinite(b)
    np.testing.assert_array_equal(np.isfinite(a), finite)
    np.testing.assert_allclose(a[finite], b[finite], **TOLERANCE[dtype])


def check(seed, dtype, interpret):
    eager, traced = Step(seed, dtype), Step(seed, dtype)
    compiled = CompiledStep(traced, interpret)
    for call in range(2):
        x = np.random.default_rng(1000 * seed + call).normal(size=(3, 4)).astype(dtype)
        results = compiled(x)
        kept = [t.data.copy() for t in results]
        for ours, expected in zip(results, eager(Tensor(x)), strict=True):
            alike(ours.data, expected.data, dtype)
        for ours, expected in zip(traced.weights, eager.weights, strict=True):
            alike(ours.data, expected.data, dtype)
    assert traced.noise.state() == eager.noise.state()
    compiled(x)
    for t, before in zip(results, kept, strict=True):
        np.testing.assert_array_equal(t.data, before)  # a result is not overwritten by later calls
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("block", range(20))
def test_a_random_step_is_what_eager_gives(block):
    for seed in range(100 * block, 100 * (block + 1)):
        check(seed, "float64" if seed % 4 else "float32", interpret=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_random_step_is_what_eager_gives_through_numba(dtype):
    for seed in range(15):
        check(seed, dtype, interpret=False)
