"""One number of threads, for the kernels of this package and for NumPy's BLAS alike.

Never more than the processors that this process may use: threads that share a processor only wait for each other.
No result depends on the number. `MINIGEN_THREADS` is the number to begin with; without it, all processors.
"""

from __future__ import annotations

import contextlib
import operator
import os
from typing import SupportsIndex

__all__ = ["get_threads", "processors", "set_threads", "threads_to_start"]


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_chosen: int | None = None
_forked = False


def get_threads() -> int:
    """The number of threads that a kernel may use; 1 in a forked child.

    Raises ValueError where MINIGEN_THREADS is no whole number of at least 1.
    """
    global _chosen
    if _forked:
        return 1
    if _chosen is None:
        _chosen = _wanted(os.environ.get("MINIGEN_THREADS"))
    return _chosen


def set_threads(n: SupportsIndex) -> None:
    """Let kernels and BLAS use `n` threads from now on, or as many as there are processors if those are fewer.

    Raises ValueError unless n is a whole number of at least 1.
    """
    global _chosen
    if isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < 1:
        raise ValueError(f"set_threads({n!r}): the number of threads is a whole number of at least 1")
    _chosen = min(operator.index(n), processors())
    _limit_blas(_chosen)


def threads_to_start(wanted: int | None = None) -> int:
    """So many threads as are wanted, or else allowed, may work at something; no more than there are processors.

    In a forked child it is 1: OpenMP, where Numba uses it, ends a child that starts threads again.
    """
    if _forked:
        return 1
    return min(operator.index(wanted), processors()) if wanted else get_threads()


def _wanted(text: str | None) -> int:
    if not text:
        return processors()
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"MINIGEN_THREADS={text!r}: the number of threads is a whole number of at least 1")
    return min(int(text), processors())


def _limit_blas(n: int) -> None:
    import threadpoolctl  # here: it looks through all loaded libraries, and is needed only where a number was chosen

    threadpoolctl.threadpool_limits(n, user_api="blas")


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

if os.environ.get("MINIGEN_THREADS"):
    with contextlib.suppress(ValueError):  # which whoever needs the number is told
        set_threads(get_threads())
