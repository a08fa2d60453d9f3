"""What this processor's registers suggest: how wide a vector is, and how large a tile of C fits in registers.

A tile of `rows` x `vectors` needs rows * vectors accumulators, `vectors` registers for the row of B and one for
the broadcast element of A. It should be as square as it can, so that few loads feed many multiply-adds, and have
at least (latency x units) accumulators, 8 to 10, so that no multiply-add waits for the one before.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
from numba.core import config

__all__ = ["Tile", "features", "tile_for"]


class Tile(NamedTuple):
    """The register tile of one dtype: `width` numbers a vector, at most `rows` x `vectors` vectors."""

    width: int
    rows: int
    vectors: int
    wide: tuple[int, ...]
    """wide[r - 1]: how many vectors a block of only r rows may have, so that few rows still fill the units."""
    low: int
    """How many rows a block has at most where both operands are read in place: 6 rows of 4 vectors come 1 to 2 % nearer
    to the peak than 8 of 3, with one load less a step. Packing turns 8 rows at a time, and stays with those."""
    fused: bool
    """Whether a multiply-add is one instruction; where it is not, demanding one would call a C function."""

    def most_vectors(self, rows: int) -> int:
        """The widest block of columns for a block of `rows` rows."""
        return self.wide[rows - 1] if rows <= len(self.wide) else self.vectors


def features() -> frozenset[str]:
    """The names of the instruction sets that code is compiled for: the host's, or what NUMBA_CPU_FEATURES says."""
    chosen = config.CPU_FEATURES  # type: ignore[attr-defined]
    if chosen is not None:
        return frozenset(name[1:] for name in chosen.split(",") if name.startswith("+"))
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


@functools.cache
def tile_for(dtype: np.dtype) -> Tile:
    """The tile for this machine: 32 registers of 64 bytes (AVX-512), 16 of 32 (AVX2), 32 of 16 (NEON), 16 of 16."""
    has = features()
    if "avx512f" in has:
        size, many, fused = 64, True, True
    elif "avx2" in has:
        size, many, fused = 32, False, "fma" in has
    elif "neon" in has or llvm.get_default_triple().startswith(("aarch64", "arm64")):
        size, many, fused = 16, True, True
    else:
        size, many, fused = 16, False, "fma" in has
    width = size // dtype.itemsize
    if many:  # one row, which reads all of B for little: 13 lines side by side are 5 % faster than 8
        return Tile(width, 8, 3, (13, 6, 4, 4, 4, 4), 6, fused)
    return Tile(width, 4, 3, (6, 4), 4, fused)
