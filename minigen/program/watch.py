"""What a step can see beside its arguments, and whether it is still as it was when the step was traced.

From the function (its object, closure, globals and defaults) everything of the user's is visited: objects and their
attributes, other modules, and, of a class, the methods and settings that the visited code names. Tensors found are
state, read anew at every call; every other value is a constant of the program, watched by identity, and a small array
that the code names by its content too: what NumPy computes of it enters the step unseen.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import dis
import functools
import inspect
import random
import sys
import types
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..autograd import Op
from ..backend import Array, is_array, share_memory, to_device
from ..host import HostNumber, Number
from ..tensor import Tensor

__all__ = ["SIMPLE", "Watch", "digest"]

SIMPLE = (int, float, complex, bool, str, bytes, type(None), np.dtype, np.generic, type, types.ModuleType,
          types.BuiltinFunctionType)
_HOLDERS = (types.SimpleNamespace, argparse.Namespace, collections.UserDict, collections.UserList,
            collections.ChainMap)  # of the standard library, with attributes that are the user's
_OWN = ("minigen.program", "minigen.autograd")  # what compiles is not what is compiled
_CALLED = ("__call__", "forward")  # methods that code calls without naming them
_SMALL = 1 << 16  # bytes of an array whose content is watched, some 20 us at every call


class _Place(NamedTuple):
    """Where a value is kept, and what a message calls it."""

    container: Any
    key: Any
    value: Any
    called: str

    def now(self) -> Any:
        if type(self.container) is types.CellType:
            return self.container.cell_contents
        return self.container[self.key] if _has_items(self.container) else getattr(self.container, self.key)


class Watch:
    """The tensors that a function can reach, by name, and all places where they and other settings are kept.

    `given` are objects among the arguments: what they hold is found as well.
    """

    def __init__(self, function: Callable[..., Any], given: Iterable[Any] = ()) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._places: list[_Place] = []
        self._lengths: list[tuple[Any, int, str]] = []
        self._sets: list[tuple[Any, frozenset[Any], str]] = []
        self._arrays: list[tuple[str, np.ndarray]] = []
        self._dice: list[tuple[str, Any, Any]] = []  # what random numbers are drawn from, and its state
        self._mentioned = dict.fromkeys(_CALLED)  # names in the visited code
        self._classes: dict[type, Any] = {}  # the user's, and their attributes
        self._seen: set[Any] = set()
        self._kept: list[Any] = []  # what `_seen` knows by address must stay alive
        self._note_dice("Python's random numbers", random)
        self._note_dice("NumPy's random numbers", np.random)
        # an object that is called is what its __call__ is bound to
        self._function(function if hasattr(function, "__code__") else function.__call__, "")  # type: ignore[operator]
        for value in given:
            self._visit(value, "")
        self._members()
        self._small = [(name, array, digest(array)) for name, array in self._arrays
                       if array.nbytes <= _SMALL and not self._mentioned.keys().isdisjoint(name.split("."))]

    def holds(self, captured: Sequence[Array] = ()) -> Callable[[], bool]:
        """A function that tells, in a few microseconds, whether everything is as it is now.

        Arrays that the program has `captured` are not asked for.
        """
        names: dict[str, Any] = {}

        def name(x: Any) -> str:
            names[f"x{len(names)}"] = x
            return f"x{len(names) - 1}"

        called = {id(c): name(c) for c in (*[p.container for p in self._places], *[c for c, _, _ in self._lengths])}

        def at(place: _Place) -> str:
            container, key = called[id(place.container)], place.key
            if not _has_items(place.container):
                return f"{container}.{key}"
            return f"{container}[{repr(key) if type(key) in (int, str) else name(key)}]"

        asked = [f"{at(place)} is {name(place.value)}" for place in self._places]
        asked += [f"len({called[id(c)]}) == {n}" for c, n, _ in self._lengths]
        asked += [f"{name(there)} == {name(was)}" for there, was, _ in self._sets]
        asked += [f"{'' if t.requires_grad else 'not '}{name(t)}.requires_grad" for t in self.tensors.values()]
        asked += [f"{name(t)}.grad is {'' if t.grad is None else 'not '}None" for t in self.tensors.values()]
        asked += [f"{name(digest)}({name(array)}) == {content}" for _, array, content in self._small
                  if not any(share_memory(array, other) for other in captured)]
        together: Callable[[], bool] = eval(f"lambda: {' and '.join(asked) or True}", names)

        def holds() -> bool:
            try:
                return together()
            except (KeyError, IndexError, AttributeError, ValueError):  # what was there is gone
                return False

        return holds

    def changed(self) -> str | None:
        """The first place that no longer holds what it held."""
        for place in self._places:
            try:
                if place.now() is place.value:
                    continue
            except (KeyError, IndexError, AttributeError, ValueError):
                pass
            return repr(place.called)
        for container, length, name in self._lengths:
            if len(container) != length:
                return f"the length of {name!r}" if isinstance(container, list) else (
                    f"what there is in {name!r}" if name else "the attributes of the object whose method it is")
        contents = ((name, there == was) for there, was, name in self._sets)
        arrays = ((name, digest(array) == was) for name, array, was in self._small)
        return next((f"the content of {name!r}" for name, same in (*contents, *arrays) if not same), None)

    def drawn(self) -> str | None:
        """The first source of random numbers that is no longer where it was."""
        return next((name for name, dice, before in self._dice if _state(dice) != before), None)

    def _note_dice(self, name: str, dice: Any) -> None:
        self._dice.append((name, dice, _state(dice)))

    def _function(self, function: Any, prefix: str) -> None:
        owner = getattr(function, "__self__", None)
        if owner is not None:
            self._visit(owner, prefix)
        function = getattr(function, "__func__", function)
        if not isinstance(function, types.FunctionType) or id(function) in self._seen:
            return
        self._remember(function)
        code = function.__code__
        names: dict[str, Any] = {}
        if not (function.__module__ or "").startswith("minigen."):  # else its globals are the engine
            names.update(self._globals(function.__globals__, code))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                names[name] = cell.cell_contents
            except ValueError:
                continue  # not assigned yet
            self._places.append(_Place(cell, "cell_contents", cell.cell_contents, name))
        defaults = function.__defaults__ or ()
        names.update(zip(code.co_varnames[code.co_argcount - len(defaults):code.co_argcount], defaults, strict=True))
        names.update(function.__kwdefaults__ or {})
        self._mentioned.update(dict.fromkeys((*names, *_named(code, "ATTR", "METHOD", "FROM"), *_words(code))))
        for name, value in names.items():
            self._visit(value, f"{prefix}{name}")

    def _globals(self, namespace: dict[str, Any], code: types.CodeType) -> dict[str, Any]:
        """What the global names in `code` stand for, and its other names in those of the user's modules among them."""
        found: dict[str, Any] = {}
        spaces = [("", namespace)]
        known = {id(namespace)}
        for prefix, space in spaces:
            for name in _named(code, *(("ATTR", "METHOD", "FROM") if prefix else ("GLOBAL", "LOAD_NAME"))):
                if name not in space:
                    continue
                value = space[name]
                if not isinstance(value, types.ModuleType):
                    found[f"{prefix}{name}"] = value
                    if (id(space), name) not in self._seen:
                        self._seen.add((id(space), name))
                        self._places.append(_Place(space, name, value, f"{prefix}{name}"))
                elif id(vars(value)) not in known and _is_users(value.__name__):
                    known.add(id(vars(value)))
                    spaces.append((f"{prefix}{name}.", vars(value)))
        return found

    def _members(self) -> None:
        """Of the user's classes what the visited code names, until that names nothing new."""
        done: set[tuple[type, str]] = set()
        while todo := [(cls, name) for cls, space in self._classes.items() for name in self._mentioned
                       if name in space and (cls, name) not in done]:
            for cls, name in todo:
                done.add((cls, name))
                value = self._classes[cls][name]
                if not isinstance(value, HostNumber | types.MemberDescriptorType):
                    self._places.append(_Place(self._classes[cls], name, value, f"{cls.__name__}.{name}"))
                    for part in (value.fget, value.fset) if isinstance(value, property) else (value,):
                        self._visit(getattr(part, "__func__", part), f"{cls.__name__}.{name}")

    def _visit(self, value: Any, name: str) -> None:
        if isinstance(value, Tensor):
            if id(value) not in self._seen:
                self._remember(value)
                self.tensors[name] = value
            return
        if isinstance(value, type):
            self._class(value)
        if isinstance(value, (*SIMPLE, Number)) or id(value) in self._seen:
            return
        if is_array(value):
            self._remember(value)
            if isinstance(value, np.ndarray):
                self._arrays.append((name, value))
            return
        if hasattr(value, "__code__") or isinstance(value, types.MethodType):
            self._function(value, f"{name}.")
            return
        self._remember(value)
        if isinstance(value, random.Random | np.random.Generator | np.random.RandomState):
            self._note_dice(f"the random numbers of {name!r}", value)
        elif isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
            self._note_dice(f"the iterator {name!r}", value)
        elif isinstance(value, Op):
            self._visit((value.forward, value.rule), name)
        elif isinstance(value, functools.partial):
            self._visit((value.func, value.args, value.keywords), name)
        elif isinstance(value, list | tuple | dict):
            items = list(value.items() if isinstance(value, dict) else enumerate(value))
            self._contents(value, value, items, name, fixed=isinstance(value, tuple))
        elif isinstance(value, collections.deque):
            self._contents(value, value, list(enumerate(value)), name, fixed=False)
        elif isinstance(value, set | frozenset):
            self._sets.append((value, frozenset(value), name))
            for item in value:
                self._visit(item, name)
        if isinstance(value, _HOLDERS) or not _is_foreign(type(value).__module__):
            self._attributes(value, name)
        elif hasattr(value, "__wrapped__"):  # another compiled step, a cached function
            self._visit(value.__wrapped__, name)

    def _attributes(self, value: Any, name: str) -> None:
        """Those of an object, and its class for what belongs to all of its kind."""
        fixed = _is_frozen(type(value))
        self._class(type(value))
        slots = [slot for cls in type(value).__mro__ for slot in _slots(cls) if hasattr(value, slot)]
        self._contents(value, None, [(slot, getattr(value, slot)) for slot in slots], name, fixed=fixed)
        if hasattr(value, "__dict__"):
            if hasattr(value, "training"):  # the mode of a module is its class's until it is first set
                vars(value).setdefault("training", value.training)
            hidden = {d.slot for c in type(value).__mro__ for d in vars(c).values() if isinstance(d, HostNumber)}
            kept = [(k, v) for k, v in vars(value).items() if k not in hidden]
            self._contents(vars(value), vars(value), kept, name, fixed=fixed)

    def _class(self, cls: type) -> None:
        self._classes.update({c: vars(c) for c in cls.__mro__ if _is_users(c.__module__)})

    def _contents(self, container: Any, counted: Any, items: list[tuple[Any, Any]], name: str, *, fixed: bool) -> None:
        """Note the items that a container holds, whose number is that of `counted`, and visit them."""
        if counted is not None and not fixed:
            self._lengths.append((counted, len(counted), name))
        for key, item in items:
            called = f"{name}.{key}" if name else str(key)
            if not fixed:
                self._places.append(_Place(container, key, item, called))
            self._visit(item, called)

    def _remember(self, value: Any) -> None:
        self._seen.add(id(value))
        self._kept.append(value)


