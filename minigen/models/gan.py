"""The generative adversarial network: section 4.1.1 of the document, its networks from section 5.2.1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..errors import CheckpointError, UsageError
from ..losses import gan as losses
from ..nn import Dense, Module, Sequential, Tanh
from ..ops import mean, sign
from ..optim import EMA, Adam
from ..random import Generator
from ..tensor import Tensor
from .augment import Augmentation
from .base import GenerativeModel, Images, Losses, figures, intensities, require_count
from .networks import hidden_layers, require_at_least, require_hidden, require_share

__all__ = ["GAN", "GANConfig"]


@dataclass(frozen=True)
class GANConfig:
    """The settings of a GAN. Pixels are scaled to [-1, 1], the range of tanh."""

    image_shape: tuple[int, int] = (28, 28)
    latent: int = 16
    generator: tuple[int, ...] = (256, 512)  # widths of the hidden layers
    discriminator: tuple[int, ...] = (512, 256)
    slope: float = 0.2  # of the leaky ReLU
    batch_norm: bool = True  # in the generator
    dropout: float = 0.0  # in the discriminator
    form: str = "non_saturating"  # of the generator's loss
    real_label: float = 1.0  # below 1: one-sided label smoothing
    lr: float = 5e-4
    lr_discriminator: float | None = None  # lr where None
    beta1: float = 0.5
    r1: float = 2.0  # weight gamma of the R1 penalty; 0 for none
    r1_every: int = 8  # steps between penalties, each then as many times as strong (arXiv:1912.04958, appendix B)
    ema: float = 0.999  # weight average that samples are drawn from; 0 for none
    seed: int = 0


class GAN(GenerativeModel):
    """A generator and a discriminator that train against each other."""

    kind = "gan"
    Config = GANConfig
    PRESETS = {
        "default": {},
        # The networks of section 5.2.1, repaired as EQUATIONS.md says.
        "document": {"latent": 100, "generator": (128,), "discriminator": (128,), "slope": 0.01, "batch_norm": False,
                     "lr": 1e-4, "beta1": 0.9, "r1": 0.0, "ema": 0.0},
    }
    TRAINING = {"default": {"steps": 20000, "batch_size": 32}, "document": {"steps": 50000, "batch_size": 64}}

    config: GANConfig
    augmentation: Augmentation | None = None  # what the discriminator sees images through, real and generated alike
    watched: bool = False  # whether train_step also gives the signs of the discriminator's logits

    def __init__(self, *, device: str = "cpu", **settings: Any) -> None:
        rng = self.configure(settings)
        c = self.config
        if c.form not in losses.FORMS:
            raise UsageError(f"form = {c.form!r}: expected one of {', '.join(losses.FORMS)}")
        if not 0 < c.real_label <= 1:
            raise UsageError(f"real_label = {c.real_label}: expected above 0, at most 1")
        require_at_least(c, 1, "latent", "r1_every")
        require_at_least(c, 0, "r1")
        require_hidden(c, "generator", "discriminator")
        require_share(c, "ema", "dropout")
        self.generator = self._generator(rng)
        pixels = math.prod(c.image_shape)
        layers = hidden_layers((pixels, *c.discriminator), rng, slope=c.slope, dropout=c.dropout, noise=self.noise)
        self.discriminator = Sequential(*layers, Dense(c.discriminator[-1], 1, rng=rng))
        self.optimizers = {
            "generator": Adam(self.generator.parameters(), c.lr, (c.beta1, 0.999)),
            "discriminator": Adam(self.discriminator.parameters(),
                                  c.lr if c.lr_discriminator is None else c.lr_discriminator, (c.beta1, 0.999)),
        }
        self.average = self._generator(rng) if c.ema else None
        self._ema = EMA(self.generator, self.average, c.ema) if self.average is not None else None
        self.to(device)

    def _generator(self, rng: Generator) -> Sequential:
        c = self.config
        layers = hidden_layers((c.latent, *c.generator), rng, slope=c.slope, batch_norm=c.batch_norm)
        return Sequential(*layers, Dense(c.generator[-1], math.prod(c.image_shape), rng=rng), Tanh())

    def train_step(self, images: Images | Tensor) -> Losses:
        """One step of the discriminator, then one of the generator (Goodfellow et al. 2014, Algorithm 1, k = 1).

        The same fakes serve both: drawing them twice would cost a forward pass and change nothing on average.
        Where the GAN is `watched`, also E[sign(logit)] of real and of fake images, before the discriminator's step.
        """
        self.check_images(images)
        real = self.preprocess(images)
        # At least two: a single image, such as an epoch's last, has no variance for batch normalisation.
        fake = self.generator(self.noise.normal((max(len(real), 2), self.config.latent), device=self.device))

        seen = self._seen(real)
        real_logits, fake_logits = self.discriminator(seen), self.discriminator(self._seen(fake.detach()))
        d_loss = losses.discriminator_loss(real_logits, fake_logits, real_label=self.config.real_label)
        self._update("discriminator", d_loss + self._penalty(seen))

        with self.discriminator.frozen():
            g_loss = losses.generator_loss(self.discriminator(self._seen(fake)), form=self.config.form)
            self._update("generator", g_loss)
        if self._ema is not None:
            self._ema.update()
        signs = {"real_sign": mean(sign(real_logits)), "fake_sign": mean(sign(fake_logits))} if self.watched else {}
        return figures(discriminator_loss=d_loss, generator_loss=g_loss, **signs)

    def _seen(self, images: Tensor) -> Tensor:
        """The images (N, H W) as the discriminator sees them while it trains."""
        return images if self.augmentation is None else self.augmentation(images)

    def _penalty(self, real: Tensor) -> Tensor | float:
        """The R1 penalty where it is due: every `r1_every` steps, and then as many times as strong."""
        c = self.config
        if not c.r1 or self.optimizers["discriminator"].steps % c.r1_every:
            return 0.0
        return losses.r1_penalty(self.discriminator, real, gamma=c.r1 * c.r1_every)

    def _update(self, player: str, loss: Tensor) -> None:
        loss.backward()
        self.optimizers[player].step()
        self.optimizers[player].zero_grad()

    def preprocess(self, images: Images | Tensor) -> Tensor:
        """(N, H, W) as (N, H W) in [-1, 1]."""
        return intensities(self.upload(images)) * 2.0 - 1.0

    def evaluate(self, images: Images) -> Losses:
        """Both losses on held-out images against as many fakes from a fixed seed, in evaluation mode, in nats."""
        self.check_images(images)
        fake = self.generate(len(images), seed=0, network=self.generator)
        with no_grad(), self.evaluating():
            real_logits = self.discriminator(self.preprocess(images))
            fake_logits = self.discriminator(fake)
            return {"discriminator_loss": losses.discriminator_loss(real_logits, fake_logits).item(),
                    "generator_loss": losses.generator_loss(fake_logits, form=self.config.form).item()}

    def training_state(self) -> dict[str, np.ndarray]:
        """Also the number of updates of the weight average, which its first decays depend on."""
        arrays = super().training_state()
        return arrays if self._ema is None else {**arrays, "ema.updates": np.array(self._ema.updates, np.int64)}

    def load_training_state(self, arrays: dict[str, np.ndarray]) -> None:
        super().load_training_state(arrays)
        if self._ema is None:
            return
        if "ema.updates" not in arrays:
            raise CheckpointError("this training state has no 'ema.updates': it belongs to a GAN without a weight "
                                  "average, or is not whole")
        self._ema.updates = int(arrays["ema.updates"])

    def generate(self, n: int, *, seed: int, network: Module) -> Tensor:
        """G(z) for z ~ N(0, I) from `seed`: (n, H W) in [-1, 1]."""
        require_count(n)
        z = Generator(seed).fork("samples").normal((n, self.config.latent), device=self.device)
        with no_grad(), network.evaluating():
            return network(z)

    def sample(self, n: int, *, seed: int = 0) -> Images:
        """`n` images from the averaged generator, or the generator itself where no average is kept."""
        network = self.generator if self.average is None else self.average
        return self.to_images((self.generate(n, seed=seed, network=network) + 1) * 0.5)

