"""Scalar formulas in Python become device functions in CUDA C++.

A formula of `scalar`, `scalar64` or `scalar_random` is a short function of numbers: assignments, arithmetic,
conditional expressions, casts, views of bits, calls of other formulas, a loop of fixed length. That is all that is
translated, from the function's own source; anything else is a TranslationError that names the line. So the
formula that Numba compiles for the CPU is the one that the GPU runs, and there is no second copy to forget.

A function is translated for given types of its arguments, as Numba does; the rules for types are NumPy's, but
stricter: two different types meet only in a comparison of floats, and a Python number takes the type of what it
meets. Signed integers wrap, as NumPy's do: in C++ that is undefined, so sums go through the unsigned type.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

__all__ = ["DOUBLE", "FLOAT", "ULONG", "Signature", "TranslationError", "Translator"]

FLOAT, DOUBLE, INT, LONG, ULONG, BOOL = "float", "double", "int", "long long", "unsigned long long", "bool"
_WEAK = "Python number"
_FLOATS, _INTEGERS = (FLOAT, DOUBLE), (INT, LONG, ULONG)

_TYPES: dict[Any, str] = {
    np.float32: FLOAT,
    np.float64: DOUBLE,
    np.int32: INT,
    np.int64: LONG,
    np.uint64: ULONG,
}
_UNSIGNED = {INT: "unsigned int", LONG: ULONG}
_VIEWS = {
    (FLOAT, INT): "__float_as_int",
    (INT, FLOAT): "__int_as_float",
    (DOUBLE, LONG): "__double_as_longlong",
    (LONG, DOUBLE): "__longlong_as_double",
}
# Functions of the CUDA library. In float32 only the one that IEEE 754 rounds correctly: the rest are formulas.
_LIBRARY: dict[tuple[Any, str], str] = {
    (abs, FLOAT): "fabsf",
    (abs, DOUBLE): "fabs",
    (np.sqrt, FLOAT): "sqrtf",
    **{(f, DOUBLE): f.__name__ for f in (np.sqrt, np.exp, np.log, np.log1p, np.tanh, math.erf, math.erfc)},
}
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_MAY_OVERFLOW = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.LShift: "<<"}
_INTEGER_OPERATORS = {**_MAY_OVERFLOW, ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^"}
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


class TranslationError(ValueError):
    """A formula uses what the translator does not know; the message names the function, the line and the words."""


@dataclass(frozen=True)
class Signature:
    """A translated function: its name in namespace `formula`, and the types of what it returns."""

    name: str
    results: tuple[str, ...]

    @property
    def type(self) -> str:
        """The C++ type of a call: the number's, or the struct `NAME_result` with members v0, v1, ..."""
        return self.results[0] if len(self.results) == 1 else f"{self.name}_result"


@dataclass(frozen=True)
class _Value:
    code: str
    type: str
    number: Any = None  # of a Python literal: it becomes code when its type is known


class Translator:
    """Collects device functions: `add` what is needed, then `source` has it and all that it calls."""

    def __init__(self) -> None:
        self._done: dict[tuple[Callable[..., Any], tuple[str, ...]], Signature] = {}
        self._owners: dict[tuple[str, tuple[str, ...]], Callable[..., Any]] = {}
        self._texts: list[str] = []

    def add(self, function: Callable[..., Any], types: Sequence[str]) -> Signature:
        """Translate `function` for arguments of these types, and what it calls; once."""
        key = (function, tuple(types))
        if key not in self._done:
            name = function.__name__.strip("_")
            owner = self._owners.setdefault((name, tuple(types)), function)
            if owner is not function:
                raise TranslationError(f"two formulas are called {name}{tuple(types)}")
            text, signature = _Function(self, function, tuple(types), name).translate()
            self._texts.append(text)
            self._done[key] = signature
        return self._done[key]

    def expression(self, text: str, types: dict[str, str], names: dict[str, Any]) -> tuple[str, str]:
        """A Python expression as C++ and its type: `types` are those of its variables, `names` what else it names.

        What it calls is translated as well, and is called in namespace `formula`.
        """
        node = ast.parse(text, mode="eval").body
        value = _Expression(self, text, 1, names, dict(types), "formula::").typed(node)
        return _bare(value.code), value.type

    @property
    def source(self) -> str:
        return "namespace formula {\n\n" + "\n".join(self._texts) + "\n}  // namespace formula\n"


