"""When the GPU's memory does not suffice for a step: nothing is lost, and what would fit is found by trying.

The operations have tried twice already (`minigen.backend.after_freeing`). A step that fails may have changed half of
the weights, so the model goes back to the state before it; then batches of half the size, a quarter ... are tried from
there, and the state is put back once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..backend import out_of_memory
from ..errors import OutOfMemoryError
from .model import Trainable

__all__ = ["advice", "attempt", "largest_batch"]


def attempt(train_step: Callable[[np.ndarray], Mapping[str, Any]], batch: np.ndarray) -> dict[str, float]:
    """The losses of a step. What the array library says about the GPU's memory, where no operation did, becomes
    OutOfMemoryError."""
    try:
        return {name: float(loss) for name, loss in train_step(batch).items()}
    except MemoryError as error:
        failure = out_of_memory(error, "a step")
    raise failure


def largest_batch(model: Trainable, batch: np.ndarray) -> int:
    """The largest of half, a quarter ... of the images of `batch` that a step fits with; 0 where not even one does.

    The model is left as it was.
    """
    state = model.training_state()
    size = len(batch) // 2
    while size:
        try:
            attempt(model.train_step, batch[:size])
            break
        except OutOfMemoryError:
            size //= 2
    model.load_training_state(state)
    return size


def advice(batch_size: int, fits: int, saved: str | None) -> str:
    """What to do, in half a sentence."""
    smaller = f"{fits} fit: train with --batch-size {fits}" if fits else "nor does a single image: take a smaller model"
    kept = f"; {saved} is saved and can go on, with --resume --device cpu or when memory is free" if saved else ""
    return f"batches of {batch_size} do not fit, {smaller}{kept}"
