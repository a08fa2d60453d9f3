"""Runs a CUDA source on the CPU: compiled by the system's C++ compiler against `cuda_on_cpu.h`.

Only tests use it, so it lives with them. The interface is CuPy's: `Module(source).get_function(name)` is called
with grid, block and arguments, so one test body runs here and on a GPU. Arguments are NumPy arrays and NumPy
scalars of exactly the parameters' sizes. Arrays are copied between margins of set bits (NaN, for floats) and
copied back: a write into a margin is an error, and a read from one shows as NaN.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["EmulationError", "Module", "compiler"]

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing", "-w",
         "-fsanitize=alignment", "-fsanitize-undefined-trap-on-error")  # fmt: skip
MARGIN = 4096  # bytes on each side of an array; keeps its alignment
MOST_ARGUMENTS = 64

Dims = Sequence[int]


class EmulationError(RuntimeError):
    """The source does not compile, an argument does not fit, or the kernel did what a GPU leaves undefined."""


def compiler() -> str | None:
    """The C++ compiler of this machine, or None."""
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """One folder a process for what is compiled, the header first: it takes half the time of a short kernel.

    It goes when the process ends.
    """
    folder = tempfile.TemporaryDirectory(prefix="minigen-emulation-")
    header = Path(shutil.copy(HEADER, folder.name))
    flags = [flag for flag in FLAGS if flag != "-shared"]
    _run(compiler() or "c++", *flags, "-x", "c++-header", str(header), "-o", f"{header}.gch")
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EmulationError(done.stderr)


@functools.cache
def _compiled(source: str, defines: tuple[str, ...]) -> ctypes.CDLL:
    names = re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(", source)
    text = f"{source}\n" + "".join(f"EMULATED({name})\n" for name in names)
    folder = Path(_folder().name)
    stem = folder / hashlib.sha256(repr((text, defines)).encode()).hexdigest()[:16]
    stem.with_suffix(".cpp").write_text(text)
    _run(compiler() or "c++", *FLAGS, *(f"-D{define}" for define in defines), "-include", str(folder / HEADER.name),
         str(stem.with_suffix(".cpp")), "-o", str(stem.with_suffix(".so")), "-lm")
    return ctypes.CDLL(str(stem.with_suffix(".so")))


class Module:
    """A CUDA source with its macros (`NAME=value`), compiled once a process."""

    def __init__(self, source: str, defines: Sequence[str] = ()) -> None:
        self._library = _compiled(source.replace('extern "C"', ""), tuple(defines))

    @property
    def shared_bytes(self) -> int:
        """Bytes of shared memory that all kernels of the source declare."""
        function = self._library.emulated_shared_bytes
        function.restype = ctypes.c_size_t
        return int(function())

    def get_function(self, name: str, *, reverse: bool = False) -> Callable[[Dims, Dims, Sequence[Any]], None]:
        """The kernel, to be called with (grid, block, arguments); `reverse` runs a block's last thread first."""
        return functools.partial(_launch, self._library, name, reverse)


def _launch(library: ctypes.CDLL, name: str, reverse: bool, grid: Dims, block: Dims, arguments: Sequence[Any]) -> None:
    _require_sizes(library, name, arguments)
    guarded = [_Guarded(a) if isinstance(a, np.ndarray) else None for a in arguments]
    pairs = list(zip(guarded, arguments, strict=True))
    # A scalar's pointer points at its bytes, an array's at the address of its data.
    cells = [np.array(a if g is None else g.address, None if g is None else np.uint64) for g, a in pairs]
    pointers = (ctypes.c_void_p * max(len(cells), 1))(*(cell.ctypes.data for cell in cells))
    launch = getattr(library, f"launch_{name}")
    launch.restype = ctypes.c_char_p
    shape = (ctypes.c_uint * 6)(*_three(grid), *_three(block))
    message = launch(shape, pointers, int(reverse))
    if message is not None:
        raise EmulationError(f"{name}: {message.decode()}")
    for position, g in enumerate(guarded):
        if g is not None:
            g.bring_back(name, position)


def _three(dims: Dims) -> tuple[int, ...]:
    return (*dims, *(1,) * (3 - len(dims)))


def _require_sizes(library: ctypes.CDLL, name: str, arguments: Sequence[Any]) -> None:
    sizes = (ctypes.c_int * MOST_ARGUMENTS)()
    count = getattr(library, f"sizes_{name}")(sizes)
    given = [8 if isinstance(a, np.ndarray) else a.dtype.itemsize for a in arguments]
    if given != list(sizes[:count]):
        raise EmulationError(f"{name}: arguments of {list(sizes[:count])} bytes expected, got {given}")


class _Guarded:
    """A copy of an array's memory, C order or not, between two margins of set bits."""

    def __init__(self, array: np.ndarray) -> None:
        low, high = np.lib.array_utils.byte_bounds(array) if array.size else (array.ctypes.data,) * 2
        self.array, self.size = array, high - low
        raw = np.full(self.size + 2 * MARGIN + 16, 0xFF, np.uint8)
        start = -raw.ctypes.data % 16 + low % 16  # the same alignment as the caller's
        self.memory = raw[start : start + self.size + 2 * MARGIN]
        self.inside = slice(MARGIN, MARGIN + self.size)
        self.memory[self.inside] = (ctypes.c_uint8 * self.size).from_address(low)
        self.low = low
        self.address = self.memory.ctypes.data + MARGIN + (array.ctypes.data - low)

    def bring_back(self, name: str, position: int) -> None:
        outside = np.delete(self.memory, self.inside)
        if (outside != 0xFF).any():
            raise EmulationError(f"{name}: wrote outside argument {position}")
        if self.array.flags.writeable:
            ctypes.memmove(self.low, self.memory[self.inside].ctypes.data, self.size)
