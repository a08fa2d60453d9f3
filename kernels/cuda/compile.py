"""From a CUDA source to a module of kernels: reading, macros, compilation, and what a failure says.

`#include "x.cuh"` is resolved here, as text: whoever compiles - NVRTC, CuPy, a CPU's compiler - gets one file, and
a kernel that fails can be read as it was compiled. Nothing but `load` needs CuPy.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["EXACT", "FAST", "load", "options", "read"]

FOLDER = Path(__file__).parent

FAST = ("--fmad=true",)
"""a * b + c may be one rounding. Division and square root stay correctly rounded, subnormal numbers stay."""

EXACT = ("--fmad=false",)
"""Every operation rounded by itself: the same bits as on the CPU."""

_ALWAYS = ("--std=c++17", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
_INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)


@functools.cache
def read(path: str) -> str:
    """The text of a source, named relative to this folder, with its local includes in place.

    A second include of the same file is an error: it would define everything twice.
    """
    seen: set[str] = set()

    def expand(file: Path) -> str:
        if file.name in seen:
            raise ValueError(f"{path}: {file.name} is included twice")
        seen.add(file.name)
        return _INCLUDE.sub(lambda match: expand(file.parent / match[1]), file.read_text())

    return expand(FOLDER / path)


def options(defines: Sequence[str] = (), arithmetic: Sequence[str] = FAST) -> tuple[str, ...]:
    """What NVRTC is told; `defines` are macros, NAME=value."""
    return (*_ALWAYS, *arithmetic, *(f"-D{define}" for define in defines))


@functools.cache
def load(source: str, defines: tuple[str, ...] = (), arithmetic: tuple[str, ...] = FAST) -> Any:
    """The compiled module, once a process for each GPU source: `load(...).get_function(name)(grid, block, arguments)`.

    CuPy keeps what it compiles in its own cache on disk. Raises ImportError without CuPy, and CuPy's
    CompileException, with the compiler's words, for a source that does not compile.
    """
    import cupy

    module = cupy.RawModule(code=source, options=options(defines, arithmetic))
    # CuPy makes a new kernel object at every call of get_function, and looks its module up again for it.
    return SimpleNamespace(get_function=functools.cache(module.get_function))
