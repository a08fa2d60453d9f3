"""Tracing: one real step, run while the engine's recording point is listened to, becomes a list of instructions."""

from __future__ import annotations

import keyword
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..autograd import Op, hook, mode
from ..backend import FLOATS, Array, is_array, share_memory, to_device
from ..errors import DTypeError, GraphError
from ..host import Ledger, Number, forbid, plain, trace
from ..tensor import Tensor
from .ir import Instruction, Program, Value, leaves, like, plain_number, rebuilt
from .watch import SIMPLE, Watch, digest

__all__ = ["Captured", "Traced", "shared", "site", "trace_step"]

_ENGINE = tuple(f"minigen.{room}" for room in ("autograd", "tensor", "ops", "nn", "random", "program", "host", "debug"))
_OPTIM = "minigen.optim"
_PACKAGE = os.path.dirname(os.path.dirname(__file__))


# Names that the source has for other things, and words of C++, in which loops for the gpu are written.
_TAKEN = ("Slot loop_call product_call sequence "
          "math np kernels OPS scalar scalar64 matmul small_matmul normal_into uniform_into array loop ordered plus "
          "bind step arena state constant float bool abs range coefficients from_memory launch joined scalar_of host "
          "numbers scratch alignas alignof and_eq asm auto bitand bitor case catch char class compl const constexpr "
          "decltype default delete do double enum explicit export extern final friend goto inline int long mutable "
          "namespace new noexcept not_eq nullptr operator or_eq override private protected public register short "
          "signed sizeof slice static struct switch template this thread_local throw true false typedef typeid "
          "typename union unsigned using virtual void volatile wchar_t xor xor_eq").split()
_INNER = re.compile("[ijklmnpq]|[cn][0-9]+|(loop|sequence)_[0-9]+")  # loops, and their indices, numbers and lengths
_MADE = ("_out", "_row", "_total", "_into")  # ends of the names that a loop makes of a value's, and of kernels


@dataclass
class Captured:
    """An array that entered the step and is nothing that the program knows: a constant, if it never changes."""

    array: Array
    site: str
    digest: int
    own: bool  # a copy that the engine has taken

    @classmethod
    def of(cls, array: Array, where: str, *, own: bool = False) -> Captured:
        return cls(array, where, digest(array), own)

    def changed(self) -> bool:
        """Whether its content is another; of an array on the gpu that is not asked, which would wait for the gpu."""
        return not self.own and isinstance(self.array, np.ndarray) and digest(self.array) != self.digest


@dataclass
class Traced:
    """A program, what the step returned while it was traced, the constants that it captured, and what takes the step
    back: arrays, gradients and host numbers are then as they were before it."""

    program: Program
    result: Any
    captured: list[Captured]
    undo: Callable[[], None]


def site() -> tuple[str, bool]:
    """file:line of the innermost caller outside the engine, and whether it was reached through an optimizer."""
    frame: Any = sys._getframe(1)
    optimizing = False
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        optimizing = optimizing or name.startswith(_OPTIM)
        if not name.startswith((*_ENGINE, _OPTIM, "contextlib", "functools")):
            break
        frame = frame.f_back
    path = frame.f_code.co_filename
    inside = path.startswith(_PACKAGE + os.sep)
    return f"{os.path.relpath(path, os.path.dirname(_PACKAGE)) if inside else path}:{frame.f_lineno}", optimizing


