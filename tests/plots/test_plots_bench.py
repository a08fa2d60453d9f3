"""Pictures of benchmarks: what they show is what the record says."""

import copy

import pytest

from minigen import plots


def spread(median):
    return {"median": median, "quartiles": [median, median], "best": median, "rounds": 5, "calls": 1}


def result(shape, threads, rungs, left_out=None, wrong=None):
    m, k, n = map(int, shape.split("x"))
    return {
        "m": m, "k": k, "n": n, "layout": "NN", "dtype": "float32", "threads": threads,
        "rungs": {name: {"gflops": rate} for name, rate in rungs.items()},
        "left_out": left_out or {}, "wrong": wrong or {},
    }  # fmt: skip


LADDER = {
    "peaks": [["float32", 1, 100.0], ["float32", 2, 200.0]],
    "shown": ["64x784x128 NN", "2048x2048x2048 NN"],
    "results": [
        result("64x784x128", 1, {"naive": 1.5, "blas": 80.0, "best": 95.0}, wrong={"vector": "off"}),
        result("2048x2048x2048", 1, {"blas": 85.0, "best": 90.0}, {"naive": "too slow"}),
        result("64x784x128", 2, {"parallel": 150.0, "blas": 140.0}),
        result("2048x2048x2048", 2, {"parallel": 180.0, "blas": 170.0}),
    ],
}


