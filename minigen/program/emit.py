"""From a program to its source: straight-line Python, one line an instruction, that is shown, saved and run."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import Array
from ..host import Number
from .ir import Instruction, Program, Value, leaves, read_values, rows_of
from .loops import Written, write_loop
from .passes.memory import INTO, VIEWS, Plan

__all__ = ["Emitted", "Emitter", "emit", "is_odd", "numbers_in", "tuple_of"]

_HEADER = '''"""{name}, compiled by minigen: one training step as a straight line.

{summary}

`bind` lays out memory and returns the step. A name is a value; what lies in the arena is overwritten by what comes
after its last use. Each line says what it computes, in which part of training, and which line of code asked for it.
"""

import math

import numpy as np

from minigen import kernels
from minigen.autograd import OPS
from minigen.kernels import scalar, scalar64
from minigen.kernels.cpu.attention import self_attention_grad_into, self_attention_into
from minigen.kernels.cpu.matmul import matmul, small_matmul
from minigen.kernels.cpu.random import normal_into, uniform_into
from minigen.kernels.cpu.rows import cross_entropy_grad_into, cross_entropy_into
from minigen.program.runtime import array, loop, ordered, plus
'''

_SMALL = 2_000_000
"""Multiply-adds below which a product of a step is left to one thread. By itself it gains from a second one at less
(`PARALLEL_WORK`), but here the second must fetch the operands from the cache of the thread that made them."""


@dataclass
class Text:
    """A source, and the instruction on each line of it (counted from 1)."""

    source: str
    lines: dict[int, Instruction]


@dataclass
class Emitted(Text):
    """The source with its lines, and what `bind` takes by name.

    `played` is what runs where there is machine code of the kernels, on one thread (True) and on more: lines in a row
    that work on memory which stays, with numbers that Python has before the step, are one call there.
    """

    state: dict[str, Value]
    constants: dict[str, Array]
    outputs: list[Value] = field(default_factory=list)
    played: dict[bool, Text] = field(default_factory=dict)


def emit(program: Program, plan: Plan) -> Emitted:
    """The source of `program` with its memory as planned."""
    return Emitter(program, plan).emitted()


class Emitter:
    """The text of a program, put together line by line."""

    small = "small_matmul"  # what multiplies small matrices

    def __init__(self, program: Program, plan: Plan) -> None:
        self.program = program
        self.plan = plan
        self.state: dict[str, Value] = {}
        self.constants: dict[str, Array] = {}
        self.loops: dict[str, str] = {}  # name by text
        self.written: dict[Instruction, Written] = {}
        self.bound: list[str] = []  # lines of bind
        self.named: set[Any] = set()
        self.body: list[tuple[str, Instruction | None]] = []
        self.own: set[Value] = set()  # arrays that a line makes anew
        self.given: set[Value] = set()  # those that leave the step
        self.calls: dict[int, str] = {}  # lines of the body, by their number, as calls in a sequence
        self.large: set[int] = set()  # those of them that more than one thread shares out
        self.slots: dict[str, int] = {}  # host numbers that such calls read, and their places

    def emitted(self) -> Emitted:
        for i in self.program.instructions:
            if i.name == "loop":
                self.written[i] = write_loop(i.attrs["loop"], i.outputs)
        overwritten = {v.root for i in self.program.instructions for v in i.writes}
        for v in self.program.states():
            self._bind_state(v)
        self._bind_constants(overwritten)
        for v, offset in sorted(self.plan.offsets.items(), key=lambda item: item[1]):
            self.bound.append(f'{v.name} = arena({offset}, {v.shape}, "{v.dtype}")')
            self.named.add(v)
        for i in self.program.instructions:
            self._instruction(i)
        return self._assembled()

    # Memory -------------------------------------------------------------------------------------------------

    def _bind_state(self, v: Value) -> None:
        self.state[v.name] = v
        self.bound.append(f'{v.name} = state["{v.name}"]  # {v.dtype} {v.shape}')
        self.named.add(v)

    def _bind_constants(self, overwritten: set[Value]) -> None:
        used = [v for i in self.program.instructions for v in (*i.reads, *self._loop_reads(i)) if v.kind == "constant"]
        used += [v for v in self.program.results() if v.kind == "constant"]
        for v in dict.fromkeys(v.root for v in used):
            assert v.array is not None
            if v.number is not None and all(i.name == "loop" for i in self.program.instructions if v in i.reads) and (
                    v not in self.program.results()):
                continue  # written into the loop
            self.constants[v.name] = v.array
            self.bound.append(f'{v.name} = constant["{v.name}"].copy()')
            self.named.add(v)
            if v in overwritten:
                self.body.append((f'{v.name}[...] = constant["{v.name}"]', None))

    def _loop_reads(self, i: Instruction) -> list[Value]:
        return i.attrs["loop"].inputs if i.name == "loop" else []

    def _text(self, x: Any) -> str:
        """A Value or number as the source names it."""
        if isinstance(x, Value):
            self._bind(x)
            return x.name
        return x.text if isinstance(x, Number) else repr(x) if not is_odd(x) else f'float("{x}")'

    def _bind(self, v: Value) -> None:
        """Name a part of a flat value, or a sum in the memory of its first term, where it is first used."""
        if v in self.named or v not in self.plan.fixed or v.base is None:
            return
        self._bind(v.base)
        part = "" if v.offset is None else f"[{v.offset}:{v.offset + v.size}].reshape({v.shape})"
        self.bound.append(f"{v.name} = {v.base.name}{part}")
        self.named.add(v)

    def _shaped(self, v: Value, shape: tuple[int, ...]) -> str:
        """v in the shape that a loop takes, without a copy where its elements lie in order."""
        name = self._text(v)
        if v in self.plan.fixed and v.ordered:
            if v.shape == shape:
                return name
            other = f"{name}_as_{'x'.join(map(str, shape))}"
            if other not in self.named:
                self.bound.append(f"{other} = {name}.reshape({shape})")
                self.named.add(other)
            return other
        whole = name if v.kind == "argument" and v.ordered else f"ordered({name})"
        return f"{whole}.reshape({shape})"

    # Instructions ---------------------------------------------------------------------------------------------

    def _instruction(self, i: Instruction) -> None:
        if i.name in VIEWS and i.output in self.plan.fixed:
            self.bound.append(f"{i.output.name} = {self._view(i)}")
            self.named.add(i.output)
            return
        self.body.append((self._line(i), i))
        if (call := self._call(i)) is not None:
            self.calls[len(self.body) - 1] = call
            if i.name == "product" and _work(i) >= _SMALL:
                self.large.add(len(self.body) - 1)

    def _line(self, i: Instruction) -> str:
        match i.name:
            case "loop":
                written = self.written[i]
                arrays = [self._shaped(o.value, o.shape) for o in written.operands]
                return f"{self._loop(written)}({', '.join(arrays + [self._text(n) for n in written.numbers])})"
            case "product":
                return self._product(i)
            case "normal" | "uniform" if i.output in self.plan.fixed:
                seed, draw = self._text(i.attrs["seed"]), self._text(i.attrs["draw"])
                return f"{i.name}_into({seed}, {draw}, {self._text(i.output)})"
            case name if name in INTO and i.output in self.plan.fixed:
                given = [*(self._text(x) for x in (*i.inputs, i.output)), *([self._attrs(i)] if i.attrs else [])]
                return f"{name}_into({', '.join(given)})"
            case "copy":
                return f"{self._text(i.output)}[...] = {self._text(i.inputs[0])}"
            case "adam" | "sgd" | "rmsprop" | "ema":
                arrays = [self._text(x) for x in i.inputs[:len(i.mutates) + 1]]
                return f"kernels.{i.name}({', '.join(arrays)}, {self._attrs(i)})"
            case name if name in VIEWS:
                self.own.add(i.output)
                return f"{i.output.name} = {self._view(i)}"
        return self._fallback(i)

    def _call(self, i: Instruction) -> str | None:
        """The line as a call in a sequence, None for one that only Python can make."""
        if i.name == "loop":
            written = self.written[i]
            if not all(o.value in self.plan.fixed and o.value.ordered for o in written.operands):
                return None
            arguments = [self._shaped(o.value, o.shape) for o in written.operands] + [
                f"Slot(numbers, {self.slots.setdefault(x.text, len(self.slots))})" if isinstance(x, Number)
                else self._text(x) for x in written.numbers]
            return f"loop_call({', '.join([self._loop(written), *arguments])})"
        if i.name == "product" and all(
                v in self.plan.fixed and v.size and (v.ordered or len(v.shape) == 2) for v in (*i.reads, i.output)):
            return f"product_call({self._factors(i)})"
        return None

    def _loop(self, written: Written) -> str:
        text = f'@loop("{written.types}")\n{written.text}'
        return self.loops.setdefault(text, f"loop_{len(self.loops) + 1}")

    def _product(self, i: Instruction) -> str:
        return f"{self.small if _work(i) < _SMALL else 'matmul'}({self._factors(i)})"

    def _factors(self, i: Instruction) -> str:
        left, right, *rest = i.inputs
        options = [f"bias={self._text(rest[0])}"] if i.attrs["bias"] else []
        if i.attrs["activation"]:
            options.append(f'activation="{i.attrs["activation"]}"')
        if i.attrs["activation"] == "leaky_relu":
            options.append(f"slope={i.attrs['slope']!r}")
        if i.attrs["accumulate"]:
            options.append("accumulate=True")
        options.append(f"out={self._rows(i.output)}")
        return f"{self._rows(left)}, {self._text(right)}, {', '.join(options)}"

    def _rows(self, v: Value) -> str:
        """v as a matrix: its rows, whatever other axes it has."""
        return self._text(v) if len(v.shape) == 2 else self._shaped(v, rows_of(v))

    def _view(self, i: Instruction) -> str:
        x = self._text(i.inputs[0])
        match i.name:
            case "reshape":
                return f"{x}.reshape({i.output.shape})"
            case "transpose":
                axes = i.attrs.get("axes")
                return f"{x}.T" if axes is None else f"{x}.transpose({tuple(axes)})"
            case "swap_last":
                return f"{x}.swapaxes(-1, -2)"
            case "broadcast_to":
                return f"np.broadcast_to({x}, {i.output.shape})"
        return f"{x}[{self._attribute(i, 'key', i.attrs['key'])}]"

    def _fallback(self, i: Instruction) -> str:
        """The operation's own forward, which makes an array of its own."""
        inputs = [self._text(x) for x in i.inputs]
        if i.inputs and not i.reads:
            inputs = [f'np.asarray({text}, "float32")' for text in inputs]
        arguments = ", ".join(inputs + ([self._attrs(i)] if i.attrs else []))
        call = f'OPS["{i.name}"].forward({arguments})'
        if not i.outputs:
            return call
        self.own.add(i.output)
        return f'{i.output.name} = array({call}, "{i.output.dtype}")'

    def _attrs(self, i: Instruction) -> str:
        return ", ".join(f"{name}={self._attribute(i, name, value)}" for name, value in i.attrs.items())

    def _attribute(self, i: Instruction, name: str, value: Any) -> str:
        if isinstance(value, Number | str | bool | int | float | None):
            return self._text(value)
        if isinstance(value, np.dtype):
            return f'np.dtype("{value}")'
        if isinstance(value, slice):
            return repr(slice(*(None if x is None else int(x) for x in (value.start, value.stop, value.step))))
        if value is ...:
            return "..."
        if isinstance(value, tuple | list):
            items = [self._attribute(i, f"{name}_{n}", item) for n, item in enumerate(value)]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})" if isinstance(value, tuple) else (
                f"[{', '.join(items)}]")
        if isinstance(value, np.generic):
            return repr(value.item())
        key = self.program.made(f"{i.output.name if i.outputs else i.name}_{name}")
        self.constants[key] = np.asarray(value)
        return f'constant["{key}"]'

    # The text -----------------------------------------------------------------------------------------------

    def _assembled(self) -> Emitted:
        outputs = list(read_values((self.program.outputs, [v for _, v in self.program.gradients])))
        returned = [self._returned(v) for v in outputs]
        moved = [self._text(value) for _, _, value in self.program.ledger.writes.values()]
        moved += [x.text for x in numbers_in(self.program.outputs)]
        leaving = f"({tuple_of(returned)}), ({tuple_of(moved)})"
        source = self._source_of(self.bound, self.body, leaving)
        played = {alone: self._source_of(*self._in_sequences(alone), leaving) for alone in (True, False)}
        return Emitted(source.source, source.lines, self.state, self.constants, outputs, played)

    def _in_sequences(self, alone: bool) -> tuple[list[str], list[tuple[str, Instruction | None]]]:
        """The lines of bind and of the step, where calls in a row are one: also large products, on one thread alone."""
        bound = ["from minigen.kernels.cpu.sequence import Slot, loop_call, product_call, sequence", "",
                 f"numbers = np.empty({len(self.slots)})", *self.bound]
        body: list[tuple[str, Instruction | None]] = [(f"numbers[{k}] = {x}", None) for x, k in self.slots.items()]
        members = self.calls.keys() - (set() if alone else self.large)
        for together, run in itertools.groupby(range(len(self.body)), members.__contains__):
            lines = list(run)
            if together and len(lines) > 1:
                name = f"sequence_{lines[0]}"
                bound.append(f"{name} = sequence({', '.join(self.calls[n] for n in lines)})")
                body.append((f"{name}()", None))
            else:
                body += [self.body[n] for n in lines]
        return bound, body

    def _source_of(self, bound: list[str], body: list[tuple[str, Instruction | None]], leaving: str) -> Text:
        arguments = [v.name for v in self.program.arguments] + list(self.program.ledger.reads)
        lines = _HEADER.format(name=self.program.name, summary=self._summary()).splitlines()
        for text, name in self.loops.items():
            lines += ["", "", *text.replace("{name}", name).splitlines()]
        lines += ["", "", "def bind(arena, state, constant):"]
        lines += [f"    {line}" for line in bound]
        lines += ["", f"    def step({', '.join(arguments)}):"]
        of: dict[int, Instruction] = {}
        heading = None
        for text, i in body:
            if i is not None and (i.phase, i.site) != heading:
                heading = i.phase, i.site
                lines.append(f"        # {i.phase}, {i.site}")
            lines.append(f"        {text}{f'  # {i.says}' if i is not None and i.says else ''}")
            if i is not None:
                of[len(lines)] = i
        lines += [f"        return {leaving}", "", "    return step", ""]
        return Text("\n".join(lines), of)

    def _returned(self, v: Value) -> str:
        """An array that nobody else has: one that a line made anew, the first time that it is given out, or a copy."""
        name = self._text(v)
        if v.kind == "result" and {v, v.root} <= self.own - self.given:
            self.given.add(v.root)
            return name
        return f"{name}.copy()"

    def _summary(self) -> str:
        arguments = ", ".join(f"{v.name} {v.dtype} {v.shape}" for v in self.program.arguments) or "none"
        arena = math.ceil(self.plan.size / 1024)
        return f"Arguments: {arguments}. {len(self.body)} lines, an arena of {arena} KiB."


def _work(i: Instruction) -> int:
    """Multiply-adds of a product."""
    return math.prod(i.inputs[0].shape) * i.inputs[1].shape[-1]


def is_odd(x: Any) -> bool:
    """Whether Python has no literal for a number."""
    return isinstance(x, float) and not math.isfinite(x)


def tuple_of(items: list[str]) -> str:
    """What stands between the parentheses of a tuple."""
    return "".join(f"{item}, " for item in items).rstrip(" ")


def numbers_in(structure: Any) -> list[Number]:
    """The host numbers in a structure of tuples, lists and dicts."""
    return [x for x in leaves(structure) if isinstance(x, Number)]
