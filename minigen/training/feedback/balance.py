"""The balance of a GAN's two players held by how fast the discriminator learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...errors import UsageError
from .controller import Action, Controller, require

__all__ = ["Balance"]


@dataclass
class Balance(Controller):
    """Proportional control of the balance, as BEGAN has it (Berthelot et al. 2017, arXiv:1703.10717, equation 6):

        a  =  (P(D(real) > 0) + P(D(fake) < 0)) / 2 of the batch, before its step: the accuracy of D
        k <-  k + gain (target - a),  held within [0, 1]
        learning rate of D  =  k times its own

    BEGAN's figure is a ratio of two reconstruction errors, which a discriminator with a logit has not; the accuracy
    says the same of it: 1/2 where the players are even, 1 where D always wins and the minimax generator starves. And
    BEGAN's k weighs a term of D's loss, which Adam would undo: its steps do not change when a loss is scaled; the
    learning rate does what k is meant to. Stopping D while it is too good (Dosovitskiy & Brox 2016, arXiv:1602.02644,
    section 3.4) is the limit of a large gain. BEGAN's gain is 0.001, for runs of some 100 000 steps.
    """

    target: float = 0.8
    gain: float = 0.01
    ratio: float = field(default=1.0, init=False)

    name: ClassVar[str] = "balance"

    def __post_init__(self) -> None:
        require(self, "target", "an accuracy above 0.5 and below 1", lambda v: 0.5 < v < 1)
        require(self, "gain", "a number above 0", lambda v: v > 0)

    def attach(self, model: Any) -> None:
        if not hasattr(model, "watched"):
            raise UsageError(f"Balance is for the two players of a gan, and a {model.kind} has none: leave it out")
        model.watched = True

    def detach(self, model: Any) -> None:
        model.watched = False

    def update(self, accuracy: float) -> float:
        """Take in a, return k."""
        self.ratio = min(max(self.ratio + self.gain * (self.target - accuracy), 0.0), 1.0)
        return self.ratio

    def after_step(self, measured: Mapping[str, float], images: int) -> Action:
        accuracy = (2 + measured["real_sign"] - measured["fake_sign"]) / 4
        return Action("accuracy", accuracy, "discriminator_ratio", self.update(accuracy))

    def factor(self, optimizer: str) -> float:
        return self.ratio if optimizer == "discriminator" else 1.0
