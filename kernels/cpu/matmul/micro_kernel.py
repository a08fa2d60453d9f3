"""The micro-kernel: one tile of C stays in registers while k runs past it.

    C[i : i + rows, j : j + columns] = start + A[ia : ia + rows, pa : pa + depth] B[pb : pb + depth, jb : jb + columns]

or the leaky ReLU of that, which costs two instructions a vector here and another pass over C anywhere else.

For each p, one row of B is loaded as `vectors` vectors, each element of A's column is broadcast, and rows x vectors
fused multiply-adds follow: 24 for 10 loads in a tile of 6 x 4, for 11 in one of 8 x 3 (where operands are packed);
the plain loop needs two loads and a store for each. What it should gain: everything, up to the processor's rate of
multiply-adds.

Every element of C is one chain of multiply-adds over p = 0, 1, 2 ..., whatever the tile; so the result does not
depend, in a single bit, on how C is cut into tiles, on where k is cut, or on how many threads share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from ..emit import I64, Vectors, address_of, array_intrinsic
from ..host import Tile

__all__ = ["FROM_BIAS", "FROM_C", "FROM_ZERO", "make_tile"]

Array = NDArray[Any]

FROM_ZERO, FROM_C, FROM_BIAS = 0, 1, 2
"""What a tile starts from: zeros; C itself, to go on with a sum; or a row of biases, which then cost nothing."""

_AHEAD = 8  # steps of k, about 100 cycles


def _tile_twin(
    rows: int, columns: int, c: Array, i: int, j: int, start: int, bias: Array,
    a: Array, ia: int, pa: int, b: Array, pb: int, jb: int, depth: int, leaky: int, slope: float, far: int,
) -> None:  # fmt: skip
    """The micro-kernel in NumPy: what it computes, and what runs when compilation is off."""
    target = c[i : i + rows, j : j + columns]
    product = a[ia : ia + rows, pa : pa + depth] @ b[pb : pb + depth, jb : jb + columns]
    if start == FROM_C:
        product = product + target
    elif start == FROM_BIAS:
        product = product + bias[j : j + columns]
    target[...] = np.where(product > 0, product, c.dtype.type(slope) * product) if leaky else product


def make_tile(dtype: np.dtype, tile: Tile) -> Callable[..., None]:
    """The micro-kernel for one dtype and tile: a jitted loop calls it as the function that the module describes.

    1 <= rows <= tile.rows and 1 <= columns <= width * tile.most_vectors(rows); `b` and `c` have neighbours in a row
    beside each other in memory, `a` has any strides, `bias` is contiguous. Nothing is checked. With `far` C is
    expected outside the cache: the tile is asked for before k begins to pass.
    """

    def emit(context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], arguments: Sequence[Any]) -> None:
        rows, columns, c, i, j, start, bias, a, ia, pa, b, pb, jb, depth, leaky, slope, far = arguments
        target, (c_row, _) = address_of(context, builder, kinds[2], c, i, j)
        biases, _ = address_of(context, builder, kinds[6], bias, j)
        left, (a_row, a_step) = address_of(context, builder, kinds[7], a, ia, pa)
        right, (b_step, _) = address_of(context, builder, kinds[10], b, pb, jb)
        goes_on = builder.icmp_signed("==", start, I64(FROM_C))
        empty = builder.icmp_signed("==", start, I64(FROM_ZERO))
        old = builder.select(empty, I64(0), builder.select(goes_on, target, biases))
        old_row = builder.select(goes_on, c_row, I64(0))
        # The last vector is partly outside C, or full; all others are full.
        vectors = builder.sdiv(builder.add(columns, I64(tile.width - 1)), I64(tile.width))
        last = builder.sub(columns, builder.mul(builder.sub(vectors, I64(1)), I64(tile.width)))
        if dtype.itemsize == 4:
            slope = builder.fptrunc(slope, ir.FloatType())
        common = [target, c_row, old, old_row, left, a_row, a_step, right, b_step, depth, last, leaky, far, slope]
        widest = max(tile.most_vectors(r) for r in range(1, tile.rows + 1))
        shape = builder.add(builder.mul(rows, I64(widest + 1)), vectors)
        done = builder.append_basic_block("done")
        choice = builder.switch(shape, done)
        for r in range(1, tile.rows + 1):
            for v in range(1, tile.most_vectors(r) + 1):
                with builder.goto_block(builder.append_basic_block(f"tile_{r}x{v}")):
                    builder.call(_tile_function(builder.module, dtype, tile, r, v), common)
                    choice.add_case(I64(r * (widest + 1) + v), builder.block)
                    builder.branch(done)
        builder.position_at_end(done)

    name = f"tile_{dtype}_{tile.width}_{tile.rows}x{tile.vectors}_{'_'.join(map(str, tile.wide))}_{tile.fused}"
    return array_intrinsic(name, _tile_twin, emit)


def _tile_function(module: ir.Module, dtype: np.dtype, tile: Tile, rows: int, vectors: int) -> ir.Function:
    """The LLVM function of one shape of tile: void(thirteen integers, the slope), not inlined."""
    name = f"minigen_tile_{dtype}_{rows}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    number = ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 13 + [number]), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _TileBody(builder, function.args, Vectors(builder, dtype, tile.width), tile.fused, rows, vectors).write()
    builder.ret_void()
    return function


class _TileBody:
    """Start, loop over p, leaky ReLU, store: for a grid of rows x vectors accumulators."""

    def __init__(
        self, builder: ir.IRBuilder, arguments: Sequence[Any], simd: Vectors, fused: bool, rows: int, vectors: int
    ) -> None:
        self.builder = builder
        self.simd = simd
        self.fused = fused
        self.rows = rows
        self.vectors = vectors
        (
            self.target, self.c_row, self.old, self.old_row, self.left, self.a_row, self.a_step,
            self.right, self.b_step, self.depth, self.last, self.leaky, self.far, self.slope,
        ) = arguments  # fmt: skip
        self.grid = [(r, v) for r in range(rows) for v in range(vectors)]

    def write(self) -> None:
        builder = self.builder
        self.mask = self.simd.mask(self.last)
        with builder.if_then(builder.icmp_signed("!=", self.far, I64(0))):
            self._claim()
        entry = builder.block
        resume, head, body, end = (builder.append_basic_block(name) for name in ("resume", "head", "body", "end"))
        builder.cbranch(builder.icmp_signed("!=", self.old, I64(0)), resume, head)
        builder.position_at_end(resume)
        old = {(r, v): self._load(self._row(self.old, self.old_row, r), v) for r, v in self.grid}
        builder.branch(head)
        builder.position_at_end(head)
        start = {at: self._merge((self.simd.zero, entry), (old[at], resume)) for at in self.grid}
        builder.cbranch(builder.icmp_signed(">", self.depth, I64(0)), body, end)
        total = self._loop(head, body, end, start)
        builder.position_at_end(end)
        result = {at: self._merge((start[at], head), (total[at], body)) for at in self.grid}
        bend, store = builder.append_basic_block("bend"), builder.append_basic_block("store")
        builder.cbranch(builder.icmp_signed("!=", self.leaky, I64(0)), bend, store)
        builder.position_at_end(bend)
        slope = self.simd.splat(self.slope)
        bent = {at: self.simd.leaky_relu(result[at], slope) for at in self.grid}
        builder.branch(store)
        builder.position_at_end(store)
        last = {at: self._merge((result[at], end), (bent[at], bend)) for at in self.grid}
        for r, v in self.grid:
            self._store(last[r, v], self._row(self.target, self.c_row, r), v)

    def _loop(self, head: Any, body: Any, end: Any, start: dict[Any, Any]) -> dict[Any, Any]:
        builder = self.builder
        builder.position_at_end(body)
        p, left, right = (self._merge((first, head)) for first in (I64(0), self.left, self.right))
        sums = {at: self._merge((start[at], head)) for at in self.grid}
        row_of_b = [self._load(right, v) for v in range(self.vectors)]
        self._prefetch(left, right)
        total = {}
        for r in range(self.rows):
            element = self.simd.load_splat(self._row(left, self.a_row, r))
            for v in range(self.vectors):
                total[r, v] = self.simd.multiply_add(element, row_of_b[v], sums[r, v], self.fused)
                sums[r, v].add_incoming(total[r, v], body)
        following = builder.add(p, I64(1))
        p.add_incoming(following, body)
        left.add_incoming(builder.add(left, self.a_step), body)
        right.add_incoming(builder.add(right, self.b_step), body)
        builder.cbranch(builder.icmp_signed("<", following, self.depth), body, end)
        return total

    def _claim(self) -> None:
        """Ask for the tile of C, to write to: it comes while k passes, and the stores at the end need not wait.

        Of a step of the GAN on 1024 images, whose arrays come from the third cache, that takes off about a hundredth.
        """
        for r in range(self.rows):
            row = self._row(self.target, self.c_row, r)
            for byte in range(0, self.vectors * self.simd.width * self.simd.size, 64):
                self.simd.prefetch(self.builder.add(row, I64(byte)), write=True)

    def _prefetch(self, left: Any, right: Any) -> None:
        """Ask for what comes `_AHEAD` steps later: the processor does not guess steps of kilobytes by itself.

        A column of A is one line of the cache where A is packed or transposed, and stays in place where it is not.
        """
        builder = self.builder
        self.simd.prefetch(builder.add(left, builder.mul(self.a_step, I64(_AHEAD))))
        ahead = builder.add(right, builder.mul(self.b_step, I64(_AHEAD)))
        for byte in range(0, self.vectors * self.simd.width * self.simd.size, 64):
            self.simd.prefetch(builder.add(ahead, I64(byte)))

    def _merge(self, *incoming: tuple[Any, Any]) -> Any:
        """A value that depends on the block we come from."""
        value = self.builder.phi(incoming[0][0].type)
        for source, block in incoming:
            value.add_incoming(source, block)
        return value

    def _row(self, base: Any, stride: Any, r: int) -> Any:
        return self.builder.add(base, self.builder.mul(stride, I64(r)))

    def _at(self, row: Any, v: int) -> tuple[Any, Any]:
        address = self.builder.add(row, I64(v * self.simd.width * self.simd.size))
        return address, self.mask if v == self.vectors - 1 else None

    def _load(self, row: Any, v: int) -> Any:
        return self.simd.load(*self._at(row, v))

    def _store(self, vector: Any, row: Any, v: int) -> None:
        self.simd.store(vector, *self._at(row, v))
