"""The ladder's benchmark: which shapes, who takes part, what is left out, and what is done with a wrong kernel."""

import numpy as np
import pytest
from bench_fakes import Clock, device, product, timing

from minigen.kernels.bench import ladder
from minigen.kernels.bench.device import Product, cpu
from minigen.kernels.bench.ladder import Case, Result, cases, means, measure, parse_shape
from minigen.kernels.cpu.matmul import RUNGS

SMALL = Case("own", 5, 7, 3)


def test_the_suite_is_that_of_the_layers_in_all_three_directions():
    suite = cases()
    by_group = {group: [c for c in suite if c.group == group] for group in dict.fromkeys(c.group for c in suite)}
    assert {group: len(found) for group, found in by_group.items()} == {
        "batch 1": 18, "batch 64": 18, "batch 256": 18, "cubes": 6, "ragged": 12}  # fmt: skip
    names = {c.name for c in by_group["batch 64"]}
    assert {"64x784x128 NN", "784x64x128 TN", "64x128x784 NT"} <= names  # forward and both gradients of one layer
    assert [c.m for c in by_group["cubes"]] == [128, 256, 512, 1024, 2048, 4096]
    assert {size for c in by_group["ragged"] for size in (c.m, c.k, c.n)} == {1, 31, 33, 127, 1000}
    quick = cases(quick=True)
    assert len(quick) < len(suite) / 2 and {c.name for c in quick} <= {c.name for c in suite}


def test_the_three_directions_are_those_of_a_dense_layer(rng):
    """x (batch, in) W (in, out): forward x W; weight gradient x^T g; input gradient g W^T, by the memory's layout."""
    forward, weight, into = ladder._steps_of_layer(4, 5, 6)
    assert [(c.m, c.k, c.n) for c in (forward, weight, into)] == [(4, 5, 6), (5, 4, 6), (4, 6, 5)]
    a, b = weight.operands("float32")
    assert a.shape == (5, 4) and a.T.flags.c_contiguous and b.flags.c_contiguous
    a, b = into.operands("float64")
    assert a.flags.c_contiguous and b.shape == (6, 5) and b.T.flags.c_contiguous and b.dtype == np.float64


def test_work_and_intensity():
    case = Case("own", 64, 784, 128)
    assert case.flops == 2 * 64 * 784 * 128
    assert case.intensity("float32") == pytest.approx(case.flops / (4 * (64 * 784 + 784 * 128 + 64 * 128)))
    assert case.intensity("float64") == pytest.approx(case.intensity("float32") / 2)


@pytest.mark.parametrize("text, name", [("64x784x128", "64x784x128 NN"), ("1x2x3:nt", "1x2x3 NT"),
                                        (" 5X6X7:TT ", "5x6x7 TT")])  # fmt: skip
def test_shapes_of_ones_own(text, name):
    assert parse_shape(text).name == name


@pytest.mark.parametrize("text", ["", "64", "64x784", "0x1x1", "1x1x16385", "axbxc", "1x2x3:xx", "1x2x3x4", "-1x2x3"])
def test_what_is_no_shape(text):
    with pytest.raises(ValueError, match="is no shape: expected MxKxN"):
        parse_shape(text)


def forgetful(a, b, out, threads):
    """A deliberately wrong kernel: it leaves out the last number of k."""
    np.matmul(a[:, :-1], b[:-1], out=out)


def lazy(a, b, out, threads):
    """Another: it never writes its last column."""
    out[:, :-1] = (a @ b)[:, :-1]