def digest(array: Array) -> int:
    """32 bits that an accidental change of the content leaves alone once in four billion times."""
    if array.dtype.hasobject or not array.size:
        return 0
    return zlib.crc32(np.ascontiguousarray(to_device(array, "cpu")).reshape(-1).view(np.uint8).data)


def _state(dice: Any) -> Any:
    """Where a source of random numbers is, to be compared."""
    if isinstance(dice, np.random.Generator):
        return _frozen(dice.bit_generator.state)
    if isinstance(dice, types.GeneratorType):
        frame = dice.gi_frame  # none at its end
        return frame and (frame.f_lasti, repr(frame.f_locals))
    if isinstance(dice, Iterator):
        return repr(dice.__reduce__())
    return _frozen(dice.getstate() if hasattr(dice, "getstate") else dice.get_state())


def _frozen(state: Any) -> Any:
    if isinstance(state, dict | tuple):
        return tuple(map(_frozen, state.values() if isinstance(state, dict) else state))
    return state.tobytes() if isinstance(state, np.ndarray) else state


def _is_foreign(module: str) -> bool:
    """Whether a class comes from the standard library or an installed package: its objects hold no state of a step."""
    root = module.partition(".")[0]
    path = getattr(sys.modules.get(root), "__file__", None) or ""
    return module.startswith(_OWN) or root != "minigen" and (
        root in sys.stdlib_module_names - {"__main__"} or "site-packages" in path)


