"""A row times the rows of a matrix: y[j] = start + sum over p of x[p] W[j, p].

This is the input gradient at batch 1. W lies the wrong way for the micro-kernel, and turning it would cost more
than the product, which uses each number of W once. So here the vectors run along p: partial sums, one a lane, that
are added at the end. The order of the additions differs from the micro-kernel's, and is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from ..emit import I64, Vectors, address_of, array_intrinsic
from ..host import Tile

__all__ = ["DOT_ROWS", "make_dot"]

Array = NDArray[Any]

DOT_ROWS = 4
"""How many rows of W share a load of x."""

_UNROLL = 2  # with 4 rows, 8 accumulators: the latency of a multiply-add, twice over


def make_dot(dtype: np.dtype, tile: Tile, rows: int) -> Callable[..., None]:
    """dot(y, yi, yj, x, xi, w, wi): Y[yi, yj : yj + rows] += X[xi] . W[wi : wi + rows].

    Rows of X, W and Y have adjacent neighbours; nothing is checked.
    """

    def dot(y: Array, yi: int, yj: int, x: Array, xi: int, w: Array, wi: int, depth: int) -> None:
        y[yi, yj : yj + rows] += w[wi : wi + rows, :depth] @ x[xi, :depth]

    def emit(context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], arguments: Sequence[Any]) -> None:
        y, yi, yj, x, xi, w, wi, depth = arguments
        target, _ = address_of(context, builder, kinds[0], y, yi, yj)
        left, _ = address_of(context, builder, kinds[3], x, xi, I64(0))
        right, (w_row, _) = address_of(context, builder, kinds[5], w, wi, I64(0))
        simd = Vectors(builder, dtype, tile.width)
        streams = [left, *(builder.add(right, builder.mul(w_row, I64(r))) for r in range(rows))]
        totals = _partial_sums(builder, simd, tile.fused, streams, depth)
        if 1 < rows <= tile.width:
            few = Vectors(builder, dtype, rows)
            few.store(builder.fadd(few.load(target), simd.sums(totals)), target)
            return
        for r, total in enumerate(totals):
            simd.add_to(builder.add(target, I64(r * simd.size)), simd.sum(total))

    name = f"dot_{dtype}_{tile.width}_{rows}_{tile.fused}"
    return array_intrinsic(name, dot, emit)


def _partial_sums(builder: ir.IRBuilder, simd: Vectors, fused: bool, streams: list[Any], depth: Any) -> list[Any]:
    """For each stream after the first, the lane by lane sum of its products with the first."""
    span = _UNROLL * simd.width
    whole = builder.mul(builder.sdiv(depth, I64(span)), I64(span))
    sums = [[simd.zero] * _UNROLL for _ in streams[1:]]
    p, sums = _steps(builder, simd, fused, streams, I64(0), whole, sums, masked=False)
    _, sums = _steps(builder, simd, fused, streams, p, depth, sums, masked=True)
    return [builder.fadd(first, second) for first, second in sums]


def _steps(
    builder: ir.IRBuilder, simd: Vectors, fused: bool, streams: list[Any], p0: Any, p1: Any, sums: Any, masked: bool
) -> tuple[Any, Any]:
    """Go on from p0 to p1: whole vectors, `_UNROLL` at a time, or what is left, one vector at a time and masked."""
    entry, body, end = builder.block, builder.append_basic_block("body"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed("<", p0, p1), body, end)
    builder.position_at_end(body)
    p = builder.phi(I64)
    p.add_incoming(p0, entry)
    unroll = 1 if masked else _UNROLL
    phis = [[builder.phi(simd.type) for _ in row] for row in sums]
    following = [list(row) for row in phis]
    mask = simd.mask(builder.sub(p1, p)) if masked else None
    for u in range(unroll):
        offset = builder.mul(builder.add(p, I64(u * simd.width)), I64(simd.size))
        x, *rows = (simd.load(builder.add(stream, offset), mask) for stream in streams)
        for r, row in enumerate(rows):
            following[r][u] = simd.multiply_add(x, row, phis[r][u], fused)
    further = builder.add(p, I64(unroll * simd.width))
    p.add_incoming(further, body)
    builder.cbranch(builder.icmp_signed("<", further, p1), body, end)
    for phi_row, sum_row, next_row in zip(phis, sums, following, strict=True):
        for phi, before, after in zip(phi_row, sum_row, next_row, strict=True):
            phi.add_incoming(before, entry)
            phi.add_incoming(after, body)
    builder.position_at_end(end)
    reached = builder.phi(I64)
    reached.add_incoming(p0, entry)
    reached.add_incoming(further, body)
    totals = [[builder.phi(simd.type) for _ in row] for row in sums]
    for total_row, sum_row, next_row in zip(totals, sums, following, strict=True):
        for total, before, after in zip(total_row, sum_row, next_row, strict=True):
            total.add_incoming(before, entry)
            total.add_incoming(after, body)
    return reached, totals
