"""Automatic differentiation: operations, the graph they leave behind, and the backward pass.

An operation is a forward on arrays and a vector-Jacobian product (vjp) on Tensors:

    @op
    def mul(a, b):
        \"""y = a b,  dL/da = g b,  dL/db = g a\"""
        return a * b

    @mul.vjp
    def _(g, y, a, b):
        return lambda: g * b, lambda: g * a

`g` is the cotangent dL/dy. An operation with one differentiable input returns its gradient; one with several
returns a tuple with one function per input, called only for the inputs that need it, or None for an input that
has no gradient. Because a vjp is written in Tensors, its own gradient is known too: derivatives of any order.

Every operation, those of the backward pass and of the optimizers included, goes through `apply`.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from .backend import (
    DEFAULT_DTYPE,
    FLOATS,
    Array,
    after_freeing,
    as_array,
    device_of,
    is_array,
    require_one_device,
    retrying,
)
from .errors import DTypeError, GraphError, MinigenError, ShapeError, VersionError
from .host import Number, plain, trace
from .tensor import Tensor, TensorLike

__all__ = ["OPS", "Node", "Op", "apply", "backward", "grad", "hook", "no_grad", "op"]

Hook = Callable[["Op", tuple[Any, ...], dict[str, Any], Tensor], None]


class Op:
    """A differentiable operation, made by the decorator `op` and called like a function of Tensors."""

    def __init__(self, forward: Callable[..., Array], mutates: tuple[int, ...] = ()) -> None:
        self.name = forward.__name__
        self.forward = forward
        self.rule: Callable[..., Any] | None = None
        self.mutates = mutates
        self.__doc__ = forward.__doc__
        self.__name__ = forward.__name__
        self.__module__ = forward.__module__
        self.__signature__ = inspect.signature(forward)
        parameters = self.__signature__.parameters.values()
        self.arguments = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: `rule(g, y, *inputs, **attributes)` is this operation's vector-Jacobian product."""
        self.rule = rule
        return rule

    def __call__(self, *args: Any, **attrs: Any) -> Tensor:
        if self.variadic and len(args) == 1 and isinstance(args[0], list | tuple):
            args = tuple(args[0])  # concatenate([a, b]), as NumPy writes it
        return apply(self, args, attrs)

    def __repr__(self) -> str:
        return f"<op {self.name}{self.__signature__}>"


OPS: dict[str, Op] = {}


def op(forward: Callable[..., Array] | None = None, *, mutates: tuple[int, ...] = ()) -> Any:
    """Decorator: register a forward on arrays as an operation on Tensors.

    Positional parameters are its inputs, keyword-only parameters its attributes. `mutates` lists the inputs
    that it overwrites; without a vjp an operation is not differentiable.
    """
    if forward is None:
        return lambda function: op(function, mutates=mutates)
    operation = Op(forward, mutates)
    while operation.name in OPS:  # somebody's own tanh, beside the engine's, or a cell that runs again
        operation.name += "_"
    OPS[operation.name] = operation
    return operation


class Node:
    """One application of an operation in the graph: what its vjp needs, and the versions it saw.

    `sources` say where each input's cotangent goes: to the node that made the input, or to the input itself, a leaf;
    None for one that did not require grad at the time. What a block such as `Module.frozen()` made constant stays
    so, wherever the backward pass is run.
    """

    __slots__ = ("attrs", "inputs", "op", "output", "retainer", "sequence", "site", "sources", "versions")

    def __init__(self, operation: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], output: Tensor) -> None:
        self.op = operation
        self.inputs: tuple[Any, ...] | None = inputs
        self.attrs = attrs
        # The data, not the Tensor: a Tensor here would be a reference cycle, freed only by the collector.
        self.output = output.data
        self.sources: list[Node | Tensor | None] = []
        self.versions: list[tuple[list[int], int]] = []  # cells, of the output last, and what stood there
        for t in inputs:
            if isinstance(t, Tensor):
                self.versions.append((t._version, t._version[0]))
                self.sources.append((t._node or t) if t.requires_grad else None)
            else:
                self.sources.append(None)
        self.versions.append((output._version, output._version[0]))
        self.sequence = next(_sequence)
        self.retainer: Callable[[], Tensor | None] | None = None
        self.site: str | None = None


