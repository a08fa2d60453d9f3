"""From a fused loop to its text for the gpu: a kernel in CUDA C++, its formulas translated from the ones of `scalar`.

A thread takes single elements of the loop's domain. Sums are made in three steps: in a thread, over the threads of a
block, and over the blocks by a second kernel, which goes on with what is computed from complete sums. Sums over all of
the domain and sums along its leading axes (the gradient of a bias) share the loop; others are `reductions`'.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..host import Number
from ..kernels import scalar, scalar64
from ..kernels.cuda import compile as cuda_compile
from ..kernels.cuda.launch import elementwise_launch
from ..kernels.cuda.reductions import MOST_COLUMNS
from ..kernels.cuda.translate import Translator
from .ir import Instruction, Value
from .loops import Operand, Writer

if TYPE_CHECKING:
    from .passes.fuse import Loop

__all__ = ["PRELUDE", "Kernel", "Written", "held_sums", "write_kernels"]

_C_TYPES = {"float32": "float", "float64": "double", "bool": "bool", "int8": "signed char", "uint8": "unsigned char",
            "int16": "short", "uint16": "unsigned short", "int32": "int", "uint32": "unsigned int",
            "int64": "long long", "uint64": "unsigned long long"}
_NAMES = {"np": np, "scalar": scalar, "scalar64": scalar64}  # what the terms of a loop call
_WIDTH = 32  # columns of a block, as in sums.cuh
_ROWS_A_PART, _PARTS = 64, 64  # as in `reductions.sum_cols`

PRELUDE = cuda_compile.read("sums.cuh") + """
// out[n] = the sums of n columns over `parts` blocks
template <class T>
__device__ __forceinline__ void add_parts(T *out, const double *part, long long parts, long long n)
{
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long j = (long long)blockIdx.x * blockDim.x + threadIdx.x; j < n; j += step) {
        double sum = 0;
        for (long long p = 0; p < parts; p++) sum += part[p * n + j];
        out[j] = (T)sum;
    }
}
extern "C" __global__ void add_parts_float32(float *out, const double *part, long long parts, long long n)
{
    add_parts(out, part, parts, n);
}
extern "C" __global__ void add_parts_float64(double *out, const double *part, long long parts, long long n)
{
    add_parts(out, part, parts, n);
}

// The sum of what each of `blocks` blocks has left, known to every thread.
__device__ __forceinline__ double over_blocks(const double *left, long long blocks, double *shared)
{
    double sum = 0;
    for (long long b = threadIdx.x; b < blocks; b += THREADS) sum += left[b];
    return of_all_threads<Add>(sum, shared);
}
"""


@dataclass
class Kernel:
    """One launch: the kernel's text without its name (`{name}` stands for it), its grid, and what it is given in order:
    arrays, then where it needs them a part of the scratch memory, numbers, and lengths."""

    text: str
    grid: tuple[int, int]
    arrays: list[Value]
    scratch: tuple[int, int] | None  # from, to, in float64
    numbers: list[Any]  # host Numbers and Python numbers
    lengths: list[int]


@dataclass
class Written:
    """A loop's launches, in order, and how much scratch memory they need, in float64."""

    kernels: list[Kernel]
    scratch: int


def held_sums(loop: Loop, outputs: list[Value]) -> set[Value]:
    """The sums of a loop that its kernels make."""
    writer = CudaWriter(loop, outputs, Translator())
    return {*writer.full, *writer.columns, *writer.plain}


def write_kernels(loop: Loop, outputs: list[Value], translator: Translator) -> Written:
    """The kernels of a loop that leaves `outputs`; their formulas go to the translator."""
    return CudaWriter(loop, outputs, translator).kernels()


