"""Where the loop is, beside the model: the step, and the sums of the epoch that is under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import CheckpointError

__all__ = ["LoopState"]

_PREFIX = "loop."
_SUM = "loop.sum."
_FEEDBACK = "loop.feedback."


@dataclass
class LoopState:
    """All of it goes into the checkpoint, so that a resumed epoch has the same mean to the last bit."""

    batches: int  # in an epoch
    run: str = ""  # whose state this is: `record.identity`
    step: int = 0
    images: int = 0  # seen in this epoch
    sums: dict[str, float] = field(default_factory=dict)  # of loss times images
    seconds: float = 0.0  # of training in this epoch
    feedback: dict[str, np.ndarray] = field(default_factory=dict)  # the state of its controllers

    def add(self, losses: Mapping[str, float], images: int, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.images += images
        self.seconds += seconds
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * images

    def means(self) -> dict[str, float]:
        """The mean of each loss over the images of the epoch so far."""
        return {name: value / self.images for name, value in self.sums.items()}

    def speed(self) -> float:
        """Images a second in this epoch."""
        return self.images / self.seconds if self.seconds > 0 else 0.0

    def end_epoch(self) -> None:
        """Start the sums of the next epoch."""
        self.images, self.sums, self.seconds = 0, {}, 0.0

    def arrays(self) -> dict[str, np.ndarray]:
        """What decides the result. Seconds do not: they are metadata."""
        counts = np.array([self.batches, self.step, self.images], np.int64)
        sums = {_SUM + name: np.array(value) for name, value in self.sums.items()}
        return {"loop.counts": counts, **sums, **{_FEEDBACK + name: value for name, value in self.feedback.items()}}

    def metadata(self) -> dict[str, str]:
        """Strings, as safetensors wants them."""
        sums = "\n".join(self.sums)
        return {"kind": "training", "run": self.run, "seconds": repr(self.seconds), "sums": sums}

    @classmethod
    def from_checkpoint(cls, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], path: Path) -> LoopState:
        """What `arrays` and `metadata` gave; CheckpointError where they are not of a training run."""
        try:
            batches, step, images = (int(value) for value in arrays["loop.counts"])
            names = metadata["sums"].splitlines()
            sums = {name: float(arrays[_SUM + name]) for name in names}
            feedback = {name.removeprefix(_FEEDBACK): a for name, a in arrays.items() if name.startswith(_FEEDBACK)}
            return cls(batches, metadata["run"], step, images, sums, float(metadata["seconds"]), feedback)
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: not the state of a training run (no {error}); was it swapped?") from error

    @staticmethod
    def without(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of the model alone."""
        return {name: array for name, array in arrays.items() if not name.startswith(_PREFIX)}
