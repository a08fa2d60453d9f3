"""What a run on text leaves beside its weights: samples as it learns, and pictures of what it pays attention to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoint import atomic_file
from ..data import TextDataset
from .feedback import Feedback
from .feedback.drawn import panels_and_marks
from .folder import RunFolder
from .history import History

__all__ = ["draw_run", "write_epoch"]

LENGTH = 300  # tokens of a sample while it trains
SAMPLES = 3  # texts in samples.txt
_SHOWN = 32  # tokens in a picture: more could not be read


def write_epoch(model: Any, folder: RunFolder, epoch: int, seed: int) -> str:
    """The sample after `epoch` epochs, from the same random numbers every time, written down; also what to tell."""
    text = model.sample(1, seed=seed, length=LENGTH)[0]
    with atomic_file(folder.sample(epoch).with_suffix(".txt")) as stream:
        stream.write(text.encode("utf-8", "replace"))
    return f"after epoch {epoch} it writes:\n  " + text.strip().replace("\n", "\n  ") + "\n"


def draw_run(
    model: Any, folder: RunFolder, history: History, shown: TextDataset, seed: int, feedback: Feedback
) -> list[Path]:
    """Samples and pictures of the state that the run is in; the pictures are of the beginning of `shown`."""
    from .. import plots

    path = folder.path
    with atomic_file(path / "samples.txt") as stream:
        texts = model.sample(SAMPLES, seed=seed)
        stream.write("\n\n----\n\n".join(text.strip() for text in texts).encode("utf-8", "replace"))
    drawn = [path / "samples.txt", path / "attention.png", path / "next_character.png"]
    tokens = shown.tokens[:min(_SHOWN, shown.context)]
    vocabulary = [piece.decode("utf-8", "replace") for piece in model.tokenizer.pieces()]
    plots.save_attention(model.attention_maps(tokens), [vocabulary[i] for i in tokens], drawn[1])
    plots.save_next_tokens(model.next_probabilities(tokens), tokens, vocabulary, drawn[2])
    if history.rows:
        losses = {name: values for name, values in history.curves.items() if name.endswith("loss")}
        plots.save_text_losses(losses, path / "losses.png", marks=panels_and_marks(feedback, history)[1])
        drawn.append(path / "losses.png")
    return drawn
