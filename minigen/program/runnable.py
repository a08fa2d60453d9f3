"""A program ready to run: its source compiled, its memory laid out, and what must hold for it to be the right one."""

from __future__ import annotations

import builtins
import copy
import itertools
import linecache
import math
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Array, share_memory
from ..errors import GraphError, MinigenError, ShapeError
from ..host import Number
from ..kernels.cpu.sequence import AVAILABLE
from ..kernels.threads import threads_to_start
from ..tensor import Tensor
from . import emit as cpu_emit
from . import runtime
from .emit import Emitted, Text
from .ir import Program, Value, rebuilt
from .passes import optimise
from .passes.memory import Plan, plan_memory
from .trace import Captured, shared
from .watch import Watch

__all__ = ["Runnable"]

_numbers = itertools.count(1)


class Runnable:
    """A program with its source, compiled, and the memory that it works in."""

    def __init__(self, program: Program, watch: Watch, captured: list[Captured], interpret: bool = False,
                 device: str = "cpu") -> None:
        self.traced = [copy.copy(i) for i in program.instructions]
        self.device = device
        optimise(program, device)
        self.program = program
        self.plan: Plan = plan_memory(program, device)
        emit, self.memory = _tools(device)
        self.emitted: Emitted = emit(program, self.plan)
        self.watch = watch
        self.captured = captured
        self._holds = watch.holds([c.array for c in captured])
        self._reads = [(s[0], f"_{s[1]}") for s in program.ledger.reads.values() if s is not None]
        self._writes = [(owner, f"_{name}") for owner, name, _ in program.ledger.writes.values()]
        self._guard = self._compiled_guard()
        self._states = [(v.parts or [v], v) for v in self.emitted.state.values()]
        self._data: list[tuple[Tensor, Array]] = []
        self._alone = False  # whether one thread alone computes
        self._stays = _unmoved([])
        self._interpret = interpret
        self._number = next(_numbers)
        self._binds: dict[int, Callable[..., Any]] = {}  # compiled texts, by their addresses
        self._step: Callable[..., Any] | None = None
        self._runs = 0  # on this memory line by line, 0 where that is over
        self._patience = 1  # such runs before there are sequences
        self._sharing = self._shared()
        self._structure = self._numbered()
        states = {id(p.tensor) for parts, _ in self._states for p in parts}
        self._looked_at = [(t, t.data.shape) for t in watch.tensors.values() if id(t) not in states]
        came = program.arguments[len(program.arguments) - len(program.accumulating):]
        self._grads = [(t, (v.shape, v.dtype, v.ordered)) for t, v in zip(program.accumulating, came, strict=True)]
        self._called: list[Any] | None = None  # what the step was last called with

    def fits(self, numbers: list[float]) -> bool:
        """Whether this program is the right one for the world as it is."""
        if not self._holds():
            return False
        if not self._stays() or self._alone != (threads_to_start() == 1):
            if any(t.device != self.device or _kind(t.data) != _kind(data) for t, data in self._data):
                return False
            if self._shared() != self._sharing:
                return False
            self._step = None
        if any([t.data.shape != shape for t, shape in self._looked_at]):
            return False
        if any([t.grad is not None and _kind(t.grad.data) != kind for t, kind in self._grads]):
            return False
        return self._guard is None or self._guard(*numbers, *self._read())

    def _shared(self) -> set[int]:
        """The tensors, by number, whose memory another one has a part of."""
        arrays = [t.data for t in self.watch.tensors.values()]
        found = shared(arrays)
        return {n for n, array in enumerate(arrays) if id(array) in found}

    def why(self) -> str:
        """What has changed since the trace."""
        return self.watch.changed() or "a branch on a host number"

    def run(self, arrays: list[Array], numbers: list[float]) -> Any:
        """One step."""
        for c in self.captured:
            if c.changed():
                raise GraphError(f"{c.site}: the array captured here has been changed in place since the step was "
                                 "compiled, and the program holds it as a constant: pass it as an argument")
        if self._step is None:
            self._step, self._runs = self._bound(self.emitted), 1
        elif self._runs == self._patience:  # sequences are dear where memory moves often: then they wait twice as long
            self._step, self._runs, self._patience = self._in_sequences(), 0, 2 * self._patience
        elif self._runs:
            self._runs += 1
        if self.program.accumulating:
            arrays = [*arrays, *(t.grad.data for t in self.program.accumulating if t.grad is not None)]
        self._require_apart(arrays)
        self._called = [*arrays, *numbers]
        try:
            values, moved = self._step(*self._called, *self._read())
        except (MinigenError, ArithmeticError, IndexError, TypeError, ValueError) as error:
            raise self._explained(error) from error
        for (owner, slot), value in zip(self._writes, moved, strict=False):
            owner.__dict__[slot] = value
        for version in self._changed:
            version[0] += 1
        return self._result(values, moved[len(self._writes):])

    def _explained(self, error: Exception) -> Exception:
        """The error of one of the program's lines, with the operation and the user's line that asked for it."""
        frames, file = traceback.walk_tb(error.__traceback__), self._file(self._running)
        lines = [line for frame, line in frames if frame.f_code.co_filename == file]
        i = self._running.lines.get(lines[-1]) if lines else None
        where = f"{i.site}: `{i.name}`" if i is not None else self.program.name
        kind = type(error) if isinstance(error, MinigenError | ArithmeticError) else ShapeError
        return kind(f"{where}, in a compiled step: {error}")

    def arguments(self) -> list[Any]:
        """What the source's `step` would be called with now, on the arrays and numbers of the last call."""
        if self._called is None:
            raise GraphError("this program has not run yet: call the step once")
        return [*self._called, *self._read()]

    def _read(self) -> list[float]:
        """The host numbers that the step reads, as they are."""
        return [getattr(owner, slot) for owner, slot in self._reads]

    @property
    def recorded(self) -> str | None:
        """On the gpu: whether the step is started as a CUDA graph, and else why it is not."""
        if self.device == "cpu" or self._step is None:
            return None
        return self._step.describe()  # type: ignore[attr-defined]

    def state(self) -> dict[str, Array]:
        """The memory that outlives the step, by the name it has in the source."""
        state: dict[str, Array] = {}
        for parts, v in self._states:
            tensors = [p.tensor for p in parts]
            assert all(t is not None for t in tensors)
            state[v.name] = self.memory.flat(tensors) if v.parts else tensors[0].data
        return state

    def _in_sequences(self) -> Callable[..., Any]:
        """The step with sequences in place of lines, where it can have them: they are made for this memory alone."""
        played = self.emitted.played.get(self._alone)
        if played is not None and AVAILABLE and not self._interpret and all(d.flags.aligned for _, d in self._data):
            return self._bound(played)
        assert self._step is not None
        return self._step

    def _bound(self, text: Text) -> Callable[..., Any]:
        """The step with its memory, as state lies now."""
        state = self.state()
        self._running, self._alone = text, threads_to_start() == 1
        self._data = [(p.tensor, p.tensor.data) for parts, _ in self._states for p in parts]
        self._stays = _unmoved(self._data)
        written = {v.root for i in self.program.instructions for v in i.writes}
        changed = [p.tensor for parts, v in self._states if v in written for p in parts]
        self._changed = [t._version for t in changed if t is not None]
        self._overwritten = [t.data for t in changed if t is not None]
        self._owners = {_owner(data) for data in self._overwritten}
        self._rewritten = {n for n, v in enumerate(self.program.arguments) if v in written}
        if id(text) not in self._binds:
            self._binds[id(text)] = self._compiled(text)
        return self.bind(state, self._binds[id(text)])

    def _require_apart(self, arrays: list[Array]) -> None:
        """GraphError where an argument lies in memory that the step overwrites as another tensor's."""
        if not self._rewritten and self._owners.isdisjoint([_owner(a) for a in arrays]):
            return
        for n, a in enumerate(arrays):
            others = [b for m, b in enumerate(arrays) if m != n and not self._rewritten.isdisjoint((m, n))]
            others += [data for _, data in self._data] if n in self._rewritten else self._overwritten
            if any(share_memory(a, b) for b in others):
                raise GraphError(f"{self.program.name}: the argument {self.program.arguments[n].name!r} shares memory "
                                 "with another tensor, and the step overwrites one of them: pass a copy")

    def bind(self, state: dict[str, Array], bind: Callable[..., Any]) -> Callable[..., Any]:
        """The step on this state, with memory of its own; `bind` is that of the source, or of a changed one."""
        return bind(self.memory.Arena(self.plan.size), state, self.memory.placed(self.emitted.constants))

    def _file(self, text: Text) -> str:
        how = "" if text is self.emitted else ", in sequences"
        return f"<minigen program {self._number}: {self.program.name}{how}>"

    def _compiled(self, text: Text) -> Callable[..., Any]:
        """`bind`, out of the source; a debugger and a traceback find the text."""
        source, name = text.source, self._file(text)
        linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
        namespace: dict[str, Any] = {"__name__": "minigen.program.generated"}
        if self._interpret:
            source = source.replace("@loop(", "@plainly(")
            namespace["plainly"] = _plainly
        exec(builtins.compile(source, name, "exec"), namespace)
        return namespace["bind"]

    def _compiled_guard(self) -> Callable[..., bool] | None:
        ledger = self.program.ledger
        if not ledger.guards:
            return None
        asked = " and ".join(f"({text}) == {answer}" for text, answer in ledger.guards)
        return eval(f"lambda {', '.join(ledger.reads)}: {asked}", {"math": math})

    def _numbered(self) -> Any:
        """The structure that is returned, with positions for Values and Numbers."""
        values, numbers = itertools.count(), itertools.count()

        def place(x: Any) -> Any:
            if isinstance(x, Value):
                return _Place(next(values), True)
            return _Place(next(numbers), False) if isinstance(x, Number) else x

        return rebuilt(self.program.outputs, place)

    def _result(self, values: tuple[Array, ...], numbers: tuple[float, ...]) -> Any:
        count = len(values)
        for t, v in reversed(self.program.gradients):
            if v is None:
                t.grad = None
            else:
                count -= 1
                t.grad = Tensor(values[count])

        def filled(x: Any) -> Any:
            if type(x) is _Place:
                return Tensor(values[x.index]) if x.array else numbers[x.index]
            return x

        return rebuilt(self._structure, filled)


