"""The KL divergence of a VAE held at a set point by the weight beta of its loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...errors import UsageError
from .controller import Action, Controller, require

__all__ = ["KLTarget"]


@dataclass
class KLTarget(Controller):
    """ControlVAE (Shao et al. 2020, arXiv:2004.05988, section 3.2 and Algorithm 1): a non-linear PI controller.

        e(t) = target - KL(t)
        P(t) = kp / (1 + exp(e(t)))
        I(t) = I(t-1) - ki e(t)
        beta(t) = P(t) + I(t) + low,  held within [low, high]

    after every step, KL(t) being that of the batch, in nats per image: where it is above the target, beta rises. It
    starts at `low`. The published anti-windup keeps I as it is after a beta beyond its range, also where the next
    error would lead back; P alone, at most kp, may then never get it back, and beta sticks. Here I is set to what gives
    the end of the range, so that the first error of the other sign leads back (back-calculation, Astrom & Hagglund
    1995, section 3.5). The paper's range is [0, 1], which can only let the KL grow over that of the bound; a larger
    `high` also presses it below.
    """

    target: float
    kp: float = 0.01
    ki: float = 0.001
    low: float = 0.0
    high: float = 100.0
    integral: float = field(default=0.0, init=False)
    beta: float = field(default=0.0, init=False)

    name: ClassVar[str] = "kl_target"

    def __post_init__(self) -> None:
        require(self, "target", "nats above 0, at most a million", lambda v: 0 < v <= 1e6)
        require(self, "kp", "a number from 0", lambda v: v >= 0)
        require(self, "ki", "a number above 0", lambda v: v > 0)
        require(self, "low", "a number from 0", lambda v: v >= 0)
        require(self, "high", f"a number above low = {self.low}", lambda v: v > self.low)
        self.beta = self.low

    def attach(self, model: Any) -> None:
        if not hasattr(model, "beta"):
            raise UsageError(f"KLTarget moves the beta of a vae, and a {model.kind} has none: leave it out")
        if model.config.importance_samples > 1:
            raise UsageError("KLTarget moves the weight of the KL, which is no term of an importance-weighted vae's "
                             "loss: leave it out")

    def detach(self, model: Any) -> None:
        model.beta = model.config.beta

    def update(self, kl: float) -> float:
        """Take in KL(t), return beta(t)."""
        error = self.target - kl
        base = self.low + self.kp * 0.5 * (1 - math.tanh(error / 2))  # 1 / (1 + exp(e)), and nothing overflows
        self.integral -= self.ki * error
        self.beta = min(max(base + self.integral, self.low), self.high)
        if self.beta != base + self.integral:
            self.integral = self.beta - base
        return self.beta

    def after_step(self, measured: Mapping[str, float], images: int) -> Action:
        return Action("kl", measured["kl"], "beta", self.update(measured["kl"]))

    def apply(self, model: Any) -> None:
        model.beta = self.beta
