"""Pictures of a language model: written, with what belongs in them, and refused where the shapes do not fit."""

import numpy as np
import pytest
from PIL import Image

from minigen import plots
from minigen.errors import DataError, ShapeError
from minigen.plots.text import label

MAPS = np.tri(4)[None, None] / np.arange(1, 5)[:, None] * np.ones((2, 3, 1, 1))


def test_symbols_are_shown_as_they_can_be():
    assert label("a") == "a" and label(" ") == "\u2423" and label("\n") == "\u23ce"
    assert label("\x07") == "U+0007" and label("$") == "\\$"
    assert label("天") in ("天", "U+5929") and label("the ") == "the\u2423"


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
