"""Calling a compiled loop by its address.

Numba compiles what a function calls into that function, again. The product is large; by its address, the function
that shares it out among threads compiles in a fraction of the time, and both use the same machine code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

__all__ = ["address_of_overload", "make_indirect"]

_DISABLED = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]


def address_of_overload(dispatcher: Any, signature: Sequence[Any]) -> int:
    """The address of the machine code compiled for these types; valid as long as the dispatcher lives."""
    overload = dispatcher.overloads[tuple(signature)]
    return overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name)


def make_indirect(function: Callable[..., None]) -> Callable[..., None]:
    """call(address, arguments): what `function(*arguments)` does, by Numba's own calling convention.

    The types of the arguments must be those that the address was compiled for: integers are int64. With compilation
    switched off, `function` itself is called.
    """
    if _DISABLED:
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