_sequence = itertools.count()


class _Mode(threading.local):
    """What this thread is doing: the only global state, changed by the context managers below."""

    recording = True
    hooks: tuple[Hook, ...] = ()
    node: Node | None = None  # the one that a backward pass is differentiating


mode = _Mode()


@contextmanager
def _recording(on: bool) -> Iterator[None]:
    before, mode.recording = mode.recording, on
    try:
        yield
    finally:
        mode.recording = before


def no_grad() -> Any:
    """Context manager and decorator: operations inside leave no graph."""
    return _recording(False)


@contextmanager
def hook(function: Hook) -> Iterator[None]:
    """Context manager: call `function(op, inputs, attrs, output)` after every operation of this thread."""
    before, mode.hooks = mode.hooks, (*mode.hooks, function)
    try:
        yield
    finally:
        mode.hooks = before


# Forward ------------------------------------------------------------------------------------------------------


def apply(operation: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
    """Run `operation` on tensors, arrays and Python numbers (which take the others' float type).

    An array is a constant and is not copied: to change it between the forward and the backward pass would go unseen.
    """
    arrays, inputs = [], args
    dtype = kind = None
    mixed = needs_grad = False
    hooks = mode.hooks
    for position, arg in enumerate(args):
        if isinstance(arg, Tensor):
            if arg.requires_grad:
                needs_grad = True
        elif type(arg) in _NUMBERS:
            arrays.append(arg)
            continue
        else:
            arg = _constant(operation, position, arg)
            inputs = (*inputs[:position], arg, *inputs[position + 1:])
            if not isinstance(arg, Tensor):
                arrays.append(plain(arg))
                continue
        array = arg.data
        arrays.append(array)
        if dtype is None:
            dtype, kind = array.dtype, type(array)
        elif array.dtype is not dtype or type(array) is not kind:
            mixed = True
    if mixed:
        dtype = _float_type(operation, inputs)
    elif dtype is None and args:
        arrays = [as_array(plain(number), DEFAULT_DTYPE) for number in args]
    if operation.mutates:
        _check_mutable(operation, inputs)
    values = {k: plain(v) for k, v in attrs.items()} if hooks else attrs
    try:
        data = operation.forward(*arrays, **values)
    except MinigenError:
        raise
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise _explain(operation, inputs, attrs, error) from error
    except MemoryError as error:
        data = after_freeing(error, partial(operation.forward, *arrays, **values), f"`{operation.name}`")

    if operation.mutates:
        for position in operation.mutates:
            inputs[position]._version[0] += 1
        output = inputs[operation.mutates[0]]
    else:
        output = _wrap(data, dtype, inputs, attrs)
        if needs_grad and mode.recording and operation.rule is not None and output.data.dtype.kind == "f":
            output.requires_grad = True
            output._node = Node(operation, inputs, attrs, output)
    for function in hooks:
        function(operation, inputs, attrs, output)
    return output


_NUMBERS = {float, int, bool}


def _wrap(data: Any, dtype: Any, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
    """A Tensor of an operation's result, sharing the version of what it views: of the attribute `dtype`, where
    there is one, else of the inputs' float type."""
    if type(data) is not np.ndarray and not is_array(data):
        data = np.asarray(data)
    if data.dtype is not dtype and data.dtype.kind == "f" and inputs and "dtype" not in attrs:
        data = data.astype(dtype if dtype is not None and dtype.kind == "f" else DEFAULT_DTYPE, copy=False)
    output = Tensor.__new__(Tensor)
    output.data = data
    output.requires_grad = False
    output.grad = output._node = None
    base = data.base
    output._version = [0]
    for t in inputs:
        if isinstance(t, Tensor) and (t.data is data or (base is not None and (base is t.data or base is t.data.base))):
            output._version = t._version
    return output


def _constant(operation: Op, position: int, value: Any) -> Any:
    """An argument that is no Tensor: an array becomes one, a NumPy scalar a Python number."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Number):
        return value
    if isinstance(value, list | tuple) or is_array(value):
        if _holds_tensors(value):
            raise DTypeError(f"{operation.name}: {_argument(operation, position)} is a {type(value).__name__} of "
                             "Tensors, through which no gradient would flow: join them with mg.stack or mg.concatenate")
        with contextlib.suppress(ValueError):  # a list of lists of different lengths
            array = value if is_array(value) else np.asarray(value)
            if array.dtype.kind in "iub" or array.dtype in FLOATS:
                return Tensor(array if is_array(value) else as_array(value))
    of = f" of {value.dtype}: a tensor holds float32, float64, integers or booleans" if is_array(value) else ""
    raise DTypeError(f"{operation.name}: {_argument(operation, position)} must be a Tensor, an array or a number, "
                     f"got {type(value).__name__}{of}")


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or isinstance(value, list | tuple) and any(map(_holds_tensors, value))


def _float_type(operation: Op, inputs: tuple[Any, ...]) -> Any:
    """The one float type among the inputs; integers and booleans adapt to it, two float types are an error."""
    tensors = [t for t in inputs if isinstance(t, Tensor)]
    require_one_device(operation.name, {device_of(t.data) for t in tensors})
    floats = {t.data.dtype for t in tensors if t.data.dtype.kind == "f"}
    if len(floats) > 1:
        raise DTypeError(
            f"{operation.name}: got {_describe(operation, inputs)}; mixed float types are not converted silently: "
            "use .astype('float32') or .astype('float64') on one of them"
        )
    return floats.pop() if floats else None


def _check_mutable(operation: Op, inputs: tuple[Any, ...]) -> None:
    for position in operation.mutates:
        target = inputs[position]
        if not isinstance(target, Tensor):
            raise DTypeError(f"{operation.name}: {_argument(operation, position)} is changed in place: pass a Tensor")
        if mode.recording and target.requires_grad:
            what = "is part of a graph" if target._node else "requires grad"
            raise GraphError(
                f"{operation.name}: {_argument(operation, position)} {what}, and an in-place change has no gradient: "
                "do it inside mg.no_grad(), or compute a new tensor"
            )


def _argument(operation: Op, position: int) -> str:
    names = operation.arguments
    return f"argument {names[position]!r}" if position < len(names) else f"argument {position}"


def _describe(operation: Op, inputs: tuple[Any, ...]) -> str:
    def one(value: Any) -> str:
        return f"{value.shape} {value.dtype}" if isinstance(value, Tensor) else repr(value)

    names = [*operation.arguments, *(f"input {i}" for i in range(len(operation.arguments), len(inputs)))]
    return ", ".join(f"{name}: {one(value)}" for name, value in zip(names, inputs, strict=False))


def _explain(operation: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], error: Exception) -> MinigenError:
    """The array library's error, with the operation and everything it was given."""
    wanted = operation.arguments
    if len(inputs) != len(wanted) and not operation.variadic:
        inputs_of = f"{len(wanted)} input{'s' * (len(wanted) != 1)} ({', '.join(wanted)})"
        hint = "; settings are given by name, such as axis=1" if len(inputs) > len(wanted) else ""
        return GraphError(f"{operation.name} takes {inputs_of}, got {len(inputs)}{hint}")
    given = [_describe(operation, inputs), *(f"{name}={value!r}" for name, value in attrs.items())]
    numbers = isinstance(error, AttributeError) and not all(isinstance(value, Tensor) for value in inputs)
    what = "a number where a tensor is expected" if numbers else error
    kind = DTypeError if isinstance(error, TypeError | AttributeError) else ShapeError
    return kind(f"{operation.name}({', '.join(filter(None, given))}): {what}")


# Backward -----------------------------------------------------------------------------------------------------


def backward(output: Tensor, cotangent: TensorLike | None = None, *, create_graph: bool = False,
             retain_graph: bool | None = None) -> None:
    """Add dL/dt to `t.grad` of every leaf `t` that requires it, where dL/d(output) = `cotangent`.

    Reverse-mode accumulation (Griewank & Walther 2008, section 3.2): each node's cotangent is complete before
    the node is visited, because nodes are visited in the reverse order of their making. `cotangent` may be left
    out for an output of one element. The graph is freed unless `retain_graph` (which follows `create_graph`).

    Raises GraphError where there is no graph, or where it has been freed; VersionError where a value that the
    graph needs was changed in place; ShapeError for a cotangent of another shape.
    """
    nodes = _reachable(output)
    targets = _collectors(output, nodes)
    gradients = _gradients(output, nodes, targets, cotangent, create_graph, retain_graph)
    for t, g in zip(targets, gradients, strict=True):
        if g is not None:
            t.grad = g if t.grad is None else t.grad + g


def grad(output: Tensor, inputs: Sequence[Tensor], cotangent: TensorLike | None = None, *,
         create_graph: bool = False, retain_graph: bool | None = None, allow_unused: bool = False) -> list[Tensor]:
    """[dL/dt for t in inputs], where dL/d(output) = `cotangent`; no `.grad` is touched.

    Only what lies between `inputs` and `output` is computed. `create_graph` makes the results differentiable.
    An input on which `output` does not depend is a GraphError, or zero with `allow_unused`.
    """
    if isinstance(inputs, Tensor):
        raise GraphError("grad: inputs is one tensor: expected a list of them, [x]")
    inputs = list(inputs)
    for position, t in enumerate(inputs):
        _require_tensor(f"grad: inputs[{position}]", t)
    gradients = _gradients(output, _reachable(output), inputs, cotangent, create_graph, retain_graph)
    for position, g in enumerate(gradients):
        if g is None:
            t = inputs[position]
            if not allow_unused:
                raise GraphError(f"inputs[{position}] of shape {t.shape} does not influence the output: check that it "
                                 "requires grad and was used, or pass allow_unused=True for a zero gradient")
            gradients[position] = _unseen("full_like", t, value=0.0)
    return gradients  # type: ignore[return-value]


def _gradients(output: Tensor, nodes: list[Node], targets: list[Tensor], cotangent: TensorLike | None,
               create_graph: bool, retain_graph: bool | None) -> list[Tensor | None]:
    """The gradient of each target, None for one that the output does not depend on."""
    seed = _seed(output, cotangent)
    wanted = {_source(t) for t in targets}
    nodes, useful = _between(nodes, wanted)
    cotangents = {_source(output): seed}
    retain = create_graph if retain_graph is None else retain_graph
    with _recording(create_graph):
        try:
            for node in reversed(nodes):
                mode.node = node
                g = cotangents.get(node) if node in wanted else cotangents.pop(node, None)
                if g is not None:  # else every way from the output to here passes through an input without gradient
                    _propagate(node, g, useful, cotangents)
                if not retain:
                    node.inputs = node.output = None
                    node.sources = []
        finally:
            mode.node = None
    found = [cotangents.get(_source(t)) for t in targets]
    return found if create_graph else _unshare(found, seed)


def _unseen(name: str, t: Tensor, **attrs: Any) -> Tensor:
    """An operation that nobody called: only the trace of a step, which must know every array, gets to see it."""
    if trace.ledger is not None:
        return OPS[name](t, **attrs)
    return Tensor(retrying(lambda: OPS[name].forward(t.data, **attrs), "a gradient"))


def _source(tensor: Tensor) -> Node | Tensor:
    """What a tensor's cotangent belongs to: the node that made it, or itself for a leaf."""
    return tensor._node or tensor


def _seed(output: Tensor, cotangent: TensorLike | None) -> Tensor:
    """dL/d(output) as a Tensor: `cotangent`, or one for an output of one element."""
    if not output.requires_grad:
        raise GraphError("this tensor has no graph: nothing it was computed from requires grad, "
                         "or it was computed inside mg.no_grad(), or in a compiled step, or detached")
    if cotangent is None:
        if output.size != 1:
            raise ShapeError(f"backward from a tensor of shape {output.shape} needs a cotangent of that shape; "
                             "reduce the tensor to one number, for example with .sum(), or pass one")
        return _unseen("full_like", output, value=1.0)
    seed = _cotangent(output, cotangent)
    if seed.shape != output.shape or seed.dtype != output.dtype:
        raise ShapeError(f"the cotangent is {seed.shape} {seed.dtype}, the output {output.shape} {output.dtype}: "
                         "they must be alike")
    return seed


def _cotangent(output: Tensor, cotangent: TensorLike) -> Tensor:
    """A cotangent as a Tensor, where an array or a Tensor must be on the output's device."""
    given = cotangent.data if isinstance(cotangent, Tensor) else cotangent
    if is_array(given):
        require_one_device("the output and its cotangent", {output.device, device_of(given)})
    return cotangent if isinstance(cotangent, Tensor) else Tensor(as_array(given, output.dtype, output.device))


def _require_tensor(what: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise DTypeError(f"{what} must be a Tensor, got {type(value).__name__}")


def _reachable(output: Tensor) -> list[Node]:
    """All nodes below `output`, in the order of their making (which is a topological order)."""
    _require_tensor("the output that a gradient is of", output)
    nodes = [output._node] if output._node is not None else []
    seen = set(nodes)
    for node in nodes:  # which grow meanwhile
        if node.inputs is None:
            raise GraphError(f"the graph of `{node.op.name}` was freed by an earlier backward pass: "
                             "pass retain_graph=True there to go through it twice")
        for source in node.sources:
            if isinstance(source, Node) and source not in seen:
                seen.add(source)
                nodes.append(source)
    nodes.sort(key=attrgetter("sequence"))
    return nodes


def _collectors(output: Tensor, nodes: list[Node]) -> list[Tensor]:
    """The tensors whose `.grad` a backward pass fills: the leaves, and what called retain_grad()."""
    leaves = dict.fromkeys(source for node in nodes for source in node.sources if isinstance(source, Tensor))
    retained = [t for node in nodes if node.retainer is not None and (t := node.retainer()) is not None]
    return [*leaves, *retained] if nodes else [output]


def _between(nodes: list[Node], wanted: set[Node | Tensor]) -> tuple[list[Node], set[Node | Tensor]]:
    """The nodes on a path from a wanted tensor, and all that is on such a path."""
    useful = set(wanted)
    path = []
    for node in nodes:
        if not useful.isdisjoint(node.sources):
            useful.add(node)
            path.append(node)
    return path, useful


def _propagate(node: Node, g: Tensor, useful: set[Node | Tensor], cotangents: dict[Node | Tensor, Tensor]) -> None:
    """Add the gradient of each input on a useful path, where the node's cotangent is `g`, to its source's cotangent."""
    inputs = node.inputs
    assert inputs is not None and node.op.rule is not None
    for position, (cell, version) in enumerate(node.versions):
        if cell[0] != version:
            raise _changed(node, position)
    y = Tensor.__new__(Tensor)
    y.data, y.requires_grad, y.grad, y._node, y._version = node.output, True, None, node, cell  # the last cell
    results = node.op.rule(g, y, *inputs, **node.attrs)
    alone = isinstance(results, Tensor)
    if not alone and len(results) != len(inputs):
        raise GraphError(f"the vjp of `{node.op.name}` gives {len(results)} gradients for {len(inputs)} inputs")
    for t, source, result in zip(inputs, node.sources, (results,) if alone else results, strict=not alone):
        if result is not None and source in useful:
            gradient = result if alone else result()
            if gradient.data.shape != t.data.shape or gradient.data.dtype is not t.data.dtype:
                gradient = _fit(node, t, gradient)
            before = cotangents.get(source)
            cotangents[source] = gradient if before is None else before + gradient


def _changed(node: Node, position: int) -> VersionError:
    what = "its output" if position == len(node.versions) - 1 else f"its tensor input {position}"
    return VersionError(f"`{node.op.name}` cannot be differentiated: {what} was changed in place after the forward "
                        "pass; make the change after backward, or on a copy")


def _fit(node: Node, t: Tensor, g: Tensor) -> Tensor:
    """The gradient in the shape and type of its input: broadcasting undone, the float type cast back."""
    if g.data.shape != t.data.shape:
        if g.data.ndim < t.data.ndim:
            raise GraphError(f"the vjp of `{node.op.name}` gives a gradient of shape {g.shape} "
                             f"for an input of shape {t.shape}")
        g = OPS["sum_to"](g, shape=t.data.shape)
    if g.data.dtype is not t.data.dtype and g.dtype != t.dtype:
        g = OPS["astype"](g, dtype=t.dtype)
    return g


def _unshare(gradients: list[Tensor | None], seed: Tensor) -> list[Tensor | None]:
    """Each gradient with memory of its own: to change one in place must never change another."""
    taken = {id(seed.data)}
    own: list[Tensor | None] = []
    for g in gradients:
        if g is not None and (g.data.base is not None or id(g.data) in taken):
            g = _unseen("astype", g, dtype=g.dtype)
        if g is not None:
            taken.add(id(g.data))
        own.append(g)
    return own