def _is_users(module: str) -> bool:
    return module.partition(".")[0] != "minigen" and not _is_foreign(module)


def _is_frozen(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


def _slots(cls: type) -> Sequence[str]:
    slots = vars(cls).get("__slots__", ())
    return [slot for slot in ((slots,) if isinstance(slots, str) else slots) if slot not in ("__dict__", "__weakref__")]


def _has_items(container: Any) -> bool:
    return isinstance(container, list | dict | collections.deque | types.MappingProxyType)


@functools.cache
def _words(code: types.CodeType) -> tuple[str, ...]:
    """The texts in a function and those within it: keys of what it reads, among them."""
    inner = [word for c in code.co_consts if inspect.iscode(c) for word in _words(c)]
    several = [part for c in code.co_consts if isinstance(c, tuple | frozenset) for part in c]
    return tuple(dict.fromkeys([*(c for c in (*code.co_consts, *several) if isinstance(c, str)), *inner]))


@functools.cache
def _named(code: types.CodeType, *instructions: str) -> tuple[str, ...]:
    """The names in instructions of these kinds, of a function and those within it, in the order of their use."""
    own = [i.argval for i in dis.get_instructions(code) if any(kind in i.opname for kind in instructions)]
    inner = [name for c in code.co_consts if inspect.iscode(c) for name in _named(c, *instructions)]
    return tuple(dict.fromkeys([*own, *inner]))
