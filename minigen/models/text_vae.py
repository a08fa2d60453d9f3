"""A variational autoencoder of sentences: sections 4.1.2 and 4.3.2 of the document.

    q(z|x) = N(mu, diag sigma^2),  [mu, log sigma^2] = W mean_t(norm(encoder(x))_t) + b         all of x at once
    p(x|z) = prod_t p(x_t | z, x_1 .. x_{t-1})                                                  a GPT that is told z
    x_0 = E[tokens] + P + W_z z                                                                 at every position

Bowman et al. 2016, arXiv:1511.06349, with transformer blocks in place of their LSTM: both halves are made of the GPT's
own blocks, and the length of a sentence is one axis of a few large products. A training step is some 700 operations at
any length; with one layer of GRUs for each half it was 2100 at 20 tokens, a chain that grows with every token.

A decoder that predicts well from the tokens before can do without z. The posterior then collapses to the prior, KL = 0,
and the model is a plain language model. Against it stand, each optional: an annealed weight of the KL (Bowman, section
3.1), blanked tokens in the decoder's input (section 3.2), and free bits (`minigen.losses.vae.kl_free_bits`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..data.sentences import pack
from ..data.tokenizer import BytePairTokenizer, Tokenizer, tokenizer_from
from ..errors import ShapeError, UsageError
from ..losses import vae as losses
from ..metrics.vae import active_units
from ..nn import Block, Dense, Dropout, Embedding, KeyValueCache, LayerNorm
from ..nn.init import normal
from ..optim import Cosine, Warmup, clip_norm
from ..random import Generator
from ..tensor import Tensor
from .base import GenerativeModel, Losses, figures
from .generate import Sampling, generate
from .networks import decayed_matrices, require_at_least, require_share

__all__ = ["GREEDY", "TextVAE", "TextVAEConfig"]

Rows = np.ndarray | Tensor  # (N, 1 + T) integers: how many tokens, the tokens, padding
CHUNK = 256  # sentences at a time outside training
GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class TextVAEConfig:
    """The settings of a TextVAE. `tokenizer` is what `Tokenizer.describe` gives; by default bytes without merges.

    context: tokens of the longest sentence. layers: blocks of the encoder, and as many of the decoder.
    beta: the weight of the KL, which rises to it along a logistic curve over `anneal` steps (0: from the start).
    free: nats that each latent dimension may carry without cost. word_dropout: the share of the decoder's input that is
    blanked. The other settings are those of `GPTConfig`.
    """

    tokenizer: str = BytePairTokenizer().describe()
    context: int = 20
    latent: int = 32
    layers: int = 2
    heads: int = 3
    width: int = 96
    dropout: float = 0.1
    word_dropout: float = 0.3
    free: float = 0.7
    anneal: int = 1700
    beta: float = 1.0
    lr: float = 2e-3
    warmup: int = 100
    steps: int = 2600
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0


class TextVAE(GenerativeModel):
    """An encoder q(z|x) and a decoder p(x|z) of sentences.

    Symbols 0 .. V - 1 are the tokenizer's; V begins and ends every sentence, V + 1 is the blank of word dropout.
    """

    kind = "text-vae"
    unit = "sentences"
    Config = TextVAEConfig
    PRESETS = {
        "default": {},
        # Nothing against the collapse: what a decoder makes of z that need not use it.
        "plain": {"word_dropout": 0.0, "free": 0.0, "anneal": 0},
    }
    TRAINING = {"default": {"steps": 2600, "batch_size": 32}, "plain": {"steps": 2600, "batch_size": 32}}

    config: TextVAEConfig

    def __init__(self, *, device: str = "cpu", **settings: Any) -> None:
        rng = self.configure(settings)
        c = self.config
        _check(c)
        self.tokenizer: Tokenizer = tokenizer_from(c.tokenizer)
        self.end, self.blank = self.tokenizer.size, self.tokenizer.size + 1
        self.tokens = Embedding(self.tokenizer.size + 2, c.width, rng=rng)
        self.places = Tensor(np.arange(1 + c.context))  # 0 .. T: a buffer, so that a compiled step knows it
        self.read_positions = Embedding(c.context, c.width, rng=rng)
        self.encoder = self._blocks(rng, causal=False)
        self.read_norm = LayerNorm(c.width)
        self.posterior_head = Dense(c.width, 2 * c.latent, rng=rng)
        # As large as the embeddings that it is added to, or its noise would drown them.
        self.told = Dense(c.latent, c.width, init=normal(0.05 / math.sqrt(c.latent)), rng=rng)
        self.write_positions = Embedding(1 + c.context, c.width, rng=rng)
        self.decoder = self._blocks(rng, causal=True)
        self.write_norm = LayerNorm(c.width)
        self.dropout = Dropout(c.dropout, self.noise)
        self.optimizers = decayed_matrices(self.parameters(), c.lr, c.beta2, c.weight_decay)
        self.schedule = Warmup(c.warmup, Cosine(max(1, c.steps - c.warmup), floor=0.1))
        self.to(device)

    def _blocks(self, rng: Generator, *, causal: bool) -> list[Block]:
        c = self.config
        return [Block(c.width, c.heads, c.layers, dropout=c.dropout, rng=rng, noise=self.noise, causal=causal)
                for _ in range(c.layers)]

    # The two halves -----------------------------------------------------------------------------------------

    def posterior(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z|x), each (N, latent), of rows (N, 1 + T)."""
        rows = self._checked(rows)
        lengths, tokens = rows[:, 0], rows[:, 1:]
        x = self.dropout(self.tokens(tokens) + self.read_positions.weight)
        for block in self.encoder:
            x = block(x, None, lengths)
        there = ops.less(self.places[:-1], rows[:, :1]).astype("float32")
        share = there / ops.sum(there, axis=1, keepdims=True)
        pooled = ops.sum(self.read_norm(x) * share.reshape(*share.shape, 1), axis=1)
        head = self.posterior_head(pooled)
        return head[:, :self.config.latent], head[:, self.config.latent:]

    def forward(self, tokens: np.ndarray | Tensor, z: Tensor,  # type: ignore[override]
                caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """The logits of the next symbol at each position of tokens (N, t), given z (N, latent): (N, t, V + 1).

        With `caches`, one for each block of the decoder, the tokens follow on those that the caches have seen.
        """
        tokens = self._on_device(tokens)
        (n, t), start = tokens.shape, caches[0].length if caches else 0
        told = self.told(z).reshape(n, 1, self.config.width)
        x = self.dropout(self.tokens(tokens) + self.write_positions.weight[start:start + t] + told)
        for i, block in enumerate(self.decoder):
            x = block(x, caches[i] if caches else None)
        hidden = self.write_norm(x).reshape(n * t, self.config.width)
        return (hidden @ ops.swap_last(self.tokens.weight[:self.end + 1])).reshape(n, t, self.end + 1)

    def reconstruction(self, rows: Rows, z: Tensor) -> Tensor:
        """-log p(x|z) of each sentence, (N,), in nats: the end of the sentence is asked for, its padding is not."""
        rows = self._checked(rows)
        n, t = len(rows), self.config.context
        lengths, tokens = rows[:, :1], rows[:, 1:]
        end = ops.full_like(lengths, value=self.end)
        given = tokens
        if self.training and self.config.word_dropout:
            dropped = self.noise.uniform((n, t), device=self.device) < self.config.word_dropout
            given = ops.where(dropped, self.blank, tokens)
        logits = self(ops.concatenate(end, given, axis=1), z)
        ahead = ops.where(ops.less(self.places, lengths), ops.concatenate(tokens, end, axis=1), self.end)
        asked = ops.where(ops.less_equal(self.places, lengths), ahead, -1)
        rows_of_logits = logits.reshape(n * (t + 1), self.end + 1)
        return ops.sum(ops.cross_entropy(rows_of_logits, asked.reshape(n * (t + 1))).reshape(n, t + 1), axis=1)

    def _checked(self, rows: Rows) -> Tensor:
        rows = self._on_device(rows)
        if rows.ndim != 2 or rows.shape[1] != 1 + self.config.context:
            raise ShapeError(f"this model takes sentences as rows (N, {1 + self.config.context}), got {rows.shape}: "
                             "make them with minigen.data.pack")
        return rows

    def _on_device(self, x: np.ndarray | Tensor) -> Tensor:
        return (x if isinstance(x, Tensor) else Tensor(x)).to(self.device)

    # Training and figures -----------------------------------------------------------------------------------

    def train_step(self, rows: Rows) -> Losses:
        """One step of AdamW on L_rec + beta(step) sum_j max(free, KL_j), in nats per sentence, as L_rec and the KL."""
        c, step = self.config, self.optimizers["matrices"].steps
        mu, log_var = self.posterior(rows)
        z = losses.reparameterise(mu, log_var, self.noise.normal(mu.shape, device=mu.device))
        reconstruction = ops.mean(self.reconstruction(rows, z))
        loss = losses.negative_elbo(reconstruction, losses.kl_free_bits(mu, log_var, c.free), beta=self.kl_weight(step))
        loss.backward()
        clip_norm(self.parameters(), c.clip)
        for optimizer in self.optimizers.values():
            optimizer.lr = c.lr * self.schedule(step)
            optimizer.step()
            optimizer.zero_grad()
        return figures(loss=loss, reconstruction=reconstruction, kl=losses.kl_normal(mu, log_var))

    def kl_weight(self, step: int) -> float:
        """beta / (1 + e^(6 - 12 step / anneal)): a four-hundredth of beta at first, half in the middle of annealing."""
        c = self.config
        return c.beta / (1 + math.e ** (6 - step * (12 / c.anneal))) if c.anneal else c.beta

    def evaluate(self, rows: np.ndarray) -> Losses:
        """The negative ELBO of held-out sentences and its terms, nats per sentence, and how much z has to say.

        without_z: the decoder's loss with the z of the prior's mean, which is the same for every sentence. One z for
        each sentence, from a fixed seed: the same figures each time.
        """
        if not len(rows):
            raise ShapeError("evaluate needs at least one sentence")
        noise = Generator(0).fork("evaluate")
        parts: list[list[np.ndarray]] = []
        with no_grad(), self.evaluating():
            for part in (rows[i:i + CHUNK] for i in range(0, len(rows), CHUNK)):
                mu, log_var = self.posterior(part)
                z = losses.reparameterise(mu, log_var, noise.normal(mu.shape, device=mu.device))
                found = (self.reconstruction(part, z), self.reconstruction(part, ops.full_like(mu, value=0.0)),
                         losses.kl_normal(mu, log_var, per_sample=True), mu)
                parts.append([x.to("cpu").numpy() for x in found])
        told, untold, divergences, means = (np.concatenate(column) for column in zip(*parts, strict=True))
        reconstruction, kl = float(told.mean()), float(divergences.mean())
        return {"negative_elbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl,
                "without_z": float(untold.mean()), "active_units": float(active_units(means))}

    # Sentences ----------------------------------------------------------------------------------------------

    def pack(self, texts: Sequence[str]) -> np.ndarray:
        """The sentences as rows; DataError for one that is empty, too long or of unknown characters."""
        return pack(texts, self.tokenizer, self.config.context)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The posterior means of sentences: (N, latent) float32."""
        rows = self.pack(texts)
        with no_grad(), self.evaluating():
            parts = [self.posterior(rows[i:i + CHUNK])[0].to("cpu").numpy() for i in range(0, max(len(rows), 1), CHUNK)]
        return np.concatenate(parts)

    def decode(self, z: np.ndarray, *, sampling: Sampling = GREEDY, seed: int = 0) -> list[str]:
        """The sentences of latents (N, latent), each on one line; by default the likeliest token each time."""
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.config.latent:
            raise ShapeError(f"decode takes latents (N, {self.config.latent}), got {z.shape}")
        texts: list[str] = []
        for part in (z[i:i + CHUNK] for i in range(0, len(z), CHUNK)):
            texts += self._decode(part, sampling, Generator(seed).fork(f"decode {len(texts)}"))
        return texts

    def _decode(self, z: np.ndarray, sampling: Sampling, rng: Generator) -> list[str]:
        tokens = np.full((len(z), 0), self.end)
        with self.evaluating():
            drawn = generate(_Given(self, z), np.full((len(z), 1), self.end), rng, sampling)
            while tokens.shape[1] < self.config.context and not (tokens == self.end).any(1).all():
                tokens = np.concatenate([tokens, next(drawn)[:, None]], axis=1)
        ends = np.where((tokens == self.end).any(1), (tokens == self.end).argmax(1), tokens.shape[1])
        return [" ".join(self.tokenizer.decode(row[:n].tolist()).split()) for row, n in zip(tokens, ends, strict=True)]

    def reconstruct(self, texts: Sequence[str]) -> list[str]:
        """What the decoder makes of the posterior means of sentences."""
        return self.decode(self.encode(texts))

    def sample(self, n: int, *, seed: int = 0, sampling: Sampling = GREEDY) -> list[str]:  # type: ignore[override]
        """Sentences decoded from `n` latents drawn from the prior N(0, I)."""
        if n < 1:
            raise UsageError(f"cannot draw {n} samples: ask for at least one")
        z = Generator(seed).fork("samples").normal((n, self.config.latent)).numpy()
        return self.decode(z, sampling=sampling, seed=seed)

    def interpolate(self, first: str, last: str, count: int = 7) -> list[str]:
        """`count` sentences decoded along the straight line between the posterior means of two: Bowman, section 4.3."""
        if count < 2:
            raise UsageError(f"an interpolation of {count} sentences: ask for the two ends at least")
        a, b = self.encode([first, last])
        return self.decode(np.stack([a + (b - a) * share for share in np.linspace(0, 1, count)]))


class _Given:
    """The decoder with its z: a language model in the sense of `generate`."""

    def __init__(self, model: TextVAE, z: np.ndarray) -> None:
        self.model, self.z = model, Tensor(z).to(model.device)
        self.tokenizer, self.training = model.tokenizer, model.training
        self.config = SimpleNamespace(context=1 + model.config.context)

    def __call__(self, tokens: np.ndarray, caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        return self.model(tokens, self.z, caches)

    def new_caches(self, size: int) -> list[KeyValueCache]:
        c = self.model.config
        return [KeyValueCache(size, 1 + c.context, c.width, device=self.model.device) for _ in self.model.decoder]

    def evaluating(self) -> Any:
        return self.model.evaluating()


def _check(c: TextVAEConfig) -> None:
    require_at_least(c, 1, "context", "latent", "layers", "heads", "width", "warmup", "steps")
    require_at_least(c, 0, "beta", "free", "anneal")
    require_share(c, "dropout", "word_dropout")
    if c.width % c.heads:
        raise UsageError(f"width = {c.width}, heads = {c.heads}: the width must be a multiple of the number of heads")
