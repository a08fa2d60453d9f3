"""A compiled step: called like the function, it runs the program that fits, and traces one where none does."""

from __future__ import annotations

import functools
import itertools
import os
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import mode
from ..backend import Array, device_of, is_array
from ..errors import GraphError, UsageError
from ..tensor import Tensor
from .ir import leaves, rebuilt
from .picture import draw_program
from .report import explain
from .runnable import Runnable
from .save import save
from .trace import Captured, Traced, trace_step
from .watch import SIMPLE, Watch

__all__ = ["CompiledStep", "compile"]

_MOST_PROGRAMS = 64


def compile(function: Callable[..., Any]) -> CompiledStep:
    """`function`, a training step, as a program: traced at its first call, and run.

    At the first call with arguments of new shapes, types or structure the function itself runs once, and its
    operations are recorded: forward, backward and the optimizer's updates. That run is then undone, and the recorded
    program, whose text is `.source`, takes its place, at this call and all later ones: a step is computed in the same
    way whenever the program was made. A change of a module's mode, of what is trained, or of a setting that the step
    reads makes another program (see `minigen.program.watch` for what is seen); host numbers (learning rates, counts;
    see `minigen.host`) are read anew at every call. All that one optimizer trains is moved into one array: memory of a
    parameter taken before (`p.numpy()`, `p.detach()`) then no longer follows it.

    Where its tensors are on the gpu the program runs there: its loops are generated CUDA kernels, and from its second
    run on it is started as one CUDA graph (see `minigen.program.graph`). Arguments may then be on either device.

    Arguments are arrays or Tensors, numbers, and structures of them, or objects that hold them, such as a module, each
    of which makes a program of its own. Results are tensors, numbers and structures of them; the tensors have memory of
    their own, and no graph.
    Inside `mg.hook` and `mg.detect_nan`, which look at single operations, the function itself runs.
    Raises GraphError where the step does what a program cannot do again; the message names the line.
    """
    return CompiledStep(function)


