"""Every source compiles, without a GPU or a driver, to the machine code of three generations of GPUs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np
import nvrtc
import pytest
from cuda_matmul_cases import source

from minigen.kernels import scalar
from minigen.kernels.cuda import attention, elementwise, linear, random, reductions, rows
from minigen.kernels.cuda import compile as cuda_compile
from minigen.kernels.cuda.launch import FLOAT32, FLOAT64, RUNGS, Operand, Rung, matmul_launch

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12"
)

CAPABILITIES = ((7, 0), (8, 0), (9, 0))
PLAIN, TRANSPOSED = Operand(4096, 1), Operand(1, 4096)
MOST_SPILLED = 64  # bytes a thread
OTHERS = {"attention.cu", "epilogue.cu", "hold.cu", "optimizers.cu", "random.cu", "reductions.cu", "rows.cu"}


def variants(rung: Rung, every_layout: bool) -> Iterator[tuple[str, ...]]:
    """Macros of launches: large tiles in every layout, or in the plain one alone, and small tiles in one."""
    layouts = list(itertools.product((PLAIN, TRANSPOSED), repeat=2))
    launches = [(layout, 0) for layout in (layouts if every_layout else layouts[:1])]
    launches += [(layouts[-1], 10**9)]
    seen = {
        matmul_launch(rung, 512, 512, 512, a, b, dtype, processors=processors).defines
        for dtype in rung.dtypes
        for (a, b), processors in launches
    }
    return iter(sorted(seen))


def require(capability: tuple[int, int]) -> None:
    if capability[0] * 10 + capability[1] not in nvrtc.supported():
        pytest.skip(f"this NVRTC no longer knows compute capability {capability}")


def compiled(text: str, capability: tuple[int, int], defines: tuple[str, ...] = ()) -> str:
    code, log = nvrtc.compile_source(text, (*cuda_compile.options(defines), "-Xptxas=-v"), capability)
    assert code.startswith(b"\x7fELF")
    assert not re.search(r"warning(?!: Architectures prior)", log), log
    return log


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_compiles(name: str, capability: tuple[int, int]) -> None:
    rung = RUNGS[name]
    require(capability)
    if capability < rung.capability:
        with pytest.raises(nvrtc.CompilationError, match=f"{name} needs compute capability 8.0"):
            compiled(source(rung), capability)
        return
    for defines in variants(rung, every_layout=capability == (8, 0)):
        log = compiled(source(rung), capability, defines)
        spilled = [int(size) for size in re.findall(r"(\d+) bytes spill stores", log)]
        assert spilled and max(spilled) <= MOST_SPILLED, (defines, spilled)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_the_generated_operations_compile(dtype: np.dtype, capability: tuple[int, int]) -> None:
    require(capability)
    source = elementwise.source(dtype)
    assert set(re.findall(r"void (\w+)_kernel\(", source)) == set(scalar.FORMULAS)
    compiled(source, capability)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
def test_the_other_sources_compile(capability: tuple[int, int]) -> None:
    require(capability)
    compiled(random.source(), capability)
    compiled(cuda_compile.read("hold.cu"), capability)
    for defines in ((), ("REAL=double",)):
        compiled(cuda_compile.read("optimizers.cu"), capability, defines)
        dtype = FLOAT64 if defines else FLOAT32
        compiled(reductions.source(dtype), capability, defines)
        for activation in (None, "leaky_relu", "gelu"):
            prelude, expression = linear.formula(activation, 0.2, dtype)
            given = (*defines, f"ACTIVATION(x)={expression or '(x)'}")
            compiled(prelude + cuda_compile.read("epilogue.cu"), capability, given)
        compiled(rows.source(dtype), capability, defines)
        for width in (1, 32, attention.MOST_WIDE[dtype.itemsize]) if capability == (8, 0) else (32,):
            compiled(attention.source(dtype), capability, (*defines, f"HEAD_WIDTH={width}"))


@pytest.mark.parametrize("defines", [(), ("FROM_MEMORY",), ("REAL=double",)], ids=str)
def test_streaming_kernels_read_four_numbers_before_they_write_one(defines: tuple[str, ...]) -> None:
    """In accesses of 16 bytes where the arrays are aligned, one by one where they are not; no register is spilled."""
    wide, one, times = (r"\.v4\.[fu]32", r"\.[fu]32", 1)
    if "REAL=double" in defines:
        wide, one, times = (r"\.v2\.[fu]64", r"\.[fu]64", 2)
    texts = [(cuda_compile.read("optimizers.cu"), defines)]
    if defines != ("FROM_MEMORY",):
        texts += [(elementwise.source(FLOAT64 if defines else FLOAT32), ())]
    for text, macros in texts:
        assert set(re.findall(r"(\d+) bytes spill stores", compiled(text, (8, 0), macros))) == {"0"}
        ptx = nvrtc.compile_to_ptx(text, cuda_compile.options(macros), (8, 0))
        for kernel in ptx.split(".visible .entry")[1:]:
            together = re.fullmatch("(l+)(s+)", accesses(kernel, wide))
            assert together, kernel
            read, written = (len(run) // times for run in together.groups())
            assert "l" * 4 * read + "s" * 4 * written in accesses(kernel, one), kernel


def accesses(kernel: str, suffix: str) -> str:
    """The loads and stores of a kernel in PTX, in its order: "lls"."""
    return "".join(re.findall(rf"\b([ls])[dt]\.global(?:\.nc)?{suffix}", kernel))


def test_no_source_is_forgotten() -> None:
    tried = {f"matmul/{name}.cu" for name in RUNGS} | OTHERS
    assert {p.relative_to(cuda_compile.FOLDER).as_posix() for p in cuda_compile.FOLDER.glob("**/*.cu")} == tried


def test_random_numbers_have_no_fused_operations() -> None:
    """--fmad=false is what keeps the bits: with it, PTX has multiplications and additions but no fma of floats."""
    for arithmetic, expected in ((cuda_compile.EXACT, False), (cuda_compile.FAST, True)):
        ptx = nvrtc.compile_to_ptx(random.source(), cuda_compile.options((), arithmetic), (8, 0))
        body = ptx[ptx.index("normal_32") :]
        assert bool(re.search(r"fma\.rn(\.ftz)?\.f(32|64)", body.split(".entry normal_64")[0])) == expected


@pytest.mark.parametrize("defines", [(), ("FROM_MEMORY",)], ids=str)
def test_random_numbers_are_written_16_bytes_at_a_time(defines: tuple[str, ...]) -> None:
    ptx = nvrtc.compile_to_ptx(random.source(), cuda_compile.options(defines, cuda_compile.EXACT), (8, 0))
    kernels = ptx.split(".visible .entry")[1:]
    assert len(kernels) == 5
    for kernel in kernels:
        assert accesses(kernel, r"\.v[24]\.[fu](?:32|64)") == "s", kernel


def test_what_cupy_appends_changes_nothing() -> None:
    """CuPy compiles with -ftz=true after whatever it is given: the last of two counts, and it is ours already."""
    text = 'extern "C" __global__ void f(float *x) { x[0] = x[1] * x[2]; }'
    options = cuda_compile.options()
    ours, theirs = (nvrtc.compile_to_ptx(text, (*options, *more), (8, 0)) for more in ((), ("-ftz=true",)))
    assert "mul.ftz.f32" in ours and ours == theirs


def test_the_compiler_can_refuse() -> None:
    with pytest.raises(nvrtc.CompilationError, match='identifier "nowhere" is undefined'):
        compiled('extern "C" __global__ void f(float *x) { *x = nowhere; }', (8, 0))
    with pytest.raises(nvrtc.CompilationError):  # only the assembler reads inline PTX
        compiled('extern "C" __global__ void f() { asm volatile("no.such.instruction;"); }', (8, 0))
