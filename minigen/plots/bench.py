"""Pictures of benchmarks: the ladder in bars, the roofline, kernels beside a copy, CPU against GPU.

Each takes the record that `minigen bench` writes as JSON, so that a picture can be drawn again from the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator

from .style import DPI, open_axes

__all__ = ["draw_crossover", "draw_ladder", "draw_roofline", "draw_streaming", "draw_training"]

Record = Mapping[str, Any]

# Okabe and Ito's colours, told apart with any common colour blindness; the order of the rungs, slowest first.
_COLOURS = ("#999999", "#56B4E9", "#009E73", "#B5A900", "#E69F00", "#D55E00", "#CC79A7", "#882255", "#332288")
_MARKERS = "osD^vP*Xh"
_BLAS, _BEST, _OTHER, _ROOF = "#222222", "#D55E00", "#0072B2", "#444444"


def draw_ladder(record: Record) -> Figure:
    """A panel for each of the record's `shown` shapes: a bar a rung, the measured peak as a dashed line."""
    results, shown = record["results"], record["shown"]
    dtype = results[0]["dtype"]
    peaks = {(d, t): value for d, t, value in record["peaks"]}
    settings = sorted({r["threads"] for r in results if r["dtype"] == dtype})
    settings = sorted({settings[0], settings[-1]})
    labels = list(dict.fromkeys(bar for name in shown for bar in _bars(results, name, dtype, settings)))
    figure = Figure(figsize=(3.4 * len(shown) + 1.6, 0.3 * len(labels) + 1.4), dpi=DPI, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for axes, name in zip(panels, shown, strict=True):
        bars = _bars(results, name, dtype, settings)
        for at, label in enumerate(labels):
            _draw_bar(axes, at, label, bars.get(label))
        for threads in settings:
            if (dtype, threads) in peaks:
                axes.axvline(peaks[dtype, threads], ls="--", lw=1, color=_ROOF)
                axes.text(peaks[dtype, threads], -0.75, f"peak, {_threads(threads)} ", ha="right", fontsize=7,
                          color=_ROOF)  # fmt: skip
        axes.set(title=name, xlabel=f"GFLOP/s, {dtype}", ylim=(len(labels) - 0.4, -1.1))
        axes.set_xlim(0, 1.17 * max([*peaks.values()] + [rate for rate, _ in bars.values() if rate], default=1))
        axes.set_yticks(range(len(labels)), labels)
        _bare(axes)
    return figure


def _bars(results: Iterable[Record], name: str, dtype: str, settings: Sequence[int]) -> dict[str, tuple[float, str]]:
    """By label: the rate of a rung, 0 with a word where there is none."""
    bars: dict[str, tuple[float, str]] = {}
    for threads in settings:
        for r in results:
            if (_shape(r), r["dtype"], r["threads"]) != (name, dtype, threads):
                continue
            more = f", {_threads(threads)}" if threads > 1 else ""
            bars |= {f"{rung}{more}": (found["gflops"], "") for rung, found in r["rungs"].items()}
            bars |= {f"{rung}{more}": (0.0, "wrong") for rung in r["wrong"]}
            bars |= {f"{rung}{more}": (0.0, "left out") for rung in r["left_out"]}
    return {label: bars[label] for label in sorted(bars, key=lambda label: ", " in label)}


def _draw_bar(axes: Axes, at: int, label: str, bar: tuple[float, str] | None) -> None:
    rate, word = bar or (0.0, "not measured")
    rung = label.split(",")[0]
    axes.barh(at, rate, color={"blas": _BLAS, "best": _BEST}.get(rung, _OTHER), height=0.72)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # over the line of the peak
    axes.annotate(word or f"{rate:.3g}", (rate, at), (4, 0), textcoords="offset points", va="center", fontsize=8,
                  color="0.25", bbox=paper)  # fmt: skip


def draw_roofline(record: Record) -> Figure:
    """Two panels, on one thread and on most: roofs, and the ladder's points under them, float32.

    `best`, a choice among the rungs, is a ring around the one that it chose, which would else be hidden.
    """
    points = record["points"]
    settings = sorted({point["threads"] for point in points})
    figure = Figure(figsize=(5.6 * len(settings) + 1.2, 4.8), dpi=DPI, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(settings), sharey=True))
    rungs = list(dict.fromkeys(point["rung"] for point in points))
    low = min(point["gflops"] for point in points)
    shapes = dict.fromkeys((point["shape"].removesuffix(" NN"), point["intensity"]) for point in points)
    for axes, threads in zip(panels, settings, strict=True):
        _roofs(axes, record, threads)
        for point in points:
            if point["threads"] == threads:
                axes.plot(point["intensity"], point["gflops"], zorder=3,
                          **_mark(rungs.index(point["rung"]), point["rung"]))  # fmt: skip
        top = max(peak["gflops"] for peak in record["peaks"])
        axes.set(xscale="log", yscale="log", xlim=(0.1, 400), ylim=(min(0.3, low / 16), 12 * top),
                 title=_threads(threads), xlabel="operations a byte (FLOP/byte)")  # fmt: skip
        _name_shapes(axes, shapes)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        open_axes(axes)
    panels[0].set_ylabel("GFLOP/s, float32")
    marks = [Line2D([], [], label=rung, **_mark(i, rung)) for i, rung in enumerate(rungs)]
    figure.legend(handles=marks, loc="outside right center", frameon=False)
    return figure


