"""Lets the package's public functions run on a test machine: its memory and its compiler in place of CuPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigen.kernels.cuda import compile as cuda_compile
from minigen.kernels.cuda import device

__all__ = ["on"]


def on(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here to the end of the test, kernels run on `machine`. On a GPU nothing is replaced."""
    if machine.name == "gpu":
        return
    monkeypatch.setattr(cuda_compile, "load", machine.load)
    monkeypatch.setattr(device, "empty", np.empty)
    monkeypatch.setattr(device, "processors", lambda: 108)
    monkeypatch.setattr(device, "capability", lambda: machine.capability)
    monkeypatch.setattr(device, "overlap", np.shares_memory)
