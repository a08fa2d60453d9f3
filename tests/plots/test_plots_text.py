"""Pictures of a language model: written, with what belongs in them, and refused where the shapes do not fit."""

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from minigen import plots
from minigen.errors import DataError, ShapeError
from minigen.plots import text
from minigen.plots.text import label

MAPS = np.tri(4)[None, None] / np.arange(1, 5)[:, None] * np.ones((2, 3, 1, 1))


def test_symbols_are_shown_as_they_can_be():
    assert label("a") == "a" and label(" ") == "\u2423" and label("\n") == "\u23ce"
    assert label("\x07") == "U+0007" and label("$") == "\\$"
    assert label("天") in ("天", "U+5929") and label("the ") == "the\u2423"


def test_a_symbol_that_another_font_has_is_shown(monkeypatch, tmp_path):
    """Of a font that comes with Matplotlib, in place of one with Chinese characters, which need not be here."""
    monkeypatch.setattr(text, "_FONTS", ("No Such Font", "STIXGeneral"))
    own, other = (font_manager.get_font(font_manager.findfont(name)).get_charmap()
                  for name in ("DejaVu Sans", "STIXGeneral"))
    symbol = next(chr(code) for code in sorted(other) if code not in own and chr(code).isprintable())
    text._families.cache_clear()
    try:
        assert label(symbol) == symbol
        plots.save_next_tokens(np.full((3, 2), 0.5), np.array([0, 1, 0]), [symbol, "a"], tmp_path / "next.png")
    finally:
        monkeypatch.undo()
        text._families.cache_clear()
    assert label(symbol) == f"U+{ord(symbol):04X}"


def test_a_single_epoch_is_no_fraction():
    figures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "save_figure", lambda figure, path: figures.append(figure))
        plots.save_text_losses({"loss": [2.0]}, "losses.png")
    ticks = figures[0].axes[0].get_xticks()
    assert len(ticks) and all(tick == int(tick) for tick in ticks)


def test_the_numbers_of_the_next_symbols_have_a_unit(monkeypatch):
    figures = []
    monkeypatch.setattr(text, "save_figure", lambda figure, path: figures.append(figure))
    plots.save_next_tokens(np.full((3, 2), 0.5), np.array([0, 1, 0]), ["a", "b"], "next.png")
    assert "its probability in %" in figures[0].axes[1].get_xlabel()


def test_all_pictures_are_written_without_a_warning(tmp_path):
    symbols = ["天", "\n", "$", " "]
    plots.save_attention(MAPS, symbols, tmp_path / "attention.png")
    p = np.random.default_rng(0).dirichlet(np.ones(4), 6)
    plots.save_next_tokens(p, np.array([0, 1, 2, 3, 0, 1]), symbols, tmp_path / "next.png")
    plots.save_text_losses({"loss": [2.0, 1.5], "test_loss": [2.1, 1.7]}, tmp_path / "losses.png")
    for name in ("attention", "next", "losses"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 100 and np.ptp(np.asarray(picture)) > 100
    assert len(list(tmp_path.iterdir())) == 3


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ShapeError, match="layers, heads, T, T"):
        plots.save_attention(MAPS, ["a"], tmp_path / "x.png")
    with pytest.raises(ShapeError, match="tokens, symbols"):
        plots.save_next_tokens(np.ones((3, 2)), np.zeros(2, int), ["a", "b"], tmp_path / "x.png")
    with pytest.raises(DataError, match="nothing in one"):
        plots.save_text_losses({"loss": []}, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
