"""Rows: normalisation along the last axis, written out in sums of rows, which a loop can hold with what stands around
it."""

from __future__ import annotations

from typing import Any

from ...autograd import OPS
from ..ir import Instruction, Program, Value

__all__ = ["write_out_rows"]


def write_out_rows(program: Program) -> None:
    """Write `normalise` over the last axis, and its gradient, as sums of rows and operations on single elements.

    The gradient reads the y and r that the forward pass has computed.
    """
    moments: dict[tuple[Value, float], tuple[Value, Value]] = {}  # y and r, by x and eps
    written: list[Instruction] = []
    for i in program.instructions:
        x = i.reads[-1] if i.reads else None
        if x is None or i.name not in ("normalise", "normalise_grad") or not _has_rows(x) or not _by_rows(i, x):
            written.append(i)
            continue
        lines = _Lines(program, i, x)
        key = x, i.attrs["eps"]
        if i.name == "normalise":
            moments[key] = lines.normalise(i.attrs["eps"], i.output)
        else:
            if key not in moments:
                moments[key] = lines.normalise(i.attrs["eps"], lines.value("normalise", x.shape))
            lines.gradient(i.inputs[0], *moments[key])
        written += lines.written
    program.instructions = written


def _has_rows(x: Value) -> bool:
    return len(x.shape) > 1 and x.size > 0 and x.shape[-1] > 1 and x.dtype.kind == "f"


def _by_rows(i: Instruction, x: Value) -> bool:
    axis = i.attrs.get("axis", -1)
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    return len(axes) == 1 and axes[0] in (-1, len(x.shape) - 1)


class _Lines:
    """The instructions that take the place of one."""

    def __init__(self, program: Program, of: Instruction, x: Value) -> None:
        self.program, self.of, self.x = program, of, x
        self.written: list[Instruction] = []

    def value(self, name: str, shape: tuple[int, ...]) -> Value:
        return Value(self.program.made(name), shape, self.x.dtype)

    def add(self, op: str, inputs: tuple[Any, ...], output: Value, says: str, **attrs: Any) -> Value:
        i = self.of
        self.written.append(Instruction(OPS[op], inputs, attrs, [output], (), i.phase, i.site, says))
        return output

    def mean(self, name: str, x: Value) -> Value:
        """The mean of each row, (..., 1)."""
        shape = (*x.shape[:-1], 1)
        total = self.add("sum", (x,), self.value("sum", shape), "the sum of a row", axis=-1, keepdims=True)
        return self.add("mul", (total, 1 / x.shape[-1]), self.value(name, shape), "the mean of a row")

    def normalise(self, eps: float, y: Value) -> tuple[Value, Value]:
        """y = (x - m) r, and r."""
        x, rows = self.x, (*self.x.shape[:-1], 1)
        centred = self.add("sub", (x, self.mean("mean", x)), self.value("centred", x.shape), "x - m")
        square = self.add("mul", (centred, centred), self.value("square", x.shape), "(x - m)^2")
        shifted = self.add("add", (self.mean("variance", square), eps), self.value("add", rows), "v + eps")
        r = self.add("pow", (shifted, -0.5), self.value("r", rows), "r = (v + eps)^(-1/2)")
        return self.add("mul", (centred, r), y, self.of.says or "y = (x - m) r"), r

    def gradient(self, g: Value, y: Value, r: Value) -> None:
        """r (g - mean(g) - y mean(g y))."""
        shape = self.x.shape
        even = self.add("sub", (g, self.mean("mean", g)), self.value("sub", shape), "g - mean(g)")
        product = self.add("mul", (g, y), self.value("mul", shape), "g y")
        along = self.add("mul", (y, self.mean("along", product)), self.value("mul", shape), "y mean(g y)")
        inner = self.add("sub", (even, along), self.value("sub", shape), "g - mean(g) - y mean(g y)")
        self.add("mul", (r, inner), self.of.output, self.of.says)
