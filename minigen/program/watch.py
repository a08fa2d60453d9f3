"""What a step can see beside its arguments, and whether it is still as it was when the step was traced.

From the function (its object, closure, globals and defaults) everything of the user's is visited. Tensors found are
state, read anew at every call; every other simple value is a constant of the program, watched by identity.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backend import is_array
from ..host import HostNumber, Number
from ..tensor import Tensor

__all__ = ["Watch"]

_SIMPLE = (int, float, bool, str, bytes, type(None), np.dtype, np.generic)
_OWN = ("minigen.program", "minigen.autograd")  # what compiles is not what is compiled
_SKIPPED = (type, types.ModuleType, types.BuiltinFunctionType, Number)


class Watch:
    """The tensors that a function can reach, by name, and all places where they and other settings are kept."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._places: list[tuple[Any, Any, Any]] = []  # container, key, value
        self._lengths: list[tuple[Any, int]] = []
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # what `_seen` knows by address must stay alive
        # an object that is called is what its __call__ is bound to
        self._function(function if hasattr(function, "__code__") else function.__call__, "")  # type: ignore[operator]

    def holds(self) -> Callable[[], bool]:
        """A function that tells, in a few microseconds, whether everything is as it is now."""
        names: dict[str, Any] = {}

        def name(x: Any) -> str:
            names[f"x{len(names)}"] = x
            return f"x{len(names) - 1}"

        called = {id(c): name(c) for c, _, _ in self._places} | {id(c): name(c) for c, _ in self._lengths}
        asked = [f"{called[id(c)]}{'.cell_contents' if isinstance(c, types.CellType) else f'[{key!r}]'} is {name(v)}"
                 for c, key, v in self._places]
        asked += [f"len({called[id(c)]}) == {n}" for c, n in self._lengths]
        asked += [f"{'' if t.requires_grad else 'not '}{name(t)}.requires_grad" for t in self.tensors.values()]
        asked += [f"{name(t)}.grad is {'' if t.grad is None else 'not '}None" for t in self.tensors.values()]
        together: Callable[[], bool] = eval(f"lambda: {' and '.join(asked) or True}", names)

        def holds() -> bool:
            try:
                return together()
            except (KeyError, IndexError):
                return False

        return holds

    def changed(self) -> str | None:
        """The first place that no longer holds what it held."""
        for container, key, value in self._places:
            if (container.get(key, Watch) if type(container) is dict else _at(container, key)) is not value:
                return f"{key!r} of {_called(container)}"
        for container, length in self._lengths:
            if len(container) != length:
                return f"the length of {_called(container)}"
        return None

    def _function(self, function: Any, prefix: str) -> None:
        owner = getattr(function, "__self__", None)
        if owner is not None:
            self._visit(owner, prefix)
        function = getattr(function, "__func__", function)
        if not isinstance(function, types.FunctionType) or id(function) in self._seen:
            return
        self._remember(function)
        if function.__module__ and function.__module__.startswith("minigen."):
            names: dict[Any, Any] = {}  # its globals are the engine
        else:
            names = {n: function.__globals__[n] for n in _names(function.__code__) if n in function.__globals__}
            self._places += [(function.__globals__, n, v) for n, v in names.items() if isinstance(v, _SIMPLE)]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                names[name] = cell.cell_contents
            except ValueError:
                continue  # not assigned yet
            self._places.append((cell, "cell_contents", cell.cell_contents))
        names.update(enumerate(function.__defaults__ or ()))
        names.update(function.__kwdefaults__ or {})
        for name, value in names.items():
            self._visit(value, f"{prefix}{name}")

    def _visit(self, value: Any, name: str) -> None:
        if isinstance(value, Tensor):
            if id(value) not in self._seen:
                self._remember(value)
                self.tensors[name] = value
            return
        if isinstance(value, (*_SIMPLE, *_SKIPPED)) or is_array(value) or id(value) in self._seen:
            return
        if callable(value) and hasattr(value, "__code__"):
            self._function(value, f"{name}.")
            return
        if isinstance(value, types.MethodType):
            self._function(value, f"{name}.")
            return
        self._remember(value)
        if isinstance(value, list | tuple):
            items: Iterator[tuple[Any, Any]] = iter(enumerate(value))
        elif isinstance(value, dict):
            items = iter(list(value.items()))
        elif hasattr(value, "__dict__") and not _is_foreign(type(value).__module__):
            if hasattr(value, "training"):  # the mode of a module is its class's until it is first set
                vars(value).setdefault("training", value.training)
            hidden = {d.slot for c in type(value).__mro__ for d in vars(c).values() if isinstance(d, HostNumber)}
            items = iter([(k, v) for k, v in vars(value).items() if k not in hidden])
        else:
            return
        container = vars(value) if not isinstance(value, list | tuple | dict) else value
        fixed = isinstance(value, tuple) or _is_frozen(type(value))
        if not fixed:
            self._lengths.append((container, len(container)))
        for key, item in items:
            if not fixed:
                self._places.append((container, key, item))
            self._visit(item, f"{name}.{key}" if name else str(key))

    def _remember(self, value: Any) -> None:
        self._seen.add(id(value))
        self._kept.append(value)


def _is_foreign(module: str) -> bool:
    """Whether a class comes from the standard library or an installed package: its objects hold no state of a step."""
    root = module.partition(".")[0]
    path = getattr(sys.modules.get(root), "__file__", None) or ""
    return module.startswith(_OWN) or root != "minigen" and (
        root in sys.stdlib_module_names - {"__main__"} or "site-packages" in path)


def _is_frozen(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


def _at(container: Any, key: Any) -> Any:
    if key == "cell_contents":
        return container.cell_contents
    return container[key] if key < len(container) else None


def _names(code: types.CodeType) -> list[str]:
    """The global names in a function and in the functions within it, in the order of their use."""
    inner = [name for c in code.co_consts if inspect.iscode(c) for name in _names(c)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _called(container: Any) -> str:
    return f"a {type(container).__name__}" if not isinstance(container, dict) else "an object that the step uses"