def bars(axes):
    names = [text.get_text() for text in axes.figure.axes[0].get_yticklabels()]  # those of all panels
    return {names[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in axes.patches}


def test_ladder_bars_are_the_rates_with_the_peak_above_them():
    first, second = plots.draw_ladder(LADDER).axes
    assert first.get_title() == "64x784x128 NN" and first.get_xlabel() == "GFLOP/s, float32"
    assert bars(first) == {"naive": 1.5, "vector": 0, "blas": 80.0, "best": 95.0, "parallel, 2 threads": 150.0,
                           "blas, 2 threads": 140.0}  # fmt: skip
    assert bars(second)["naive"] == 0
    assert [line.get_xdata()[0] for line in first.lines] == [100.0, 200.0]
    assert first.get_xlim()[1] > 200
    words = [text.get_text().strip() for text in first.texts]
    assert "wrong" in words and "95" in words and "left out" in [t.get_text().strip() for t in second.texts]


def test_a_ladder_without_a_peak_and_with_one_shape():
    record = {**LADDER, "peaks": [], "shown": ["64x784x128 NN"]}
    (axes,) = plots.draw_ladder(record).axes
    assert not axes.lines and axes.get_xlim()[1] > 150


PEAKS, BANDWIDTHS = (("float32", 100.0), ("float64", 50.0)), (("L1", 200.0), ("memory", 20.0))
ROOF = {
    "peaks": [{"dtype": dtype, "threads": t, "gflops": rate * t} for dtype, rate in PEAKS for t in (1, 2)],
    "bandwidths": [{"level": level, "threads": t, "gbytes": rate * t} for level, rate in BANDWIDTHS for t in (1, 2)],
    "points": [{"rung": rung, "shape": "64x784x128 NN", "threads": t, "intensity": 20.0, "gflops": rate * t}
               for rung, rate in (("naive", 1.0), ("best", 95.0)) for t in (1, 2)],
}  # fmt: skip


def test_roofs_are_the_lower_of_peak_and_bandwidth_times_intensity():
    figure = plots.draw_roofline(ROOF)
    one, two = figure.axes
    assert (one.get_title(), two.get_title()) == ("1 thread", "2 threads")
    for axes, threads in ((one, 1), (two, 2)):
        lines = {line.get_label(): line for line in axes.lines}
        slope = lines[f"memory, {20 * threads:.0f} GB/s"]
        x, y = slope.get_xdata()[1], slope.get_ydata()[1]
        assert (x, y) == pytest.approx((5.0, 100.0 * threads))  # the ridge: 100 GFLOP/s over 20 GB/s
        assert slope.get_ydata()[0] / slope.get_xdata()[0] == pytest.approx(20.0 * threads)
        points = {tuple(line.get_ydata()) for line in axes.lines if tuple(line.get_xdata()) == (20.0,)}
        assert points == {(1.0 * threads,), (95.0 * threads,)}
        assert axes.get_ylim()[0] < 1.0 and axes.get_ylim()[1] > 200 and axes.get_xscale() == "log"
        best = lines[next(name for name in lines if tuple(lines[name].get_ydata()) == (95.0 * threads,))]
        assert best.get_markerfacecolor() == "none", "a ring, which hides no other rung"
    rungs = [text.get_text() for text in figure.legends[0].get_texts()]
    assert rungs == ["naive", "best"]


def test_names_of_shapes_lie_under_the_lowest_point():
    for shape in ("64x784x128", "1024x1024x1024"):
        record = {**ROOF, "points": [{**point, "shape": f"{shape} NN"} for point in ROOF["points"]]}
        figure = plots.draw_roofline(record)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        (name,) = [text for text in axes.texts if text.get_text() == shape]
        assert name.get_window_extent().y1 < axes.transData.transform((20.0, 1.0))[1]


def test_streaming_bars_are_shares_of_the_copy():
    row = {"kernel": "tanh", "dtype": "float32", "place": "cache", "of_floor": 0.5, "over_numpy": 2.0}
    record = {"results": [row, {**row, "dtype": "float64", "over_numpy": None}, {**row, "place": "memory"},
                          {**row, "kernel": "exp", "wrong": "off"}]}  # fmt: skip
    cache, memory = plots.draw_streaming(record).axes
    assert bars(cache) == {"tanh float32": 0.5, "tanh float64": 0.5} and bars(memory) == {"tanh float32": 0.5}
    ticks = [tuple(line.get_xdata()) for line in cache.lines]
    assert (0.25, 0.25) in ticks  # NumPy, half as fast
    legend = cache.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["float32, uint32", "float64", "NumPy"]
    colours = [patch.get_facecolor() for patch in legend.get_patches()]
    assert colours == [bar.get_facecolor() for bar in cache.patches[:2]]
    assert legend.get_lines()[-1].get_marker() == "|", "upright, as in the bars"


def test_nothing_to_draw_is_an_empty_picture():
    record = {"results": [{"kernel": "tanh", "dtype": "float32", "place": "cache", "wrong": "off"}]}
    assert plots.draw_streaming(record).axes


DEVICES = {
    "crossovers": {"matmul": {"alone": 100.0, "with_transfer": None, "first": 32},
                   "step": {"alone": 50.0, "with_transfer": 60.0, "first": 16}},
    "results": [{"what": what, "size": size, "cpu": spread(1e-6 * size**2), "gpu_alone": 1e-2,
                 "gpu_with_transfer": 1.1e-2} for what in ("matmul", "step") for size in (32, 64, 128)],
}  # fmt: skip


def test_crossover_lines_stand_where_the_gpu_begins_to_win():
    products, steps = plots.draw_crossover(copy.deepcopy(DEVICES)).axes
    cpu, gpu, moved, alone = products.lines
    assert list(cpu.get_ydata()) == pytest.approx([1e-3 * n**2 for n in (32, 64, 128)])  # milliseconds
    assert list(gpu.get_ydata()) == pytest.approx([10.0] * 3) and list(moved.get_ydata()) == pytest.approx([11.0] * 3)
    assert alone.get_xdata()[0] == 100.0
    assert [line.get_xdata()[0] for line in steps.lines[3:]] == [50.0, 60.0]
    assert steps.get_xlabel() == "batch size"


@pytest.mark.parametrize("draw, record", [(plots.draw_ladder, LADDER), (plots.draw_roofline, ROOF),
                                          (plots.draw_crossover, DEVICES)])  # fmt: skip
def test_a_picture_can_be_written(tmp_path, draw, record):
    draw(record).savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