class _Expression:
    """The translation of expressions over local variables, and names that stand for formulas and typed constants."""

    def __init__(self, translator: Translator, what: str, line: int, names: dict[str, Any], types: dict[str, str],
                 prefix: str = "") -> None:
        self.translator, self.what, self.line, self.names = translator, what, line, names
        self.locals = types
        self.prefix = prefix  # of the functions that are called

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        words = ast.unparse(node).splitlines()[0]
        line = getattr(node, "lineno", 0) + self.line - 1
        raise TranslationError(f"{self.what}, line {line}: {what} is not translated: {words}")

    def typed(self, node: ast.expr) -> _Value:
        """An expression that has a type of its own; a lone Python number is a double, or not to be had."""
        value = self.expression(node)
        if value.type != _WEAK:
            return value
        if isinstance(value.number, float):
            return _Value(_literal(value.number, DOUBLE), DOUBLE)
        self.refuse(node, "an integer without a type")

    def expression(self, node: ast.expr) -> _Value:
        method = getattr(self, f"on_{type(node).__name__}", None)
        if method is None:
            self.refuse(node, "this expression")
        return method(node)

    def on_Constant(self, node: ast.Constant) -> _Value:
        if type(node.value) not in (int, float):
            self.refuse(node, "this constant")
        return _Value("", _WEAK, node.value)

    def on_Name(self, node: ast.Name) -> _Value:
        if node.id in self.locals:
            return _Value(node.id, self.locals[node.id])
        value = self.names.get(node.id)
        if type(value) not in _TYPES:
            self.refuse(node, "a name that is neither local nor a typed constant")
        return _Value(_literal(value, _TYPES[type(value)]), _TYPES[type(value)])

    def on_UnaryOp(self, node: ast.UnaryOp) -> _Value:
        value = self.expression(node.operand)
        if not isinstance(node.op, ast.USub):
            self.refuse(node, "this operator")
        if value.type == _WEAK:
            return _Value("", _WEAK, -value.number)
        if value.type not in _FLOATS:
            self.refuse(node, f"the negative of a {value.type}")
        return _Value(f"(-{value.code})", value.type)

    def on_BinOp(self, node: ast.BinOp) -> _Value:
        left, right = self.expression(node.left), self.expression(node.right)
        if left.type == right.type == _WEAK:
            number = eval(compile(ast.Expression(node), "constant", "eval"), {})  # of literals, such as 2.0**-24
            return _Value("", _WEAK, number)
        left, right = self.alike(node, left, right)
        kind, operator = left.type, type(node.op)
        if operator in _ARITHMETIC and kind in _FLOATS:
            return _Value(f"({left.code} {_ARITHMETIC[operator]} {right.code})", kind)
        symbol = _INTEGER_OPERATORS.get(operator)
        if kind not in _INTEGERS or symbol is None:
            self.refuse(node, f"this operator on {kind}")
        if kind == ULONG or operator not in _MAY_OVERFLOW:
            return _Value(f"({left.code} {symbol} {right.code})", kind)
        wrap = f"({_UNSIGNED[kind]})"
        return _Value(f"({kind})({wrap}{left.code} {symbol} {wrap}{right.code})", kind)

    def alike(self, node: ast.expr, left: _Value, right: _Value) -> tuple[_Value, _Value]:
        """Both of one type: a Python number takes that of the other."""
        if left.type == _WEAK:
            left = self.as_type(node, left, right.type)
        if right.type == _WEAK:
            right = self.as_type(node, right, left.type)
        if left.type != right.type:
            self.refuse(node, f"{left.type} with {right.type}")
        return left, right

    def as_type(self, node: ast.expr, value: _Value, kind: str) -> _Value:
        if value.type == _WEAK:
            if isinstance(value.number, float) and kind not in _FLOATS:
                self.refuse(node, f"a Python float as {kind}")
            return _Value(_literal(value.number, kind), kind)
        return value if value.type == kind else _Value(f"({kind})({_bare(value.code)})", kind)

    def on_Compare(self, node: ast.Compare) -> _Value:
        if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
            self.refuse(node, "this comparison")
        left, right = self.expression(node.left), self.expression(node.comparators[0])
        if not (left.type in _FLOATS and right.type in _FLOATS):
            left, right = self.alike(node, left, right)
        return _Value(f"({left.code} {_COMPARISONS[type(node.ops[0])]} {right.code})", BOOL)

    def on_BoolOp(self, node: ast.BoolOp) -> _Value:
        values = [self.expression(operand) for operand in node.values]
        if any(value.type != BOOL for value in values):
            self.refuse(node, "a number as a condition")
        symbol = " && " if isinstance(node.op, ast.And) else " || "
        return _Value(f"({symbol.join(value.code for value in values)})", BOOL)

    def on_IfExp(self, node: ast.IfExp) -> _Value:
        condition = self.expression(node.test)
        if condition.type != BOOL:
            self.refuse(node, "a number as a condition")
        yes, no = self.alike(node, self.expression(node.body), self.expression(node.orelse))
        return _Value(f"({condition.code} ? {yes.code} : {no.code})", yes.type)

    def on_Call(self, node: ast.Call) -> _Value:
        if node.keywords:
            self.refuse(node, "a keyword argument")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "view":
            return self.view(node, node.func.value)
        callee = self.named(node.func)
        arguments = [self.expression(argument) for argument in node.args]
        if callee in _TYPES and len(arguments) == 1:
            return self.as_type(node, arguments[0], _TYPES[callee])
        types = [argument.type for argument in arguments]
        if len(types) == 1 and (callee, types[0]) in _LIBRARY:
            return _Value(f"::{_LIBRARY[callee, types[0]]}({_bare(arguments[0].code)})", types[0])
        if not inspect.isfunction(callee) or callee.__module__ == "math" or _WEAK in types:
            self.refuse(node, f"this call on {', '.join(types)}")
        signature = self.translator.add(callee, types)
        if len(signature.results) != 1:
            self.refuse(node, "a call that gives several numbers")
        called = f"{self.prefix}{signature.name}({', '.join(_bare(a.code) for a in arguments)})"
        return _Value(called, signature.results[0])

    def view(self, node: ast.Call, operand: ast.expr) -> _Value:
        value, kind = self.expression(operand), _TYPES.get(self.named(node.args[0]), "")
        if (value.type, kind) not in _VIEWS:
            self.refuse(node, f"this view of a {value.type}")
        return _Value(f"{_VIEWS[value.type, kind]}({_bare(value.code)})", kind)

    def named(self, node: ast.expr) -> Any:
        """What a name, or a module's name and an attribute, stands for where the formula was written."""
        if isinstance(node, ast.Name) and node.id not in self.locals:
            return self.names.get(node.id, abs if node.id == "abs" else None)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return getattr(self.names.get(node.value.id), node.attr, None)
        self.refuse(node, "this name")


