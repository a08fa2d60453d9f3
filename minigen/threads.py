"""The number of threads: one setting for minigen's kernels and NumPy's BLAS."""

from __future__ import annotations

from typing import SupportsIndex

from .errors import UsageError
from .kernels import threads as _kernels
from .kernels.threads import processors

__all__ = ["get_threads", "processors", "set_threads"]


def get_threads() -> int:
    """How many threads a kernel or BLAS may use: what `set_threads` or MINIGEN_THREADS said, else all processors.

    UsageError where MINIGEN_THREADS is no whole number of at least 1.
    """
    try:
        return _kernels.get_threads()
    except ValueError as error:
        raise UsageError(str(error)) from None


def set_threads(n: SupportsIndex) -> None:
    """Use `n` threads from now on, in kernels and in BLAS; as many as there are processors if those are fewer.

    The results of a computation do not depend on it, only its time. UsageError unless n is a whole number of at
    least 1.
    """
    try:
        _kernels.set_threads(n)
    except ValueError as error:
        raise UsageError(str(error)) from None
