"""A compiled step: called like the function, it runs the program that fits, and traces one where none does."""

from __future__ import annotations

import builtins
import copy
import functools
import itertools
import linecache
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array, device_of
from ..errors import GraphError
from ..host import Number
from ..tensor import Tensor
from . import runtime
from .emit import Emitted, emit
from .ir import Program, Value, rebuilt
from .passes import optimise
from .passes.memory import Plan, plan_memory
from .picture import draw_program
from .report import explain
from .save import save
from .trace import Captured, Traced, trace_step
from .watch import Watch

__all__ = ["CompiledStep", "compile"]

_MOST_PROGRAMS = 64
_numbers = itertools.count(1)


def compile(function: Callable[..., Any]) -> CompiledStep:
    """`function`, a training step, as a program: traced at its first call, and run.

    At the first call with arguments of new shapes, types or structure the function itself runs once, and its
    operations are recorded: forward, backward and the optimizer's updates. That run is then undone, and the recorded
    program, whose text is `.source`, takes its place, at this call and all later ones: a step is computed in the same
    way whenever the program was made. A change of a module's mode, of what is trained, or of a setting that the step reads makes another
    program; host numbers (learning rates, counts; see `minigen.host`) are read anew at every call.

    Arguments are arrays or Tensors, numbers, and structures of them; so are the results, with Tensors for arrays.
    Raises GraphError where the step does what a program cannot do again; the message names the line.
    """
    return CompiledStep(function)


