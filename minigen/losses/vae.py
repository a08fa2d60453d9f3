"""The losses of a variational autoencoder: sections 4.1.2 and 4.2.2 of the document.

The encoder is q(z|x) = N(mu(x), diag sigma(x)^2), the prior p(z) = N(0, I), the decoder p(x|z) a Bernoulli or a
Gaussian. The loss is the negative evidence lower bound (Kingma & Welling 2013, arXiv:1312.6114, equation 3):

    L(theta, phi) = E_x[ E_{q(z|x)}[-log p(x|z)] + KL(q(z|x) || p(z)) ]                            (4.1.2)

    L_rec = -E_x E_{z ~ q(z|x)}[log p(x|z)]                                                        (4.2.2)
    L_KL  = E_x[KL(q(z|x) || p(z))] = E_x[ 1/2 sum_j (mu_j^2 + sigma_j^2 - log sigma_j^2 - 1) ]
    L     = L_rec + beta L_KL

The document prints (4.1.2) with a minus before the KL term, under which the loss falls without bound as KL grows; it
calls the encoder p(z|x), which is the intractable posterior; and it averages L_KL over z ~ p(z), although the KL has
integrated z out. beta = 1 is the bound itself; other values are a beta-VAE (Higgins et al. 2017).

It is a bound by Jensen's inequality: log p(x) = log E_q[p(x|z) p(z) / q(z|x)] >= E_q[log p(x|z)] - KL(q(z|x) || p(z)),
tight where q(z|x) is the true posterior. With the mean of k draws inside the logarithm it is tighter (Burda, Grosse &
Salakhutdinov 2016, arXiv:1509.00519, equation 8):

    L_k = E_x E_{z_1 .. z_k ~ q(z|x)}[log 1/k sum_i w_i],   w_i = p(x|z_i) p(z_i) / q(z_i|x)
    ELBO = L_1 <= L_2 <= ... <= E_x log p(x)

Every loss sums over the pixels or latent dimensions of a sample and averages over the batch: nats per sample. With
`per_sample=True` the average is left out, shape (N,). `log_var` is log sigma^2. Those named `..._literal` take
probabilities or standard deviations, as printed, and are for reading: they overflow where the others do not.
"""

from __future__ import annotations

import math

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..errors import DTypeError, ShapeError, UsageError
from ..tensor import Tensor, TensorLike

__all__ = ["bernoulli_nll", "bernoulli_nll_literal", "gaussian_nll", "gaussian_nll_literal", "importance_weighted",
           "kl_free_bits", "kl_normal", "kl_normal_literal", "log_importance_weights", "negative_elbo", "one_draw",
           "reparameterise"]


