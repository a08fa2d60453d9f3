"""Host numbers: the Python numbers that a training step reads and moves, such as a learning rate or a step count.

Outside a trace they are plain attributes. While `mg.compile` traces a step, reading one gives a `Number`: its value
and the expression that made it, so that the program computes it anew at every call. Arithmetic on a Number is a
Number; a comparison is a branch, which the trace keeps as a guard: where the answer differs, another program is made.
"""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Callable
from typing import Any

from .errors import GraphError, UsageError

__all__ = ["HostNumber", "Ledger", "Number", "cos", "forbid", "plain", "trace"]


class _Trace(threading.local):
    """The ledger of the trace that this thread is in, None outside of one."""

    ledger: Ledger | None = None


trace = _Trace()


class Ledger:
    """What a trace knows of host numbers.

    `where()` names the line of the user's code, `name(wish)` gives a name that nothing else in the program has. `reads`
    are the leaves: for each name in the program's text, the object and attribute it is read from (or None for an
    argument of the step). `writes` are the values that the step leaves behind. `guards` are the answers that it
    branched on.
    """

    def __init__(self, where: Callable[[], str], name: Callable[[str], str]) -> None:
        self.where = where
        self.name = name
        self.reads: dict[str, tuple[Any, str] | None] = {}
        self.writes: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self.guards: list[tuple[str, bool]] = []
        self._leaves: dict[tuple[int, str], Number] = {}
        self._before: dict[tuple[int, str], Any] = {}

    def argument(self, name: str, value: float) -> Number:
        """The Number of a step's argument."""
        return self._leaf(name, value, None)

    def read(self, owner: Any, name: str, value: float) -> Number:
        """The Number that attribute `name` of `owner` holds."""
        key = id(owner), name
        if key in self.writes:
            return self.writes[key][2]
        if key not in self._leaves:
            self._leaves[key] = self._leaf(name, value, (owner, name))
        return self._leaves[key]

    def write(self, owner: Any, name: str, value: Any, before: Any) -> None:
        """From here on attribute `name` of `owner` holds `value`; it was `before`."""
        self._before.setdefault((id(owner), name), before)
        self.writes[id(owner), name] = owner, name, value

    def undo(self) -> None:
        """Set every attribute that was written back to what it was."""
        for key, (owner, name, _) in self.writes.items():
            owner.__dict__[f"_{name}"] = self._before[key]

    def branch(self, text: str, answer: bool) -> bool:
        """The step asked `text` and goes the way of `answer`."""
        if (text, answer) not in self.guards:
            self.guards.append((text, answer))
        return answer

    def _leaf(self, name: str, value: float, source: tuple[Any, str] | None) -> Number:
        unique = self.name(name)
        self.reads[unique] = source
        return Number(unique, value, self)