class CompiledStep:
    """What `compile` returns."""

    def __init__(self, function: Callable[..., Any], interpret: bool = False) -> None:
        self.function = function
        self.programs: list[Runnable] = []
        self._interpret = interpret  # run loops as plain Python: for tests and for pdb
        self._by_key: dict[Any, list[Runnable]] = {}
        self._pending: dict[Any, Traced] = {}  # traces that captured arrays, to be held against a second one
        self._watch: Watch | None = None
        functools.update_wrapper(self, function)

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        """As a decorator of a method: one compiled step for each object."""
        if owner is None:
            return self
        name = f"_compiled_{self.function.__name__}"
        if name not in vars(owner):
            vars(owner)[name] = CompiledStep(self.function.__get__(owner, cls), self._interpret)
        return vars(owner)[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arrays: list[Array] = []
        numbers: list[float] = []
        key = (tuple([_signature(a, arrays, numbers) for a in args]),
               tuple([(k, _signature(v, arrays, numbers)) for k, v in kwargs.items()]) if kwargs else ())
        for program in self._by_key.get(key, ()):
            if program.fits(numbers):
                return program.run(arrays, numbers)
        made = self._traced(key, args, kwargs)
        return made.run(arrays, numbers) if isinstance(made, Runnable) else made

    @property
    def last(self) -> Runnable:
        """The program that was made last; GraphError before the first call."""
        if not self.programs:
            raise GraphError("this step has no program yet: call it once")
        return self.programs[-1]

    @property
    def source(self) -> str:
        """The text of the program that was made last: what runs."""
        return self.last.emitted.source

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the last program to `path`, a Python file that runs one step by itself: see `minigen.program.save`."""
        save(self.last, Path(path))

    def explain(self) -> str:
        """A table of the last program: each line's shapes, work and time, and what the machine could do it in."""
        return explain(self.last)

    def draw(self, path: str | os.PathLike[str] | None = None) -> str:
        """The last program before and after the passes, as Graphviz dot text; with `path`, also as a PNG there."""
        return draw_program(self.last.traced, self.last.program, path)

    def _traced(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function for real, and make its program."""
        if len(self.programs) >= _MOST_PROGRAMS:
            raise GraphError(f"this step has been traced {_MOST_PROGRAMS} times: last time {self.programs[-1].why()} had "
                             "changed. A count that moves at every step must be a minigen.host.HostNumber or an argument")
        watch = Watch(self.function)
        holds = watch.holds()
        given = rebuilt((args, kwargs), lambda x: Tensor(x) if isinstance(x, np.ndarray) else x)
        traced = trace_step(self.function, watch, *given)
        if traced.captured:
            earlier = self._pending.pop(key, None)
            if earlier is None:
                self._pending[key] = traced
                return traced.result
            _settle(earlier.captured, traced.captured)
        traced.undo()
        runnable = Runnable(traced.program, watch, holds, traced.captured, self._interpret)
        self.programs.append(runnable)
        self._by_key.setdefault(key, []).insert(0, runnable)
        return runnable


def _signature(x: Any, arrays: list[Array], numbers: list[float]) -> Any:
    """What a program depends on of an argument; its arrays and numbers go to the lists."""
    if isinstance(x, Tensor):
        arrays.append(x.data)
        return x.data.shape, x.data.dtype, x.data.flags.c_contiguous, x.requires_grad, device_of(x.data)
    if isinstance(x, np.ndarray):
        arrays.append(x)
        return x.shape, x.dtype, x.flags.c_contiguous
    if type(x) is float or type(x) is int:
        numbers.append(x)
        return type(x)
    if isinstance(x, tuple | list):
        return type(x), tuple([_signature(item, arrays, numbers) for item in x])
    if isinstance(x, dict):
        return dict, tuple([(k, _signature(item, arrays, numbers)) for k, item in x.items()])
    return x


def _settle(earlier: list[Captured], later: list[Captured]) -> None:
    """Arrays that entered two traces from outside: all right where both times they held the same."""
    for a, b in itertools.zip_longest(earlier, later):
        if a is None or b is None or a.digest != b.digest or a.array.shape != b.array.shape:
            where = (b or a).site
            raise GraphError(f"{where}: an array that is no argument, parameter or result of an operation enters the step, "
                             "and it is not the same at every call: pass it as an argument, or make it with operations")


class Runnable:
    """A program with its source, compiled, and the memory that it works in."""

    def __init__(self, program: Program, watch: Watch, holds: Callable[[], bool], captured: list[Captured],
                 interpret: bool = False) -> None:
        self.traced = [copy.copy(i) for i in program.instructions]
        optimise(program)
        self.program = program
        self.plan: Plan = plan_memory(program)
        self.emitted: Emitted = emit(program, self.plan)
        self.watch = watch
        self.captured = captured
        self._holds = holds
        self._reads = [source for source in program.ledger.reads.values() if source is not None]
        self._writes = [(owner, f"_{name}") for owner, name, _ in program.ledger.writes.values()]
        self._guard = self._compiled_guard()
        self._states = [(v.parts or [v], v) for v in self.emitted.state.values()]
        self._data: list[tuple[Tensor, Array]] = []
        self._bind = self._compiled(interpret)
        self._step: Callable[..., Any] | None = None
        self._structure = self._numbered()
        self._called: list[Any] = []  # what the step was last called with

    def fits(self, numbers: list[float]) -> bool:
        """Whether this program is the right one for the world as it is."""
        if not self._holds():
            return False
        return self._guard is None or self._guard(*numbers, *[getattr(o, f"_{n}") for o, n in self._reads])

    def why(self) -> str:
        """What has changed since the trace."""
        return self.watch.changed() or "a branch on a host number"

    def run(self, arrays: list[Array], numbers: list[float]) -> Any:
        """One step."""
        for c in self.captured:
            if c.changed():
                raise GraphError(f"{c.site}: the array captured here has been changed in place since the step was compiled, "
                                 "and the program holds it as a constant: pass it as an argument")
        if self._step is None or any([t.data is not data for t, data in self._data]):
            self._step = self._bound()
        if self.program.accumulating:
            arrays = [*arrays, *(t.grad.data for t in self.program.accumulating if t.grad is not None)]
        self._called = [*arrays, *numbers]
        values, moved = self._step(*self._called, *[getattr(o, f"_{n}") for o, n in self._reads])
        for (owner, slot), value in zip(self._writes, moved, strict=False):
            owner.__dict__[slot] = value
        for v in self._changed:
            v._version[0] += 1
        return self._result(values, moved[len(self._writes):])

    def arguments(self) -> list[Any]:
        """What the source's `step` would be called with now, on the arrays and numbers of the last call."""
        if not self._called:
            raise GraphError("this program has not run yet: call the step once")
        return [*self._called, *[getattr(o, f"_{n}") for o, n in self._reads]]

    def state(self) -> dict[str, Array]:
        """The memory that outlives the step, by the name it has in the source."""
        state: dict[str, Array] = {}
        for parts, v in self._states:
            tensors = [p.tensor for p in parts]
            assert all(t is not None for t in tensors)
            state[v.name] = runtime.flat(tensors) if v.parts else tensors[0].data  # type: ignore[arg-type, union-attr]
        return state

    def _bound(self) -> Callable[..., Any]:
        """The step with its memory, as state lies now."""
        state = self.state()
        self._data = [(p.tensor, p.tensor.data) for parts, _ in self._states for p in parts]  # type: ignore[union-attr, misc]
        written = {v.root for i in self.program.instructions for v in i.writes}
        self._changed = [p.tensor for parts, v in self._states if v in written for p in parts]
        return self._bind(runtime.Arena(self.plan.size), state, self.emitted.constants)

    def _compiled(self, interpret: bool) -> Callable[..., Any]:
        """`bind`, out of the source; a debugger and a traceback find the text."""
        source = self.emitted.source
        name = f"<minigen program {next(_numbers)}: {self.program.name}>"
        linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
        namespace: dict[str, Any] = {"__name__": "minigen.program.generated"}
        if interpret:
            source = source.replace("@loop(", "@plainly(")
            namespace["plainly"] = _plainly
        exec(builtins.compile(source, name, "exec"), namespace)
        return namespace["bind"]

    def _compiled_guard(self) -> Callable[..., bool] | None:
        ledger = self.program.ledger
        if not ledger.guards:
            return None
        asked = " and ".join(f"({text}) == {answer}" for text, answer in ledger.guards)
        return eval(f"lambda {', '.join(ledger.reads)}: {asked}", {})

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

