"""From a program to its source for the gpu: the same straight line, whose loops are kernels in CUDA C++.

All that moves from step to step reaches the kernels through memory: arguments in buffers, numbers in one small array
that the host fills. So the line of launches is the same every time, and can be recorded (see `graph`).
"""

from __future__ import annotations

import math
from typing import Any

from ..host import Number
from ..kernels.cuda.coefficients import BY_KERNEL
from ..kernels.cuda.translate import Translator
from .cuda_loops import PRELUDE, Kernel, write_kernels
from .emit import Emitted, Emitter, is_odd, numbers_in, tuple_of
from .ir import Instruction, Program, Value, read_values
from .passes.memory import Plan

__all__ = ["emit"]

_HEADER = '''"""{name}, compiled by minigen for the gpu: one training step as a straight line of launches.

{summary}

`bind` lays out memory and returns the step, which is called with the arguments. Before each step `host` computes the
numbers that the kernels read from memory; `step` is what the gpu does, recorded as a CUDA graph at its second run and
started as a whole from then on. A name is a value; what lies in the arena is overwritten by what comes after its last
use.
"""

import math

import numpy as np

from minigen.autograd import OPS
from minigen.kernels.cuda import coefficients, from_memory
from minigen.kernels.cuda.linear import matmul
from minigen.program.graph import Replayed, array, joined, launcher, ordered, scalar_of
'''

_UPDATES = {"adam": "adam", "adam_step": "adam", "rmsprop": "rmsprop", "rmsprop_step": "rmsprop", "ema": "ema",
            "ema_step": "ema", "sgd": "sgd", "sgd_step": "sgd"}
_ARRAYS = {"adam": 4, "rmsprop": 3, "ema": 2, "sgd": 2, "momentum": 3, "nesterov": 3}  # that a kernel takes


def emit(program: Program, plan: Plan) -> Emitted:
    """The source of `program`, placed on the gpu, with its memory as planned."""
    return DeviceEmitter(program, plan).emitted()


