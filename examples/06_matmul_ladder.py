"""Climb the matmul ladder: one product, C = A B, from three nested loops to the processor's limit.

    C[i, j] = sum over p of A[i, p] B[p, j]        2 m k n operations, whoever does them

Every rung computes the same sums; what changes is in which order, from where the numbers come, and how many are
handled at once. Each is held against a product in float64 before it is timed, and they are timed by turns, so that
a busy machine slows all of them. The dashed line is the peak: multiply-adds that never leave the registers.

Run: python examples/06_matmul_ladder.py     (writes runs/examples/matmul_ladder.png)
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from minigen.kernels.bench.check import product_fault
from minigen.kernels.bench.machine import blas_threads
from minigen.kernels.bench.roofline import measure_peak
from minigen.kernels.bench.timing import alternate
from minigen.kernels.cpu.matmul import matmul

WHAT_CHANGED = {
    "naive": "three loops, as the definition reads: a cache line for every number of B",
    "loop_order": "the loop over columns innermost: neighbours in memory, so the compiler makes vectors",
    "blocked": "blocks of B that stay in the cache: pays where B is larger than the cache",
    "register_tile": "four rows at once: every number of B, once loaded, serves four times",
    "vector": "a tile of C lives in vector registers, chosen by hand",
    "packed": "operands copied into the order in which the tile reads them: pays for large ones",
    "blas": "NumPy's library, for comparison",
}
WIDTH = 40  # characters of the longest bar


def climb(m: int, k: int, n: int, seconds: float) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """GFLOP/s of every rung on one thread, and what it computed."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    expected = a.astype(np.float64) @ b
    products = {rung: np.full((m, n), np.nan, np.float32) for rung in WHAT_CHANGED}
    calls = {rung: lambda rung=rung: matmul(a, b, out=products[rung], rung=rung, threads=1) for rung in WHAT_CHANGED}
    for rung, call in calls.items():
        call()  # compiles it, too
        fault = product_fault(products[rung], a, b, expected)
        assert fault is None, f"{rung}: {fault}"
    with blas_threads(1):
        timings = alternate(calls, seconds=seconds)
    return {rung: 2e-9 * m * k * n / timing.median for rung, timing in timings.items()}, products


def draw(rates: dict[str, float], peak: float, title: str, path: Path) -> None:
    """A bar a rung, the peak as a dashed line."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(rates), list(rates.values()), color=["0.4" if rung == "blas" else "C0" for rung in rates])
    axes.axvline(peak, ls="--", color="0.3")
    axes.invert_yaxis()
    axes.set(title=title, xlabel="GFLOP/s, float32, one thread")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small product, few rounds")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="folder for the picture")
    args = parser.parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {args.out}: cannot be made a folder ({error.strerror}); name another")
    m, k, n = (64, 100, 128) if args.quick else (256, 784, 400)

    (limit,) = measure_peak((1,), dtypes=("float32",), seconds=0.05 if args.quick else 0.5)
    rates, products = climb(m, k, n, seconds=0.02 if args.quick else 0.5)
    peak = limit.gflops
    print(f"C ({m}, {n}) = A ({m}, {k}) B ({k}, {n}) in float32, GFLOP/s; the peak is {peak:.0f}\n")
    for rung, rate in rates.items():
        bar = "#" * max(1, min(WIDTH, round(WIDTH * rate / peak)))
        print(f"{rung:<14}{rate:7.1f}  {bar:<{WIDTH}} {100 * rate / peak:3.0f} %\n{'':<23}{WHAT_CHANGED[rung]}")
    draw(rates, peak, f"{m} x {k} x {n}", args.out / "matmul_ladder.png")

    # The same chain of multiply-adds for every element, however C is cut: not a bit differs between the upper rungs.
    assert np.array_equal(products["vector"], products["packed"])
    gain = max(rates["vector"], rates["packed"]) / rates["naive"]
    print(f"\nThe top of the ladder is {gain:.0f} times as fast as its foot. Picture: {args.out / 'matmul_ladder.png'}")
    assert gain > 5  # 30 to 100 on a processor with AVX2 or AVX-512


if __name__ == "__main__":
    main()
