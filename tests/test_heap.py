"""Freed memory stays with the process, so that a step does not pay for its pages anew."""

import ctypes
import os
import subprocess
import sys
import sysconfig

import pytest

from minigen.heap import keep_freed_memory

GLIBC = sys.platform.startswith("linux") and "gnu" in sysconfig.get_config_var("SOABI")

COUNT_FAULTS = """
import resource
import numpy as np
import minigen as mg

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

vae = mg.models.VAE.preset("document", seed=0)
images = np.zeros((256, 28, 28), np.uint8)
for _ in range(5):
    vae.train_step(images)
before = faults()
for _ in range(5):
    vae.train_step(images)
print(faults() - before)
"""


def faults(**environment: str) -> int:
    """How often five eager steps must ask the system for a page."""
    given = {**os.environ, "NUMBA_DISABLE_JIT": "0", "MINIGEN_THREADS": "1", **environment}
    return int(subprocess.run([sys.executable, "-c", COUNT_FAULTS], check=True, capture_output=True, env=given).stdout)


@pytest.mark.skipif(not GLIBC, reason="mallopt is glibc's")
def test_an_eager_step_gets_the_same_pages_again() -> None:
    assert 20 * faults() < faults(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")


@pytest.mark.parametrize(("name", "value"), [
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("GLIBC_TUNABLES", "glibc.cpu.x=1:glibc.malloc.trim_threshold=131072"),
])
def test_what_the_environment_says_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the heap was changed"))
    assert keep_freed_memory() is False


def test_elsewhere_it_does_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