def _mark(number: int, rung: str) -> dict[str, Any]:
    colour = _COLOURS[number % len(_COLOURS)]
    if rung == "best":
        return {"ls": "", "marker": "o", "ms": 11, "mfc": "none", "mec": colour, "mew": 1.2}
    return {"ls": "", "marker": _MARKERS[number % len(_MARKERS)], "ms": 6.5, "color": colour, "mec": "white",
            "mew": 0.6}


def _roofs(axes: Axes, record: Record, threads: int) -> None:
    """y = min(peak, intensity * bandwidth) for each level."""
    (peak,) = (p["gflops"] for p in record["peaks"] if p["dtype"] == "float32" and p["threads"] == threads)
    levels = [b for b in record["bandwidths"] if b["threads"] == threads]
    for level, style in zip(levels, itertools.cycle(("-", "--", "-.", ":"))):
        bandwidth = level["gbytes"]
        axes.plot([0.01, peak / bandwidth], [0.01 * bandwidth, peak], style, color="0.35", lw=1.2,
                  label=f"{level['level']}, {bandwidth:.0f} GB/s")  # fmt: skip
    axes.legend(loc="upper left", frameon=False, fontsize=8, handlelength=2.4)
    start = peak / max(level["gbytes"] for level in levels)
    axes.plot([start, 1e4], [peak, peak], color="0.25", lw=1.2)
    axes.text(390, peak * 1.08, f"peak {peak:.0f} GFLOP/s", fontsize=8, ha="right", color="0.25")


def _name_shapes(axes: Axes, shapes: Iterable[tuple[str, float]]) -> None:
    bottom = axes.get_ylim()[0]
    for name, intensity in shapes:
        axes.axvline(intensity, color="0.88", lw=0.8, zorder=0)
        axes.text(intensity * 0.97, bottom * 1.15, name, fontsize=7, rotation=90, ha="right", color="0.45")


