"""How near three kernels come to what bounds them: the figures in the text of kernels/README.md.

    product     the compiled product alone, and called from Python, under the peak of multiply-adds
    fused       bias and activation in the product's epilogue, over the bare product, beside the activation alone
    formulas    nanoseconds and cycles of a number of exp, tanh and sigmoid, and of a square root and a quotient

All by turns in one run, in processor time of one thread, medians over many short rounds.

Run: MINIGEN_THREADS=1 python tests/kernel_bounds.py
"""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minigen import kernels
from minigen.kernels import scalar
from minigen.kernels.bench.timing import Timing, alternate, wall
from minigen.kernels.cpu.elementwise import _sigmoid, _tanh
from minigen.kernels.cpu.jit import CONTRACT, entry_point, jit, types_of
from minigen.kernels.cpu.limits import chains_for
from minigen.kernels.cpu.matmul.engine import ENGINES, _whole
from minigen.kernels.cpu.matmul.whole import BY_SIZE
from minigen.kernels.cpu.on_vectors import make_map

BOTH = ((64, 100, 128), (64, 128, 784), (64, 784, 128), (64, 400, 40))
SHAPES = (*BOTH, (256, 100, 128), (128, 128, 128), (256, 256, 256))
FUSED = (*BOTH, (64, 784, 400), (64, 400, 784))
NARROW = np.dtype(np.float32)
RNG = np.random.default_rng(0)
_CHAINS = chains_for(NARROW)
_ROUNDS = 20_000  # of the chains: a third of a millisecond


def timed(calls: Mapping[str, Callable[[], Any]]) -> dict[str, Timing]:
    return alternate(calls, seconds=0.08, least=101, most=151, stopwatch=wall(time.thread_time))


def matrix(m: int, n: int) -> np.ndarray:
    return RNG.standard_normal((m, n), np.float32)


def peak() -> Callable[[], None]:
    state, one = np.zeros(_CHAINS.numbers, NARROW), np.ones(_CHAINS.width, NARROW)
    half = one / 2
    return lambda: _CHAINS.run(state, half, one, _ROUNDS)


def product() -> None:
    engine = ENGINES[NARROW, 1]
    whole = _whole(NARROW)

    @jit()
    def many(address, q, c, a, b, bias, times):  # type: ignore[no-untyped-def]
        for _ in range(times):
            whole(address, 0, 0, 0, q, c, a, b, bias, 0, BY_SIZE, 0, 0.0, 0)

    print("of the peak: the compiled product, the same called from Python; microseconds of such a call")
    for m, k, n in SHAPES:
        a, b, c = matrix(m, k), matrix(k, n), matrix(m, n)
        found = timed({
            "peak": peak(),
            "compiled": lambda a=a, b=b, c=c: many(engine.address, engine.buffer, c, a, b, engine.no_bias, 4),
            "called": lambda a=a, b=b, c=c: kernels.matmul(a, b, out=c, threads=1),
        })  # fmt: skip
        per_peak = 2 * m * k * n / _CHAINS.flops(_ROUNDS)
        compiled, called = (found[name].times_as_fast_as(found["peak"]) * per_peak for name in ("compiled", "called"))
        print(f"{f'{m}x{k}x{n}':14s} {4 * compiled:10.1%} {called:10.1%} {found['called'].median * 1e6:10.1f}")


def fused() -> None:
    kinds = (None, "relu", "leaky_relu", "tanh", "sigmoid")
    heads = ("bias", *kinds[1:], "(tanh", "sigmoid)")
    print("\nbias and activation in the epilogue over the bare product (the activation alone over it)")
    print(" " * 14, *(f"{head:>10s}" for head in heads))
    for m, k, n in FUSED:
        a, b, c, bias = matrix(m, k), matrix(k, n) / np.float32(k**0.5), matrix(m, n), matrix(1, n)[0]
        calls = {"bare": lambda a=a, b=b, c=c: kernels.matmul(a, b, out=c, threads=1)}
        for kind in kinds:
            calls[f"{kind}"] = lambda kind=kind, a=a, b=b, c=c, bias=bias: kernels.matmul(
                a, b, bias=bias, activation=kind, out=c, threads=1
            )
        x, y = matrix(1, m * n)[0], c.ravel()
        for name, kernel in (("tanh", _tanh), ("sigmoid", _sigmoid)):
            calls[f"alone {name}"] = lambda run=kernel[NARROW], x=x, y=y: run(x, y)
        found = timed(calls)
        over = [1 / found[f"{kind}"].times_as_fast_as(found["bare"]) - 1 for kind in kinds]
        alone = [1 / found[f"alone {name}"].times_as_fast_as(found["bare"]) for name in ("tanh", "sigmoid")]
        print(f"{f'{m}x{k}x{n}':14s}", *(f"{ratio:10.1%}" for ratio in (*over, *alone)))


_TINY, _ONE = np.float32(1e-8), np.float32(1)


def root(x: Any) -> Any:
    return np.sqrt(x)


def quotient(x: Any) -> Any:
    return _ONE / x


def root_and_quotient(x: Any) -> Any:
    return _ONE / (np.sqrt(x) + _TINY)


def formulas() -> None:
    x = abs(RNG.standard_normal(65536, np.float32)) + np.float32(0.1)
    out = np.empty_like(x)
    calls: dict[str, Callable[[], Any]] = {"peak": peak()}
    for formula in (scalar.exp, scalar.tanh, scalar.sigmoid, root, quotient, root_and_quotient):
        over_row = make_map(f"bound_{formula.__name__}", formula, NARROW, 4, lambda x, out: None)
        run = entry_point(jit(CONTRACT)(_closed(over_row)), types_of("aa", NARROW))
        calls[formula.__name__] = lambda run=run: run(x, out)
    found = timed(calls)
    cycle = found["peak"].median / (_CHAINS.flops(_ROUNDS) / 2 / _CHAINS.width)  # of one multiply-add of a vector
    print(f"\n{'formula':18s} ns a number, multiply-adds of a vector in that time")
    for name in list(calls)[1:]:
        each = found[name].median / x.size
        print(f"{name:18s} {each * 1e9:11.3f} {each * _CHAINS.width / cycle:8.1f}")


def _closed(over_row: Callable[..., None]) -> Callable[..., None]:
    def row(x, out):  # type: ignore[no-untyped-def]
        over_row(x, out)

    return row


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    product()
    fused()
    formulas()
