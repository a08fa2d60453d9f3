"""Finding the operation that went wrong: `detect_nan` stops at the first value that is not a number."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .autograd import Op, hook, mode
from .backend import Array, namespace
from .errors import MinigenError
from .tensor import Tensor

__all__ = ["NaNError", "call_site", "detect_nan", "finite"]


class NaNError(MinigenError, ArithmeticError):
    """An operation made a NaN or an infinity out of what it was given."""


@contextmanager
def detect_nan() -> Iterator[None]:
    """Context manager: raise NaNError at the first operation whose result is not finite.

    The message names the operation, its inputs and the line that called it; in a backward pass also the
    operation that was being differentiated and where that was called, if it was called inside `detect_nan`.
    """
    with hook(_stop_at_nan):
        yield


def _stop_at_nan(operation: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], output: Tensor) -> None:
    if output._node is not None:
        output._node.site = call_site()
    changed = [inputs[i] for i in operation.mutates] or [output]
    if all(t.dtype.kind != "f" or finite(t.data).all() for t in changed):
        return
    xp = namespace(output.data)
    nan, inf = int(xp.isnan(output.data).sum()), int(xp.isinf(output.data).sum())
    lines = [f"`{operation.name}` gave {nan} NaN and {inf} infinite of {output.size} values, called at {call_site()}"]
    if mode.node is not None:
        lines.append(f"  in the gradient of `{mode.node.op.name}`, called at {mode.node.site or 'an unrecorded place'}")
    names = [*operation.arguments, *(f"input {i}" for i in range(len(operation.arguments), len(inputs)))]
    lines.extend(f"  {name}: {_summary(value)}" for name, value in zip(names, inputs, strict=False))
    lines.extend(f"  {name} = {value!r}" for name, value in attrs.items())
    raise NaNError("\n".join(lines))


def _summary(value: Any) -> str:
    """Shape, type and range of an input."""
    if not isinstance(value, Tensor):
        return repr(value)
    text = f"{value.shape} {value.dtype}"
    numbers = value.data[finite(value.data)]
    if numbers.size:
        text += f", from {numbers.min().item():.6g} to {numbers.max().item():.6g}"
    bad = value.size - numbers.size
    return text + (f", {bad} not finite" if bad else "")


def finite(array: Array) -> Array:
    """Where the array is neither NaN nor infinite, on its device."""
    return namespace(array).isfinite(array)


def call_site() -> str:
    """file:line and function of the innermost caller outside minigen's engine."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("minigen."):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
