"""What a traced step is: values, and the instructions that make them, in a flat list.

A value is assigned once. The exception is memory that outlives a step (parameters, moments, batch statistics): an
instruction may overwrite it, and then stands in a fixed order to everything that reads it (`dependencies`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd import Op
from ..backend import Array
from ..host import Ledger
from ..tensor import Tensor

__all__ = ["Instruction", "Program", "Value", "dependencies", "leaves", "read_values", "rebuilt", "rows_of"]


@dataclass(eq=False)
class Value:
    """An array of the program.

    `kind` is "argument", "state" (memory that outlives a step: a live Tensor's), "constant" or "result". `array` is
    a constant's content. `base` is the value whose memory this one shows, for a view; with `offset`, it is the part
    of a flat `base` from that element on. `parts` are those of a flat value. `ordered` is False where the elements
    do not lie row by row. `shared` is True of a state whose memory another tensor has too, so that it must stay there.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    kind: str = "result"
    array: Array | None = None
    tensor: Tensor | None = None
    base: Value | None = None
    offset: int | None = None
    parts: list[Value] = field(default_factory=list)
    ordered: bool = True
    shared: bool = False

    @property
    def root(self) -> Value:
        """The value that owns the memory."""
        return self if self.base is None else self.base.root

    @property
    def home(self) -> Value:
        """The value that owns the memory, or the part of a flat one that it is."""
        return self if self.base is None or self.offset is not None else self.base.home

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def number(self) -> float | None:
        """A constant that is one number everywhere, as that number."""
        if self.kind != "constant" or self.array is None or not self.size:
            return None
        first = self.array.reshape(-1)[0]
        return first.item() if (self.array == first).all() else None

    def __repr__(self) -> str:
        return f"{self.name} {self.dtype}{list(self.shape)}"


@dataclass(eq=False)
class Instruction:
    """One operation. Inputs are Values, host Numbers and Python numbers.

    `phase` is "forward", "backward" or "update"; `site` the line of the user's code; `says` the equation.
    """

    op: Op | str
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    outputs: list[Value]
    mutates: tuple[int, ...] = ()
    phase: str = "forward"
    site: str = ""
    says: str = ""

    @property
    def name(self) -> str:
        return self.op if isinstance(self.op, str) else self.op.name

    @property
    def own(self) -> bool:
        """Whether it is the engine's, whose result depends on nothing but its inputs: nobody knows that of a user's."""
        return isinstance(self.op, str) or self.op.__module__.startswith("minigen.")

    @property
    def output(self) -> Value:
        return self.outputs[0]

    @property
    def reads(self) -> list[Value]:
        return [x for x in self.inputs if isinstance(x, Value)]

    @property
    def needs(self) -> list[Value]:
        """What must be there before it: what it reads, and the parts of that."""
        return [v for x in self.reads for v in (x, *x.parts)]

    @property
    def writes(self) -> list[Value]:
        """What it overwrites."""
        return [self.inputs[i] for i in self.mutates]

    def __repr__(self) -> str:
        return f"{', '.join(v.name for v in self.outputs)} = {self.name}({', '.join(map(str, self.inputs))})"


@dataclass
class Program:
    """A step: `instructions` from `arguments` to `outputs` (a structure that holds Values) and `gradients`.

    `gradients` are the (tensor, value) whose `.grad` the step leaves changed; `accumulating` the tensors that came with
    one, which are the last arguments.
    """

    name: str
    instructions: list[Instruction]
    arguments: list[Value]
    outputs: Any
    gradients: list[tuple[Any, Value | None]]
    accumulating: list[Tensor]
    ledger: Ledger
    made: Callable[[str], str] = field(default=lambda name: name)  # a fresh name for a value

    def results(self) -> list[Value]:
        """The values that leave the step."""
        return [*read_values(self.outputs), *(v for _, v in self.gradients if v is not None)]

    def states(self) -> list[Value]:
        """All memory that outlives the step, in the order of first use."""
        found = [v.root for i in self.instructions for v in (*i.reads, *i.outputs)]
        found += [v.root for v in self.results()]
        return list(dict.fromkeys(v for v in found if v.kind == "state"))

    def replace(self, new: dict[Value, Any]) -> None:
        """Put other values in place of some, wherever they are read."""

        def final(x: Any) -> Any:
            while isinstance(x, Value) and x in new:
                x = new[x]
            return x

        for i in self.instructions:
            i.inputs = tuple(map(final, i.inputs))
        self.outputs = rebuilt(self.outputs, final)
        self.gradients = [(t, final(v)) for t, v in self.gradients]
        for v in {v for i in self.instructions for v in (*i.reads, *i.outputs)}:
            if v.base is not None:
                v.base = final(v.base)


def rows_of(v: Value) -> tuple[int, int]:
    """The shape of v as a matrix of its rows, which are along the last axis."""
    return math.prod(v.shape[:-1]), v.shape[-1]


def read_values(structure: Any) -> Iterator[Value]:
    """The Values in a structure of tuples, lists and dicts."""
    yield from (leaf for leaf in leaves(structure) if isinstance(leaf, Value))


def leaves(structure: Any) -> Iterator[Any]:
    """What a structure of tuples, lists and dicts holds."""
    if isinstance(structure, tuple | list):
        for item in structure:
            yield from leaves(item)
    elif isinstance(structure, dict):
        yield from leaves(list(structure.values()))
    else:
        yield structure


def like(structure: Any, items: list[Any]) -> Any:
    """A tuple, named or not, or a list: of the kind of `structure`, with these items."""
    return structure._make(items) if hasattr(structure, "_make") else type(structure)(items)


def plain_number(x: Any) -> float:
    """A Python number, or NumPy's as one."""
    number: float = x.item() if isinstance(x, np.generic) else x
    return number


def rebuilt(structure: Any, change: Callable[[Any], Any]) -> Any:
    """The structure with `change` applied to every leaf."""
    if isinstance(structure, tuple | list):
        return like(structure, [rebuilt(item, change) for item in structure])
    if isinstance(structure, dict):
        return {key: rebuilt(item, change) for key, item in structure.items()}
    return change(structure)


def dependencies(instructions: Iterable[Instruction]) -> list[set[int]]:
    """For each instruction, the numbers of those that must come before it.

    They are the ones that make what it reads; those that read, or wrote, memory that it overwrites; and those that
    overwrote what it reads.
    """
    maker: dict[Value, int] = {}
    readers: dict[Value, list[int]] = {}
    writer: dict[Value, int] = {}
    before: list[set[int]] = []
    for n, i in enumerate(instructions):
        needs = {maker[x] for v in i.needs for x in (v, v.home) if x in maker}
        roots = {v.root for v in i.reads} | {v.root for v in i.outputs if v.base is not None}
        needs |= {maker[r] for r in roots if r in maker}
        needs |= {writer[r] for r in roots if r in writer}
        for target in i.writes:
            needs |= set(readers.get(target.root, []))
        for r in roots:
            readers.setdefault(r, []).append(n)
        for target in i.writes:
            writer[target.root] = n
        for v in i.outputs:
            maker[v] = n
            if i.name == "product":  # where it was added to another, that is complete only now
                maker[v.home] = n
        needs.discard(n)
        before.append(needs)
    return before
