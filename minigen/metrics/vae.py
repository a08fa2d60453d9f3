"""What only a model with an encoder and a likelihood can be asked: how probable are held-out images?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..autograd import no_grad
from ..errors import DataError, UsageError
from ..losses import vae as losses
from ..random import Generator
from ..tensor import Tensor
from .interval import Estimate, bootstrap_mean

__all__ = ["VAEFigures", "active_units", "importance_weighted_bound", "vae_figures"]

CHUNK = 1000  # images at a time; each sees one z after another, so that memory does not depend on their number
ACTIVE = 0.01


class LatentModel(Protocol):
    """What is asked of a model: `minigen.models.VAE` has it."""

    def preprocess(self, images: np.ndarray, noise: Generator | None = None) -> Tensor:
        """Pixels (N, D) as the likelihood wants them."""

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z|x)."""

    def nll(self, z: Tensor, x: Tensor, *, per_sample: bool = False) -> Tensor:
        """-log p(x|z): (N,) with `per_sample`."""

    def evaluating(self) -> Any:
        """A context without dropout."""


class VAEFigures(NamedTuple):
    """Nats per image, but for `active_units`. `bound` is on log p(x): larger is better, as for no other of them."""

    reconstruction: Estimate
    kl: Estimate
    negative_elbo: Estimate
    bound: Estimate
    samples: int  # z for each image in `bound`
    active_units: int


def importance_weighted_bound(x: Tensor, mu: Tensor, log_var: Tensor, log_likelihood: Callable[[Tensor], Tensor],
                              samples: int, noise: Generator) -> np.ndarray:
    """L_k = log 1/k sum_i w_i,  w_i = p(x|z_i) p(z_i) / q(z_i|x),  z_i ~ q(z|x): (N,) float64, nats.

    Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, equation 8. E L_k <= log p(x); it grows with k (their
    theorem 1), from the ELBO at k = 1 to log p(x). `log_likelihood` gives log p(x|z) (N,) for one z (N, latent) for
    each image; the z come one after another, and the sum of the w_i is kept by its logarithm.
    """
    if samples < 1:
        raise UsageError(f"{samples} samples for the importance-weighted bound: expected 1 or more")
    total = np.full(len(x), -np.inf)
    sigma = np.exp(0.5 * log_var.data)
    for _ in range(samples):
        epsilon = noise.normal(mu.shape).data
        z = mu.data + sigma * epsilon
        # log p(z) - log q(z|x), both normal: the constants log 2 pi cancel.
        ratio = 0.5 * (epsilon**2 - z**2 + log_var.data).sum(1, dtype=np.float64)
        total = np.logaddexp(total, log_likelihood(Tensor(z)).data + ratio)
    return total - np.log(samples)


def active_units(mu: np.ndarray, threshold: float = ACTIVE) -> int:
    """The number of latent dimensions u with A_u = Var_x(E_{q(u|x)}[u]) > 0.01, from posterior means (N, latent).

    Burda et al. 2016, their measure of activity. The others are ignored by the decoder: q(u|x) is the prior whatever x.
    """
    return int((np.var(mu, axis=0, dtype=np.float64) > threshold).sum())


def vae_figures(model: LatentModel, images: np.ndarray, *, samples: int = 100, seed: int = 0) -> VAEFigures:
    """The figures of a VAE on held-out images (N, H, W).

    Reconstruction and KL as in `minigen.losses.vae`, one z for each image; `samples` z for the bound. With a Bernoulli
    likelihood the images are binarised once, from `seed`. With a Gaussian one, log p is a density for pixels in
    [-1, 1], and says nothing beside a Bernoulli's. Raises DataError for fewer than two images, and for a model that
    finds no finite loss for one of them; UsageError for a model without an encoder and a likelihood.
    """
    if not (hasattr(model, "posterior") and hasattr(model, "nll")):
        raise UsageError(f"a {type(model).__name__} has no encoder and no likelihood, of which these figures are: give "
                         "a model such as minigen.models.VAE")
    if len(images) < 2:
        raise DataError(f"{len(images)} images to evaluate a VAE on: give 2 or more")
    noise = Generator(seed).fork("vae figures")
    parts = []
    with no_grad(), model.evaluating(), np.errstate(invalid="ignore"):
        for start in range(0, len(images), CHUNK):
            parts.append(_chunk(model, images[start:start + CHUNK], samples, noise))
    nll, kl, bound, mu = (np.concatenate(column) for column in zip(*parts, strict=True))
    if bad := int(np.count_nonzero(~np.isfinite(nll + kl + bound))):
        raise DataError(f"{bad} of {len(images)} images have a loss that is NaN or infinite: the weights are broken; "
                        "train it anew with a smaller learning rate (--lr)")
    reconstruction, divergence, loss, log_p = (bootstrap_mean(v, seed=seed) for v in (nll, kl, nll + kl, bound))
    return VAEFigures(reconstruction, divergence, loss, log_p, samples, active_units(mu))


def _chunk(model: LatentModel, images: np.ndarray, samples: int, noise: Generator) -> tuple[np.ndarray, ...]:
    """(-log p(x|z), KL, bound) of each image, and the posterior means: networks where the model is, the rest here."""
    x = model.preprocess(images, noise)
    mu, log_var = (t.to("cpu") for t in model.posterior(x))

    def log_likelihood(z: Tensor) -> Tensor:
        return -model.nll(z.to(x.device), x, per_sample=True).to("cpu")

    z = losses.reparameterise(mu, log_var, noise.normal(mu.shape))
    nll, kl = -log_likelihood(z), losses.kl_normal(mu, log_var, per_sample=True)
    bound = importance_weighted_bound(x, mu, log_var, log_likelihood, samples, noise)
    return nll.data.astype(np.float64), kl.data.astype(np.float64), bound, mu.data
