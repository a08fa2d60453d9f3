"""Every kernel but the ladder, whose tests do it themselves, with bounds checked and without compilation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_cases import JIT

SCRIPT = """
import numpy as np
from kernel_cases import ELEMENTWISE, OPTIMIZERS, SHAPES, arguments
from minigen import kernels
from minigen.kernels import reference

rng = np.random.default_rng(1)

def close(y, expected, what):
    assert y.shape == expected.shape and np.isfinite(y).all() and np.isfinite(expected).all(), what
    assert (abs(y - expected) <= 2e-5 * (1 + abs(expected))).all(), what

for shape in SHAPES:
    for name in ELEMENTWISE:
        given = arguments(name, np.asarray(rng.standard_normal(shape), np.float32))
        close(getattr(kernels, name)(*given), getattr(reference, name)(*given), (name, shape))
    for name, count, keywords in OPTIMIZERS:
        ours = [np.asarray(abs(rng.standard_normal(shape)), np.float32) for _ in range(count)]
        theirs = [x.copy() for x in ours]
        getattr(kernels, name)(*ours, **keywords)
        getattr(reference, name)(*theirs, **keywords)
        for y, expected in zip(ours, theirs):
            close(y, expected, (name, shape))
    for name in ("uniform", "normal"):
        close(getattr(kernels, name)(1, 2, shape, "f4"), getattr(reference, name)(1, 2, shape, "f4"), (name, shape))
for n in range(24):
    assert (kernels.random_bits(1, 2, n) == reference.random_bits(1, 2, n)).all()
for shape in [(m, n, 3)[:axes] for axes in (2, 3) for m in (1, 33) for n in (1, 5, 37, 65, 130)]:
    x = rng.standard_normal(shape).astype(np.float32)
    for axis in range(len(shape)):
        for name in ("sum", "softmax", "log_softmax", "logsumexp"):
            close(getattr(kernels, name)(x, axis), getattr(reference, name)(x, axis), (name, shape, axis))
        close(kernels.normalise(x, axis, 0.1), reference.normalise(x, axis, 0.1), ("normalise", shape, axis))
"""


@pytest.mark.skipif(not JIT, reason="is compiled")
@pytest.mark.parametrize("mode", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_every_kernel(mode: str, tmp_path: Path) -> None:
    environment = os.environ | {mode: "1", "MINIGEN_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(p or "." for p in [*sys.path, str(Path(__file__).parent)])
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
