"""Four language models of one novel, each the one before and an idea more, and each better by measured loss.

    bigram       p(x_t | x_{t-1})                      a table of counts, smoothed
    MLP          p(x_t | x_{t-3} .. x_{t-1})           three embeddings, one hidden layer (Bengio et al. 2003)
    attention    p(x_t | x_1 .. x_{t-1})               the same, and what each position finds by asking all before it
    GPT          the same                              normalisation, residual sums, several blocks and heads

Run: python examples/08_text_bigram_to_gpt.py     (minutes; --quick: seconds, too few steps for attention to pay)
"""

import argparse
from dataclasses import replace

import numpy as np

import minigen as mg
from minigen import nn, ops
from minigen.data import CharacterTokenizer, Loader, load_text, split_text
from minigen.losses.text import cross_entropy

SEEN = 3  # characters that the MLP sees


def bigram_loss(train: np.ndarray, test: np.ndarray, size: int) -> float:
    """Nats per character of the table p(b | a) = (count(a, b) + 0.1) / (count(a) + 0.1 size): no gradient needed."""
    counts = np.full((size, size), 0.1)
    np.add.at(counts, (train[:-1], train[1:]), 1)
    p = counts / counts.sum(1, keepdims=True)
    return float(-np.log(p[test[:-1], test[1:]]).mean())


class MLP(nn.Module):
    """logits_t = W_2 gelu(W_1 [E x_{t-2}, E x_{t-1}, E x_t, extra] + b_1) + b_2, at every position of (N, T) tokens."""

    def __init__(self, size: int, width: int, rng: mg.Generator, extra: int = 0) -> None:
        self.embedding = nn.Embedding(size, width, std=0.3, rng=rng)
        inputs, hidden = SEEN * width + extra, 4 * width
        self.hidden = nn.Sequential(nn.Dense(inputs, hidden, rng=rng), nn.GELU(), nn.Dense(hidden, size, rng=rng))

    def features(self, tokens: np.ndarray) -> mg.Tensor:
        padded = np.pad(tokens, ((0, 0), (SEEN - 1, 0)))  # before the window stands symbol 0
        return ops.concatenate([self.embedding(padded[:, i:i + tokens.shape[1]]) for i in range(SEEN)], axis=-1)

    def forward(self, tokens: np.ndarray) -> mg.Tensor:
        return self.hidden(self.features(tokens))


class Attention(nn.Module):
    """The same, with what attention finds as the extra input: E x_t + P_t looks at all of x_1 .. x_t."""

    def __init__(self, size: int, context: int, width: int, rng: mg.Generator) -> None:
        self.mlp = MLP(size, width, rng, extra=width)
        self.positions = nn.Embedding(context, width, std=0.1, rng=rng)
        self.attention = nn.SelfAttention(width, 4, rng=rng)

    def forward(self, tokens: np.ndarray) -> mg.Tensor:
        found = self.attention(self.mlp.embedding(tokens) + self.positions.weight[:tokens.shape[1]])
        return self.mlp.hidden(ops.concatenate(self.mlp.features(tokens), found, axis=-1))


def fit(model: nn.Module, data: mg.data.TextDataset, test: mg.data.TextDataset, steps: int) -> float:
    """AdamW for so many steps; the loss on held-out text, in nats per character."""
    optimizer = mg.optim.AdamW(model.parameters())
    decay = mg.optim.Warmup(steps // 20, mg.optim.Cosine(steps, floor=0.1))
    loader = Loader(len(data), 32, seed=0)
    for step in range(steps):
        windows = data.batch(loader.batch(*loader.position(step)), loader.position(step)[0])
        cross_entropy(model(windows[:, :-1]), windows[:, 1:]).backward()
        mg.optim.clip_norm(model.parameters(), 1.0)
        optimizer.lr = 5e-3 * decay(step)
        optimizer.step()
        optimizer.zero_grad()
    with mg.no_grad():
        return cross_entropy(model(test.items[:, :-1]), test.items[:, 1:]).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few chapters, few steps")
    quick = parser.parse_args().quick
    context, width, steps, layers = (16, 32, 300, 2) if quick else (64, 64, 2000, 3)
    novel = load_text()
    novel = replace(novel, text=novel.text[:80_000] if quick else novel.text)
    train, test = split_text(novel, context, tokenizer := CharacterTokenizer(novel.text))
    size, rng = tokenizer.size, mg.Generator(0)
    gpt = mg.models.GPT(tokenizer=tokenizer.describe(), context=context, layers=layers, heads=4, width=width)
    losses = {"uniform": float(np.log(size)), "bigram": bigram_loss(train.tokens, test.tokens, size)}
    losses["MLP"] = fit(MLP(size, width, rng), train, test, steps)
    losses["attention"] = fit(Attention(size, context, width, rng), train, test, steps)
    losses["GPT"] = fit(gpt, train, test, steps)
    for name, loss in losses.items():
        print(f"{name:<10} {loss:.3f} nats, {loss / np.log(2):.3f} bits per character")
    print("The GPT writes: It is" + gpt.sample(1, prompt="It is", length=400)[0])
    assert (values := list(losses.values())[:3 if quick else 5]) == sorted(values, reverse=True)


if __name__ == "__main__":
    main()
