"""The losses of a generative adversarial network: sections 4.1.1 and 4.2.1 of the document.

D(x) = sigmoid(logit(x)) is the discriminator's probability that x is real, G(z) the generator. They play

    min_G max_D V(D, G),   V(D, G) = E_x[log D(x)] + E_z[log(1 - D(G(z)))]                         (4.1.1)

(Goodfellow et al. 2014, arXiv:1406.2661, equation 1). The document prints (4.1.1) as one loss to minimise and
without its last bracket; it is a game, and each player has a loss of its own:

    L_real = -E_x[log D(x)]                 = E_x softplus(-logit(x))                              (4.2.1)
    L_fake = -E_z[log(1 - D(G(z)))]         = E_z softplus(logit(G(z)))
    L_D    = L_real + L_fake                = -V(D, G)

    L_G    = E_z[log(1 - D(G(z)))]          = -E_z softplus(logit(G(z)))        form="minimax"
    L_G    = -E_z[log D(G(z))]              = E_z softplus(-logit(G(z)))        form="non_saturating"

The document prints no generator loss; its code minimises the non-saturating one. Both share a fixed point, not a
gradient: where the discriminator is sure (logit -> -inf) the minimax gradient is -sigmoid(logit) -> 0, the other -1.

Losses are averages over the batch, in nats. Those named `..._literal` take probabilities, as printed, and are for
reading: at a probability of 0 or 1 they are infinite where the logit form is exact.
"""

from __future__ import annotations

from collections.abc import Callable

from ..autograd import grad
from ..errors import ShapeError, UsageError
from ..ops import bernoulli_nll, log, mean, softplus
from ..tensor import Tensor

__all__ = ["discriminator_loss", "discriminator_loss_literal", "generator_loss", "generator_loss_literal", "r1_penalty",
           "value"]

FORMS = ("minimax", "non_saturating")


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, *, real_label: float = 1.0) -> Tensor:
    """L_D = L_real + L_fake (4.2.1), from logits (N, 1) or (N,), the two batches as large as they like; in nats.

    With `real_label` t < 1 (one-sided label smoothing, Salimans et al. 2016, arXiv:1606.03498, section 3.4)
    L_real = -E[t log D(x) + (1 - t) log(1 - D(x))], and the best D is t p / (p + q). ShapeError for other shapes and
    for an empty batch, UsageError for a `real_label` outside (0, 1].
    """
    _check(real_logits, "real_logits")
    _check(fake_logits, "fake_logits")
    if real_label == 1.0:
        return mean(softplus(-real_logits)) + mean(softplus(fake_logits))
    if not 0 < real_label < 1:
        raise UsageError(f"real_label = {real_label} must be above 0 and at most 1")
    return mean(bernoulli_nll(real_logits, real_label)) + mean(softplus(fake_logits))


def generator_loss(fake_logits: Tensor, *, form: str = "non_saturating") -> Tensor:
    """L_G from logits (N, 1) or (N,): -E log D(G(z)) ("non_saturating") or E log(1 - D(G(z))) ("minimax"); in nats.

    ShapeError for other shapes and for an empty batch, UsageError for another `form`.
    """
    _check(fake_logits, "fake_logits")
    return mean(softplus(-fake_logits)) if _is_non_saturating(form) else -mean(softplus(fake_logits))


def discriminator_loss_literal(real_probabilities: Tensor, fake_probabilities: Tensor) -> Tensor:
    """L_D = -E log D(x) - E log(1 - D(G(z))) (4.2.1) as printed, in nats: from probabilities, (N, 1) or (N,)."""
    return -mean(log(real_probabilities)) - mean(log(1 - fake_probabilities))


def generator_loss_literal(fake_probabilities: Tensor, *, form: str = "non_saturating") -> Tensor:
    """L_G as its equation is written, in nats: from probabilities, (N, 1) or (N,). UsageError for another `form`."""
    return -mean(log(fake_probabilities)) if _is_non_saturating(form) else mean(log(1 - fake_probabilities))


def value(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """V(D, G) = -L_D (4.1.1), in nats, from logits (N, 1) or (N,); errors as of `discriminator_loss`.

    For the best D = p / (p + q) it is 2 JSD(p, q) - log 4 (Goodfellow et al., eq. 5-6).
    """
    return -discriminator_loss(real_logits, fake_logits)


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, *, gamma: float) -> Tensor:
    """R_1 = gamma/2 E_x[ |d logit(x) / dx|^2 ] on real x (N, pixels): the cost of a D that is steep at the data.

    Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406, equation 9. `discriminator` maps (N, pixels) to logits (N, 1) or
    (N,), each of its own image alone. The gradient is with respect to the image, and the penalty is differentiated
    again with respect to the weights: it needs a second derivative. A scalar, in the unit of gamma times the square of
    a logit over a pixel. ShapeError for no images, UsageError for a negative gamma, GraphError where the logits do not
    depend on x.
    """
    if not gamma >= 0:
        raise UsageError(f"gamma = {gamma!r}: expected at least 0; a negative one rewards what it should cost")
    if not len(real):
        raise ShapeError(f"real {real.shape}: expected one image or more")
    x = Tensor(real.data, requires_grad=True)
    (slope,) = grad(discriminator(x).sum(), [x], create_graph=True)
    return (slope * slope).sum() * (0.5 * gamma / len(x))


def _is_non_saturating(form: str) -> bool:
    if form not in FORMS:
        raise UsageError(f"form = {form!r}: expected one of {', '.join(FORMS)}")
    return form == "non_saturating"


def _check(logits: Tensor, name: str) -> None:
    """A logit per sample, one at least: a wider array would be averaged over more than the batch."""
    if logits.ndim not in (1, 2) or (logits.ndim == 2 and logits.shape[1] != 1):
        raise ShapeError(f"{name} {logits.shape}: expected one logit per sample, (N,) or (N, 1)")
    if not len(logits):
        raise ShapeError(f"{name} {logits.shape}: a loss needs at least one sample, got an empty batch")
