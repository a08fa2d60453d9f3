"""Work shared out among threads: each computes parts of it, by the same compiled function.

Numba's `prange` starts the threads, and compiles slowly what is in it, once for every loop. Here that is one call of
a function by its address, so that it is compiled once for all there is to share. What the function is about comes by
an address as well: all threads see the memory of the one that called.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import prange, types
from numba.core import config

from .cache import PrivateCache
from .indirect import compiled_address, make_handover, make_indirect
from .jit import DISABLED, NO_ALLOCATION, entry_point, jit

__all__ = ["NOBODY", "Team", "call_fork", "make_worker", "one_at_a_time", "shared_by", "team_for"]



def _work(given: Any, part: int) -> None:
    """What a worker looks like."""


_call_worker = (lambda worker, arguments: worker(*arguments)) if DISABLED else make_indirect(_work)


# By the name of their symbols: what Numba offers is compiled as an address in this process, and could not be cached.
_get_threads: Any = numba.get_num_threads if DISABLED else types.ExternalFunction("get_num_threads", types.intp())
_set_threads: Any = (numba.set_num_threads if DISABLED
                     else types.ExternalFunction("set_num_threads", types.void(types.int32)))  # fmt: skip


def fork(worker: Any, given: Any, parts: int, team: int) -> None:
    """worker(given, part) for each part, on `team` threads."""
    before = _get_threads()
    _set_threads(team)
    for part in prange(parts):
        _call_worker(worker, (given, np.int64(part)))  # Numba counts without a sign
    _set_threads(before)


call_fork = make_indirect(fork)
"""call_fork(address, (worker, given, parts, team)), in compiled code."""


class Team(NamedTuple):
    """What compiled code needs to share out its work: the address of `fork` and how many threads it may use."""

    fork: Any
    threads: int


NOBODY = Team(0, 0)

_lock = threading.Lock()


def one_at_a_time(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function that starts a team, for one caller after the other: `prange` lets go of Python's lock.

    Alone, because Numba's plainest layer, `workqueue`, aborts the process when a second caller enters; because two
    callers with a team each would be twice as many threads as were asked for; and because buffers are shared.
    """

    def call(*arguments: Any) -> Any:
        with _lock:
            return kernel(*arguments)

    return call


@functools.cache
def team_for(threads: int) -> Team:
    """So many threads, or as many as Numba has."""
    return Team(_address_of_fork(), min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


@functools.cache
def _address_of_fork() -> Any:
    if DISABLED:
        return fork
    dispatcher: Any = numba.njit(fork, parallel=True, error_model="numpy", **NO_ALLOCATION)
    dispatcher._cache = PrivateCache(fork, "")
    return compiled_address(dispatcher, (numba.int64,) * 4)


def make_worker(work: Callable[..., None], held: Callable[..., Any], kinds: Sequence[Any]) -> Callable[[], Any]:
    """A function that compiles worker(given, part), which does work(part, *held(given)), and returns its address.

    `kinds` are Numba's types of what is held. With compilation switched off, the worker itself is the address.
    """

    def worker(given: Any, part: int) -> None:
        work(part, *held(given))

    dispatcher: Any = jit()(worker)
    if DISABLED:
        return lambda: dispatcher
    dispatcher._cache = PrivateCache(worker, repr(kinds))
    return lambda: compiled_address(dispatcher, (numba.int64, numba.int64))


def shared_by(threads: int, work: Callable[..., None], kinds: Sequence[Any]) -> Callable[..., None]:
    """A function of Python that does work(part, parts, *arguments), a part on each of so many threads.

    `kinds` are Numba's types of the arguments.
    """
    packed = numba.types.Tuple(kinds)
    kinds = (numba.int64, *kinds)
    hold, held = make_handover(kinds)
    worker = make_worker(work, held, kinds)()
    fork, team = team_for(threads)

    def run(fork: int, worker: int, parts: int, team: int, arguments: Any) -> None:
        call_fork(fork, (worker, hold((parts, *arguments)), parts, team))

    compiled: Any = jit()(run)
    if not DISABLED:
        compiled._cache = PrivateCache(run, repr(kinds))
    shared = one_at_a_time(entry_point(compiled, (numba.int64,) * 4 + (packed,)))
    return lambda *arguments: shared(fork, worker, threads, team, arguments)
