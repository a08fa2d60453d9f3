"""The C library's heap, told to keep what is freed.

A training step frees and allocates the same large arrays again and again. By default glibc hands such memory back to
the kernel at once, and the next step pays for every page anew: half of an eager step of a VAE on 256 images. Importing
minigen changes that, for this process as a whole: up to 256 MiB that nobody uses may stay with it.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3), and values: no mmap for arrays up to 32 MiB (its maximum), no trim below 256 MiB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM, _MMAP = 256 << 20, 32 << 20


def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of returning it.

    False, and nothing is changed, where the C library is not glibc, or where its own variables in the environment say
    already what it shall keep: MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, or glibc.malloc in GLIBC_TUNABLES.
    """
    if not sys.platform.startswith("linux") or _is_told():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _TRIM)) and bool(mallopt(_M_MMAP_THRESHOLD, _MMAP))


def _is_told() -> bool:
    own = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    return any(name in os.environ for name in own) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
