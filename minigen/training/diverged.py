"""Where a run broke: the last steps are done again, from a state that was kept, with an eye on every layer.

When a loss is no longer finite it is too late to look: the update has carried NaN into every weight that the loss
depends on, of a GAN's other network too. A step is a function of the state and the batch, so the state of some
seconds ago leads to the same break again, and this time the first layer that gives a value that is not finite is
caught in the act.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..debug import finite
from .checks import not_finite
from .feedback import Feedback
from .model import Trainable

__all__ = ["Recall"]

SECONDS = 5.0  # between two states that are kept, each a copy of all weights and moments


class Recall:
    """Keeps the state of a model before some recent step."""

    def __init__(self, model: Trainable, feedback: Feedback) -> None:
        self.step = -1  # which comes next from that state; none is kept yet
        self._model, self._feedback = model, feedback
        self._arrays: dict[str, np.ndarray] = {}
        self._settings: dict[str, np.ndarray] = {}
        self._kept_at = 0.0

    def keep(self, step: int) -> None:
        """Before every step: keep the state when it is time for it."""
        now = time.monotonic()
        if self.step < 0 or now - self._kept_at >= SECONDS:
            self.step, self._kept_at, self._arrays = step, now, self._model.training_state()
            self._settings = self._feedback.state()

    def forget(self) -> None:
        """After an epoch whose end changed a setting: the steps before it are not to be done again."""
        self.step = -1

    def go_back(self, batches: Iterable[np.ndarray]) -> None:
        """Bring the model to the state before a step that failed half-way, by the batches of the steps until then."""
        self._model.load_training_state(self._arrays)
        self._feedback.load(self._settings)
        for batch in batches:
            losses = self._model.train_step(batch)
            if not_finite(losses) is None:
                self._feedback.move(losses, len(batch))

    def first_broken(self, batches: Iterable[np.ndarray]) -> str:
        """Do the steps from the state kept on again, with these batches, and say which layer broke.

        The model is left as the last step leaves it.
        """
        broken: list[str] = []
        with _watching(self._model, broken.append):
            self.go_back(batches)
        broken = broken or [name for name, p in self._model.named_parameters().items() if not finite(p.data).all()]
        if not broken:
            return "the result of every layer is finite, so the loss itself overflowed"
        return f"the first layer that is not finite is {broken[0]!r}"


@contextmanager
def _watching(model: Any, tell: Callable[[str], None]) -> Iterator[None]:
    """Within the context, `tell` hears the name of every layer each time that it gives a value that is not finite.

    For a model made of modules (`minigen.nn.Module`); one of another make is not looked into.
    """
    modules = dict(model.modules()) if hasattr(model, "modules") else {}
    layers = {name: module for name, module in modules.items() if not module.children()}
    for name, layer in layers.items():
        layer.forward = _telling(layer.forward, name, tell)  # on the object: it hides the method of the class
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.forward


def _telling(forward: Callable[..., Any], name: str, tell: Callable[[str], None]) -> Callable[..., Any]:
    def watched(*args: Any) -> Any:
        output = forward(*args)
        if not finite(output.data).all():
            tell(name)
        return output

    return watched
