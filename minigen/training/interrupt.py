"""Ctrl-C without loss: the first one asks the loop to stop at the end of its step, a later one stops at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupt"]

_TWICE = 1.0
"""Seconds within which a second SIGINT is the first one again: a key that bounced, or a shell and a wrapper that both
pass it on."""


class Interrupt:
    """Within the context, `requested` becomes true at SIGINT. In other threads than the main one, never."""

    def __init__(self) -> None:
        self.requested = False
        self._first = 0.0
        self._before: Any = None

    def __enter__(self) -> Self:
        # A program that handles SIGINT in its own way, such as a notebook server, keeps its way.
        default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if default and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._first = True, now
        elif now - self._first > _TWICE:
            raise KeyboardInterrupt
