"""What this processor can do at most: multiply-adds in registers, and copies.

These two loops are the roof that every other kernel stands under (`bench.roofline`). They share nothing with the
kernels that are held against them but the words of `emit`, and they let go of Python's lock, so that threads
run them side by side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import binding, ir
from numpy.typing import NDArray

from .cache import PrivateCache
from .emit import I64, Vectors, address_of, array_intrinsic
from .host import tile_for
from .jit import DISABLED

__all__ = ["Chains", "chains_for", "processor", "stream_copy"]

Array = NDArray[Any]

_UNROLL = 4  # multiply-adds of each chain between two jumps
_LINES = 4  # vectors of a copy between two jumps


def processor() -> str:
    """The name that LLVM has for this processor's design, such as znver4: vendors' names tell less."""
    return binding.get_host_cpu_name()


class Chains(NamedTuple):
    """`run(state, factor, addend, rounds)`: state <- state * factor + addend, `steps` times `rounds`, in registers.

    `state` (numbers,), `factor` and `addend` (width,) are contiguous and of one dtype.
    """

    run: Callable[[Array, Array, Array, int], None]
    numbers: int
    width: int
    steps: int

    def flops(self, rounds: int) -> int:
        """Floating-point operations of a call: a multiply-add is two."""
        return 2 * self.numbers * self.steps * rounds


@functools.cache
def chains_for(dtype: np.dtype) -> Chains:
    """As many independent chains of vector multiply-adds as half the registers hold, 16 or 8.

    A multiply-add takes 4 cycles on today's processors and two may begin in each, so 8 chains are just enough to keep
    the units busy, and 16 more than enough; with all in registers, nothing is loaded in between. factor and addend
    come from memory at run time: were they constants, the compiler could compute the result beforehand.
    """
    tile = tile_for(dtype)
    chains = 16 if tile.rows > 4 else 8
    numbers = chains * tile.width
    advance = _make_chains(dtype, tile.width, chains, tile.fused)

    def run_chains(state: Array, factor: Array, addend: Array, rounds: int) -> None:
        advance(state, factor, addend, rounds)

    vector = numba.types.Array(numba.from_dtype(dtype), 1, "C")
    run = _compiled(run_chains, f"{dtype} {tile}", (vector, vector, vector, numba.int64))
    return Chains(run, numbers, tile.width, _UNROLL)


def _make_chains(dtype: np.dtype, width: int, chains: int, fused: bool) -> Callable[..., None]:
    def advance(state: Array, factor: Array, addend: Array, rounds: int) -> None:
        rows = state.reshape(-1, width)
        for _ in range(rounds * _UNROLL):
            rows[...] = rows * factor + addend

    def emit(context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], arguments: Sequence[Any]) -> None:
        simd = Vectors(builder, dtype, width)
        state, factor, addend = (
            address_of(context, builder, kind, array, I64(0))[0]
            for kind, array in zip(kinds[:3], arguments[:3], strict=True)
        )
        size = width * dtype.itemsize
        places = [builder.add(state, I64(c * size)) for c in range(chains)]
        x, y = simd.load(factor), simd.load(addend)
        first = [simd.load(place) for place in places]
        entry, body, end = builder.block, builder.append_basic_block("chains"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        count = builder.phi(I64)
        count.add_incoming(I64(0), entry)
        sums = [builder.phi(simd.type) for _ in first]
        now = list(sums)
        for _ in range(_UNROLL):
            now = [simd.multiply_add(value, x, y, fused) for value in now]
        for old, start, new in zip(sums, first, now, strict=True):
            old.add_incoming(start, entry)
            old.add_incoming(new, body)
        following = builder.add(count, I64(1))
        count.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, arguments[3]), body, end)
        builder.position_at_end(end)
        for value, place in zip(now, places, strict=True):
            simd.store(value, place)

    return array_intrinsic(f"chains_{dtype}_{width}_{chains}_{fused}", advance, emit)


def stream_copy(target: Array, source: Array, times: int) -> None:
    """target <- source, byte by byte the same, `times` over; both contiguous, of one size, and apart.

    Vector loads and ordinary stores, as the other kernels have. That matters in memory: an ordinary store first reads
    the line that it overwrites, which is not counted, while the C library's memcpy goes around the cache.
    """
    _copy()(target.reshape(-1).view(np.uint8), source.reshape(-1).view(np.uint8), times)


@functools.cache
def _copy() -> Callable[[Array, Array, int], None]:
    dtype = np.dtype(np.float32)
    width = tile_for(dtype).width
    block = _LINES * width * dtype.itemsize
    move = _make_copy(dtype, width)

    def copy_bytes(target: Array, source: Array, times: int) -> None:
        whole = target.size // block
        for _ in range(times):
            if whole:
                move(target, source, whole)
            for i in range(whole * block, target.size):
                target[i] = source[i]

    kind = numba.types.Array(numba.uint8, 1, "C")
    return _compiled(copy_bytes, f"{width}", (kind, kind, numba.int64))


def _make_copy(dtype: np.dtype, width: int) -> Callable[..., None]:
    """One pass over so many blocks of vectors. Through addresses, so that no compiler can tell it from other work:
    it would call memcpy, and of many passes it would keep one."""
    size = width * dtype.itemsize

    def move(target: Array, source: Array, blocks: int) -> None:
        target[: blocks * _LINES * size] = source[: blocks * _LINES * size]

    def emit(context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], arguments: Sequence[Any]) -> None:
        simd = Vectors(builder, dtype, width)
        target, source = (address_of(context, builder, kinds[i], arguments[i], I64(0))[0] for i in (0, 1))
        entry, body, end = builder.block, builder.append_basic_block("copy"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        at = builder.phi(I64)
        at.add_incoming(I64(0), entry)
        begin = builder.mul(at, I64(_LINES * size))
        offsets = [builder.add(begin, I64(line * size)) for line in range(_LINES)]
        values = [simd.load(builder.add(source, offset)) for offset in offsets]
        for value, offset in zip(values, offsets, strict=True):
            simd.store(value, builder.add(target, offset))
        following = builder.add(at, I64(1))
        at.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, arguments[2]), body, end)
        builder.position_at_end(end)

    return array_intrinsic(f"stream_copy_{dtype}_{width}", move, emit)


def _compiled(function: Callable[..., None], options: str, signature: tuple[Any, ...]) -> Callable[..., None]:
    """Compiled without Python's lock, and kept in the cache like every other kernel."""
    if DISABLED:
        return function
    dispatcher: Any = numba.njit(function, nogil=True, error_model="numpy")
    dispatcher._cache = PrivateCache(function, f"limits {options}")
    dispatcher.compile(signature)
    return dispatcher.overloads[signature].entry_point