class CompiledStep:
    """What `compile` returns."""

    def __init__(self, function: Callable[..., Any], interpret: bool = False) -> None:
        if not callable(function):
            raise UsageError(f"mg.compile({function!r}): expected a function, such as model.train_step")
        self.function = function
        self.programs: list[Runnable] = []
        self._interpret = interpret  # run loops as plain Python: for tests and for pdb
        self._by_key: dict[Any, list[Runnable]] = {}
        self._pending: dict[Any, Traced] = {}  # traces that captured arrays, to be held against a second one
        self._lock = threading.RLock()  # a program has one memory to work in
        functools.update_wrapper(self, function)

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        """As a decorator of a method: one compiled step for each object."""
        if owner is None:
            return self
        if isinstance(owner, type) or not hasattr(owner, "__dict__"):
            return types.MethodType(self, owner)  # a class, or slots: there is no place for a step of its own
        name = f"_compiled_{self.function.__name__}_{id(self)}"
        found = vars(owner).get(name)
        if found is None or found.function.__self__ is not owner:  # that of the object which this one is a copy of
            bound = self.function.__get__(owner, cls)
            if mode.hooks:  # see __call__; and a step that is traced must not change its owner
                return bound
            found = vars(owner)[name] = CompiledStep(bound, self._interpret)
        return found

    def __reduce__(self) -> Any:
        """A copy, or what comes back from a file, makes its programs anew."""
        return CompiledStep, (self.function, self._interpret)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if mode.hooks:  # somebody, another trace for one, looks at every operation: there they are
            return self.function(*args, **kwargs)
        arrays: list[Array] = []
        numbers: list[float] = []
        key = (mode.recording, tuple([_signature(a, arrays, numbers) for a in args]),
               tuple([(k, _signature(v, arrays, numbers)) for k, v in kwargs.items()]) if kwargs else ())
        with self._lock:
            for program in self._by_key.get(key, ()):
                if program.fits(numbers):
                    return program.run(arrays, numbers)
            made = self._traced(key, args, kwargs)
            return made.run(arrays, numbers) if isinstance(made, Runnable) else made

    @property
    def last(self) -> Runnable:
        """The program that was made last; GraphError before the first call."""
        if not self.programs:
            again = "again: what it captured is held against a second call" if self._pending else "once"
            raise GraphError(f"this step has no program yet: call it {again}")
        return self.programs[-1]

    @property
    def source(self) -> str:
        """The text of the program that was made last: what runs.

        From its second run on, calls of kernels on consecutive lines are one call of machine code (see
        `minigen.kernels.cpu.sequence`), and on the gpu all are.
        """
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

    def _forget(self, program: Runnable) -> None:
        self.programs.remove(program)
        self._by_key = {key: kept for key, programs in self._by_key.items()
                        if (kept := [p for p in programs if p is not program])}

    def _traced(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function for real, and make its program."""
        if len(self.programs) >= _MOST_PROGRAMS:
            if key in self._by_key:
                raise GraphError(f"this step has been traced {_MOST_PROGRAMS} times, the last time because of a change "
                                 f"of {self.programs[-1].why()}. What moves at every step must be a "
                                 "minigen.host.HostNumber or an argument")
            self._forget(self.programs[0])  # arguments of so many shapes: the oldest goes
        watch = Watch(self.function, [x for x in leaves((args, kwargs)) if not (isinstance(x, Tensor) or is_array(x))])
        given = rebuilt((args, kwargs), lambda x: Tensor(x) if is_array(x) else x)
        traced = trace_step(self.function, watch, *given)
        if traced.captured:
            earlier = self._pending.pop(key, None)
            if earlier is None:
                if len(self._pending) >= _MOST_PROGRAMS:
                    del self._pending[next(iter(self._pending))]
                self._pending[key] = traced
                return rebuilt(traced.result, _alone)
            _settle(earlier.captured, traced.captured)
        traced.undo()
        there = {t.device for t in (*watch.tensors.values(), *leaves(given)) if isinstance(t, Tensor)}
        device = "gpu" if "gpu" in there else "cpu"
        runnable = Runnable(traced.program, watch, traced.captured, self._interpret, device)
        self.programs.append(runnable)
        self._by_key.setdefault(key, []).insert(0, runnable)
        return runnable


def _signature(x: Any, arrays: list[Array], numbers: list[float]) -> Any:
    """What a program depends on of an argument; its arrays and numbers go to the lists."""
    if isinstance(x, Tensor):
        arrays.append(x.data)
        return x.data.shape, x.data.dtype, x.data.flags.c_contiguous, x.requires_grad, device_of(x.data)
    if isinstance(x, np.ndarray):
        arrays.append(x if type(x) is np.ndarray else Tensor(x).data)
        return x.shape, x.dtype, x.flags.c_contiguous
    if type(x) is float or type(x) is int:
        numbers.append(x)
        return type(x)
    if isinstance(x, np.floating | np.integer):
        return _signature(x.item(), arrays, numbers)
    if is_array(x):
        arrays.append(x)
        return x.shape, x.dtype, x.flags.c_contiguous, "gpu"
    if isinstance(x, tuple | list):
        return type(x), tuple([_signature(item, arrays, numbers) for item in x])
    if isinstance(x, dict):
        return dict, tuple([(k, _signature(item, arrays, numbers)) for k, item in x.items()])
    if isinstance(x, types.MethodType):
        return id(x.__self__), x.__func__
    if isinstance(x, set):
        raise GraphError(f"a compiled step was given a set, {x!r}: give a tuple or a list, which has an order")
    return type(x), x if isinstance(x, SIMPLE) else id(x)  # which stays alive with what `Watch` has visited


def _alone(x: Any) -> Any:
    """A result as a program gives it: with memory of its own and without a graph."""
    return Tensor(x.data.copy()) if isinstance(x, Tensor) else x


def _settle(earlier: list[Captured], later: list[Captured]) -> None:
    """Arrays that entered two traces from outside: all right where both times they held the same."""
    for a, b in itertools.zip_longest(earlier, later):
        if a is None or b is None or a.digest != b.digest or a.array.shape != b.array.shape:
            where = (b or a).site
            raise GraphError(f"{where}: an array that is no argument, parameter or result of an operation enters the "
                             "step, and it is not the same at every call: pass it as an argument, or make it with "
                             "operations")