def reparameterise(mu: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """z = mu + exp(log_var / 2) noise, noise ~ N(0, I): a sample of q(z|x) through which gradients flow.

    mu, log_var and noise (N, latent), or noise (K, N, latent) for K samples; else ShapeError. Kingma & Welling 2013,
    section 2.4.
    """
    _same(mu, log_var, "mu", "log_var")
    if noise.shape[noise.ndim - mu.ndim:] != mu.shape:
        raise ShapeError(f"noise {noise.shape} must have the shape of mu, {mu.shape}, or one more axis before it")
    return mu + ops.exp(log_var * 0.5) * noise


def kl_normal(mu: Tensor, log_var: Tensor, *, per_sample: bool = False) -> Tensor:
    """KL(N(mu, diag sigma^2) || N(0, I)) = 1/2 sum_j (mu_j^2 + sigma_j^2 - log sigma_j^2 - 1)   (L_KL, 4.2.2).

    mu, log_var (N, latent); nats, averaged over the batch, or (N,) with `per_sample`. ShapeError where the shapes
    differ, and for an empty batch that is to be averaged. Kingma & Welling 2013, appendix B.
    """
    _same(mu, log_var, "mu", "log_var")
    return _nats(0.5 * (mu * mu + ops.exp(log_var) - log_var - 1), per_sample)


def kl_free_bits(mu: Tensor, log_var: Tensor, free: float) -> Tensor:
    """sum_j max(free, mean over the batch of KL_j), KL_j = 1/2 (mu_j^2 + sigma_j^2 - log sigma_j^2 - 1).

    In place of the KL it lets every latent dimension carry `free` nats without cost, so that none is given up before
    the decoder has learned to use it. At least KL(q || p), and with free = 0 equal to it. Kingma et al. 2016,
    arXiv:1606.04934, appendix C.8, equation 15. mu, log_var (N, latent); a scalar in nats. ShapeError where the shapes
    differ or the batch is empty, UsageError for a negative `free`.
    """
    _same(mu, log_var, "mu", "log_var")
    _require_batch(mu)
    if not free >= 0:
        raise UsageError(f"free = {free!r}: expected at least 0, in nats")
    each = ops.mean(0.5 * (mu * mu + ops.exp(log_var) - log_var - 1), axis=0)
    return ops.sum(ops.maximum(each, free))


def kl_normal_literal(mu: Tensor, sigma: Tensor, *, per_sample: bool = False) -> Tensor:
    """The same from the standard deviation: mu, sigma (N, latent), sigma above 0; nats."""
    variance = sigma * sigma
    return _nats(0.5 * (mu * mu + variance - ops.log(variance) - 1), per_sample)


def bernoulli_nll(logits: Tensor, x: TensorLike, *, per_sample: bool = False) -> Tensor:
    """-log p(x|z) = -sum_i [x_i log p_i + (1 - x_i) log(1 - p_i)], p = sigmoid(logits)   (L_rec, 4.2.2).

    Computed as softplus(logit) - x logit, finite for every logit. logits, x (N, pixels); x in [0, 1], which is checked
    of its type alone, and a likelihood in the strict sense for x in {0, 1}. DTypeError for whole numbers.
    """
    _same(logits, x, "logits", "x")
    _no_integers(x)
    return _nats(ops.bernoulli_nll(logits, x), per_sample)


def bernoulli_nll_literal(probabilities: Tensor, x: Tensor, *, per_sample: bool = False) -> Tensor:
    """-sum_i [x_i log p_i + (1 - x_i) log(1 - p_i)] as printed, from probabilities; both (N, pixels); nats."""
    return _nats(-(x * ops.log(probabilities) + (1 - x) * ops.log(1 - probabilities)), per_sample)


def gaussian_nll(mean: Tensor, log_var: Tensor | float, x: TensorLike, *, per_sample: bool = False) -> Tensor:
    """-log N(x; mean, sigma^2) = sum_i 1/2 [(x_i - mean_i)^2 / sigma_i^2 + log sigma_i^2 + log 2 pi]   (L_rec, 4.2.2).

    mean, x (N, pixels); `log_var` of that shape, or one that broadcasts to it. The constant log 2 pi is kept: without
    it the value would be no log-density. As a density it can be negative. DTypeError for x of whole numbers.
    """
    _same(mean, x, "mean", "x")
    _no_integers(x)
    error = mean - x
    if not isinstance(log_var, Tensor):
        log_var = Tensor(log_var) if getattr(log_var, "ndim", 0) else float(log_var)
    precision = ops.exp(-log_var) if isinstance(log_var, Tensor) else math.exp(-log_var)
    scaled = error * error * precision + log_var
    if scaled.shape != mean.shape:
        raise ShapeError(f"log_var {np.shape(log_var)} does not broadcast to mean {mean.shape}")
    return _nats(0.5 * (scaled + math.log(2 * math.pi)), per_sample)


def gaussian_nll_literal(mean: Tensor, sigma: Tensor, x: Tensor, *, per_sample: bool = False) -> Tensor:
    """-sum_i log[ exp(-(x_i - mean_i)^2 / (2 sigma_i^2)) / (sqrt(2 pi) sigma_i) ] as the density is written; nats.

    mean, x (N, pixels); `sigma` of that shape, or one that broadcasts to it.
    """
    error = x - mean
    density = ops.exp(-(error * error) / (2 * sigma * sigma)) / (math.sqrt(2 * math.pi) * sigma)
    return _nats(-ops.log(density), per_sample)


def negative_elbo(reconstruction: Tensor, kl: Tensor, *, beta: float = 1.0) -> Tensor:
    """L = L_rec + beta L_KL (4.2.2), in nats; for beta = 1 an upper bound on -log p(x), in expectation.

    Both are scalars, or both (N,), one value a sample.
    """
    return reconstruction + beta * kl


def log_importance_weights(nll: Tensor, z: Tensor, noise: Tensor, log_var: Tensor) -> Tensor:
    """log w_i = log p(x|z_i) + log p(z_i) - log q(z_i|x): (k, N), nats.

    nll (k, N) is -log p(x|z_i), z (k, N, latent) = mu + sigma noise, log_var (N, latent). The prior and q are normal:
    log p(z) - log q(z|x) = 1/2 sum_j (noise_j^2 + log sigma_j^2 - z_j^2), the constants cancel.
    """
    _same(z, noise, "z", "noise")
    if z.ndim != 3 or nll.shape != z.shape[:2] or log_var.shape != z.shape[1:]:
        raise ShapeError(f"k draws for N images: expected z (k, N, latent), nll (k, N) and log_var (N, latent), got "
                         f"{z.shape}, {nll.shape} and {log_var.shape}")
    return ops.sum(0.5 * (noise * noise + log_var - z * z), axis=-1) - nll


def importance_weighted(log_w: Tensor, *, per_sample: bool = False) -> Tensor:
    """-L_k = -E_x[log 1/k sum_i w_i], the loss of an importance-weighted autoencoder, from log w (k, N).

    Its gradient is -sum_i v_i grad log w_i with v = softmax_i(log w), equation 14 of Burda et al. 2016: good draws
    count for more. An upper bound on -log p(x) in expectation, for every k.
    """
    if log_w.ndim != 2 or not log_w.size:
        raise ShapeError(f"importance_weighted takes log w (k, N), at least one draw for at least one image, got "
                         f"{log_w.shape}")
    nats = math.log(len(log_w)) - ops.logsumexp(log_w, axis=0)
    return nats if per_sample else ops.mean(nats)


def one_draw(log_w: Tensor, uniform: Tensor, noise: Tensor) -> Tensor:
    """For each image the noise of one of its k draws, draw i with probability v_i = softmax_i(log w): (1, N, latent).

    grad log w_i at that draw has the mean sum_i v_i grad log w_i, which is the gradient of L_k: backward through one
    draw in place of k. By the Gumbel-max trick (Maddison, Tarlow & Minka 2014, arXiv:1411.0030, section 2):
    argmax_i(log w_i - log(-log u_i)). log_w (nats), uniform (k, N), u in [0, 1); noise (k, N, latent). No gradient
    flows. ShapeError where these do not fit together.
    """
    if log_w.ndim != 2 or uniform.shape != log_w.shape or noise.shape[:-1] != log_w.shape:
        raise ShapeError(f"one_draw takes log_w and uniform (k, N) and noise (k, N, latent), got {log_w.shape}, "
                         f"{uniform.shape} and {noise.shape}")
    with no_grad():
        score = log_w - ops.max(log_w, axis=0) - ops.log(-ops.log(uniform))
        chosen = ops.astype(ops.equal(score, ops.max(score, axis=0)), dtype=noise.dtype)
        return ops.sum(noise * chosen.reshape(*chosen.shape, 1), axis=0, keepdims=True)


def _nats(terms: Tensor, per_sample: bool) -> Tensor:
    """The sum over a sample's dimensions, averaged over the batch unless `per_sample`."""
    _require_batch(terms, per_sample)
    if per_sample:
        return ops.sum(terms, axis=tuple(range(1, terms.ndim)))
    return ops.sum(terms) * (1 / len(terms))


def _require_batch(terms: Tensor, empty: bool = False) -> None:
    if terms.ndim < 2:
        raise ShapeError(f"a loss needs a batch (N, dimensions), got shape {terms.shape}")
    if not len(terms) and not empty:
        raise ShapeError("a loss needs at least one sample, got an empty batch")


def _no_integers(x: TensorLike) -> None:
    """Bytes from 0 to 255 would give a loss without a lower bound."""
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype.kind in "iu":
        raise DTypeError(f"x is {dtype}: expected floats, pixels in [0, 1] for example, which minigen.data.to_unit(x) "
                         "makes of bytes")


def _same(a: Tensor, b: TensorLike, name_a: str, name_b: str) -> None:
    """Broadcasting between the two would silently count pixels twice."""
    shape = getattr(b, "shape", ())
    if a.shape != shape:
        raise ShapeError(f"{name_a} {a.shape} and {name_b} {shape} must have the same shape")
