"""Compiled kernels one after the other, as one: machine code that calls them by address, with arguments that stay.

A call from Python takes half a microsecond and more, as long as a product of 64 x 64 x 32. What does not change from
call to call, the memory that a kernel reads and writes and most of its numbers, is written into the code that calls it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from .generated import native
from .jit import DISABLED
from .matmul import product_arguments

__all__ = ["AVAILABLE", "Call", "Slot", "loop_call", "product_call", "sequence"]

Array = NDArray[Any]

AVAILABLE = not (DISABLED or config.BOUNDSCHECK)  # type: ignore[attr-defined]
"""Whether kernels are machine code, and code that reports no errors: a sequence does not ask for any."""

_WORD = ir.IntType(64)


class Slot(NamedTuple):
    """An element of an array of float64 that is read anew at every call."""

    numbers: Array
    place: int


class Call(NamedTuple):
    """Machine code at an address, in Numba's calling convention, and what it is given: arrays, numbers and Slots."""

    address: int
    returns: Any
    kinds: tuple[Any, ...]
    arguments: tuple[Any, ...]


def loop_call(loop: Callable[..., None], *arguments: Any) -> Call:
    """The call of a loop that `compile_loop` made."""
    address, kinds = native(loop)
    return Call(address, types.none, kinds, arguments)


def product_call(a: Array, b: Array, **settings: Any) -> Call:
    """The call that `small_matmul` would make, of matrices that are aligned and not empty."""
    address, kinds, arguments = product_arguments(a, b, **settings)
    return Call(address, types.boolean, kinds, arguments)


def sequence(*calls: Call) -> Callable[[], None]:
    """A function that makes the calls in their order. It keeps their arrays, and takes its machine code with it."""
    context = cpu_target.target_context
    module = ir.Module("sequence")
    module.triple = binding.get_process_triple()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "sequence")
    builder = ir.IRBuilder(function.append_basic_block())
    for call in calls:
        kind = context.call_conv.get_function_type(call.returns, call.kinds)
        # What is returned, an error, and then the arguments, an array as its fields.
        result, error, *_ = kind.args
        values = [builder.alloca(result.pointee), builder.alloca(error.pointee)]
        flat = [part for kind_of, x in zip(call.kinds, call.arguments, strict=True) for part in _flat(kind_of, x)]
        values += [_value(builder, *pair) for pair in zip(kind.args[2:], flat, strict=True)]
        builder.call(builder.inttoptr(ir.Constant(_WORD, call.address), kind.as_pointer()), values)
    builder.ret_void()
    machine = binding.Target.from_default_triple().create_target_machine(opt=1, jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()
    run = ctypes.PYFUNCTYPE(None)(engine.get_function_address("sequence"))
    run.kept = engine, calls  # type: ignore[attr-defined]
    return run


def _flat(kind: Any, x: Any) -> list[Any]:
    """An argument as the numbers that compiled code is given for it."""
    if isinstance(kind, types.Array):
        return [0, 0, x.size, x.itemsize, x.ctypes.data, *x.shape, *x.strides]  # nothing that counts its references
    return [x]


def _value(builder: ir.IRBuilder, kind: Any, x: Any) -> Any:
    if isinstance(x, Slot):
        place = ir.Constant(_WORD, x.numbers.ctypes.data + x.numbers.itemsize * x.place)
        return builder.load(builder.inttoptr(place, kind.as_pointer()))
    if isinstance(kind, ir.PointerType):
        return ir.Constant(_WORD, x).inttoptr(kind)
    return ir.Constant(kind, x)
