"""Transposing a square block inside the registers: how an operand that lies the wrong way is packed.

    Q[qi : qi + edge, qj : qj + edge] = S[si : si + edge, sj : sj + edge]^T

Reading such a block element by element takes edge^2 loads and stores. In registers it is `edge` vector loads,
log2(edge) rounds of shuffles and `edge` vector stores. Round by round, blocks of 1, 2, 4 ... lanes are exchanged
between rows that lie as far apart: the transposition of a 2 x 2 matrix of blocks. The widest blocks go first, so
that the later, more numerous shuffles stay within quarters of a register, where they are cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from ..emit import I64, Vectors, address_of, array_intrinsic

__all__ = ["make_copy", "make_transpose"]

Array = NDArray[Any]


def make_transpose(dtype: np.dtype, edge: int) -> Callable[..., None]:
    """The transposition of an edge x edge block (a power of two); both arrays have neighbours in a row adjacent."""

    def transpose(q: Array, qi: int, qj: int, s: Array, si: int, sj: int) -> None:
        q[qi : qi + edge, qj : qj + edge] = s[si : si + edge, sj : sj + edge].T

    def emit(context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], arguments: Sequence[Any]) -> None:
        q, qi, qj, s, si, sj = arguments
        to, (to_row, _) = address_of(context, builder, kinds[0], q, qi, qj)
        source, (source_row, _) = address_of(context, builder, kinds[3], s, si, sj)
        simd = Vectors(builder, dtype, edge)
        rows = [simd.load(builder.add(source, builder.mul(source_row, I64(r)))) for r in range(edge)]
        for r, row in enumerate(_transposed(simd, rows)):
            simd.store(row, builder.add(to, builder.mul(to_row, I64(r))))

    return array_intrinsic(f"transpose_{dtype}_{edge}", transpose, emit)


def make_copy(dtype: np.dtype, width: int) -> Callable[..., None]:
    """Q[qi, qj : qj + width] = S[si, sj : sj + width], one load and one store; rows as for `make_transpose`."""

    def copy(q: Array, qi: int, qj: int, s: Array, si: int, sj: int) -> None:
        q[qi, qj : qj + width] = s[si, sj : sj + width]

    def emit(context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], arguments: Sequence[Any]) -> None:
        q, qi, qj, s, si, sj = arguments
        to, _ = address_of(context, builder, kinds[0], q, qi, qj)
        source, _ = address_of(context, builder, kinds[3], s, si, sj)
        simd = Vectors(builder, dtype, width)
        simd.store(simd.load(source), to)

    return array_intrinsic(f"copy_{dtype}_{width}", copy, emit)


def _transposed(simd: Vectors, rows: list[Any]) -> list[Any]:
    distance = len(rows) // 2
    while distance:
        upper, lower = _exchange(len(rows), distance)
        for r in range(len(rows)):
            if not r & distance:
                x, y = rows[r], rows[r + distance]
                rows[r], rows[r + distance] = simd.shuffle(x, y, upper), simd.shuffle(x, y, lower)
        distance //= 2
    return rows


def _exchange(edge: int, distance: int) -> tuple[list[int], list[int]]:
    """The lanes that make, of rows x (lanes 0 ...) and y (lanes edge ...), the two rows of the transposed pair."""
    upper = [edge + lane - distance if lane & distance else lane for lane in range(edge)]
    lower = [edge + lane if lane & distance else lane + distance for lane in range(edge)]
    return upper, lower
