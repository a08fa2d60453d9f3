"""The emulator itself: what it runs, and what it refuses to run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulation.emulator import EmulationError

KERNEL = 'extern "C" __global__ void f({parameters})\n{{\n{body}\n}}\n'


def run(emulated: Any, body: str, out: Any, *more: Any, parameters: str = "float *out", block: int = 64) -> Any:
    source = KERNEL.format(parameters=parameters, body=body)
    emulated().load(source).get_function("f")((2, 1, 1), (block, 1, 1), [out, *more])
    return out


def test_indices_and_dimensions(emulated: Any) -> None:
    source = KERNEL.format(
        parameters="int *out",
        body="""int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] += 1;""",
    )
    out = np.zeros(2 * 3 * 2 * 4 * 3 * 5, np.int32)
    emulated().load(source).get_function("f")((2, 3, 2), (4, 3, 5), [out])
    assert (out == 1).all()


def test_shared_memory_starts_as_nan_in_every_block(emulated: Any) -> None:
    body = "__shared__ float s[64]; out[blockIdx.x * 64 + threadIdx.x] = s[threadIdx.x]; s[threadIdx.x] = 1;"
    assert np.isnan(run(emulated, body, np.zeros(128, np.float32))).all()


def test_barriers_order_the_threads(emulated: Any) -> None:
    body = """__shared__ float s[64]; int t = threadIdx.x;
    for (int i = 0; i < 3; i++) { s[t] = t + i; __syncthreads(); float x = s[63 - t]; __syncthreads(); s[t] = x; }
    out[blockIdx.x * 64 + t] = s[t];"""
    out = run(emulated, body, np.zeros(128, np.float32))
    np.testing.assert_array_equal(out, np.tile(np.arange(63, -1, -1) + 2, 2))


@pytest.mark.parametrize(("call", "expected"), [
    ("__shfl_sync(~0u, x, 3)", lambda t: t // 32 * 32 + 3),
    ("__shfl_xor_sync(~0u, x, 5)", lambda t: t ^ 5),
    ("__shfl_down_sync(~0u, x, 4)", lambda t: np.where(t % 32 < 28, t + 4, t)),
    ("__shfl_up_sync(~0u, x, 4)", lambda t: np.where(t % 32 >= 4, t - 4, t)),
])  # fmt: skip
def test_shuffles(emulated: Any, call: str, expected: Any) -> None:
    out = run(emulated, f"float x = threadIdx.x; out[blockIdx.x * 64 + threadIdx.x] = {call};", np.zeros(128, "f4"))
    np.testing.assert_array_equal(out, np.tile(expected(np.arange(64)), 2))


@pytest.mark.parametrize(("body", "message"), [
    ("if (threadIdx.x < 7) __syncthreads();", "that others have left out"),
    ("if (threadIdx.x < 7) __syncthreads();\nelse __syncthreads();", "two different barriers"),
    ("if (threadIdx.x != 40) __syncwarp();", "only a part of the warp"),
    ("if (threadIdx.x == 40) __syncwarp(); else __syncthreads();", "only a part of the warp"),
    ("out[128] = 1;", "wrote outside argument 0"),
    ("out[-1] = 1;", "wrote outside argument 0"),
    ("out[0] = unknown;", "unknown"),
    ("*(float4 *)(out + 2 * threadIdx.x) = make_float4(1, 2, 3, 4);", "a wide access that is not aligned: .* thread 1"),
    ("float4 x = *(float4 *)(out + 1); out[0] = x.x;", "a wide access that is not aligned"),
    ("__shared__ float s[9]; *(uint2 *)&s[3] = make_uint2(1, 2);", "a wide access that is not aligned"),
    ("struct alignas(16) Four { float x[4]; } four = *(Four *)(out + 1); out[0] = four.x[0];",
     "a wide access that is not aligned"),
    ("*(volatile float *)(8ull * threadIdx.x) = 1;", "an address out of reach"),
])  # fmt: skip
def test_what_a_gpu_leaves_undefined_is_an_error(emulated: Any, body: str, message: str) -> None:
    with pytest.raises(EmulationError, match=message):
        run(emulated, body, np.zeros(128, np.float32))


def test_warp_instructions_need_whole_warps(emulated: Any) -> None:
    with pytest.raises(EmulationError, match="fewer than 32 threads"):
        run(emulated, "__syncwarp();", np.zeros(128, np.float32), block=40)


def test_a_matrix_from_lines_that_lanes_name(emulated: Any) -> None:
    """By the words of the PTX manual: lane 8 j + i names line i of matrix j, lane 4 g + t gets word t of its line g."""
    body = """__shared__ __align__(16) unsigned s[32 * 4]; int lane = threadIdx.x;
    for (int i = 0; i < 4; i++) s[lane * 4 + i] = lane * 4 + i;
    __syncwarp();
    unsigned words[4]; ldmatrix_x4(words, s + (31 - lane) * 4);
    for (int j = 0; j < 4; j++) out[blockIdx.x * 128 + lane * 4 + j] = words[j];"""
    out = run(emulated, body, np.zeros(256, np.uint32), parameters="unsigned *out", block=32)
    lane, matrix = np.arange(32)[:, None], np.arange(4)
    np.testing.assert_array_equal(out, np.tile(((31 - (8 * matrix + lane // 4)) * 4 + lane % 4).ravel(), 2))
    with pytest.raises(EmulationError, match="a wide access that is not aligned"):
        run(emulated, body.replace("(31 - lane) * 4", "lane * 3"), out, parameters="unsigned *out", block=32)


def test_a_warp_instruction_orders_its_own_warp_only(emulated: Any) -> None:
    """Warp 0 runs to its end before warp 1 begins: what that one would write is not there yet."""
    body = """__shared__ float s[64]; s[threadIdx.x] = 1; __syncwarp();
    out[blockIdx.x * 64 + threadIdx.x] = s[63 - threadIdx.x];"""
    out = run(emulated, body, np.zeros(128, np.float32))
    np.testing.assert_array_equal(np.isnan(out.reshape(2, 2, 32)).all(2), [[True, False]] * 2)


def test_arguments_must_have_the_parameters_sizes(emulated: Any) -> None:
    out = np.zeros(1, np.float32)
    with pytest.raises(EmulationError, match=r"\[8, 4\] bytes expected, got \[8, 8\]"):
        run(emulated, "", out, np.int64(1), parameters="float *out, int n")
    with pytest.raises(EmulationError, match=r"\[8\] bytes expected, got \[8, 4\]"):
        run(emulated, "", out, np.int32(1))


def test_an_emulator_that_failed_works_again(emulated: Any) -> None:
    for _ in range(2):
        with pytest.raises(EmulationError):
            run(emulated, "if (threadIdx.x < 7) __syncthreads();", np.zeros(128, np.float32))
        assert run(emulated, "out[threadIdx.x] = 2;", np.zeros(64, np.float32)).sum() == 128


def test_a_matrix_product_by_its_documented_fragments(emulated: Any) -> None:
    """Fragments filled by the words of the PTX manual, not by our kernels: row = lane / 4, column = lane % 4."""
    body = """int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    unsigned fa[4], fb[2]; float d[4] = {};
    for (int i = 0; i < 4; i++) fa[i] = round_to_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    for (int i = 0; i < 2; i++) fb[i] = round_to_tf32(b[(t + i * 4) * 8 + g]);
    mma_tf32(d, fa, fb);
    for (int i = 0; i < 4; i++) out[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];"""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 9, (16, 8)).astype("f4"), rng.integers(-9, 9, (8, 8)).astype("f4")
    out = run(emulated, body, np.zeros((16, 8), "f4"), a, b, parameters="float *out, float *a, float *b", block=32)
    np.testing.assert_array_equal(out, a @ b)


def test_rounding_to_the_tensor_cores_formats(emulated: Any) -> None:
    body = "int t = threadIdx.x; unsigned r = {}(__float_as_uint(x[t]) ? x[t] : 0.0f); out[t] = __uint_as_float(r{});"
    one = np.float32(1)
    x = np.array([one, one + 2.0**-11, one + 2.0**-11 - 2.0**-23, -one - 2.0**-11, np.inf, np.nan, 1e-40, 3e38], "f4")
    out = np.zeros(8, "f4")
    run(emulated, body.format("round_to_tf32", ""), out, x, parameters="float *out, float *x", block=8)
    up = 1 + 2.0**-10
    np.testing.assert_array_equal(out[:6], np.array([1, up, 1, -up, np.inf, np.nan], "f4"))
    x = np.array([one, one + 2.0**-8, one + 3 * 2.0**-8, -one - 2.0**-8, np.inf, np.nan, 0, 3.4e38], "f4")
    run(emulated, body.format("round_to_bf16", " << 16"), out, x, parameters="float *out, float *x", block=8)
    np.testing.assert_array_equal(out, np.array([1, 1, 1 + 2.0**-6, -1, np.inf, np.nan, 0, np.inf], "f4"))