class _Recorder:
    def __init__(self, watch: Watch) -> None:
        self.instructions: list[Instruction] = []
        self.captured: list[Captured] = []
        self._known: dict[int, Value] = {}  # by the address of the array object
        self._alive: list[Any] = []  # so that no address is used twice
        self._state = {id(t.data): (name, t) for name, t in watch.tensors.items()}
        self._shared = shared([t.data for t in watch.tensors.values()])
        self.tensors: list[Tensor] = []  # arguments
        self._used = dict.fromkeys([*_TAKEN, *keyword.kwlist], 1)

    def name(self, wish: str) -> str:
        """`wish` as an identifier that no other value has."""
        wish = re.sub("[^0-9A-Za-z]", "_", unicodedata.normalize("NFKC", wish)).strip("_") or "value"
        if wish[0].isdigit() or _INNER.fullmatch(wish):
            wish = f"v{wish}" if wish[0].isdigit() else f"v_{wish}"
        if wish.endswith(_MADE):
            wish = f"{wish}_value"
        count = self._used[wish] = self._used.get(wish, 0) + 1
        return wish if count == 1 else self.name(f"{wish}_{count}")

    def forget(self) -> None:
        """Let go of the arrays of the trace; the names go on."""
        self._known, self._alive, self._state = {}, [], {}

    def enter(self, wish: str, array: Array, kind: str, tensor: Tensor | None = None) -> Value:
        """Make a value known by its array."""
        value = Value(self.name(wish), array.shape, array.dtype, kind, None, tensor, ordered=array.flags.c_contiguous)
        self._known[id(array)] = value
        self._alive.append(array)
        return value

    def value(self, t: Tensor) -> Value:
        """The value that a Tensor holds."""
        array = t.data
        found = self._known.get(id(array))
        if found is not None:
            return found
        if id(array) in self._state:
            name, tensor = self._state[id(array)]
            value = self.enter(name or "state", array, "state", tensor)
            value.shared = id(array) in self._shared
            return value
        where, _ = site()
        if any(id(base) in self._known or id(base) in self._state for base in _bases(array)):
            raise GraphError(f"{where}: a part of a tensor's .data, taken before the step, enters an operation, in a "
                             "step that is being compiled: the program cannot see how. Use operations on the tensor")
        value = self.enter("captured", array, "constant")
        value.array = np.array(to_device(array, "cpu"))
        self.captured.append(Captured.of(array, where))
        return value

    def knows(self, array: Array) -> bool:
        """Whether this array is an argument or a state."""
        return id(array) in self._known or id(array) in self._state

    def overwrites(self, array: Array) -> bool:
        """Whether an operation has changed this memory."""
        written = {v.root for i in self.instructions for v in i.writes}
        return any(share_memory(array, other) for other in self._alive
                   if is_array(other) and self._known.get(id(other)) in written)

    def called(self, array: Array) -> str:
        """The name of a tensor that was there before the step, by its array."""
        return self._state[id(array)][0] if id(array) in self._state else self._known[id(array)].name

    def explains(self, t: Tensor, data: Array, content: Array) -> bool:
        """Whether a tensor that held `content` in `data` holds what operations left there."""
        if t.data is not data:
            return False
        if not isinstance(data, np.ndarray) or data.tobytes() == content.tobytes():
            return True
        return self.overwrites(data)

    def __call__(self, operation: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], output: Tensor) -> None:
        where, optimizing = site()
        node = mode.node
        phase = "update" if operation.mutates or optimizing else "forward" if node is None else "backward"
        says = _equation(operation)
        if node is not None and phase == "backward":
            where = node.site or where
            says = f"{operation.name}, for the gradient of {node.op.name}"
        if output._node is not None:
            output._node.site = where
        read = tuple(self.value(x) if isinstance(x, Tensor) else x for x in inputs)
        attrs = {name: rebuilt(value, plain_number) for name, value in attrs.items()}
        self._alive.append(attrs)
        self.captured += [Captured.of(key, where, own=True) for key in leaves(attrs) if is_array(key)]
        if operation.mutates:
            self.instructions.append(
                Instruction(operation, read, attrs, [], operation.mutates, phase, where, says))
            return
        if id(output.data) in self._known:
            return  # it gave back what it was given
        value = self.enter(operation.name, output.data, "result")
        for x, source in zip(inputs, read, strict=True):
            if isinstance(x, Tensor) and share_memory(x.data, output.data):
                value.base = source
        self.instructions.append(Instruction(operation, read, attrs, [value], (), phase, where, says))


def _bases(array: Array) -> list[Array]:
    found = []
    while is_array(array.base):
        array = array.base
        found.append(array)
    return found


def _equation(operation: Op) -> str:
    """The first equation of an operation's docstring."""
    lines = (operation.__doc__ or "").strip().splitlines()
    return re.split(r",  dL|;|, [a-z]+ \(", lines[0])[0] if lines else operation.name


_swapping = threading.Lock()


@contextmanager
def _data_guarded() -> Iterator[None]:
    """While a step is traced, code outside minigen must not reach a tensor's `.data`: what NumPy and Python make of
    it goes unrecorded."""
    name = "data"
    slot = vars(Tensor)[name]

    def read(t: Tensor) -> Array:
        if trace.ledger is not None and not sys._getframe(1).f_globals.get("__name__", "").startswith("minigen."):
            forbid("the .data of a Tensor is used (t.shape and t.dtype tell of it, t.detach() shares its memory, and "
                   "t.copy_(...) or t[...] = ... inside mg.no_grad() change it)")
        return slot.__get__(t)

    with _swapping:  # the class is every thread's
        setattr(Tensor, name, property(read, slot.__set__))
        try:
            yield
        finally:
            setattr(Tensor, name, slot)