class _Function(_Expression):
    """The translation of one function for one list of types."""

    def __init__(
        self, translator: Translator, function: Callable[..., Any], types: tuple[str, ...], name: str
    ) -> None:
        self.name = name
        self.tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(self.tree, ast.FunctionDef)
        parameters = [argument.arg for argument in self.tree.args.args]
        if len(parameters) != len(types):
            raise TranslationError(f"{function.__name__}: {len(parameters)} arguments, {len(types)} types")
        self.parameters = dict(zip(parameters, types, strict=True))
        super().__init__(translator, function.__name__, function.__code__.co_firstlineno, function.__globals__,
                         dict(self.parameters))
        self.lines: list[str] = []
        self.results: tuple[str, ...] = ()
        self.temporaries = 0

    def translate(self) -> tuple[str, Signature]:
        assert isinstance(self.tree, ast.FunctionDef)
        for statement in self.tree.body:
            if self.results:
                self.refuse(statement, "a statement after return")
            self.statement(statement, "    ")
        if not self.results:
            self.refuse(self.tree, "a function without return")
        signature = Signature(self.name, self.results)
        parameters = ", ".join(f"{kind} {name}" for name, kind in self.parameters.items())
        head = f"__device__ __forceinline__ {signature.type} {self.name}({parameters})\n{{\n"
        if len(self.results) > 1:
            members = " ".join(f"{kind} v{i};" for i, kind in enumerate(self.results))
            head = f"struct {signature.type} {{ {members} }};\n\n{head}"
        return head + "\n".join(self.lines) + "\n}\n", signature

    # --- statements ---

    def statement(self, node: ast.stmt, indent: str) -> None:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return  # a docstring
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self.assign(node.targets[0], node.value, indent)
        elif isinstance(node, ast.For):
            self.loop(node, indent)
        elif isinstance(node, ast.Return) and node.value is not None and indent == "    ":
            self.give_back(node.value, indent)
        else:
            self.refuse(node, "this statement")

    def assign(self, target: ast.expr, value: ast.expr, indent: str) -> None:
        if isinstance(target, ast.Name):
            self.store(target, self.typed(value), indent)
            return
        if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)):
            self.refuse(target, "this assignment")
        if len(target.elts) != len(value.elts):
            self.refuse(target, "an assignment of another length")
        # All values first: the names on the left may stand on the right.
        values = []
        for expression in value.elts:
            result = self.typed(expression)
            name = f"new{self.temporaries}"
            self.temporaries += 1
            self.lines.append(f"{indent}const {result.type} {name} = {_bare(result.code)};")
            values.append(_Value(name, result.type))
        for name_node, result in zip(target.elts, values, strict=True):
            self.store(name_node, result, indent)

    def store(self, target: ast.expr, value: _Value, indent: str) -> None:
        if not isinstance(target, ast.Name):
            self.refuse(target, "this target")
        known = self.locals.get(target.id)
        if known is not None and known != value.type:
            self.refuse(target, f"a {known} that becomes a {value.type}")
        self.locals[target.id] = value.type
        declared = "" if known else f"{value.type} "
        self.lines.append(f"{indent}{declared}{target.id} = {_bare(value.code)};")

    def loop(self, node: ast.For, indent: str) -> None:
        """for _ in range(10): the counter must not be used."""
        call = node.iter
        if not (
            isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"
            and len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and type(call.args[0].value) is int
            and isinstance(node.target, ast.Name) and node.target.id == "_" and not node.orelse
        ):  # fmt: skip
            self.refuse(node, "this loop")
        outside = dict(self.locals)
        self.lines.append(f"{indent}for (int round = 0; round < {call.args[0].value}; round++) {{")
        for statement in node.body:
            self.statement(statement, indent + "    ")
        self.lines.append(indent + "}")
        self.locals = outside  # what the loop declared ends with it, in C++

    def give_back(self, node: ast.expr, indent: str) -> None:
        values = [self.typed(e) for e in (node.elts if isinstance(node, ast.Tuple) else [node])]
        self.results = tuple(value.type for value in values)
        code = ", ".join(_bare(value.code) for value in values)
        self.lines.append(f"{indent}return {{{code}}};" if len(values) > 1 else f"{indent}return {code};")


def _bare(code: str) -> str:
    """Without the parentheses that enclose all of it."""
    if not code.startswith("("):
        return code
    depth = 0
    for i, letter in enumerate(code):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return code[1:-1] if i == len(code) - 1 else code
    return code


def _literal(number: Any, kind: str) -> str:
    """A number as C++ writes it, to the last bit; in parentheses where it begins with a sign."""
    if kind in _FLOATS:
        value = np.float32(number) if kind == FLOAT else np.float64(number)
        negative = bool(value < 0)
        if np.isfinite(value):
            text = f"{abs(value)!s}{'f' if kind == FLOAT else ''}"
        else:
            text = f"__int_as_float({'0x7fc00000' if np.isnan(value) else '0x7f800000'})"
    else:
        negative = bool(number < 0)
        text = {INT: "{}", LONG: "{}ll", ULONG: "0x{:x}ull"}[kind].format(abs(int(number)))
        if (kind, int(number)) == (INT, -(2**31)):
            return "(-2147483647 - 1)"  # C++ has no literal for it
    return f"(-{text})" if negative else text
