"""The launch arithmetic: grids that cover C exactly once, limits of the hardware, macros, and words of errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cuda_matmul_cases import launch_of, matrices, source
from hypothesis import given
from hypothesis import strategies as st

from minigen.kernels.cuda import compile as cuda_compile
from minigen.kernels.cuda.launch import (
    BEST,
    MOST,
    RUNGS,
    Launch,
    Operand,
    elementwise_launch,
    matmul_launch,
    operand,
    slices_of,
)

PLAIN = Operand(1000, 1)
SIZE = st.integers(0, 300_000)


@given(st.sampled_from(list(RUNGS.values())), SIZE, SIZE, st.integers(0, 3))
def test_the_grid_covers_c_and_no_tile_is_empty(rung, m, n, k):
    launch = matmul_launch(rung, m, n, k, PLAIN, PLAIN)
    small = f"PANEL={rung.small}" in launch.defines
    rows, cols = (rung.small,) * 2 if small else (rung.rows, rung.cols)
    down, across = -(-m // rows), -(-n // cols)
    assert launch.empty == (m == 0 or n == 0)
    assert launch.grid == ((down * across, 1, 1) if rung.raster else (down, across, 1))
    assert 1 <= np.prod(launch.block) <= 1024 and np.prod(launch.block) % 32 == 0


@pytest.mark.parametrize("name", RUNGS)
def test_the_sources_constants_are_those_of_the_row(name):
    rung = RUNGS[name]
    found = {key: int(value) for key, value in re.findall(r"#define (\w+) (\d+)\b", source(rung))}
    if "TILE" in found:
        assert (rung.rows, rung.cols) == (found["TILE"],) * 2 and rung.block == (found["TILE"],) * 2 + (1,)
    if "ROWS" in found:
        assert (rung.rows, rung.cols, rung.depth) == (found["ROWS"], found["COLS"], found["DEPTH"])
        each = found["EACH"] ** (2 if name.endswith("2d") else 1)
        assert rung.block[0] == found["ROWS"] * found["COLS"] // each
    if "PANEL" in found:
        assert rung.rows == rung.cols == found["PANEL"] and rung.depth == found.get("DEPTH", rung.depth)
        for tile, threads in ((rung.rows, rung.block[0]), (rung.small, rung.small_threads)):
            assert threads == found.get("THREADS", 32 * (tile // 64) * (tile // 32)) or not rung.small
        assert rung.small or rung.block[0] == found["THREADS"]
    if "WORDS" in found:
        assert (rung.words, rung.depth) == (found["WORDS"], found["WORDS"] * found["NUMBERS"])


@pytest.mark.parametrize("processors", [0, 108])
@pytest.mark.parametrize("name", RUNGS)
def test_the_shared_memory_of_a_source_is_at_most_what_every_gpu_has(emulated, name, processors):
    """48 KiB declared in a source (CUDA C++ Programming Guide, "Technical specifications per compute capability")."""
    rung = RUNGS[name]
    for dtype in rung.dtypes:
        a, b = matrices(20, 20, 20, dtype)
        for left in (a, a.T):
            launch = launch_of(rung, left, b, processors=processors)
            assert emulated().load(source(rung), launch.defines).module.shared_bytes <= 48 * 1024


def test_blocks_of_a_raster_are_each_tile_once():
    """The arithmetic of raster.cuh, in Python, for every ragged group."""
    for down in range(1, 20):
        for across in range(1, 6):
            tiles = set()
            for block in range(down * across):
                group, rest = divmod(block, 8 * across)
                height = min(8, down - 8 * group)
                tiles.add((8 * group + rest % height, rest // height))
            assert tiles == {(i, j) for i in range(down) for j in range(across)}


@pytest.mark.parametrize(("a", "b", "defines"), [
    (Operand(9, 1), Operand(9, 1), ("A_ALONG_K=1", "B_ALONG_K=0")),
    (Operand(1, 9), Operand(1, 9), ("A_ALONG_K=0", "B_ALONG_K=1")),
    (Operand(18, 2), Operand(2, 18), ("A_ALONG_K=1", "B_ALONG_K=1")),
])  # fmt: skip
def test_the_direction_of_an_operand_is_a_macro(a, b, defines):
    assert matmul_launch(RUNGS["vectorised"], 9, 9, 9, a, b).defines == defines


def test_few_tiles_are_made_smaller():
    rung = RUNGS["warp_tile"]
    large, small = (matmul_launch(rung, m, m, 8, PLAIN, PLAIN, processors=100) for m in (1280, 1279 - 128))
    assert (large.block, large.grid) == ((256, 1, 1), (100, 1, 1)) and "PANEL=128" in large.defines
    assert (small.block, small.grid) == ((64, 1, 1), (18**2, 1, 1)) and "PANEL=64" in small.defines


def test_a_long_k_is_shared_out_where_tiles_are_few():
    warp, plain = RUNGS["warp_tile"], RUNGS["vectorised"]
    assert [slices_of(warp, 64, n, k, processors=100) for n, k in ((128, 784), (128, 255), (128, 10**6), (64 * 60, 784))
            ] == [12, 1, 100, 3]  # fmt: skip
    assert slices_of(plain, 64, 128, 784) == slices_of(warp, 0, 128, 784) == 1
    launch = matmul_launch(warp, 64, 128, 784, PLAIN, PLAIN, slices=12)
    assert (launch.grid, launch.block) == ((2, 12, 1), (64, 1, 1))
    for rung, m in ((plain, 64), (warp, 128 * 128)):
        with pytest.raises(ValueError, match="no slices of k with tiles of 128 x 128"):
            matmul_launch(rung, m, m, 784, PLAIN, PLAIN, slices=2)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 300_000))
def test_slices_come_with_small_tiles_and_leave_no_number_out(m, n, k):
    """The arithmetic of warp_tile.cu: slices of a whole number of panels, each where the one before ends."""
    depth = RUNGS["warp_tile"].depth
    for processors in (1, 3, 108):
        slices = slices_of(RUNGS["warp_tile"], m, n, k, processors)
        launch = matmul_launch(RUNGS["warp_tile"], m, n, k, PLAIN, PLAIN, processors=processors, slices=slices)
        assert launch.grid[1] == slices and (slices == 1 or launch.grid[0] * slices <= 2 * processors)
        length = ((k - 1) // depth // slices + 1) * depth if k else depth
        assert length * slices >= k and length % depth == 0


@pytest.mark.parametrize("processors", [1, 108, 132, 1000])
def test_the_longest_k_has_all_slices_within_an_int(processors):
    depth = RUNGS["warp_tile"].depth
    for k in range(MOST - 300, MOST + 1):
        slices = slices_of(RUNGS["warp_tile"], 1, 1, k, processors=processors)
        assert slices * ((k - 1) // depth // slices + 1) * depth < 2**31


def test_macros_of_dtype_and_activation():
    naive, warp = RUNGS["naive"], RUNGS["warp_tile"]
    assert matmul_launch(naive, 1, 1, 1, PLAIN, PLAIN, np.dtype(np.float64)).defines == ("REAL=double",)
    assert "ACTIVATION(x)=tanhf(x)" in matmul_launch(warp, 1, 1, 1, PLAIN, PLAIN, activation="tanhf(x)").defines


def test_operands_are_strides_in_numbers():
    x = np.zeros((3, 5))
    assert operand(x) == Operand(5, 1) and operand(x, transpose=True) == operand(x.T) == Operand(1, 5)
    assert operand(x[:, ::2]) == Operand(5, 2)


def test_what_does_not_fit_is_refused():
    naive, warp = RUNGS["naive"], RUNGS["warp_tile"]
    with pytest.raises(TypeError, match="'warp_tile' computes in float32, got float64"):
        matmul_launch(warp, 1, 1, 1, PLAIN, PLAIN, np.dtype(np.float64))
    with pytest.raises(ValueError, match="sizes from 0"):
        matmul_launch(naive, MOST + 1, 1, 1, PLAIN, PLAIN)
    with pytest.raises(ValueError, match="'naive': 1 x 65536 tiles are more than a grid holds"):
        matmul_launch(naive, 1, 16 * 65535 + 1, 1, PLAIN, PLAIN)
    with pytest.raises(ValueError, match="more than a grid"):
        matmul_launch(warp, MOST, MOST, 1, PLAIN, PLAIN)
    with pytest.raises(ValueError, match="'naive' has no epilogue: use one of vectorised, "):
        matmul_launch(naive, 1, 1, 1, PLAIN, PLAIN, activation="x")


def test_the_best_rung_computes_in_its_dtype():
    for dtype, name in BEST.items():
        assert dtype in RUNGS[name].dtypes and not RUNGS[name].words


def test_elementwise_grids():
    assert elementwise_launch(0).empty
    assert elementwise_launch(1) == Launch((1, 1, 1), (256, 1, 1))
    assert elementwise_launch(257).grid == (2, 1, 1)
    assert elementwise_launch(10**12, processors=10).grid == (80, 1, 1)


def test_includes_are_resolved_and_never_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_compile, "FOLDER", tmp_path)
    (tmp_path / "a.cuh").write_text("int a;\n")
    (tmp_path / "one.cu").write_text('#include "a.cuh"\nint one;\n')
    (tmp_path / "two.cu").write_text('#include "a.cuh"\n#include "a.cuh"\n')
    assert cuda_compile.read("one.cu") == "int a;\nint one;\n"
    with pytest.raises(ValueError, match=r"two.cu: a.cuh is included twice"):
        cuda_compile.read("two.cu")


def test_without_cupy_loading_is_an_import_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(ImportError):
        cuda_compile.load("no such source")