class DeviceEmitter(Emitter):
    """The text of a program for the gpu."""

    small = "matmul"

    def __init__(self, program: Program, plan: Plan) -> None:
        super().__init__(program, plan)
        self.translator = Translator()
        self.kernels: dict[str, str] = {}  # name by text
        self.slots: dict[str, int] = {}  # place in `numbers` by the expressions that stand there
        self.formats = ""  # of `numbers`: d for float64, Q for an unsigned word
        self.scratch = 0

    def emitted(self) -> Emitted:
        overwritten = {v.root for i in self.program.instructions for v in i.writes}
        for v in self.program.states():
            self._bind_state(v)
        self._bind_constants(overwritten)
        for v in self.program.arguments:
            self.bound.append(f'{v.name} = arena.buffer({v.shape}, "{v.dtype}")')
            self.named.add(v)
        for v, offset in sorted(self.plan.offsets.items(), key=lambda item: item[1]):
            self.bound.append(f'{v.name} = arena({offset}, {v.shape}, "{v.dtype}")')
            self.named.add(v)
        for i in self.program.instructions:
            self._instruction(i)
        return self._assembled()

    # Numbers --------------------------------------------------------------------------------------------------

    def _slot(self, text: str, kind: str) -> int:
        """The place in `numbers` of what the host computes by `text`, in one or more places of this kind."""
        key = f"{kind}: {text}"
        if key not in self.slots:
            self.slots[key] = len(self.formats)
            self.formats += kind
        return self.slots[key]

    def _text(self, x: Any) -> str:
        """A host number among an operation's settings is read back: that waits, and cannot be recorded."""
        return f"numbers[{self._slot(x.text, 'd')}].item()" if isinstance(x, Number) else super()._text(x)

    def _number(self, x: Number, dtype: Any) -> str:
        """A host number as an array without axes, for an operation that is no kernel of ours."""
        return f'scalar_of(numbers, {self._slot(x.text, "d")}, "{dtype}")'

    def _host_text(self, x: Any) -> str:
        return x.text if isinstance(x, Number) else f'float("{x}")' if is_odd(x) else repr(x)

    # Instructions ---------------------------------------------------------------------------------------------

    def _instruction(self, i: Instruction) -> None:
        if i.name != "loop":
            super()._instruction(i)
            return
        written = write_kernels(i.attrs["loop"], i.outputs, self.translator)
        self.scratch = max(self.scratch, written.scratch)
        name = ""
        for n, kernel in enumerate(written.kernels):
            ending = "" if n == 0 else "_end"
            if kernel.text.startswith("add_parts"):
                called = kernel.text
            else:
                called = self._kernel(kernel.text, f"{name}{ending}" if n else "")
                name = name or called
            self.body.append((self._launch(called, kernel), i))

    def _kernel(self, text: str, wish: str) -> str:
        if text not in self.kernels:
            taken = set(self.kernels.values())
            count = sum(not name.endswith("_end") for name in taken) + 1
            name = wish or f"loop_{count}"
            self.kernels[text] = f"{name}_{count}" if name in taken else name
        return self.kernels[text]

    def _launch(self, name: str, kernel: Kernel) -> str:
        given = [self._whole(v) for v in kernel.arrays]
        if kernel.scratch is not None:
            given.append("scratch" if kernel.scratch[0] == 0 else f"scratch[{kernel.scratch[0]}:]")
        given += [f"numbers[{self._slot(n.text, 'd')}:]" if isinstance(n, Number) else self._text(float(n))
                  for n in kernel.numbers]
        given += map(str, kernel.lengths)
        return f'launch("{name}", {kernel.grid}, {", ".join(given)})'

    def _whole(self, v: Value) -> str:
        """v as a kernel takes it, row by row."""
        name = self._text(v)
        return name if v in self.plan.fixed and v.ordered else f"ordered({name})"

    def _line(self, i: Instruction) -> str:
        if i.name in ("normal", "uniform") and i.output in self.plan.fixed:
            seed, draw = (self._host_text(i.attrs[name]) for name in ("seed", "draw"))
            start = self._slot(f"{seed}, {draw}", "QQ")
            return f"from_memory.{i.name}(numbers[{start}:], {self._text(i.output)})"
        if i.name in _UPDATES and not isinstance(i.attrs.get("momentum"), Number):
            return self._update(i)
        return super()._line(i)

    def _update(self, i: Instruction) -> str:
        kernel, attrs = _UPDATES[i.name], dict(i.attrs)
        if kernel == "sgd":
            nesterov = attrs.pop("nesterov")
            kernel = "sgd" if attrs["momentum"] == 0 else "nesterov" if nesterov else "momentum"
            if kernel == "sgd":
                del attrs["momentum"]
        settings = ", ".join(f"{name}={self._host_text(x)}" for name, x in attrs.items())
        count = len(BY_KERNEL[kernel](**{name: 0.5 if isinstance(x, Number) else x for name, x in attrs.items()} | (
            {"step": 1} if kernel == "adam" else {})))
        start = self._slot(f"*coefficients.{BY_KERNEL[kernel].__name__}({settings})", "d" * count)
        arrays = [self._whole(x) for x in i.inputs[:_ARRAYS[kernel]]]
        return f'from_memory.update("{kernel}", numbers[{start}:], [{", ".join(arrays)}])'

    def _view(self, i: Instruction) -> str:
        if i.name == "broadcast_to":
            return f'OPS["broadcast_to"].forward({self._text(i.inputs[0])}, shape={i.output.shape})'
        return super()._view(i)

    def _fallback(self, i: Instruction) -> str:
        dtype = i.output.dtype if i.outputs and i.output.dtype.kind == "f" else "float32"
        inputs = [self._number(x, dtype) if isinstance(x, Number) else self._text(x) for x in i.inputs]
        call = f'OPS["{i.name}"].forward({", ".join(inputs + ([self._attrs(i)] if i.attrs else []))})'
        if i.name in ("concatenate", "stack"):
            call = f"joined({', '.join(inputs)}, axis={i.attrs.get('axis', 0)}{', new=True' * (i.name == 'stack')})"
        return f'{i.output.name} = array({call}, "{i.output.dtype}")' if i.outputs else call

    # The text -------------------------------------------------------------------------------------------------

    def _assembled(self) -> Emitted:
        outputs = list(read_values((self.program.outputs, [v for _, v in self.program.gradients])))
        returned = [self._text(v) for v in outputs]
        moved = [self._host_text(value) for _, _, value in self.program.ledger.writes.values()]
        moved += [x.text for x in numbers_in(self.program.outputs)]
        numbers = [key.partition(": ")[2] for key in self.slots]
        arguments = [v.name for v in self.program.arguments]
        lines = _HEADER.format(name=self.program.name, summary=self._summary()).splitlines()
        lines += ["", *f'launch = launcher(r"""{self._source()}""")'.splitlines()] if self.kernels else []
        lines += ["", "", "def bind(arena, state, constant):"]
        lines += [f"    numbers = arena.buffer(({max(len(self.formats), 1)},), \"float64\")"]
        lines += [f"    scratch = arena.buffer(({self.scratch},), \"float64\")"] if self.scratch else []
        lines += [f"    {line}" for line in self.bound]
        lines += ["", f"    def host({', '.join(self.program.ledger.reads)}):",
                  f"        return ({tuple_of(numbers)}), ({tuple_of(moved)})", "", "    def step():"]
        of: dict[int, Instruction] = {}
        heading = None
        for text, i in self.body:
            if i is not None and (i.phase, i.site) != heading:
                heading = i.phase, i.site
                lines.append(f"        # {i.phase}, {i.site}")
            lines.append(f"        {text}{f'  # {i.says}' if i is not None and i.says else ''}")
            if i is not None:
                if of.get(len(lines) - 1) is i:
                    del of[len(lines) - 1]  # an instruction of several lines ends with its last
                of[len(lines)] = i
        lines += [f"        return ({tuple_of(returned)})", "",
                  f'    return Replayed(host, step, ({tuple_of(arguments)}), numbers, "{self.formats}")', ""]
        return Emitted("\n".join(lines), of, self.state, self.constants, outputs)

    def _source(self) -> str:
        """The CUDA C++ of all loops."""
        kernels = [text.replace("{name}", name) for text, name in self.kernels.items()]
        return "\n".join([self.translator.source, PRELUDE, *kernels])

    def _summary(self) -> str:
        arguments = ", ".join(f"{v.name} {v.dtype} {v.shape}" for v in self.program.arguments) or "none"
        arena = math.ceil(self.plan.size / 1024)
        return f"Arguments: {arguments}. {len(self.body)} launches or operations, an arena of {arena} KiB."
