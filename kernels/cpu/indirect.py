"""Calling a compiled loop by its address, and handing over what it is about by an address.

Numba compiles what a function calls into that function, again. The product is large; by its address, a function that
calls it compiles in a fraction of the time, and all use the same machine code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import DISABLED

__all__ = ["compiled_address", "make_handover", "make_indirect"]



_kept: list[Any] = []


def compiled_address(dispatcher: Any, signature: Sequence[Any]) -> int:
    """The address of the machine code for these types, compiled now if need be, and kept for good."""
    dispatcher.compile(tuple(signature))
    _kept.append(dispatcher)  # which its machine code lives no longer than
    overload = dispatcher.overloads[tuple(signature)]
    return overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name)


def make_indirect(function: Callable[..., None]) -> Callable[..., None]:
    """call(address, arguments): what `function(*arguments)` does, by Numba's own calling convention.

    The types of the arguments must be those that the address was compiled for: integers are int64. With compilation
    switched off, `function` itself is called.
    """
    if DISABLED:
        return lambda address, arguments: function(*arguments)

    @intrinsic
    def call_by_address(context: Any, address: Any, arguments: Any) -> Any:
        kinds = [types.int64 if isinstance(kind, types.Integer) else kind for kind in arguments]
        return types.void(types.intp, types.Tuple(kinds)), _emit

    return call_by_address


def _emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[Any]) -> Any:
    address, packed = arguments
    kinds = signature.args[1].types
    unpacked = [builder.extract_value(packed, i) for i in range(len(kinds))]
    kind = context.call_conv.get_function_type(types.none, kinds)
    target = builder.inttoptr(address, kind.as_pointer())
    status, _ = context.call_conv.call_function(builder, target, types.none, kinds, unpacked)
    with builder.if_then(status.is_error, likely=False):
        context.call_conv.return_status_propagate(builder, status)
    return context.get_dummy_value()


def make_handover(kinds: Sequence[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """hold(arguments) and held(address): a tuple of these types as an address, and back.

    The address is valid until the function that called `hold` returns. With compilation switched off it is the tuple
    itself.
    """
    if DISABLED:
        return lambda arguments: arguments, lambda address: address
    packed = types.Tuple(kinds)

    @intrinsic
    def hold(context: Any, arguments: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[Any]) -> Any:
            place = cgutils.alloca_once_value(builder, arguments[0])
            return builder.ptrtoint(place, cgutils.intp_t)

        return types.intp(packed), emit

    @intrinsic
    def held(context: Any, address: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[Any]) -> Any:
            kind = context.get_value_type(packed)
            return builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))

        return packed(types.intp), emit

    return hold, held
