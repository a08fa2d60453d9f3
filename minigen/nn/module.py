"""Module: a function with parameters. Its parameters, buffers and submodules are its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from ..backend import require_device, to_device
from ..errors import CheckpointError
from ..tensor import Parameter, Tensor

__all__ = ["Module"]


class Module:
    """The base of layers and models.

    An attribute that is a Parameter is trained, another Tensor is a buffer (saved, not trained), and a Module is a
    child; so are those in an attribute that is a list, a tuple or a dict. Subclasses define `forward`; `training`
    is true until `eval()`.
    """

    training = True

    def forward(self, x: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def attributes(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of all attributes; what a list, a tuple or a dict holds is named by position or key."""
        for name, value in vars(self).items():
            if isinstance(value, list | tuple):
                value = dict(enumerate(value))
            if isinstance(value, dict):
                yield from ((f"{name}.{key}", item) for key, item in value.items())
            else:
                yield name, value

    def children(self) -> dict[str, Module]:
        """The direct submodules by name."""
        return {name: value for name, value in self.attributes() if isinstance(value, Module)}

    def modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(name, module) of this module and all below it."""
        yield prefix, self
        for name, child in self.children().items():
            yield from child.modules(f"{prefix}.{name}" if prefix else name)

    def named_tensors(self) -> dict[str, Tensor]:
        """All parameters and buffers, here and below, by their dotted names."""
        return {f"{prefix}.{name}" if prefix else name: value
                for prefix, module in self.modules()
                for name, value in module.attributes() if isinstance(value, Tensor)}

    def named_parameters(self) -> dict[str, Parameter]:
        """All parameters, here and below, by their dotted names; one that two layers share under both."""
        return {name: t for name, t in self.named_tensors().items() if isinstance(t, Parameter)}

    def parameters(self) -> list[Parameter]:
        """Every parameter once, also one that two layers share."""
        return list({id(p): p for p in self.named_parameters().values()}.values())

    def state_dict(self) -> dict[str, np.ndarray]:
        """A NumPy copy of every parameter and buffer by name, whatever the device."""
        return {name: to_device(t.data, "cpu").copy() for name, t in self.named_tensors().items()}

    def load_state_dict(self, arrays: dict[str, np.ndarray]) -> None:
        """Overwrite parameters and buffers, where they are; CheckpointError if a name, shape or type does not fit."""
        own = self.named_tensors()
        if missing := sorted(own.keys() - arrays.keys()):
            raise CheckpointError(f"the saved state lacks {missing[0]!r} (and {len(missing) - 1} more): "
                                  "it belongs to another architecture")
        if extra := sorted(arrays.keys() - own.keys()):
            raise CheckpointError(f"the saved state holds {extra[0]!r} (and {len(extra) - 1} more), which this "
                                  "architecture does not have")
        for name, t in own.items():
            if arrays[name].shape != t.shape or arrays[name].dtype != t.dtype:
                raise CheckpointError(f"{name!r} is {arrays[name].shape} {arrays[name].dtype} in the saved state, "
                                      f"{t.shape} {t.dtype} in this architecture")
        for name, t in own.items():
            t.data[...] = to_device(arrays[name], t.device)
            t._version[0] += 1

    def to(self, device: str) -> Self:
        """Move every parameter, with its gradient, and every buffer to `device`, in place; returns self.

        An optimizer that was made before has its moments where the parameters were: move it too, with its `to`.
        """
        require_device(device)
        for t in self.named_tensors().values():
            t.move_(device)
        return self

    def train(self, on: bool = True) -> Self:
        """Set training mode (dropout and batch statistics on) here and below."""
        for _, module in self.modules():
            module.training = on
        return self

    def eval(self) -> Self:
        """Leave training mode here and below."""
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[Self]:
        """Evaluation mode inside the block, each module's own mode again after it."""
        before = [(module, module.training) for _, module in self.modules()]
        self.eval()
        try:
            yield self
        finally:
            for module, on in before:
                module.training = on

    @contextmanager
    def frozen(self) -> Iterator[Self]:
        """Inside the block the parameters are constants: gradients flow through them, none is computed for them."""
        thawed = [p for p in self.parameters() if p.requires_grad]
        for p in thawed:
            p.requires_grad = False
        try:
            yield self
        finally:
            for p in thawed:
                p.requires_grad = True

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def describe(self) -> str:
        """How this module is written; a layer names its sizes here."""
        return f"{type(self).__name__}()"

    def __repr__(self) -> str:
        return self.describe()

    def summary(self) -> str:
        """A table of all layers with their parameters; those that a module has beside its layers have rows too.

        A module is called not trained where none of its parameters requires grad, as of a weight average.
        """
        rows = [(name or "(all)", kind, count) for name, kind, count in self._rows()]
        wide, wider = max(len(name) for name, _, _ in rows), max(len(kind) for _, kind, _ in rows)
        lines = [f"{'name':<{wide}}  {'layer':<{wider}}  {'parameters':>10}"]
        lines += [f"{name:<{wide}}  {kind:<{wider}}  {count:>10,}" for name, kind, count in rows]
        return "\n".join(lines)

    def _rows(self, prefix: str = "", trained: bool = True) -> Iterator[tuple[str, str, int]]:
        """(name, what it is, how many parameters) of this module and of all that it is made of."""
        parameters, start = self.parameters(), f"{prefix}." if prefix else ""
        still = trained and bool(parameters) and not any(p.requires_grad for p in parameters)
        yield prefix, self.describe() + (", not trained" if still else ""), sum(p.size for p in parameters)
        for name, child in self.children().items():
            yield from child._rows(start + name, trained and not still)
        if self.children():
            for name, value in self.attributes():
                if isinstance(value, Parameter):
                    yield start + name, f"Parameter{value.shape}", value.size
