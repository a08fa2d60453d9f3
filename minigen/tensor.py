"""Tensor: an array that remembers how it was made.

A Tensor holds an array (`data`), a flag (`requires_grad`), a gradient (`grad`), the node of the graph that made
it, and a version number that every in-place update moves. Its operators only call the operations of `ops/`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .backend import Array, as_array, device_of, is_array, require_device, to_device
from .errors import DeviceError, DTypeError, GraphError, ShapeError
from .host import forbid, trace

__all__ = ["Parameter", "Tensor", "TensorLike", "tensor"]


class Tensor:
    """An n-dimensional array in a differentiable computation. Make one with `minigen.tensor`."""

    __slots__ = ("__weakref__", "_node", "_version", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # so that `array * tensor` is Tensor's business, not NumPy's

    data: Array
    grad: Tensor | None
    requires_grad: bool
    _node: Any  # autograd.Node, or None for a leaf
    _version: list[int]  # one cell, shared by all tensors that look at the same memory

    def __init__(self, data: Array, requires_grad: bool = False) -> None:
        if isinstance(data, np.generic):
            data = np.asarray(data)
        elif type(data) is not np.ndarray and isinstance(data, np.ndarray) and not isinstance(data, np.ma.MaskedArray):
            data = data.view(np.ndarray)  # of a matrix or a memory map: kernels know the plain kind alone
        elif type(data) is not np.ndarray and (not is_array(data) or isinstance(data, np.ndarray)):
            raise DTypeError(f"a Tensor holds an array, got {type(data).__name__}: make one with mg.tensor(...)")
        if requires_grad and data.dtype.kind != "f":
            raise GraphError(f"requires_grad needs a float tensor, not {data.dtype}: gradients are real numbers")
        self.data = data
        self.requires_grad = requires_grad
        self.grad = None
        self._node = None
        self._version = [0]

    # What it is -------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
        return device_of(self.data)

    @property
    def version(self) -> int:
        """How often the memory behind this tensor was changed in place."""
        return self._version[0]

    @property
    def op(self) -> str | None:
        """The name of the operation that made this tensor, None for a leaf."""
        return self._node.op.name if self._node is not None else None

    @property
    def T(self) -> Tensor:
        return ops.transpose(self)

    def __len__(self) -> int:
        if not self.data.ndim:
            raise ShapeError("len() of a tensor of shape ()")
        return self.data.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        if trace.ledger is not None:
            return f"Tensor(of a step that is being compiled, shape={self.shape}, {self.dtype})"
        values = to_device(self.data, "cpu")
        text = np.array2string(values, precision=4, threshold=20, edgeitems=2, separator=", ", prefix="Tensor(")
        origin = f", op={self.op}" if self._node else ", requires_grad=True" if self.requires_grad else ""
        place = ", gpu" if self.device == "gpu" else ""
        return f"Tensor({text}, shape={self.shape}, {self.dtype}{place}{origin})"

    # Out to NumPy and Python ----------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The values as a read-only NumPy array that shares this tensor's memory; DeviceError on the gpu."""
        forbid("a Tensor is turned into a NumPy array")
        if self.device != "cpu":
            raise DeviceError("a tensor on the gpu has no NumPy array: copy it with .to('cpu').numpy(), "
                              "or read a single number with .item()")
        view = self.data.view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> float:
        """The only element, as a Python number."""
        forbid("a Tensor is turned into a Python number")
        if self.data.size != 1:
            raise ShapeError(f"a tensor of shape {self.shape} is not one number: reduce it first, or use .numpy()")
        return self.data.item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    # The graph --------------------------------------------------------------------------------------------

    def backward(self, cotangent: TensorLike | None = None, *, create_graph: bool = False,
                 retain_graph: bool | None = None) -> None:
        """Add d(self)/d(leaf), contracted with `cotangent`, to `.grad` of every leaf that requires it.

        See `minigen.autograd.backward`.
        """
        autograd.backward(self, cotangent, create_graph=create_graph, retain_graph=retain_graph)

    def retain_grad(self) -> Tensor:
        """Let `backward` keep this intermediate tensor's gradient in `.grad`, as it does for leaves."""
        if self._node is not None:
            self._node.retainer = weakref.ref(self)
        return self

    def detach(self) -> Tensor:
        """The same memory and version, outside the graph."""
        alias = Tensor(self.data)
        alias._version = self._version
        return alias

    def to(self, device: str) -> Tensor:
        """This tensor on `device`: itself when it is already there, else a copy, through which gradients flow."""
        return self if require_device(device) == self.device else ops.to_device(self, device=device)

    def move_(self, device: str) -> None:
        """Bring this leaf, with its gradient, to `device`, keeping its identity: what holds it need not know."""
        if self._node is not None:
            raise GraphError("a tensor that an operation made cannot move in place: use .to(device)")
        for t in (self, self.grad):
            if t is not None and t.device != device:
                t.data = to_device(t.data, device)
                t._version[0] += 1  # what looks at the memory that it had counts as changed with it
                t._version = t._version.copy()

    # In place ---------------------------------------------------------------------------------------------

    def copy_(self, value: TensorLike) -> Tensor:
        """self <- value, in place; `value` is broadcast to this tensor's shape."""
        ops.assign(self, value, key=...)
        return self

    def __setitem__(self, key: Any, value: TensorLike) -> None:
        ops.assign(self, value, key=_plain(key, self.device))

    def _changed(self, value: Tensor) -> Tensor:
        """What `p -= lr * g` leaves in p: a Parameter, or a leaf that requires grad, is itself changed, else p names a
        new tensor."""
        leaf = isinstance(self, Parameter) or self.requires_grad and self._node is None
        return self.copy_(value) if leaf else value

    def __iadd__(self, other: TensorLike) -> Tensor:
        return self._changed(self + other)

    def __isub__(self, other: TensorLike) -> Tensor:
        return self._changed(self - other)

    def __imul__(self, other: TensorLike) -> Tensor:
        return self._changed(self * other)

    def __itruediv__(self, other: TensorLike) -> Tensor:
        return self._changed(self / other)

    def __ipow__(self, exponent: TensorLike) -> Tensor:
        return self._changed(self**exponent)

    # Operators ----------------------------------------------------------------------------------------------

    def __add__(self, other: TensorLike) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return ops.add(other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return ops.sub(self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return ops.sub(other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return ops.mul(self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return ops.mul(other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return ops.div(self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return ops.div(other, self)

    def __pow__(self, exponent: TensorLike) -> Tensor:
        return ops.pow(self, exponent)

    def __rpow__(self, base: TensorLike) -> Tensor:
        return ops.pow(base, self)

    def __matmul__(self, other: TensorLike) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.neg(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __lt__(self, other: TensorLike) -> Tensor:  # type: ignore[misc]
        return ops.less(self, other)

    def __le__(self, other: TensorLike) -> Tensor:  # type: ignore[misc]
        return ops.less_equal(self, other)

    def __gt__(self, other: TensorLike) -> Tensor:  # type: ignore[misc]
        return ops.less(other, self)

    def __ge__(self, other: TensorLike) -> Tensor:  # type: ignore[misc]
        return ops.less_equal(other, self)

    def __eq__(self, other: Any) -> Any:
        return ops.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return ops.not_equal(self, other)

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> Tensor:
        return ops.index(self, key=_plain(key, self.device))

    # Methods ----------------------------------------------------------------------------------------------

    def astype(self, dtype: str | np.dtype) -> Tensor:
        return ops.astype(self, dtype=dtype)

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        return ops.reshape(self, shape=shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: int) -> Tensor:
        return ops.transpose(self, axes=axes or None)

    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        return ops.min(self, axis=axis, keepdims=keepdims)


def _plain(key: Any, device: str) -> Any:
    """A key with arrays of its own in place of tensors, arrays and lists: backward uses it again, unchanged by then."""
    if isinstance(key, tuple):
        return tuple(_plain(part, device) for part in key)
    if isinstance(key, list):
        return as_array(key, None if key else np.dtype(np.intp), device)
    if isinstance(key, Tensor):
        forbid("a Tensor is turned into a key, whose values are fixed (mg.take and mg.where take tensors)")
    array = key.data if isinstance(key, Tensor) else key
    return array.copy() if is_array(array) else key


TensorLike = Tensor | np.ndarray | float | int | bool


class Parameter(Tensor):
    """A leaf that a Module owns and an optimizer trains."""

    __slots__ = ()

    def __init__(self, data: Array, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)


def tensor(value: Any, requires_grad: bool = False, dtype: str | np.dtype | None = None,
           device: str | None = None) -> Tensor:
    """A leaf tensor with a copy of `value` on `device`, by default where `value` is: the cpu, unless it is on the gpu.

    Floats become float32 unless `dtype` says float64; integers and booleans keep their type. Raises DTypeError
    for what holds no numbers and DeviceError for a device that is not there.
    """
    if isinstance(value, Tensor):
        forbid("a Tensor is copied by mg.tensor, which nobody would see again (t.detach() shares its memory)")
        value = value.data
    if device is None:
        device = device_of(value) if is_array(value) else "cpu"
    return Tensor(as_array(value, dtype, device), requires_grad)


# The one import that points up: operators and backward are spelled out here and defined above.
from . import autograd, ops  # noqa: E402