class CudaWriter(Writer):
    """A loop's text in CUDA C++. Names that end in _ are the kernel's own: no value's name does."""

    def __init__(self, loop: Loop, outputs: list[Value], translator: Translator) -> None:
        super().__init__(loop, outputs)
        self.translator = translator
        count = len(self.groups)
        sums = {v: tuple(k for k, group in enumerate(self.groups) if self.spans[v][group[0]]) for v in self.late}
        self.full = [v for v, kept in sums.items() if not kept]
        self.plain = [v for v, kept in sums.items() if kept and len(kept) == count]  # a sum of one term
        trailing = [v for v, kept in sums.items() if 0 < len(kept) < count and kept == tuple(range(kept[0], count))]
        self.split = sums[trailing[0]][0] if trailing else 0  # the first axis of the columns
        self.columns = [v for v in trailing if sums[v][0] == self.split and v.size <= MOST_COLUMNS]

    # Sizes ----------------------------------------------------------------------------------------------------

    def _lengths(self, start: int = 0, stop: int | None = None) -> list[int]:
        return [self._length(k) for k in range(start, len(self.groups) if stop is None else stop)]

    def _grid(self) -> tuple[int, int]:
        if not self.columns:
            return elementwise_launch(math.prod(self._lengths())).grid[0], 1
        rows, columns = math.prod(self._lengths(0, self.split)), math.prod(self._lengths(self.split))
        return min(_PARTS, max(1, rows // _ROWS_A_PART)), -(-columns // _WIDTH)

    # Text -----------------------------------------------------------------------------------------------------

    def _element(self, v: Value) -> str:
        return f"{v.name}_"

    def _place(self, v: Value) -> str:
        """Where an array holds the element that a thread is at."""
        place = ""
        for axis in self.of[v].axes:
            place = f"({place}) * n{axis} + {_INDEX[axis]}" if "+" in place else (
                f"{place} * n{axis} + {_INDEX[axis]}" if place else _INDEX[axis])
        return f"{self._array(v)}[{place or '0'}]"

    def _parameter(self, o: Operand) -> str:
        kind = _C_TYPES[str(o.value.dtype)]
        made = o.value in self.outputs
        return f"{'' if made else 'const '}{kind} *__restrict__ {self._array(o.value)}"

    def _assigned(self, i: Instruction) -> list[str]:
        v = i.output
        return [f"const {_C_TYPES[str(v.dtype)]} {v.name} = {self._code(i)};{_said(i)}"]

    def _code(self, i: Instruction) -> str:
        """An instruction's term in C++."""
        types = {v.name: _C_TYPES[str(v.dtype)] for v in (m.output for m in self.loop.members)}
        types |= {f"{v.name}_": _C_TYPES[str(v.dtype)] for v in i.reads}
        term = self._term(i)
        types |= {name: _C_TYPES[dtype] for (_, dtype), name in self.constants.items()}
        code, kind = self.translator.expression(term, types, _NAMES)
        assert kind == _C_TYPES[str(i.output.dtype)], (term, kind, i.output)
        return code

    def _constant_lines(self, of: list[str]) -> list[str]:
        """The typed numbers of these lines; others, such as the exponent of a square, are forgotten."""
        said = set(re.findall(r"\bc\d+\b", "\n".join(of)))
        self.constants = {key: name for key, name in self.constants.items() if name in said}
        self.numbers = {name: number for name, number in self.numbers.items() if name in said}
        lines = []
        for (text, dtype), name in self.constants.items():
            kind = _C_TYPES[dtype]
            number = self.numbers.get(name)
            given = f"{'*' if isinstance(number, Number) else ''}{name}_" if name in self.numbers else text
            lines.append(f"const {kind} {name} = ({kind}){given};")
        return lines

    def _number_parameters(self) -> list[str]:
        return [f"const double *{name}_" if isinstance(number, Number) else f"double {name}_"
                for name, number in self.numbers.items()]

    def kernels(self) -> Written:
        grid = self._grid()
        blocks = grid[0] * grid[1]
        columns = math.prod(self._lengths(self.split))
        parted = self.columns if grid[0] > 1 else []
        scratch = len(self.full) * blocks + len(parted) * grid[0] * columns
        written = [self._main(grid, parted, scratch)]
        for n, v in enumerate(parted):
            start = len(self.full) * blocks + n * grid[0] * columns
            written.append(Kernel(f"add_parts_{v.dtype}", elementwise_launch(columns).grid[:2], [v],
                                  (start, start + grid[0] * columns), [], [grid[0], columns]))
        if self.full or self.loop.tail:
            written.append(self._end(blocks))
        return Written(written, scratch)

    def _main(self, grid: tuple[int, int], parted: list[Value], scratch: int) -> Kernel:
        body: list[str] = []
        late = {*self.full, *self.columns}
        for i in self.loop.body:
            if i.output in late:
                body.append(f"{i.output.name}_total_ += {self._code(i)};{_said(i)}")
                continue
            body += self._assigned(i)
            if i.output in self.of:
                body.append(f"{self._place(i.output)} = {i.output.name};")
        read = {v for i in self.loop.body for v in i.reads}
        tail = {i.output for i in self.loop.tail}
        arrays = [o for o in self.arrays if o.value in read - {m.output for m in self.loop.body}
                  or (o.value in self.outputs and o.value not in tail and o.value not in self.full)]
        loads = [f"const {_C_TYPES[str(o.value.dtype)]} {o.value.name}_ = {self._place(o.value)};"
                 for o in arrays if o.value not in self.outputs]
        totals = [f"{_C_TYPES[str(v.dtype)]} {v.name}_total_ = 0;" for v in (*self.columns, *self.full)]
        constants = self._constant_lines(body)
        passed = [o for o in arrays if o.value not in parted]
        parameters = [self._parameter(o) for o in passed]
        parameters += ["double *__restrict__ scratch_"] if scratch else []
        parameters += self._number_parameters() + [f"long long n{k}" for k in range(len(self.groups))]
        lines = [*self._shared(), *constants, *totals, *self._walk([*loads, *body]),
                 *self._sums(grid, parted)]
        text = _function(parameters, lines)
        return Kernel(text, grid, [o.value for o in passed], (0, scratch) if scratch else None,
                      list(self.numbers.values()), self._lengths())

    def _shared(self) -> list[str]:
        lines = [f"__shared__ {kind} shared_{kind}[WARPS];" for kind in dict.fromkeys(
            _C_TYPES[str(v.dtype)] for v in self.full)]
        return lines + [f"__shared__ {kind} part_{kind}[WARPS][WIDTH];" for kind in dict.fromkeys(
            _C_TYPES[str(v.dtype)] for v in self.columns)]

    def _walk(self, inner: list[str]) -> list[str]:
        """The loop over a thread's elements."""
        if not self.columns:
            count = " * ".join(f"n{k}" for k in range(len(self.groups))) or "1"
            head = ["for (long long at_ = (long long)blockIdx.x * blockDim.x + threadIdx.x;"
                    f" at_ < {count}; at_ += (long long)gridDim.x * blockDim.x) {{"]
            return head + [f"    {line}" for line in (*self._indices("at_", 0, len(self.groups)), *inner)] + ["}"]
        rows = " * ".join(f"n{k}" for k in range(self.split))
        columns = " * ".join(f"n{k}" for k in range(self.split, len(self.groups)))
        steps = [*self._indices("column_", self.split, len(self.groups)),
                 "for (long long row_ = blockIdx.x + (long long)(threadIdx.x / WIDTH) * gridDim.x;"
                 f" row_ < {rows}; row_ += (long long)WARPS * gridDim.x) {{",
                 *(f"    {line}" for line in (*self._indices("row_", 0, self.split), *inner)), "}"]
        return ["const long long column_ = (long long)blockIdx.y * WIDTH + threadIdx.x % WIDTH;",
                f"if (column_ < {columns}) {{", *(f"    {line}" for line in steps), "}"]

    def _indices(self, whole: str, start: int, stop: int) -> list[str]:
        """The place along each axis, from the one along all of them together.

        In 32 bits where it fits: a division is then some 16 instructions, in 64 bits some 100 (NVRTC 12.9, sm_90).
        """
        kind = "unsigned" if math.prod(self._lengths(start, stop)) < 2**32 else "long long"
        lines = []
        for axis in range(start, stop):
            inner = " * ".join(f"n{k}" for k in range(axis + 1, stop))
            place = f"({kind}){whole} / ({kind})({inner})" if inner else f"({kind}){whole}"
            if axis > start:
                place = f"({place}) % ({kind})n{axis}"
            lines.append(f"const {kind} {_INDEX[axis]} = {place};")
        return lines

    def _sums(self, grid: tuple[int, int], parted: list[Value]) -> list[str]:
        """What follows the loop: sums over the block's threads."""
        lines = []
        columns = " * ".join(f"n{k}" for k in range(self.split, len(self.groups)))
        full = f"{len(self.full)} * gridDim.x * gridDim.y"
        for v in self.columns:
            where = self._array(v)
            if v in parted:
                where = f"scratch_ + {full} + {parted.index(v)} * gridDim.x * {columns}"
            lines.append(f"add_columns({v.name}_total_, part_{_C_TYPES[str(v.dtype)]}, {where}, {columns});")
        for n, v in enumerate(self.full):
            shared = f"shared_{_C_TYPES[str(v.dtype)]}"
            lines += [f"{v.name}_total_ = of_all_threads<Add>({v.name}_total_, {shared});",
                      f"if (threadIdx.x == 0) scratch_[({n} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = "
                      f"{v.name}_total_;"]
        return lines

    def _end(self, blocks: int) -> Kernel:
        """The second kernel: sums over the blocks, and what is computed from them."""
        self.constants, self.numbers = {}, {}
        lines = []
        for n, v in enumerate(self.full):
            kind = _C_TYPES[str(v.dtype)]
            lines.append(f"const {kind} {v.name} = ({kind})over_blocks(scratch_ + {n} * blocks_, blocks_, shared_);")
        for i in self.loop.tail:
            lines += self._assigned(i)
        done = [*self.full, *(i.output for i in self.loop.tail)]
        read = {v for i in self.loop.tail for v in i.reads} - set(done)
        arrays = [o for o in self.arrays if o.value in read or o.value in done]
        loads = [f"const {_C_TYPES[str(o.value.dtype)]} {o.value.name}_ = {self._array(o.value)}[0];"
                 for o in arrays if o.value not in self.outputs]
        stores = [f"if (threadIdx.x == 0) {self._array(v)}[0] = {v.name};" for v in done if v in self.of]
        constants = self._constant_lines(lines)
        parameters = [self._parameter(o) for o in arrays] + ["const double *__restrict__ scratch_"]
        parameters += self._number_parameters() + ["long long blocks_"]
        shared = ["__shared__ double shared_[WARPS];"]
        text = _function(parameters, [*shared, *constants, *loads, *lines, *stores])
        return Kernel(text, (1, 1), [o.value for o in arrays], (0, len(self.full) * blocks),
                      list(self.numbers.values()), [blocks])


_INDEX = "ijklmnpq"


def _function(parameters: list[str], lines: list[str]) -> str:
    given = ",\n    ".join(parameters)
    body = "\n".join(f"    {line}" for line in lines)
    return f'extern "C" __global__ void {{name}}(\n    {given})\n{{\n{body}\n}}\n'


def _said(i: Instruction) -> str:
    return f"  // {i.says}".replace("\\", "/") if i.says else ""
