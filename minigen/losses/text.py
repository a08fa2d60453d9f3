"""The loss of a language model: section 2.3 of the document, generative text.

A model gives p(x_t | x_1 .. x_{t-1}) for every token x_t of a text; by the chain rule of probability their product is
the probability of the text, and

    L = -1/T sum_t log p(x_t | x_1 .. x_{t-1})            nats per token

is the cross-entropy of the text under the model (Shannon 1948, theorem 3; Bengio et al. 2003, equation 5). e^L is the
perplexity: among how many equally likely tokens the model as good as chooses.
"""

from __future__ import annotations

import math

import numpy as np

from .. import ops
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..host import trace
from ..tensor import Tensor, TensorLike

__all__ = ["bits_per_character", "cross_entropy", "cross_entropy_literal", "perplexity"]


def cross_entropy(logits: Tensor, targets: TensorLike) -> Tensor:
    """L = mean over t of [log sum_j e^(l_tj) - l_t,x_t], p = softmax(l): finite for every finite logit; in nats.

    logits (..., classes), targets (...) integers. A negative target, which marks padding, is not counted: neither
    in the sum nor in the mean. ShapeError where none is left to count.
    """
    rows, chosen = _rows(logits, targets)
    count = ops.sum(ops.astype(ops.less_equal(0, chosen), dtype=rows.dtype))
    if not chosen.size or (trace.ledger is None and not count.item()):  # in a compiled step the values are not known
        raise ShapeError(f"cross_entropy: no target to count among {chosen.size}: all are negative, or there is none")
    return ops.sum(ops.cross_entropy(rows, chosen)) / count


def cross_entropy_literal(probabilities: Tensor, targets: TensorLike) -> Tensor:
    """L = -mean over t of log p_t,x_t, from probabilities, as the equation is written: infinite where one is 0.

    probabilities (..., classes), targets (...) as for `cross_entropy`; nats per token.
    """
    rows, chosen = _rows(probabilities, targets)
    counted = namespace(chosen.data).flatnonzero(chosen.data >= 0)
    return -ops.mean(ops.log(rows[counted, chosen.data[counted]]))


def _rows(logits: Tensor, targets: TensorLike) -> tuple[Tensor, Tensor]:
    """(N, classes) and (N,)."""
    chosen = targets if isinstance(targets, Tensor) else Tensor(np.asarray(targets))
    if logits.ndim < 2 or chosen.shape != logits.shape[:-1]:
        raise ShapeError(f"logits {logits.shape} and targets {chosen.shape}: expected (..., classes) and (...)")
    return logits.reshape(math.prod(logits.shape[:-1]), logits.shape[-1]), chosen.reshape(math.prod(chosen.shape))


def perplexity(nats_per_token: float) -> float:
    """e^L, of L in nats per token: among how many equally likely tokens the model as good as chooses, from 1 on.

    Jelinek et al. 1977, *Perplexity, a measure of the difficulty of speech recognition tasks*.
    """
    return math.exp(nats_per_token)


def bits_per_character(nats_per_token: float, tokens: int, characters: int) -> float:
    """L tokens / (characters ln 2), in bits: comparable between tokenizers, which nats per token are not.

    A nat is 1 / ln 2 bits (Shannon 1948, section 1). UsageError for no characters.
    """
    if characters < 1:
        raise UsageError(f"characters = {characters}: expected at least 1")
    return float(nats_per_token * tokens / (characters * math.log(2)))