def draw_streaming(record: Record) -> Figure:
    """A panel for each place: bars of the copy's time over the kernel's, float32 first, NumPy's as a tick."""
    results = [r for r in record["results"] if "wrong" not in r]
    places = list(dict.fromkeys(r["place"] for r in results))
    labels = list(dict.fromkeys((r["kernel"], r["dtype"]) for r in results))
    figure = Figure(figsize=(4.2 * max(1, len(places)) + 2, 0.23 * len(labels) + 1.4), dpi=DPI, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, max(1, len(places)), sharey=True))
    for axes, place in zip(panels, places, strict=False):
        for r in results:
            if r["place"] != place:
                continue
            at = labels.index((r["kernel"], r["dtype"]))
            axes.barh(at, r["of_floor"], color=_BEST if r["dtype"] == "float64" else _OTHER, height=0.72)
            if r["over_numpy"]:
                axes.plot([r["of_floor"] / r["over_numpy"]] * 2, [at - 0.4, at + 0.4], color="black", lw=2)
        axes.axvline(1, ls="--", lw=1, color=_ROOF)
        axes.set(title={"cache": "in the cache", "memory": "from memory"}[place], xlabel="share of the copy's speed",
                 ylim=(len(labels) - 0.4, -0.6))  # fmt: skip
        axes.set_yticks(range(len(labels)), [f"{name} {dtype}" for name, dtype in labels], fontsize=8)
        _bare(axes)
    numpy = [Line2D([], [], ls="", marker="|", ms=11, mew=2, color="black", label="NumPy")]
    others = [Patch(color=_OTHER, label="float32, uint32"), Patch(color=_BEST, label="float64")]
    beside = numpy if any(r["over_numpy"] for r in results) else []
    panels[0].legend(handles=[*others, *beside], loc="lower right", frameon=False, fontsize=8)
    return figure


def draw_crossover(record: Record) -> Figure:
    """A panel for products and one for training steps: the times of both devices by size, and where they cross."""
    crossovers = record["crossovers"]
    figure = Figure(figsize=(4.8 * len(crossovers), 4), dpi=DPI, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(crossovers)))
    titles = {"matmul": ("n x n products, float32", "n"), "step": ("training step", "batch size")}
    for axes, (what, found) in zip(panels, crossovers.items(), strict=True):
        rows = [r for r in record["results"] if r["what"] == what]
        sizes = [r["size"] for r in rows]
        axes.plot(sizes, [1e3 * r["cpu"]["median"] for r in rows], "o-", color=_OTHER, label="CPU")
        axes.plot(sizes, [1e3 * r["gpu_alone"] for r in rows], "s-", color=_BEST, label="GPU")
        axes.plot(sizes, [1e3 * r["gpu_with_transfer"] for r in rows], "s--", color=_BEST, mfc="white",
                  label="GPU and transfer")  # fmt: skip
        for part, style in (("alone", "-"), ("with_transfer", "--")):
            if found[part] is not None:
                axes.axvline(found[part], color=_ROOF, lw=1, ls=style)
        title, label = titles[what]
        axes.set(xscale="log", yscale="log", title=title, xlabel=label, ylabel="milliseconds")
        axes.xaxis.set_major_locator(LogLocator(2))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        open_axes(axes)
        axes.legend(frameon=False)
    return figure


def draw_training(record: Record) -> Figure:
    """A panel for each net and number of threads: milliseconds a step by batch size, and the floor."""
    results = record["results"]
    panels = list(dict.fromkeys((r["threads"], r["net"]) for r in results))
    names = list(dict.fromkeys(name for r in results for name in r["seconds"]))
    rows = len({threads for threads, _ in panels})
    columns = -(-len(panels) // rows)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), dpi=DPI, layout="constrained")
    colours = dict(zip(names, (_OTHER, _BEST, *_COLOURS[1:]), strict=False))
    for axes, (threads, net) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=True):
        found = [r for r in results if (r["threads"], r["net"]) == (threads, net)]
        for name in names:
            points = [(r["batch"], 1e3 * r["seconds"][name]["median"]) for r in found if name in r["seconds"]]
            axes.plot(*zip(*points, strict=True), "o-", ms=4, color=colours[name], label=name)
        floors = [(r["batch"], 1e3 * r["floor"]["median"]) for r in found]
        axes.plot(*zip(*floors, strict=True), "--", color=_ROOF, label="floor")
        axes.set(xscale="log", yscale="log", title=f"{net}, {_threads(threads)}", xlabel="batch", ylabel="ms a step")
        axes.xaxis.set_major_locator(LogLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        open_axes(axes)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def _shape(result: Record) -> str:
    return f"{result['m']}x{result['k']}x{result['n']} {result['layout']}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
