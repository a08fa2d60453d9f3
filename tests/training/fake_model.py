"""The smallest model that the training loop can tell from a real one: a mean image, learned with noise and momentum."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np

from minigen import checkpoint, kernels
from minigen.errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class FakeConfig:
    image_shape: tuple[int, int] = (4, 4)
    lr: float = 0.1
    seed: int = 0


class FakeModel:
    """`break_at` makes the loss NaN in that step, `rot_at` the weights while the loss stays finite."""

    kind = "fake"

    def __init__(self, break_at=None, rot_at=None, **settings):
        self.config = FakeConfig(**settings)
        self.mean = np.zeros(self.config.image_shape, np.float32)
        self.momentum = np.zeros_like(self.mean)
        self.draw = 0
        self.break_at, self.rot_at = break_at, rot_at

    def train_step(self, images):
        x = images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
        noise = kernels.normal(self.config.seed, self.draw, x.shape, "float32")
        self.draw += 1
        error = self.mean - x - 0.1 * noise
        self.momentum = np.float32(0.9) * self.momentum + error.mean(0)
        self.mean = self.mean - np.float32(self.config.lr) * self.momentum
        if self.draw == self.break_at:
            self.mean[0, 0] = np.nan
        if self.draw == self.rot_at:
            self.mean[0, 0] = np.inf
        loss = float((error**2).mean())
        return {"loss": float("nan") if self.draw == self.break_at else loss, "size": float(np.abs(error).mean())}

    def evaluate(self, images):
        return {"loss": float(((images / 255 - self.mean) ** 2).mean())}

    def sample(self, n, *, seed=0):
        return np.clip(self.mean + 0.1 * kernels.normal(seed, 0, (n, *self.mean.shape), "float32"), 0, 1)

    def named_parameters(self):
        return {
            "bias": SimpleNamespace(data=np.zeros(1)),
            "mean": SimpleNamespace(data=self.mean),
        }

    def training_state(self):
        return {"mean": self.mean.copy(), "momentum": self.momentum.copy(), "draw": np.array(self.draw, np.uint64)}

    def load_training_state(self, arrays):
        for name in ("mean", "momentum"):
            if name not in arrays or arrays[name].shape != self.mean.shape:
                raise CheckpointError(f"{name!r} does not fit")
        assert set(arrays) == {"mean", "momentum", "draw"}, "the loop's own arrays must stay with the loop"
        self.mean, self.momentum, self.draw = arrays["mean"], arrays["momentum"], int(arrays["draw"])

    def save(self, path):
        config = json.dumps(dataclasses.asdict(self.config))
        checkpoint.save(path, {"mean": self.mean}, {"kind": self.kind, "config": config})


def pictures(count=50, side=4):
    """uint8 images (count, side, side)."""
    return kernels.random_bits(11, 0, count * side * side).astype(np.uint8).reshape(count, side, side)