def trace_step(function: Callable[..., Any], watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
    """Run `function` once, for real, and return its program.

    Arrays among the arguments (Tensors already) are the program's arguments, numbers are host numbers. Where the
    function raises, what it had done is undone.
    """
    recorder = _Recorder(watch)
    ledger = Ledger(lambda: site()[0], recorder.name)
    arguments: list[Value] = []
    names = _argument_names(function, args, kwargs)

    def entered(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            if value.dtype.kind not in "iub" and value.dtype not in FLOATS:
                raise DTypeError(f"the argument {name!r} of a compiled step holds {value.dtype}: expected float32, "
                                 "float64, integers or booleans")
            if value.requires_grad:
                raise GraphError(f"the argument {name!r} of a compiled step requires grad, and the program could not "
                                 "leave its gradient there: make it a Parameter that the step uses, or detach it")
            if recorder.knows(value.data):  # given twice, or state as well: next time it may be another array
                value = Tensor(value.data.view())
            arguments.append(recorder.enter(name, value.data, "argument"))
            recorder.tensors.append(value)
            return value
        if isinstance(value, tuple | list):
            return like(value, [entered(item, f"{name}_{n}") for n, item in enumerate(value)])
        if isinstance(value, dict):
            return {key: entered(item, f"{name}_{key}") for key, item in value.items()}
        if isinstance(value, np.floating | np.integer) or type(value) in (int, float):
            return ledger.argument(name, plain_number(value))
        return value

    given = [entered(value, name) for value, name in zip((*args, *kwargs.values()), names, strict=True)]
    before = {name: (t, t.grad) for name, t in watch.tensors.items()}
    accumulating = [t for t, g in before.values() if g is not None]
    arguments += [recorder.enter(f"gradient_of_{name}", g.data, "argument")
                  for name, (_, g) in before.items() if g is not None]
    memory = [(t, t.data, t.data.copy(), t.version) for t in (*watch.tensors.values(), *recorder.tensors)]

    def undo() -> None:
        ledger.undo()
        for t, data, content, version in memory:
            if getattr(data.flags, "writeable", True):
                data[...] = content
            t.data, t._version[0] = data, version
        for t, g in before.values():
            t.grad = g

    with ExitStack() as stack:
        failed = stack.enter_context(ExitStack())
        failed.callback(undo)
        trace.ledger = ledger
        stack.callback(setattr, trace, "ledger", None)
        stack.enter_context(hook(recorder))
        stack.enter_context(_data_guarded())
        result = function(*given[:len(args)], **dict(zip(kwargs, given[len(args):], strict=True)))
        outputs = rebuilt(result, lambda x: _leaving(x, recorder))
        _require_repeatable(_called(function), watch, recorder, [(t, *held) for t, *held, _ in memory])
        gradients = [(t, None if t.grad is None else recorder.value(t.grad))
                     for t, g in before.values() if t.grad is not g]
        failed.pop_all()
    program = Program(_called(function), recorder.instructions, arguments, outputs, gradients,
                      accumulating, ledger, recorder.name)
    recorder.forget()
    return Traced(program, rebuilt(result, plain), recorder.captured, undo)


def shared(arrays: list[Array]) -> set[int]:
    """Those, by id, whose memory another one has a part of too."""
    spans = sorted((*byte_bounds(a), id(a)) for a in arrays if isinstance(a, np.ndarray) and a.size)
    found: set[int] = set()
    end, last = 0, 0
    for start, stop, key in spans:
        if start < end:
            found |= {key, last}
        if stop > end:
            end, last = stop, key
    return found


def _called(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _require_repeatable(step: str, watch: Watch, recorder: _Recorder,
                        memory: list[tuple[Tensor, Array, Array]]) -> None:
    """GraphError where the traced run has left or drawn something of which its operations tell nothing."""
    for t, data, content in memory:
        if not recorder.explains(t, data, content):
            raise GraphError(f"{step}: the step changes the .data of {recorder.called(data)!r} by NumPy, which its "
                             "program could not do again: use an optimizer, or on the tensor t itself t.copy_(...) or "
                             "t[...] = ... inside mg.no_grad()")
    if (place := watch.changed()) is not None:
        raise GraphError(f"{step}: the step itself changes {place} in Python, which its program could not do again: "
                         "return what you want to keep, and count outside the step or in a minigen.host.HostNumber")
    if (dice := watch.drawn()) is not None:
        raise GraphError(f"{step}: the step draws from {dice}, and its program would keep today's for ever: draw with "
                         "a minigen.random.Generator, or pass what is drawn as an argument")


def _argument_names(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    called = function if hasattr(function, "__code__") else function.__call__  # type: ignore[operator]
    code = getattr(called, "__code__", None)
    names = list(code.co_varnames[:code.co_argcount]) if code is not None else []
    if hasattr(called, "__self__"):
        names = names[1:]
    names += [f"argument_{n}" for n in range(len(names), len(args))]
    return [*names[:len(args)], *kwargs]


def _leaving(result: Any, recorder: _Recorder) -> Any:
    """What a step returns, as the program has it: a Value for a Tensor."""
    if isinstance(result, Tensor):
        return recorder.value(result)
    if isinstance(result, (*SIMPLE, Number)):
        return result
    raise GraphError("a compiled step returns tensors, numbers, and tuples, lists and dicts of them, not "
                     f"{'plain arrays' if is_array(result) else type(result).__name__}, today's for ever")

