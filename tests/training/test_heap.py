"""Freed memory stays with the process, so that a step does not pay for its pages anew."""

import subprocess
import sys
import sysconfig

import pytest

from minigen.training.heap import keep_freed_memory

GLIBC = sys.platform.startswith("linux") and "gnu" in sysconfig.get_config_var("SOABI")

COUNT_FAULTS = """
import resource, sys
import numpy as np
from minigen.training.heap import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(1 << 21)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(1 << 21)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(mode: str) -> int:
    return int(subprocess.run([sys.executable, "-c", COUNT_FAULTS, mode], check=True, capture_output=True).stdout)


@pytest.mark.skipif(not GLIBC, reason="mallopt is glibc's")
def test_arrays_of_16_mb_are_given_the_same_pages_again() -> None:
    assert keep_freed_memory()
    assert 20 * _faults("keep") < _faults("default")


def test_elsewhere_it_does_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
