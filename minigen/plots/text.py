"""Pictures of a language model: the loss in nats and bits, what each head looks at, what could have come next.

Symbols are shown as they are, but a space as an open box, a line end as a return arrow, and what no font here has by
its code point: of Chinese, Japanese and Korean all, unless one of the fonts below is installed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..errors import DataError, ShapeError
from .control import Mark, draw_marks
from .style import DPI, LINE_STYLES, PALETTE, open_axes, save_figure

__all__ = ["label", "save_attention", "save_next_tokens", "save_text_losses"]

_COLOURS = (PALETTE[0], PALETTE[5], PALETTE[2], PALETTE[6])
_MARKS = {" ": "\u2423", "\n": "\u23ce", "\t": "\u21e5", "$": "\\$", "\ufffd": "?"}

# Beside Matplotlib's own font the first that is there: what Linux, macOS and Windows bring along.
_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei",
          "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS",
          "Microsoft YaHei", "SimHei", "Malgun Gothic")


def save_text_losses(curves: Mapping[str, Sequence[float]], path: str | Path, *, xlabel: str = "epoch",
                     marks: Sequence[Mark] = ()) -> None:
    """The losses of a run, one value an epoch, in nats per token on the left and in bits on the right; `marks` across.
    """
    if not curves or not all(len(values) for values in curves.values()):
        raise DataError(f"save_text_losses: got curves {list(curves)} with nothing in one; expected values to draw")
    figure = Figure(figsize=(7, 4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(curves.items()):
        colour, style = _COLOURS[number % len(_COLOURS)], LINE_STYLES[number % len(LINE_STYLES)]
        marker = "o" if len(values) <= 30 else None
        axes.plot(range(1, len(values) + 1), values, style, color=colour, label=name, marker=marker, markersize=4)
    axes.set(xlabel=xlabel, ylabel="nats per token")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    open_axes(axes)
    axes.legend(frameon=False)
    draw_marks(axes, marks)
    bits = axes.secondary_yaxis("right", functions=(_to_bits, _to_nats))
    bits.set_ylabel("bits per token")
    save_figure(figure, path)


def save_attention(maps: NDArray[Any], symbols: Sequence[str], path: str | Path) -> None:
    """What each head looks at: maps (layers, heads, T, T), a row for each query, over the T `symbols` read.

    A layer is a row of pictures. Dark is a weight of 1; each row of a map sums to 1.
    """
    if maps.ndim != 4 or maps.shape[2:] != (len(symbols), len(symbols)):
        raise ShapeError(f"save_attention: maps {maps.shape}, {len(symbols)} symbols; expected (layers, heads, T, T)")
    layers, heads, time, _ = maps.shape
    figure = Figure(figsize=(0.6 + 2.2 * heads, 0.4 + 2.3 * layers), dpi=DPI, layout="constrained")
    grid: Any = figure.subplots(layers, heads, squeeze=False)
    names = [label(symbol) for symbol in symbols]
    for layer, head in np.ndindex(layers, heads):
        axes = grid[layer, head]
        axes.imshow(maps[layer, head], cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
        axes.set_xticks(range(time), names if layer == layers - 1 else [""] * time, fontsize=5, rotation=90,
                        fontfamily=_families())
        axes.set_yticks(range(time), names if head == 0 else [""] * time, fontsize=5, fontfamily=_families())
        axes.tick_params(length=0, pad=1)
    figure.supxlabel("key: what is looked at", fontsize=8)
    figure.supylabel("query: where from", fontsize=8)
    save_figure(figure, path)


def save_next_tokens(probabilities: NDArray[Any], tokens: NDArray[Any], vocabulary: Sequence[str], path: str | Path, *,
                     choices: int = 5) -> None:
    """The likeliest next symbols along a text, and how surprising the one that came was.

    probabilities (T, symbols) after each of the `tokens` (T,); `vocabulary` names the symbols. A column is a place of
    the text: its `choices` likeliest continuations with their probability in per cent, the one that came framed; the
    curve above is -log2 p of that one, in bits.
    """
    if probabilities.shape != (len(tokens), len(vocabulary)) or len(tokens) < 2:
        raise ShapeError(f"save_next_tokens: probabilities {probabilities.shape}, {len(tokens)} tokens (2 or more) of "
                         f"{len(vocabulary)} symbols; expected (tokens, symbols)")
    p, came = probabilities[:-1], np.asarray(tokens)[1:]
    order = np.argsort(-p, axis=1, kind="stable")[:, :choices]
    shown = np.take_along_axis(p, order, 1)
    figure = Figure(figsize=(1.5 + 0.42 * len(came), 1.8 + 0.42 * shown.shape[1]), dpi=DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, shown.shape[1] / 2))
    above.bar(range(len(came)), -np.log2(np.maximum(p[np.arange(len(came)), came], 1e-12)), color=PALETTE[0])
    above.set_ylabel("bits", fontsize=8)
    above.spines[["top", "right"]].set_visible(False)
    below.imshow(shown.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for place, rank in np.ndindex(shown.shape):
        colour = "white" if shown[place, rank] > 0.6 else "black"
        right = order[place, rank] == came[place]
        name = label(vocabulary[int(order[place, rank])])
        below.text(place, rank, f"{name}\n{100 * shown[place, rank]:.0f}", ha="center", va="center", fontsize=7,
                   color=colour, fontfamily=_families(),
                   bbox={"boxstyle": "square", "fill": False, "edgecolor": PALETTE[5]} if right else None)
    below.set_xticks(range(len(came)), [label(vocabulary[int(i)]) for i in tokens[:-1]], fontsize=8,
                     fontfamily=_families())
    below.set_yticks(range(shown.shape[1]), [f"{rank + 1}." for rank in range(shown.shape[1])], fontsize=7)
    below.set_xlabel("after this symbol: the likeliest next ones,\nbelow each its probability in %; the one that came "
                     "is framed", fontsize=8)
    save_figure(figure, path)


def _to_bits(nats: Any) -> Any:
    return nats / math.log(2)


def _to_nats(bits: Any) -> Any:
    return bits * math.log(2)


def label(symbol: str) -> str:
    """A symbol as a picture can show it."""
    fonts = [font_manager.get_font(font_manager.findfont(family)) for family in _families()]
    return "".join(_MARKS[c] if c in _MARKS
                   else c if c.isprintable() and any(font.get_char_index(ord(c)) for font in fonts)
                   else f"U+{ord(c):04X}" for c in symbol)


@functools.cache
def _families() -> list[str]:
    """The fonts of symbols: where the first lacks one, the next is asked."""
    there = set(font_manager.get_font_names())
    return ["DejaVu Sans", *[family for family in _FONTS if family in there][:1]]
