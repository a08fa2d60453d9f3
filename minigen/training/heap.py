"""The C library's heap, told to keep what is freed.

A training step frees and allocates the same large arrays again and again. By default glibc hands such memory back to
the kernel at once, and the next step pays for every page anew: a third of a GAN step with a million weights.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3), and values: no mmap for arrays up to 32 MiB (its maximum), no trim below 256 MiB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM, _MMAP = 256 << 20, 32 << 20


def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of returning it; False where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _TRIM)) and bool(mallopt(_M_MMAP_THRESHOLD, _MMAP))
