"""From a fused loop to its text: one Python function with explicit `for`, compiled by Numba, read by anyone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..host import Number
from .formulas import REDUCTIONS, expression
from .ir import Instruction, Value

if TYPE_CHECKING:
    from .passes.fuse import Loop

__all__ = ["Operand", "Writer", "Written", "write_loop"]

_INDICES = "ijklmnpq"
_LONGEST_ROW = 4096
"""Numbers that a total takes in at once, summed in their own type: adding each to a float64 would have the whole loop
compute half as many side by side. The compiler keeps 16 partial sums or more, of 256 terms then."""
_INLINE = (0.0, 1.0, -1.0, 0.5, 2.0)  # constants written into the loop; others are arguments, so that it can be shared


@dataclass
class Operand:
    """An array of the loop: which of the loop's axes it has, and the shape in which it is passed."""

    value: Value
    axes: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass
class Written:
    """A loop's text without its name (`{name}` stands for it), its arrays, numbers and types."""

    text: str
    operands: list[Operand]
    numbers: list[Any]  # host Numbers and Python numbers
    types: str


def write_loop(loop: Loop, outputs: list[Value]) -> Written:
    """The text of a loop that leaves `outputs`."""
    return Writer(loop, outputs).written()


class Writer:
    """What the text of a loop is made of: its axes, arrays and numbers, and the terms of its results."""

    def __init__(self, loop: Loop, outputs: list[Value]) -> None:
        self.loop = loop
        self.outputs = outputs
        self.numbers: dict[str, Any] = {}
        self.constants: dict[tuple[str, str], str] = {}
        self.late = {i.output: i for i in loop.body if i.name in REDUCTIONS and loop.domain}
        arrays = [v for v in loop.inputs if v.number is None]
        self.spans = {v: _span(v.shape, loop.domain) for v in arrays}
        # A number computed after the loop has no part in its axes.
        self.spans.update({v: self._kept(self.late[v]) if v in self.late else
                           _span(v.shape, loop.domain) for v in (*self.late, *outputs)})
        self.groups = _collapsed(loop.domain, [self.spans[v] for v in (*arrays, *outputs, *self.late)])
        self.arrays = [self._operand(v) for v in dict.fromkeys((*arrays, *outputs))]
        self.of = {o.value: o for o in self.arrays}

    def _kept(self, i: Instruction) -> tuple[bool, ...]:
        """The axes that a sum leaves."""
        domain = self.loop.domain
        if i.name == "sum_to":
            return _span(tuple(i.attrs["shape"]), domain)
        axis = i.attrs.get("axis")
        gone = range(len(domain)) if axis is None else [axis] if isinstance(axis, int) else axis
        reduced = {a % max(len(domain), 1) for a in gone}
        return tuple(n != 1 and k not in reduced for k, n in enumerate(domain))

    def _operand(self, v: Value) -> Operand:
        axes = tuple(k for k, group in enumerate(self.groups) if self.spans[v][group[0]])
        shape = tuple(math.prod(self.loop.domain[a] for a in self.groups[k]) for k in axes)
        return Operand(v, axes, shape or (1,))

    def _element(self, v: Value) -> str:
        return f"{self._array(v)}[{self._index(self.of[v].axes)}]"

    def _array(self, v: Value) -> str:
        """The name under which an array is passed; that of one element is the value's."""
        return f"{v.name}_out" if v in self.outputs else v.name

    def _index(self, axes: tuple[int, ...]) -> str:
        return ", ".join(_INDICES[a] for a in axes) or "0"

    def _constant(self, number: Any, dtype: np.dtype) -> str:
        """The name of a typed number."""
        key = (number.text if isinstance(number, Number) else repr(float(number))), str(dtype)
        if key not in self.constants:
            name = self.constants[key] = f"c{len(self.constants)}"
            if isinstance(number, Number) or float(number) not in _INLINE:
                self.numbers[name] = number
        return self.constants[key]

    def _term(self, i: Instruction) -> str:
        dtype = next((v.dtype for v in i.reads if v.dtype.kind == "f"), i.output.dtype)
        made = {m.output for m in self.loop.members}
        names = []
        for x in i.inputs:
            if isinstance(x, Value) and x.number is None:
                name = x.name if x in made else self._element(x)
                names.append(f"np.{dtype}({name})" if i.name == "bernoulli_nll" and x.dtype != dtype else name)
            else:
                exponent = i.name == "pow" and len(names) == 1  # which the expression spells out
                names.append("" if exponent else self._constant(x.number if isinstance(x, Value) else x, dtype))
        module = "scalar" if dtype == np.float32 else "scalar64"
        return expression(i, names, lambda c: self._constant(c, dtype), module)

    def written(self) -> Written:
        outer = max(len(self.groups) - 1, 0)  # loops around the innermost
        before: list[list[str]] = [[] for _ in range(outer)]  # lines at each depth, before the inner loop
        after: list[list[str]] = [[] for _ in range(outer)]
        level = self._levels()
        passes = [self._pass(n, level, before, after) for n in range(1 + max(level.values(), default=0))]
        tail = [line for i in self.loop.tail for line in self._assigned(i)]
        lines = [f"{name} = np.{dtype}({f'{name}_' if name in self.numbers else text})"
                 for (text, dtype), name in self.constants.items()]
        for depth in range(outer):
            lines += ["    " * depth + line for line in (*before[depth], self._header(depth))]
        for start, inner, end in passes:
            header = [self._header(outer)] if inner and self.groups else []
            body = ["    " * len(header) + line for line in inner]
            lines += ["    " * outer + line for line in (*start, *header, *body, *end)]
        for depth in range(outer - 1, -1, -1):
            lines += ["    " * depth + line for line in after[depth]]
        names = [self._array(o.value) for o in self.arrays] + [f"{name}_" for name in self.numbers]
        text = "\n".join([f"def {{name}}({', '.join(names)}):", *(f"    {line}" for line in (*lines, *tail))])
        types = [f"{o.value.dtype}[{', '.join(':' * len(o.shape))}]" for o in self.arrays]
        types += ["float64"] * len(self.numbers)
        return Written(text, self.arrays, list(self.numbers.values()), "; ".join(types))

    def _levels(self) -> dict[Value, int]:
        """In which pass over a row each value is computed; of one number a row, before which pass it is known."""
        level: dict[Value, int] = {}
        for i in self.loop.body:
            n = max((level[v] for v in i.reads if v in level), default=0)
            level[i.output] = n + (i.name in REDUCTIONS and self.loop.of_row(i.output))
        return level

    def _pass(self, n: int, level: dict[Value, int], before: list[list[str]],
              after: list[list[str]]) -> tuple[list[str], list[str], list[str]]:
        """The n-th pass over the innermost axis: the lines before it, in it and after it."""
        start: list[str] = []
        inner: list[str] = []
        end: list[str] = []
        made = {i.output: i for i in self.loop.body if not self.loop.of_row(i.output)}
        here: set[Value] = set()

        def bring(i: Instruction) -> None:
            """What i reads of an earlier pass: from memory where it is kept, else computed again."""
            for v in (v for v in i.reads if v in made and level[v] < n and v not in here):
                here.add(v)
                if v in self.of:
                    inner.append(f"{v.name} = {self._element(v)}")
                else:
                    bring(made[v])
                    inner.append(f"{v.name} = {self._term(made[v])}")

        for i in self.loop.body:
            if level[i.output] - (i.name in REDUCTIONS and self.loop.of_row(i.output)) != n:
                continue
            if i.output in self.late:
                bring(i)
                self._add_sum(i, [*before, start], [*after, end], inner)
            elif self.loop.of_row(i.output):
                start += self._assigned(i)
            else:
                bring(i)
                here.add(i.output)
                inner += self._assigned(i)
        return start, inner, end

    def _header(self, depth: int) -> str:
        return f"for {_INDICES[depth]} in range({self._count(depth)}):"

    def _count(self, depth: int) -> str:
        """The length of an axis of the loop: read off an array that has it, so that all batch sizes share it."""
        for operand in self.arrays:
            if depth in operand.axes:
                return f"{self._array(operand.value)}.shape[{operand.axes.index(depth)}]"
        return str(self._length(depth))

    def _length(self, depth: int) -> int:
        return math.prod(self.loop.domain[axis] for axis in self.groups[depth])

    def _assigned(self, i: Instruction) -> list[str]:
        """One element of a result, kept where it is needed later."""
        v = i.output
        lines = [f"{v.name} = {self._term(i)}{_said(i)}"]
        return [*lines, f"{self._element(v)} = {v.name}"] if v in self.of else lines

    def _add_sum(self, i: Instruction, before: list[list[str]], after: list[list[str]], inner: list[str]) -> None:
        """A sum: in a local total over the innermost axes that it sums, and in memory over the others."""
        v, term = i.output, self._term(i)
        axes = tuple(k for k, group in enumerate(self.groups) if self.spans[v][group[0]])
        depth, outer = max(axes, default=-1) + 1, len(self.groups) - 1
        in_memory = axes != tuple(range(depth))
        if in_memory:
            before[0].append(f"{self._array(v)}[{', '.join(':' * len(axes))}] = 0")
        if depth == len(self.groups) and self.groups:
            inner.append(f"{self._element(v)} {'+=' if in_memory else '='} {term}{_said(i)}")
            return
        total = part = f"{v.name}_total"
        before[depth].append(f"{total} = 0.0")
        if depth < outer and self._length(outer) <= _LONGEST_ROW:
            part = f"{v.name}_row"
            before[outer].append(f"{part} = np.{v.dtype}(0.0)")
            after[outer].append(f"{total} += {part}")
        inner.append(f"{part} = plus({part}, {term}){_said(i)}")
        if in_memory:
            after[depth].append(f"{self._element(v)} += np.{v.dtype}({total})")
            return
        after[depth].append(f"{v.name} = np.{v.dtype}({total})")
        if v in self.of:
            after[depth].append(f"{self._element(v)} = {v.name}")


def _said(i: Instruction) -> str:
    return f"  # {i.says}" if i.says else ""


def _span(shape: tuple[int, ...], domain: tuple[int, ...]) -> tuple[bool, ...]:
    """For each axis of the domain, whether an array of this shape, broadcast to it, changes along it."""
    padded = (1,) * (len(domain) - len(shape)) + shape
    return tuple(n != 1 for n in padded)


def _collapsed(domain: tuple[int, ...], spans: list[tuple[bool, ...]]) -> list[list[int]]:
    """The axes of the domain in groups that every array has, or has not, as a whole; axes of length 1 are left out."""
    groups: list[list[int]] = []
    for axis, n in enumerate(domain):
        if n == 1:
            continue
        if groups and all(span[groups[-1][-1]] == span[axis] for span in spans):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups
