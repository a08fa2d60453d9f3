"""NVRTC through ctypes: compiles a CUDA source to machine code of a GPU that need not be there.

The library comes from the PyPI wheel `nvidia-cuda-nvrtc-cu12`; it needs no driver. Asking for a real architecture
(`sm_80`, not `compute_80`) runs the assembler too, which is what checks inline PTX.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["CompilationError", "compile_source", "compile_to_ptx", "library", "supported"]


class CompilationError(RuntimeError):
    """The source does not compile; the message is the compiler's."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The wheel's library, or None where the wheel is not installed."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for pattern in ("libnvrtc.so.*", "nvrtc64_*.dll"):
            for path in sorted(Path(folder).glob(f"cuda_nvrtc/*/{pattern}")):
                if ".alt." not in path.name:
                    return ctypes.CDLL(os.fspath(path))
    return None


@functools.cache
def supported() -> frozenset[int]:
    """The architectures that this NVRTC knows: 70 for compute capability 7.0."""
    lib = library()
    if lib is None:
        return frozenset()
    count = ctypes.c_int()
    lib.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    archs = (ctypes.c_int * count.value)()
    lib.nvrtcGetSupportedArchs(archs)
    return frozenset(archs)


def compile_source(source: str, options: Sequence[str], capability: tuple[int, int]) -> tuple[bytes, str]:
    """The machine code and the compiler's remarks. Raises CompilationError with the compiler's words."""
    return _compile(source, (f"--gpu-architecture=sm_{capability[0]}{capability[1]}", *options), "CUBIN")


def compile_to_ptx(source: str, options: Sequence[str], capability: tuple[int, int]) -> str:
    """The intermediate assembly, for tests that look for an instruction."""
    words = (f"--gpu-architecture=compute_{capability[0]}{capability[1]}", *options)
    return _compile(source, words, "PTX")[0].decode()


def _compile(source: str, words: Sequence[str], kind: str) -> tuple[bytes, str]:
    lib = library()
    assert lib is not None
    program = ctypes.c_void_p()
    _check(lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"source.cu", 0, None, None))
    try:
        given = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
        failed = lib.nvrtcCompileProgram(program, len(words), given)
        log = _text(lib.nvrtcGetProgramLogSize, lib.nvrtcGetProgramLog, program).decode().rstrip("\0")
        if failed:
            raise CompilationError(log)
        size_of, content_of = getattr(lib, f"nvrtcGet{kind}Size"), getattr(lib, f"nvrtcGet{kind}")
        return _text(size_of, content_of, program), log
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))


def _text(size_of: Any, content_of: Any, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(content_of(program, buffer))
    return buffer.raw


def _check(status: int) -> None:
    if status:
        raise CompilationError(f"NVRTC status {status}")
