"""Formulas on vectors: rows of every length around whole vectors, in place, and on other processors than this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from kernel_cases import JIT

from minigen.kernels import scalar
from minigen.kernels.cpu import elementwise
from minigen.kernels.cpu.host import features
from minigen.kernels.cpu.jit import CONTRACT, jit
from minigen.kernels.cpu.on_vectors import make_map

NAMES = ("erf", "exp", "gelu", "log", "sigmoid", "softplus", "tanh")

CHECK = """
import numpy as np
from minigen.kernels import reference
from minigen.kernels.cpu import elementwise
x = np.random.default_rng(2).standard_normal(75).astype(np.float32) * 3
for dtype, bound in [(np.float32, 1e-6), (np.float64, 1e-14)]:
    for name in ("exp", "sigmoid", "tanh", "softplus"):
        for n in (0, 1, 7, 16, 75):
            y = getattr(elementwise, name)(x[:n].astype(dtype))
            expected = getattr(reference, name)(x[:n].astype(np.float64))
            assert y.dtype == dtype and (abs(y - expected) <= bound * (1 + abs(expected))).all(), (name, n)
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_length_and_nothing_beyond(name: str, rng: np.random.Generator) -> None:
    """What the formula gives number by number; the numbers before and behind the row stay as they are."""
    row = jit(CONTRACT)(_in_place(elementwise.row_of(name, np.dtype(np.float32))))
    formula = scalar.FORMULAS[name]
    for n in (*range(0, 35), 63, 64, 65, 127, 129):
        x = abs(rng.standard_normal(n + 9)).astype(np.float32) + np.float32(0.1)
        expected = np.array([formula(number) for number in x[4 : 4 + n]], np.float32)
        y = x.copy()
        row(y[4 : 4 + n])
        np.testing.assert_array_equal(np.delete(y, slice(4, 4 + n)), np.delete(x, slice(4, 4 + n)))
        assert np.isfinite(y).all()
        assert (abs(y[4 : 4 + n] - expected) <= 1e-6 * (1 + abs(expected))).all(), n


def _in_place(row: Any) -> Any:
    def call(x: Any) -> None:
        row(x, x)

    return call


def _with_a_loop(x: Any) -> Any:
    for _ in range(3):
        x = x * x
    return x


@pytest.mark.skipif(not JIT, reason="nothing is written")
def test_what_is_no_formula_is_refused_by_name() -> None:
    row = make_map("loop", _with_a_loop, np.dtype(np.float32), 2, lambda x, out: None)

    def call(x: Any) -> None:
        row(x, x)

    with pytest.raises(Exception, match="_with_a_loop: for _ in range"):
        numba.njit(call)(np.ones(3, np.float32))


AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe"


@pytest.mark.skipif(not JIT, reason="is compiled")
@pytest.mark.parametrize(
    ("processor", "instructions", "needs"),
    [("haswell", AVX2, {"avx2", "fma"}), ("x86-64", "+sse,+sse2", {"sse2"})],
)
def test_on_other_processors(tmp_path: Path, processor: str, instructions: str, needs: set[str]) -> None:
    if not needs <= features():
        pytest.skip("this processor has not all of them")
    environment = os.environ | {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": instructions}
    environment |= {"MINIGEN_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHECK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
