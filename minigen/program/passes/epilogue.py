"""Epilogues of matrix products: bias, activation and the sum of two gradients, while the product is in the cache."""

from __future__ import annotations

from ...host import Number
from ..ir import Instruction, Program, Value

__all__ = ["accumulate_products", "activate_products", "plain_products"]

_ACTIVATIONS = {"leaky_relu", "tanh", "sigmoid", "gelu", "softplus"}


def plain_products(program: Program) -> None:
    """Write every product by a matrix as one instruction, "product", with an optional bias.

    attrs: activation, slope, accumulate. Inputs: left, right, then bias, then what is accumulated into. What has more
    than two axes on the left is read as its rows, and so is the result.
    """
    for i in program.instructions:
        if i.name not in ("dense", "matmul") or len({v.dtype for v in i.reads}) > 1 or not i.output.size:
            continue
        left, right = i.inputs[:2]
        if len(right.shape) == 2 and (i.name == "dense" or len(left.shape) > 1) and right.dtype.kind == "f":
            i.attrs = {"activation": None, "slope": 0.0, "bias": i.name == "dense", "accumulate": False}
            i.op = "product"


def activate_products(program: Program) -> None:
    """y = f(X W + b) in one instruction, where nobody else needs X W + b.

    The derivative of leaky_relu asks whether its input is positive; with a slope of 0 or more its output says the
    same, so the input need not be kept.
    """
    for n, i in enumerate(program.instructions):
        if i.name == "leaky_relu" and not isinstance(i.attrs["slope"], Number) and i.attrs["slope"] >= 0:
            for user in program.instructions[n:]:
                if user.name == "gate" and user.inputs[1] is i.inputs[0]:
                    user.inputs = (user.inputs[0], i.output)
    maker = {v: i for i in program.instructions for v in i.outputs}
    for i in list(program.instructions):
        if i.name not in _ACTIVATIONS or isinstance(i.attrs.get("slope"), Number):
            continue
        product = maker.get(i.inputs[0])
        if product is None or product.name != "product" or product.attrs["activation"] is not None:
            continue
        if len(_users(program, product.output)) == 1 and product.output not in program.results():
            product.attrs = {**product.attrs, "activation": i.name, "slope": i.attrs.get("slope", 0.0)}
            product.says += f", then {i.says}"
            product.outputs = i.outputs
            program.instructions.remove(i)


def accumulate_products(program: Program) -> None:
    """c + A B, where c is needed nowhere else, is computed into the memory of c."""
    maker = {v: i for i in program.instructions for v in i.outputs}
    for i in list(program.instructions):
        if i.name != "add" or len(i.reads) != 2 or i.inputs[0] is i.inputs[1]:
            continue
        first, second = sorted(i.reads, key=lambda v: program.instructions.index(maker[v]) if v in maker else -1)
        product = maker.get(second)
        if (product is None or product.name != "product" or product.attrs["activation"] or product.attrs["accumulate"]
                or not _is_own(program, first, maker) or not _is_own(program, second, maker)
                or first.shape != i.output.shape or second.shape != i.output.shape or first.dtype != i.output.dtype):
            continue
        product.attrs = {**product.attrs, "accumulate": True}
        product.inputs = (*product.inputs, first)
        product.says += ", added to the other gradient"
        product.outputs = i.outputs
        i.output.base = first
        maker[i.output] = product
        program.instructions.remove(i)


def _is_own(program: Program, v: Value, maker: dict[Value, Instruction]) -> bool:
    """Whether v is a result with memory of its own that is read once and does not leave."""
    return (v.kind == "result" and v.base is None and v in maker and maker[v].name == "product"
            and len(_users(program, v)) == 1 and v not in program.results())


def _users(program: Program, v: Value) -> list[Instruction]:
    return [i for i in program.instructions for x in i.reads if x is v] + [
        i for i in program.instructions for x in i.outputs if x.base is v]
