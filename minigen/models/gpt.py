"""GPT: a transformer that reads a text and says what comes next. Section 2.3 of the document.

    x_0 = E[tokens] + P[1 .. T]
    x_{i+1} = x_i + a,  a = attention(norm(x_i));  then x + MLP(norm(x))          for each block
    logits = norm(x_L) E^T

Radford et al. 2018 (GPT) and 2019 (GPT-2: normalisation first); Vaswani et al. 2017, arXiv:1706.03762; the embedding E
is shared by input and output (Press & Wolf 2017, arXiv:1608.05859). How text is drawn from it is in `generate.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..data.tokenizer import BytePairTokenizer, Tokenizer, tokenizer_from
from ..errors import ShapeError, UsageError
from ..losses import text as losses
from ..nn import Block, Dropout, Embedding, KeyValueCache, LayerNorm
from ..ops import swap_last
from ..optim import Cosine, Warmup, clip_norm
from ..tensor import Tensor
from .base import GenerativeModel, Losses, figures
from .generate import PLAIN, Sampling, complete, stream
from .networks import decayed_matrices, require_at_least, require_share

__all__ = ["GPT", "GPTConfig"]

Windows = np.ndarray | Tensor  # (N, T + 1) integers: T tokens to read, each with the one after it
CHUNK = 64  # windows at a time outside training


@dataclass(frozen=True)
class GPTConfig:
    """The settings of a GPT. `tokenizer` is what `Tokenizer.describe` gives; by default bytes without merges.

    The learning rate rises to `lr` over `warmup` steps and falls along a cosine to a tenth of it at step `steps`.
    Weight decay acts on matrices alone; gradients are clipped to the norm `clip`. bias: with what dense layers add, and
    layer normalisation.
    """

    tokenizer: str = BytePairTokenizer().describe()
    context: int = 128
    layers: int = 4
    heads: int = 4
    width: int = 128
    bias: bool = True
    dropout: float = 0.0
    lr: float = 1e-3
    warmup: int = 100
    steps: int = 2000
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0


class GPT(GenerativeModel):
    """A language model p(x_t | x_1 .. x_{t-1}) over the symbols of its tokenizer."""

    kind = "gpt"
    unit = "windows"
    Config = GPTConfig
    PRESETS = {
        "default": {},
        # The recipe that nanoGPT's README gives for a CPU, which reports a validation loss of 1.88. The learning rate
        # is 1e-3 there; in 2000 steps of 12 windows, 3e-3 learns more.
        "nanogpt": {"context": 64, "bias": False, "lr": 3e-3},
    }
    TRAINING = {"default": {"steps": 4500, "batch_size": 16}, "nanogpt": {"steps": 2000, "batch_size": 12}}

    config: GPTConfig

    def __init__(self, *, device: str = "cpu", **settings: Any) -> None:
        rng = self.configure(settings)
        c = self.config
        _check(c)
        self.tokenizer: Tokenizer = tokenizer_from(c.tokenizer)
        self.tokens = Embedding(self.tokenizer.size, c.width, rng=rng)
        self.positions = Embedding(c.context, c.width, rng=rng)
        self.dropout = Dropout(c.dropout, self.noise)
        self.blocks = [Block(c.width, c.heads, c.layers, bias=c.bias, dropout=c.dropout, rng=rng, noise=self.noise)
                       for _ in range(c.layers)]
        self.norm = LayerNorm(c.width, bias=c.bias)
        self.optimizers = decayed_matrices(self.parameters(), c.lr, c.beta2, c.weight_decay)
        self.schedule = Warmup(c.warmup, Cosine(max(1, c.steps - c.warmup), floor=0.1))
        self.to(device)

    def forward(self, tokens: np.ndarray | Tensor,
                caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """The logits of the next token at each position: tokens (N, T) integers give (N, T, symbols).

        With `caches`, one for each block, the tokens follow on those that the caches have seen.
        """
        tokens = self._on_device(tokens)
        n, t = tokens.shape
        start = caches[0].length if caches else 0
        if start + t > self.config.context:
            raise ShapeError(f"{start + t} tokens: this model was made for a context of {self.config.context}")
        x = self.dropout(self.tokens(tokens) + self.positions.weight[start:start + t])
        for i, block in enumerate(self.blocks):
            x = block(x, caches[i] if caches else None)
        rows = self.norm(x).reshape(n * t, self.config.width)
        return (rows @ swap_last(self.tokens.weight)).reshape(n, t, self.tokenizer.size)

    def loss(self, windows: Windows) -> Tensor:
        """-mean log p(next token), in nats."""
        windows = self._on_device(windows)
        return losses.cross_entropy(self(windows[:, :-1]), windows[:, 1:])

    def _on_device(self, tokens: np.ndarray | Tensor) -> Tensor:
        return (tokens if isinstance(tokens, Tensor) else Tensor(tokens)).to(self.device)

    def train_step(self, windows: Windows) -> Losses:
        """One step of AdamW (Loshchilov & Hutter 2019) on the cross-entropy; the loss in nats per token."""
        loss = self.loss(windows)
        loss.backward()
        clip_norm(self.parameters(), self.config.clip)
        for optimizer in self.optimizers.values():
            optimizer.lr = self.config.lr * self.schedule(optimizer.steps)
            optimizer.step()
            optimizer.zero_grad()
        return figures(loss=loss)

    def evaluate(self, windows: np.ndarray) -> Losses:
        """The cross-entropy of held-out windows (N, T + 1) in nats per token, and in bits per character."""
        if not len(windows):
            raise ShapeError("evaluate needs at least one window")
        total = 0.0
        with no_grad(), self.evaluating():
            for part in (windows[i:i + CHUNK] for i in range(0, len(windows), CHUNK)):
                total += self.loss(part).item() * part[:, 1:].size
        asked = windows[:, 1:]
        begun = np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.tokenizer.pieces()])
        nats = total / asked.size
        return {"loss": nats, "bits_per_character": losses.bits_per_character(nats, asked.size, begun[asked].sum())}

    def new_caches(self, size: int) -> list[KeyValueCache]:
        """Empty caches for `size` sequences, one for each block."""
        c = self.config
        return [KeyValueCache(size, c.context, c.width, device=self.device) for _ in self.blocks]

    def sample(self, n: int = 1, *, seed: int = 0, prompt: str = "", length: int = 500,  # type: ignore[override]
               sampling: Sampling = PLAIN, stop: str | None = None) -> list[str]:
        """`n` texts of at most `length` tokens that go on after `prompt`, a function of weights and arguments alone.

        Each ends before the first `stop`. Raises UsageError for impossible settings, DataError for a prompt with
        characters that the tokenizer does not know.
        """
        return complete(self, n, seed=seed, prompt=prompt, length=length, sampling=sampling, stop=stop)

    def stream(self, *, seed: int = 0, prompt: str = "", length: int = 500, sampling: Sampling = PLAIN,
               stop: str | None = None) -> Iterator[str]:
        """The text of `sample(1, ...)[0]`, piece by piece as it is drawn."""
        return stream(self, seed=seed, prompt=prompt, length=length, sampling=sampling, stop=stop)

    def attention_maps(self, tokens: np.ndarray) -> np.ndarray:
        """What each head of each block looks at in tokens (T,): (layers, heads, T, T), a row for each query."""
        maps: list[np.ndarray] = []
        with no_grad(), self.evaluating():
            x = self.tokens(self._on_device(tokens[None])) + self.positions.weight[:len(tokens)]
            for block in self.blocks:
                maps.append(block.attention.weights(block.norm_1(x)).to("cpu").numpy()[0])
                x = block(x)
        return np.stack(maps)

    def next_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """p(next token) at each position of tokens (T,): (T, symbols)."""
        with no_grad(), self.evaluating():
            logits = self(tokens[None]).to("cpu").numpy()[0].astype(np.float64)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True)


def _check(c: GPTConfig) -> None:
    require_at_least(c, 1, "context", "layers", "heads", "width", "warmup", "steps")
    require_share(c, "dropout")
    if c.width % c.heads:
        raise UsageError(f"width = {c.width}, heads = {c.heads}: the width must be a multiple of the number of heads")
