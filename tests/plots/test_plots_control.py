"""What controllers did, drawn beside the losses."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from minigen import plots
from minigen.plots import Control, Mark


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written, in order."""
    written = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (written.append(self), save(self, *a, **k)))
    return written


def test_a_panel_for_each_control_and_a_line_for_each_mark(tmp_path, figures):
    controls = [Control("kl", "beta", [0.5, 1.0], [30.0, 20.0], [0.1, 0.2], 15.0),
                Control("Frechet distance", "", [1, 2], [9.0, 8.0], [], None)]
    marks = [Mark(2, "best epoch 2")]
    plots.save_losses({"loss": [3.0, 2.0]}, tmp_path / "l.png", controls=controls, marks=marks)
    losses, kl, distance, beta = figures[0].axes
    assert [a.get_ylabel() for a in (losses, kl, distance, beta)] == ["loss (nats)", "kl", "Frechet distance", "beta"]
    assert [text.get_text().strip() for text in losses.texts] == ["best epoch 2"]
    assert list(losses.get_lines()[-1].get_xdata()) == [2, 2]
    measured, target = kl.get_lines()
    assert measured.get_ydata().tolist() == [30.0, 20.0] and set(target.get_ydata()) == {15.0}
    assert beta.get_lines()[0].get_ydata().tolist() == [0.1, 0.2]
    assert len(distance.get_lines()) == 1
    assert (distance.get_xlabel(), losses.get_xlabel()) == ("epoch", "")


def test_one_epoch_can_be_seen(tmp_path, figures):
    control = Control("Frechet distance", "", [1], [9.0], [], None)
    plots.save_losses({"loss": [3.0]}, tmp_path / "l.png", controls=[control])
    assert figures[0].axes[1].get_lines()[0].get_marker() == "o"


def test_a_long_measurement_has_its_running_mean(tmp_path, figures):
    values = np.arange(500.0)
    control = Control("accuracy", "ratio", values / 10, values, values, 250.0)
    plots.save_losses({"loss": [1.0]}, tmp_path / "l.png", controls=[control])
    raw, mean, _ = figures[0].axes[1].get_lines()
    assert np.array_equal(raw.get_ydata(), values)
    assert np.allclose(mean.get_ydata(), mean.get_xdata() * 10, atol=0.51)


def test_marks_on_the_losses_of_a_text(tmp_path, figures):
    plots.save_text_losses({"loss": [1.0, 0.5]}, tmp_path / "l.png", marks=[Mark(1, "last epoch 1")])
    assert [text.get_text().strip() for text in figures[0].axes[0].texts] == ["last epoch 1"]