class Number:
    """A host number inside a trace: its value now, and the expression that gives it at every call."""

    __slots__ = ("ledger", "text", "value")

    def __init__(self, text: str, value: Any, ledger: Ledger) -> None:
        self.text = text
        self.value = value
        self.ledger = ledger

    def _join(self, sign: str, other: Any, compute: Any, swap: bool = False) -> Any:
        if not isinstance(other, int | float | Number):
            return NotImplemented
        mine, theirs = self.text, other.text if isinstance(other, Number) else _literal(other)
        left, right = (theirs, mine) if swap else (mine, theirs)
        value = other.value if isinstance(other, Number) else other
        return Number(f"({left} {sign} {right})", compute(value, self.value) if swap else compute(self.value, value),
                      self.ledger)

    def _ask(self, sign: str, other: Any, compute: Any) -> Any:
        answer = self._join(sign, other, compute)
        return answer if answer is NotImplemented else self.ledger.branch(answer.text, bool(answer.value))

    def __add__(self, other: Any) -> Any:
        return self._join("+", other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> Any:
        return self._join("+", other, lambda a, b: a + b, swap=True)

    def __sub__(self, other: Any) -> Any:
        return self._join("-", other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Any:
        return self._join("-", other, lambda a, b: a - b, swap=True)

    def __mul__(self, other: Any) -> Any:
        return self._join("*", other, lambda a, b: a * b)

    def __rmul__(self, other: Any) -> Any:
        return self._join("*", other, lambda a, b: a * b, swap=True)

    def __truediv__(self, other: Any) -> Any:
        return self._join("/", other, lambda a, b: a / b)

    def __rtruediv__(self, other: Any) -> Any:
        return self._join("/", other, lambda a, b: a / b, swap=True)

    def __floordiv__(self, other: Any) -> Any:
        return self._join("//", other, lambda a, b: a // b)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._join("//", other, lambda a, b: a // b, swap=True)

    def __mod__(self, other: Any) -> Any:
        return self._join("%", other, lambda a, b: a % b)

    def __rmod__(self, other: Any) -> Any:
        return self._join("%", other, lambda a, b: a % b, swap=True)

    def __pow__(self, other: Any) -> Any:
        return self._join("**", other, lambda a, b: a**b)

    def __rpow__(self, other: Any) -> Any:
        return self._join("**", other, lambda a, b: a**b, swap=True)

    def __neg__(self) -> Number:
        return Number(f"(-{self.text})", -self.value, self.ledger)

    def __pos__(self) -> Number:
        return self

    def __abs__(self) -> Number:
        return Number(f"abs({self.text})", abs(self.value), self.ledger)

    def __lt__(self, other: Any) -> Any:
        return self._ask("<", other, lambda a, b: a < b)

    def __le__(self, other: Any) -> Any:
        return self._ask("<=", other, lambda a, b: a <= b)

    def __gt__(self, other: Any) -> Any:
        return self._ask(">", other, lambda a, b: a > b)

    def __ge__(self, other: Any) -> Any:
        return self._ask(">=", other, lambda a, b: a >= b)

    def __eq__(self, other: Any) -> Any:
        return self._ask("==", other, lambda a, b: a == b)

    def __ne__(self, other: Any) -> Any:
        return self._ask("!=", other, lambda a, b: a != b)

    def __bool__(self) -> bool:
        return self.ledger.branch(f"bool({self.text})", bool(self.value))

    def _frozen(self, *_: Any, **__: Any) -> Any:
        raise GraphError(f"{self.ledger.where()}: the number {self.text} may change from step to step, and here it "
                         "becomes a constant: use arithmetic or comparisons on it, or compute it outside the step")

    __float__ = __int__ = __index__ = __round__ = __format__ = __array__ = __hash__ = _frozen

    def __repr__(self) -> str:
        return f"Number({self.text} = {self.value!r})"


def _literal(x: float) -> str:
    """A Python number as source; also one of NumPy's that is a float, whose name the source need not know."""
    if isinstance(x, float):
        return repr(float(x)) if math.isfinite(x) else f'float("{float(x)}")'
    return repr(int(x))


class HostNumber:
    """Descriptor of an attribute that holds a host number: `lr = HostNumber()` in the class body."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.slot = f"_{name}"

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        if owner is None:
            return self
        value = owner.__dict__[self.slot]
        ledger = trace.ledger
        return value if ledger is None else ledger.read(owner, self.name, value)

    def __set__(self, owner: Any, value: Any) -> None:
        if not isinstance(value, numbers.Real | Number):
            raise UsageError(f"{type(owner).__name__}.{self.name} = {value!r}: expected a number, as a compiled step "
                             "reads one there at every call")
        if trace.ledger is not None:
            trace.ledger.write(owner, self.name, value, owner.__dict__.get(self.slot))
        owner.__dict__[self.slot] = plain(value)


def plain(value: Any) -> Any:
    """A Number's value; anything else as it is."""
    return value.value if type(value) is Number else value


def cos(x: Any) -> Any:
    """cos x of a number, or of a Number."""
    return Number(f"math.cos({x.text})", math.cos(x.value), x.ledger) if type(x) is Number else math.cos(x)


def forbid(what: str) -> None:
    """Called where a Tensor's value leaves for Python: inside a trace that is an error, which names the line."""
    if trace.ledger is not None:
        raise GraphError(f"{trace.ledger.where()}: {what}, in a step that is being compiled: its program would keep "
                         "today's value for ever. Compute with tensors (mg.where instead of a branch), return the "
                         "tensor, or do this outside the step")
