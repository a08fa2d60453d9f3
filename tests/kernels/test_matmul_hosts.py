"""The micro-kernel for other processors than this one, for compiled code that checks bounds, and for none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import JIT
from matmul_cases import matrix

from minigen.kernels.cpu import host
from minigen.kernels.cpu.cache import cache_directory
from minigen.kernels.cpu.matmul import matmul

CHECK = """
import numpy as np
from minigen.kernels.cpu import host
from minigen.kernels.cpu.matmul import matmul
rng = np.random.default_rng(1)
print(*host.tile_for(np.dtype(np.float32))[:3])
for dtype, bound in [(np.float32, 1e-4), (np.float64, 1e-12)][:DTYPES]:
    for m, k, n in [(1, 5, 3), (5, 9, 17), (13, 20, 31), (1, 33, 7), (9, 5, 1)]:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        for rung in RUNGS:
            for left in (a, np.asfortranarray(a)):
                for right in (b, np.asfortranarray(b)):
                    y = matmul(left, right, rung=rung, threads=2, activation="leaky_relu", slope=1.0)
                    assert abs(y - a.astype(np.float64) @ b).max() < bound
"""

AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe"
has = host.features()


def _run(folder: Path, rungs: str, dtypes: int = 1, **settings: str) -> str:
    environment = os.environ | settings
    environment |= {"MINIGEN_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    script = CHECK.replace("RUNGS", rungs).replace("DTYPES", str(dtypes))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not (JIT and {"avx2", "fma"} <= has), reason="needs a processor with AVX2")
def test_avx2(tmp_path: Path) -> None:
    said = _run(tmp_path, "('vector', 'packed')", NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=AVX2)
    assert said == "8 4 3"


@pytest.mark.skipif(not (JIT and "sse2" in has), reason="needs an x86 processor")
def test_plain(tmp_path: Path) -> None:
    said = _run(tmp_path, "('vector', 'packed')", NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="+sse,+sse2")
    assert said == "4 4 3"


@pytest.mark.skipif(not JIT, reason="is compiled")
def test_with_bounds_checked(tmp_path: Path) -> None:
    _run(tmp_path, "('naive', 'blocked', 'register_tile', 'vector', 'packed')", NUMBA_BOUNDSCHECK="1")


@pytest.mark.skipif(not JIT, reason="runs this way already")
def test_without_compilation(tmp_path: Path) -> None:
    rungs = "('naive', 'loop_order', 'blocked', 'register_tile', 'packed', 'best')"
    _run(tmp_path, rungs, dtypes=2, NUMBA_DISABLE_JIT="1")


@pytest.mark.skipif(not JIT, reason="is compiled")
def test_a_second_process_finds_the_kernels(tmp_path: Path) -> None:
    if cache_directory().is_dir():  # what is compiled already need not be again
        shutil.copytree(cache_directory().resolve(), tmp_path / "numba", copy_function=os.symlink)
    _run(tmp_path, "('vector', 'parallel')")
    before = sorted(path.name for path in (tmp_path / "numba").iterdir())
    _run(tmp_path, "('vector', 'parallel')")
    assert sorted(path.name for path in (tmp_path / "numba").iterdir()) == before


@pytest.mark.parametrize("threads", (1, 2))
def test_several_threads_may_call(threads: int, rng: np.random.Generator) -> None:
    a, b = matrix(rng, 20, 30, "f4"), matrix(rng, 30, 40, "f4")
    expected = matmul(a, b)
    wrong: list[int] = []

    def work() -> None:
        for i in range(20):
            if not np.array_equal(matmul(a, b, rung="parallel", threads=threads), expected):
                wrong.append(i)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong or not JIT