def _tools(device: str) -> tuple[Any, Any]:
    """What writes the source of a program for a device, and the module with its memory there."""
    if device == "cpu":
        return cpu_emit.emit, runtime
    from . import cuda, graph

    return cuda.emit, graph


def _owner(array: Array) -> int:
    """The object that an array's memory belongs to, by its address."""
    owner: Any = array
    while (base := owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)) is not None:
        owner = base
    return id(owner)


def _kind(array: Array) -> tuple[Any, ...]:
    """What a program depends on of its state, beside the numbers."""
    return array.shape, array.dtype, array.flags.c_contiguous or array.strides


def _unmoved(pairs: list[tuple[Tensor, Array]]) -> Callable[[], bool]:
    """A function that tells whether each tensor still has this memory: one expression, asked at every step."""
    names = {f"{kind}{n}": x for n, pair in enumerate(pairs) for kind, x in zip("td", pair, strict=True)}
    return eval(f"lambda: {' and '.join(f't{n}.data is d{n}' for n in range(len(pairs))) or True}", names)


class _Place:
    def __init__(self, index: int, array: bool) -> None:
        self.index = index
        self.array = array


def _plainly(types: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """In place of `loop`: the loop as it is written, run by Python."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            with np.errstate(all="ignore"):
                function(*args)

        return call

    return decorate

