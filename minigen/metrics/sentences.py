"""What a VAE of sentences can be asked: how probable are held-out sentences, and does its decoder listen to z?

A strong decoder predicts a sentence from its own beginning and may leave z unread: the posterior collapses to the
prior (Bowman et al. 2016, arXiv:1511.06349, section 3). No single figure shows it, so several stand side by side.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ..autograd import no_grad
from ..errors import DataError
from ..losses import vae as losses
from ..random import Generator
from ..tensor import Tensor
from .interval import Estimate, bootstrap_mean
from .vae import active_units, importance_weighted_bound

__all__ = ["SentenceFigures", "posterior_verdict", "sentence_figures"]

CHUNK = 256  # sentences at a time
_COLLAPSED = 0.05  # of the decoder's loss: below, what z tells it is next to nothing


class SentenceModel(Protocol):
    """What is asked of a model: `minigen.models.TextVAE` has it."""

    def posterior(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z|x)."""

    def reconstruction(self, rows: np.ndarray, z: Tensor) -> Tensor:
        """-log p(x|z), (N,)."""

    def evaluating(self) -> Any:
        """A context without dropout."""


class SentenceFigures(NamedTuple):
    """Nats per sentence, but for the last three. `bound` is on log p(x): larger is better, as for no other of them.

    without_z: the decoder's loss with z = 0, the prior's mean, for every sentence; another_z: with the z of another
    sentence. tokens: predicted ones in a sentence on average, its end included.
    """

    reconstruction: Estimate
    without_z: Estimate
    another_z: Estimate
    kl: Estimate
    negative_elbo: Estimate
    bound: Estimate
    samples: int  # z for each sentence in `bound`
    active_units: int
    tokens: float


def sentence_figures(model: SentenceModel, rows: np.ndarray, *, samples: int = 20, seed: int = 0) -> SentenceFigures:
    """The figures of a VAE on held-out sentences, rows (N, 1 + T); one z for each, and `samples` for the bound."""
    if len(rows) < 2:
        raise DataError(f"{len(rows)} sentences to evaluate a VAE on: give 2 or more")
    noise = Generator(seed).fork("sentence figures")
    with no_grad(), model.evaluating():
        parts = [_chunk(model, rows[i:i + CHUNK], samples, noise) for i in range(0, len(rows), CHUNK)]
    told, untold, other, kl, bound, mu = (np.concatenate(column) for column in zip(*parts, strict=True))

    def mean(nats: np.ndarray) -> Estimate:
        return bootstrap_mean(nats.astype(np.float64), seed=seed)

    return SentenceFigures(mean(told), mean(untold), mean(other), mean(kl), mean(told + kl), mean(bound), samples,
                           active_units(mu), float(rows[:, 0].mean()) + 1)


def _chunk(model: SentenceModel, rows: np.ndarray, samples: int, noise: Generator) -> tuple[np.ndarray, ...]:
    """The loss with z, without, with another's; KL, bound and posterior mean of each sentence."""
    mu, log_var = model.posterior(rows)
    device = mu.device
    mu, log_var = mu.to("cpu"), log_var.to("cpu")

    def loss(z: Tensor) -> Tensor:
        return model.reconstruction(rows, z.to(device)).to("cpu")

    z = losses.reparameterise(mu, log_var, noise.normal(mu.shape))
    nothing, other = Tensor(np.zeros_like(z.data)), Tensor(np.roll(z.data, 1, axis=0))
    told, untold, mistold = map(loss, (z, nothing, other))
    kl = losses.kl_normal(mu, log_var, per_sample=True)
    bound = importance_weighted_bound(mu, mu, log_var, lambda given: -loss(given), samples, noise)
    return told.data, untold.data, mistold.data, kl.data, bound, mu.data


def posterior_verdict(reconstruction: float, without_z: float, kl: float, active: int, latent: int) -> str:
    """Whether the posterior has collapsed, in words: KL and losses in nats per sentence, active units of `latent`.

    It has where no unit is active or z takes less than a twentieth off the decoder's loss.
    """
    gain = without_z - reconstruction
    told = (f"KL {kl:.3g} nats, {active} of {latent} latent units active, and z takes the decoder's loss from "
            f"{without_z:.1f} to {reconstruction:.1f} nats per sentence")
    if not active or gain < _COLLAPSED * without_z:
        told += ", less than a twentieth off" if gain < _COLLAPSED * without_z else ""
        return f"the posterior has collapsed, the decoder hardly reads z and is a plain language model: {told}"
    used = "z is used" if active > latent // 2 else f"z is used in part, {latent - active} of its units are idle"
    return f"no collapse, {used}: {told}"
