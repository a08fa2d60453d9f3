"""The formulas of `scalar` and `scalar64` on vectors: written in LLVM's vectors, several of them side by side.

A compiler that is given a loop around a formula makes vectors as well, but one at a time: a formula is a chain, each
step waits 3 to 4 cycles for the one before, and the processor looks ahead over three or four such chains, too few to
keep its units busy. Here every step is written for some vectors in a row, which takes a tenth to a fifth off exp, tanh
and sigmoid, and what is left of a row goes through a mask instead of number by number.

The formulas stay what they are: short functions of one number. This reads their source, as `cuda.translate` does for
the GPU, and writes an instruction where they have an operator.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from .emit import I64, Vectors, address_of, array_intrinsic
from .host import tile_for

__all__ = ["make_map"]

_CONTRACT = ("contract",)  # a * b + c may be one rounding, as in `jit.CONTRACT`
_FLOAT: dict[Any, str] = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INTEGER: dict[Any, str] = {ast.Add: "add", ast.Sub: "sub", ast.LShift: "shl", ast.RShift: "ashr", ast.BitAnd: "and_",
            ast.BitOr: "or_"}  # fmt: skip
_COMPARISONS: dict[Any, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=="}

Value = Any  # a typed constant of NumPy, or a list of LLVM vectors, one for each of those side by side


class _Writer:
    """Writes formulas for `count` vectors side by side."""

    def __init__(self, builder: ir.IRBuilder, simd: Vectors, count: int) -> None:
        self.builder, self.simd, self.count = builder, simd, count
        self.integer = ir.VectorType(ir.IntType(8 * simd.size), simd.width)

    def call(self, formula: Callable[..., Any], arguments: Sequence[Value]) -> Value:
        """What the formula returns for these arguments."""
        tree = ast.parse(textwrap.dedent(inspect.getsource(formula))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        known = dict(formula.__globals__)
        known.update(zip([a.arg for a in tree.args.args], arguments, strict=True))
        for statement in tree.body:
            if isinstance(statement, ast.Return) and statement.value is not None:
                return self.value(statement.value, known)
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                known[statement.targets[0].id] = self.value(statement.value, known)
            elif not isinstance(statement, ast.Expr):  # a docstring
                raise NotImplementedError(f"{formula.__name__}: {ast.unparse(statement)}")
        raise NotImplementedError(f"{formula.__name__}: no return")

    def value(self, node: ast.expr, known: dict[str, Any]) -> Value:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return known[node.id]
            case ast.UnaryOp(op=ast.USub()):
                return self.negative(self.value(node.operand, known))
            case ast.BinOp():
                return self.arithmetic(type(node.op), self.value(node.left, known), self.value(node.right, known))
            case ast.Compare(ops=[operator]):
                sign = _COMPARISONS[type(operator)]
                operands = self.value(node.left, known), self.value(node.comparators[0], known)
                return self.each(lambda x, y: self.builder.fcmp_ordered(sign, x, y), *operands)
            case ast.BoolOp(op=ast.Or()):
                first, *others = (self.value(operand, known) for operand in node.values)
                for other in others:
                    first = self.each(self.builder.or_, first, other)
                return first
            case ast.IfExp():
                parts = (self.value(part, known) for part in (node.test, node.body, node.orelse))
                return self.each(self.builder.select, *parts)
            case ast.Call(func=ast.Attribute(attr="view", value=operand)):
                kind = self.kind_of(self.value_of_name(node.args[0], known))
                return self.each(lambda x: self.builder.bitcast(x, kind), self.value(operand, known))
            case ast.Call():
                callee = self.value_of_name(node.func, known)
                return self.apply(callee, [self.value(argument, known) for argument in node.args])
        raise NotImplementedError(ast.unparse(node))

    def value_of_name(self, node: ast.expr, known: dict[str, Any]) -> Any:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return getattr(known[node.value.id], node.attr)
        assert isinstance(node, ast.Name)
        return abs if node.id == "abs" else known[node.id]

    def apply(self, callee: Any, arguments: list[Value]) -> Value:
        if callee is abs or callee is np.sqrt:
            return self.each(self.simd.absolute if callee is abs else self.simd.root, *arguments)
        if isinstance(callee, type) and not isinstance(arguments[0], list):
            return callee(arguments[0])
        if isinstance(callee, type):
            kind = self.kind_of(callee)
            return self.each(lambda x: x if x.type == kind else self.builder.sitofp(x, kind), *arguments)
        if inspect.isfunction(callee):
            return self.call(callee, arguments)
        raise NotImplementedError(f"a call of {callee}")

    def kind_of(self, number: Any) -> Any:
        return self.simd.type if issubclass(number, np.floating) else self.integer

    def negative(self, x: Value) -> Value:
        return self.each(self.builder.fneg, x) if isinstance(x, list) else -x

    def arithmetic(self, operator: Any, x: Value, y: Value) -> Value:
        vectors = x if isinstance(x, list) else y
        if vectors[0].type == self.simd.type:
            write = getattr(self.builder, _FLOAT[operator])
            return self.each(lambda a, b: write(a, b, flags=_CONTRACT), x, y)
        return self.each(getattr(self.builder, _INTEGER[operator]), x, y)

    def each(self, write: Callable[..., Any], *operands: Value) -> list[Any]:
        """One instruction for each of the vectors side by side."""
        return [write(*vectors) for vectors in zip(*map(self.spread, operands), strict=True)]

    def spread(self, x: Value) -> list[Any]:
        if isinstance(x, list):
            return x
        number = float(x) if isinstance(x, np.floating) else int(x)
        return [ir.Constant(self.kind_of(type(x)), [number] * self.simd.width)] * self.count


def make_map(
    name: str, formula: Callable[..., Any], dtype: np.dtype, abreast: int, twin: Callable[..., None]
) -> Callable[..., None]:
    """An intrinsic that does what `twin` does: out[i] = formula(...) for contiguous rows, its last argument `out`.

    The other arguments are rows as long, and numbers. `name` says what the formula is, `abreast` how many vectors go
    side by side.
    """
    width = tile_for(dtype).width

    def emit(context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], arguments: Sequence[Any]) -> None:
        simd = Vectors(builder, dtype, width)
        size = builder.extract_value(context.make_array(kinds[-1])(context, builder, arguments[-1]).shape, 0)
        sources: list[Any] = []
        for kind, argument in zip(kinds, arguments, strict=True):
            if hasattr(kind, "ndim"):
                sources.append(address_of(context, builder, kind, argument, I64(0))[0])
            else:
                number = builder.fptrunc(argument, simd.scalar) if simd.scalar != argument.type else argument
                sources.append([simd.splat(number)])
        *given, target = sources

        def block(at: Any, count: int, mask: Any) -> None:
            offsets = [builder.mul(builder.add(at, I64(v * width)), I64(simd.size)) for v in range(count)]
            values = [
                source * count if isinstance(source, list)
                else [simd.load(builder.add(source, offset), mask) for offset in offsets]
                for source in given
            ]  # fmt: skip
            for result, offset in zip(_Writer(builder, simd, count).call(formula, values), offsets, strict=True):
                simd.store(result, builder.add(target, offset), mask)

        many = _loop(builder, I64(0), size, abreast * width, lambda at: block(at, abreast, None))
        _loop(builder, many, builder.add(size, I64(width - 1)), width,
              lambda at: block(at, 1, simd.mask(builder.sub(size, at))))  # fmt: skip

    return array_intrinsic(f"map_{name}_{dtype}_{width}x{abreast}", twin, emit)


def _loop(builder: ir.IRBuilder, start: Any, end: Any, step: int, body: Callable[[Any], None]) -> Any:
    """body(at) for at = start, start + step ... as long as at + step <= end; returns where it ended."""
    entry = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(I64)
    at.add_incoming(start, entry)
    following = builder.add(at, I64(step))
    builder.cbranch(builder.icmp_signed("<=", following, end), inside, after)
    builder.position_at_end(inside)
    body(at)
    at.add_incoming(following, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return at
