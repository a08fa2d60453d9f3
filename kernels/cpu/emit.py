"""A few words of LLVM, shared by the intrinsics of this folder.

An intrinsic is a function whose body is written in LLVM's own language instead of Python: it says exactly which
vectors exist and which instruction touches them. To the loops around it, it is a function of arrays and indices.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import DISABLED

__all__ = ["I64", "Address", "Vectors", "address_of", "array_intrinsic"]

I64 = ir.IntType(64)
_I32 = ir.IntType(32)

Address = Any  # an LLVM integer of 64 bits


def address_of(context: Any, builder: ir.IRBuilder, kind: Any, array: Any, *indices: Any) -> tuple[Address, list[Any]]:
    """The address of array[indices], and the strides in bytes."""
    view = context.make_array(kind)(context, builder, array)
    address = builder.ptrtoint(view.data, I64)
    strides = cgutils.unpack_tuple(builder, view.strides)
    for index, stride in zip(indices, strides, strict=True):
        address = builder.add(address, builder.mul(index, stride))
    return address, strides


def array_intrinsic(name: str, twin: Callable[..., Any], emit: Callable[..., None]) -> Callable[..., Any]:
    """An intrinsic that returns nothing: `emit(context, builder, argument types, arguments)` writes its body.

    `twin` is the same function in NumPy; it gives the number of arguments, and stands in when compilation is off.
    `name` must tell apart everything that `emit` depends on: the cache of compiled kernels goes by it.
    """
    if DISABLED:
        return twin

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[Any]) -> Any:
        emit(context, builder, signature.args, arguments)
        return context.get_dummy_value()

    def typing(context: Any, *kinds: Any) -> Any:
        # what is neither an array nor a float is an index
        kept = (types.Array, types.Float)
        return types.void(*(kind if isinstance(kind, kept) else types.int64 for kind in kinds)), codegen

    # Numba reads the parameters from the signature: those of the twin, after its typing context.
    parameters = list(inspect.signature(twin).parameters.values())
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typing.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    typing.__qualname__ = typing.__name__ = name
    return intrinsic(typing)


class Vectors:
    """Vectors of `width` floats at unaligned addresses, some of them through a mask."""

    def __init__(self, builder: ir.IRBuilder, dtype: np.dtype, width: int) -> None:
        self.builder = builder
        self.width = width
        self.size = dtype.itemsize
        self.scalar: Any = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.type = ir.VectorType(self.scalar, width)
        self.zero = ir.Constant(self.type, [0.0] * width)
        self._suffix = f"v{width}f{8 * self.size}"
        self._mask_type = ir.VectorType(ir.IntType(1), width)

    def _call(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def _pointer(self, address: Address, kind: Any = None) -> Any:
        return self.builder.inttoptr(address, (kind or self.type).as_pointer())

    def splat(self, x: Any, kind: Any = None) -> Any:
        """x in every lane."""
        nothing = ir.Constant(kind or self.type, ir.Undefined)
        first = self.builder.insert_element(nothing, x, _I32(0))
        return self.builder.shuffle_vector(first, nothing, self._lanes([0] * self.width))

    def mask(self, count: Any) -> Any:
        """True in the first `count` lanes."""
        kind = ir.VectorType(I64, self.width)
        lanes = ir.Constant(kind, list(range(self.width)))
        return self.builder.icmp_signed("<", lanes, self.splat(count, kind))

    def load(self, address: Address, mask: Any = None) -> Any:
        """The vector at this address; zeros, and no access, in lanes that the mask leaves out."""
        if mask is None:
            return self.builder.load(self._pointer(address), align=self.size)
        name = f"llvm.masked.load.{self._suffix}.p0"
        return self._call(name, self.type, [self._pointer(address), _I32(self.size), mask, self.zero])

    def store(self, vector: Any, address: Address, mask: Any = None) -> None:
        """Write the vector, or those of its lanes that the mask admits."""
        if mask is None:
            self.builder.store(vector, self._pointer(address), align=self.size)
            return
        name = f"llvm.masked.store.{self._suffix}.p0"
        self._call(name, ir.VoidType(), [vector, self._pointer(address), _I32(self.size), mask])

    def prefetch(self, address: Address, write: bool = False) -> None:
        """Ask for the line of the cache at this address, which need not exist, to read from or to write to."""
        byte = self._pointer(address, ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [byte.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(function, [byte, _I32(int(write)), _I32(3), _I32(1)])

    def load_splat(self, address: Address) -> Any:
        """The float at this address in every lane."""
        return self.splat(self.builder.load(self._pointer(address, self.scalar), align=self.size))

    def add_to(self, address: Address, x: Any) -> None:
        """Add x to the float at this address."""
        pointer = self._pointer(address, self.scalar)
        self.builder.store(self.builder.fadd(self.builder.load(pointer, align=self.size), x), pointer, align=self.size)

    def multiply_add(self, x: Any, y: Any, z: Any, fused: bool) -> Any:
        """x y + z, rounded once where the processor can."""
        if fused:
            return self._call(f"llvm.fma.{self._suffix}", self.type, [x, y, z])
        return self.builder.fadd(self.builder.fmul(x, y), z)

    def absolute(self, x: Any) -> Any:
        """|x|."""
        return self._call(f"llvm.fabs.{self._suffix}", self.type, [x])

    def root(self, x: Any) -> Any:
        """The square root of x."""
        return self._call(f"llvm.sqrt.{self._suffix}", self.type, [x])

    def leaky_relu(self, x: Any, slope: Any) -> Any:
        """x where x > 0, else slope x, which is what NaN gives too."""
        return self.builder.select(self.builder.fcmp_ordered(">", x, self.zero), x, self.builder.fmul(slope, x))

    def shuffle(self, x: Any, y: Any, lanes: Sequence[int]) -> Any:
        """The lanes of x, counted from 0, and of y, counted on, in the given order."""
        return self.builder.shuffle_vector(x, y, self._lanes(lanes))

    def sum(self, x: Any) -> Any:
        """The sum of the lanes, halves first: the order does not depend on what the compiler prefers."""
        half = self.width // 2
        while half:
            lanes = [(i + half) % self.width for i in range(self.width)]
            x = self.builder.fadd(x, self.shuffle(x, x, lanes))
            half //= 2
        return self.builder.extract_element(x, _I32(0))

    def sums(self, rows: Sequence[Any]) -> Any:
        """A vector of the `sum` of each row, with the same additions in the same order: two rows share each of them.

        As many rows as a power of two, at most one a lane.
        """
        half = self.width // 2
        blocks = list(rows)
        while half:  # a block holds, of each of its rows, 2 half sums beside each other
            starts = range(0, self.width, 2 * half)
            low = [start + i for start in starts for i in range(half)]
            if len(blocks) > 1:
                pairs = zip(blocks[::2], blocks[1::2], strict=True)
                low += [self.width + lane for lane in low]
                high = [lane + half for lane in low]
                blocks = [self.builder.fadd(self.shuffle(x, y, low), self.shuffle(x, y, high)) for x, y in pairs]
            else:
                lanes = [lane % self.width for lane in range(half, self.width + half)]
                blocks = [self.builder.fadd(blocks[0], self.shuffle(blocks[0], blocks[0], lanes))]
            half //= 2
        each = self.width // len(rows)
        return self.shuffle(blocks[0], blocks[0], range(0, self.width, each))

    def _lanes(self, lanes: Sequence[int]) -> Any:
        return ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes))