@pytest.mark.parametrize("wrong, reason", [(forgetful, "numbers are off"), (lazy, "numbers are NaN, or should be")])
def test_a_wrong_kernel_is_reported_and_not_timed(wrong, reason):
    clock, calls = Clock(), []

    def counted(a, b, out, threads):
        calls.append(a.shape)
        wrong(a, b, out, threads)

    products = {"good": Product(clock.taking(0.01, product)), "bad": Product(clock.taking(0.001, counted)),
                "blas": Product(clock.taking(0.02, product), always=True)}  # fmt: skip
    (result,) = measure([SMALL], device=device(clock, products), dtypes=("float32",), seconds=0.05)
    assert set(result.timings) == {"good", "blas"}
    assert reason in result.wrong["bad"]
    assert calls.count((5, 7)) == 1  # to be checked, and never again
    assert result.over_blas("good") == pytest.approx(2.0)
    record = result.record({("float32", 1): 1.0})
    assert set(record["rungs"]) == {"good", "blas"} and "bad" in record["wrong"]


def test_a_slow_rung_is_left_out_by_the_budget_and_the_report_says_so():
    """The slow one does 10^6 operations a second: 210 take no time, two million take 2 seconds."""
    clock = Clock()

    def at(rate):
        def call(a, b, out, threads):
            clock.work(2 * a.shape[0] * a.shape[1] * b.shape[1] / rate)
            product(a, b, out, threads)

        return call

    products = {"slow": Product(at(1e6)), "blas": Product(at(1e5), always=True)}
    large = Case("cubes", 100, 100, 100)
    first, second = measure([SMALL, large], device=device(clock, products), dtypes=("float32",), budget=1.0)
    assert set(first.timings) == {"slow", "blas"} and not first.left_out
    assert set(second.timings) == {"blas"}  # twenty seconds, but what all are compared with
    assert second.left_out == {"slow": "about 2.0 s a call, over the budget of 1 s"}
    assert second.record({})["left_out"] == second.left_out
    only = list(measure([large], device=device(clock, products), dtypes=("float32",), budget=1.0))
    assert "slow" in only[0].left_out  # known from a small cube, without a shape before


def test_who_takes_part():
    mine = cpu()
    assert tuple(mine.products) == RUNGS
    names = ladder._taking_part
    assert names(mine, "float32", 1, None) == [rung for rung in RUNGS if rung != "parallel"]
    assert names(mine, "float32", 2, None) == ["parallel", "blas", "best"]
    assert names(mine, "float64", 1, ["vector"]) == ["vector", "blas"]
    narrow = {"tf32": Product(product, dtypes=("float32",)), "blas": Product(product)}
    assert names(device(Clock(), narrow), "float64", 1, None) == ["blas"]


def test_every_rung_is_right_and_gets_its_threads():
    """With the real kernels, but without waiting for them: one call each is all that is needed."""
    quick = cpu(stopwatch=lambda call, times: 1e-3)
    shapes = [Case("own", 9, 17, 33), Case("own", 9, 17, 33, True), Case("own", 9, 17, 33, False, True)]
    results = list(measure(shapes, device=quick, threads=(1, 2), seconds=1e-3))
    assert len(results) == 3 * 2 * 2
    for result in results:
        assert not result.wrong and not result.left_out
        assert set(result.timings) == set(RUNGS) - {"parallel"} if result.threads == 1 else {"parallel", "blas", "best"}


def test_rates_and_means():
    def result(group, ratio, threads=1):
        return Result(Case(group, 10, 10, 10), "float32", threads, {"best": timing(1e-6), "blas": timing(1e-6 * ratio)})

    assert result("a", 2.0).gflops("best") == pytest.approx(2.0)
    found = means([result("a", 2.0), result("a", 0.5), result("b", 3.0), result("b", 4.0, 2)])
    assert found["a", "float32", 1] == (pytest.approx(1.0), pytest.approx(0.5), 2)
    assert found["b", "float32", 1] == (pytest.approx(3.0), pytest.approx(3.0), 1)
    assert found["b", "float32", 2][2] == 1
    record = result("a", 2.0).record({("float32", 1): 4.0})
    assert record["rungs"]["best"]["of_peak"] == pytest.approx(0.5)
    assert record["rungs"]["best"]["over_blas"] == pytest.approx(2.0)
