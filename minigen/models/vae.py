"""The variational autoencoder: section 4.1.2 of the document, its networks from section 5.2.2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..errors import ShapeError, UsageError
from ..host import HostNumber
from ..losses import vae as losses
from ..nn import Dense, Sequential, Tanh
from ..ops import broadcast_to, mean, sigmoid
from ..optim import Adam
from ..random import Generator
from ..tensor import Parameter, Tensor
from .base import GenerativeModel, Images, Losses, figures, intensities, require_count
from .networks import hidden_layers, require_at_least, require_hidden

__all__ = ["VAE", "VAEConfig"]

LIKELIHOODS = ("bernoulli", "gaussian")
CHUNK = 1000  # images at a time outside training


@dataclass(frozen=True)
class VAEConfig:
    """The settings of a VAE.

    With the Bernoulli likelihood pixels are intensities in [0, 1], binarised anew in each step, and the decoder gives
    logits. With the Gaussian one they lie in [-1, 1], the decoder ends in tanh, and one variance, shared by all pixels,
    is learned (Rybkin, Daniilidis & Levine 2021, arXiv:2006.13202, section 4.1).
    """

    image_shape: tuple[int, int] = (28, 28)
    latent: int = 20
    hidden: tuple[int, ...] = (400,)  # of the encoder; the decoder's are these reversed
    likelihood: str = "bernoulli"
    beta: float = 1.0
    activation: str = "relu"  # of the hidden layers: "relu" or "tanh"
    slope: float = 0.0  # of the leaky ReLU; 0 is the ReLU
    importance_samples: int = 1  # k of L_k, the loss of an importance-weighted autoencoder; 1 is the VAE
    one_backward: bool = False  # the gradient of L_k from one draw of the k, chosen by its weight: unbiased, cheaper
    lr: float = 1e-3
    seed: int = 0


class VAE(GenerativeModel):
    """An encoder q(z|x) = N(mu, diag sigma^2) and a decoder p(x|z)."""

    kind = "vae"
    Config = VAEConfig
    PRESETS = {
        "default": {},
        # The networks of section 5.2.2, as printed a plain autoencoder: here with both heads and a likelihood.
        "document": {"latent": 2, "hidden": (64, 32), "likelihood": "gaussian", "slope": 0.01},
    }
    TRAINING = {"default": {"epochs": 10, "batch_size": 128}, "document": {"epochs": 20, "batch_size": 128}}

    config: VAEConfig
    beta = HostNumber()  # config.beta, unless a controller moves it

    def __init__(self, *, device: str = "cpu", **settings: Any) -> None:
        rng = self.configure(settings)
        c = self.config
        if c.likelihood not in LIKELIHOODS:
            raise UsageError(f"likelihood = {c.likelihood!r}: expected one of {', '.join(LIKELIHOODS)}")
        require_at_least(c, 0, "beta")
        self.beta = c.beta
        require_at_least(c, 1, "latent", "importance_samples")
        require_hidden(c, "hidden")
        if c.importance_samples > 1 and c.beta != 1:
            raise UsageError(f"beta = {c.beta} with importance_samples = {c.importance_samples}: beta weighs the KL, "
                             "which is no term of L_k; leave one of them at 1")
        pixels = math.prod(c.image_shape)
        shape: dict[str, Any] = {"slope": c.slope, "activation": c.activation}
        self.encoder = Sequential(*hidden_layers((pixels, *c.hidden), rng, **shape))
        self.mu = Dense(c.hidden[-1], c.latent, rng=rng)
        self.log_var = Dense(c.hidden[-1], c.latent, rng=rng)
        self.decoder = Sequential(*hidden_layers((c.latent, *reversed(c.hidden)), rng, **shape),
                                  Dense(c.hidden[0], pixels, rng=rng))
        if c.likelihood == "gaussian":
            self.decoder.layers.append(Tanh())
            self.pixel_log_var = Parameter(np.zeros((1, 1), np.float32))
        self.optimizers = {"all": Adam(self.parameters(), c.lr)}
        self.to(device)

    def train_step(self, images: Images | Tensor) -> Losses:
        """One step of Adam on L = L_rec + beta L_KL (4.2.2), one z per image. Kingma & Welling 2013, Algorithm 1.

        With `importance_samples` above 1 on -L_k (Burda et al. 2016, equation 8), k draws of z per image.
        """
        if self.config.importance_samples == 1:
            reconstruction, kl = self.losses(images, self.noise)
            loss = objective = losses.negative_elbo(reconstruction, kl, beta=self.beta)
        else:
            objective, loss, reconstruction, kl = self.importance_weighted_losses(images, self.noise)
        objective.backward()
        self.optimizers["all"].step()
        self.optimizers["all"].zero_grad()
        return figures(loss=loss, reconstruction=reconstruction, kl=kl)

    def losses(self, images: Images | Tensor, noise: Generator) -> tuple[Tensor, Tensor]:
        """(L_rec, L_KL) in nats per image, with one z per image drawn from `noise`."""
        x = self.preprocess(images, noise)
        mu, log_var = self.posterior(x)
        z = losses.reparameterise(mu, log_var, noise.normal(mu.shape, device=mu.device))
        return self.nll(z, x), losses.kl_normal(mu, log_var)

    def importance_weighted_losses(self, images: Images | Tensor,
                                   noise: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(what to take the gradient of, -L_k, L_rec, L_KL) in nats per image, from k z per image.

        The first is -L_k, or with `one_backward` has its gradient in expectation. L_rec and L_KL are those of L_1.
        """
        x = self.preprocess(images, noise)
        mu, log_var = self.posterior(x)
        kl = losses.kl_normal(mu, log_var)
        k = self.config.importance_samples
        epsilon = noise.normal((k, *mu.shape), device=mu.device)
        if not self.config.one_backward:
            log_w, nll = self.log_weights(x, mu, log_var, epsilon)
            loss = losses.importance_weighted(log_w)
            return loss, loss, mean(nll), kl
        with no_grad():
            log_w, nll = self.log_weights(x, mu, log_var, epsilon)
            loss = losses.importance_weighted(log_w)
        chosen = losses.one_draw(log_w, noise.uniform(log_w.shape, device=mu.device), epsilon)
        return losses.importance_weighted(self.log_weights(x, mu, log_var, chosen)[0]), loss, mean(nll), kl

    def log_weights(self, x: Tensor, mu: Tensor, log_var: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """log w and -log p(x|z), each (k, N), at z = mu + sigma epsilon; epsilon (k, N, latent)."""
        k, n, latent = epsilon.shape
        z = losses.reparameterise(mu, log_var, epsilon)
        repeated = broadcast_to(x, shape=(k, *x.shape)).reshape(k * n, -1)
        nll = self.nll(z.reshape(k * n, latent), repeated, per_sample=True).reshape(k, n)
        return losses.log_importance_weights(nll, z, epsilon, log_var), nll

    def nll(self, z: Tensor, x: Tensor, *, per_sample: bool = False) -> Tensor:
        """-log p(x|z) in nats: of latents z (N, latent) and pixels x (N, H W) as `preprocess` gives them."""
        output = self.decoder(z)
        if self.config.likelihood == "bernoulli":
            return losses.bernoulli_nll(output, x, per_sample=per_sample)
        return losses.gaussian_nll(output, self.pixel_log_var, x, per_sample=per_sample)

    def preprocess(self, images: Images | Tensor, noise: Generator | None = None) -> Tensor:
        """(N, H, W) as (N, H W): in [-1, 1] for the Gaussian; for the Bernoulli in [0, 1], or 0 and 1 with `noise`."""
        self.check_images(images)
        x = intensities(self.upload(images))
        if self.config.likelihood == "gaussian":
            return x * 2.0 - 1.0
        return x if noise is None else noise.bernoulli(x)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z|x), each (N, latent)."""
        h = self.encoder(x)
        return self.mu(h), self.log_var(h)

    def evaluate(self, images: Images) -> Losses:
        """The negative ELBO and its two terms on held-out images, in nats per image.

        One z, and for the Bernoulli one binarisation, per image from a fixed seed: the same figure each time.
        """
        if not len(images):
            raise ShapeError("evaluate needs at least one image")
        noise = Generator(0).fork("evaluate")
        totals = np.zeros(2)
        with no_grad(), self.evaluating():
            for start in range(0, len(images), CHUNK):
                part = images[start:start + CHUNK]
                totals += len(part) * np.array([t.item() for t in self.losses(part, noise)])
        reconstruction, kl = (totals / len(images)).tolist()
        return {"negative_elbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    def encode(self, images: Images) -> np.ndarray:
        """The posterior means of images: (N, latent) float32."""
        with no_grad(), self.evaluating():
            parts = [self.posterior(self.preprocess(images[i:i + CHUNK]))[0].to("cpu").numpy()
                     for i in range(0, max(len(images), 1), CHUNK)]
        return np.concatenate(parts)

    def decode(self, z: np.ndarray) -> Images:
        """The decoder's mean images of latents (N, latent)."""
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.config.latent:
            raise ShapeError(f"decode takes latents (N, {self.config.latent}), got {z.shape}")
        with no_grad(), self.evaluating():
            output = self.decoder(Tensor(z).to(self.device))
            return self.to_images(sigmoid(output) if self.config.likelihood == "bernoulli" else (output + 1) * 0.5)

    def reconstruct(self, images: Images) -> Images:
        """The decoder's mean images at the posterior means of `images`."""
        return self.decode(self.encode(images))

    def sample(self, n: int, *, seed: int = 0) -> Images:
        """Mean images decoded from `n` latents drawn from the prior N(0, I)."""
        require_count(n)
        return self.decode(Generator(seed).fork("samples").normal((n, self.config.latent)).numpy())

