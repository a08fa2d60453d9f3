"""The exponential moving average of a network's weights."""

from __future__ import annotations

from ..autograd import no_grad
from ..errors import UsageError
from ..host import HostNumber
from ..nn import Module
from ..ops import ema_step

__all__ = ["EMA"]


class EMA:
    """average <- d average + (1 - d) weights, d = min(decay, (1 + t) / (10 + t)) at update t = 0, 1, 2, ...

    Polyak & Juditsky 1992. The smaller d of the first updates forgets the random start sooner. `average` is a
    Module of the same architecture as `source`; buffers, such as batch statistics, are averaged as well.
    """

    updates = HostNumber()

    def __init__(self, source: Module, average: Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay must be at least 0 and under 1, got {decay}")
        self.decay = decay
        self.updates = 0
        average.load_state_dict(source.state_dict())
        self._sources, self._averages = (list(m.named_tensors().values()) for m in (source, average))
        for p in average.parameters():
            p.requires_grad = False

    @no_grad()
    def update(self) -> None:
        """Take in the source's weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for t, current in zip(self._averages, self._sources, strict=True):
            ema_step(t, current, decay=decay)
        self.updates += 1
