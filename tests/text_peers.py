"""The GPT beside PyTorch's: the same model, weights, batches and threads; a training step, and drawing text.

Needs the extra `compare`. First both are trained from the same weights on the same batches, --steps of them, and
held to the same losses at the beginning: with 2000 steps and --text tinyshakespeare this is the recipe that nanoGPT's
README gives for a CPU, and the losses on held-out text are those to compare with its 1.88. They are of the whole
held-out text; nanoGPT estimates them from 20 batches of 12 windows, and how far that is off is printed too. Its
learning rate is 1e-3 (--lr), the preset's is higher. --seeds repeats the training with other weights and another order
of the batches.

Then they are timed in one process, alternating, in rounds; the figure is the median of the rounds, by the wall clock
and by the time of the processor. minigen's step is compiled (`mg.compile`); PyTorch is eager, with its fused attention
(scaled_dot_product_attention) and its fused AdamW; with --compile so is, in the same rounds, what torch.compile makes
of the model, which needs a C++ compiler and most of a minute. The floor is that of `minigen bench training`: the step's
flops at the measured peak, plus its bytes at the measured bandwidth. The text is drawn by minigen with its cache of
keys and values, by PyTorch without one, as nanoGPT does it.

Run: python tests/text_peers.py [--threads 1] [--rounds 30] [--text FILE] [--steps 2000] [--lr 1e-3] [--seeds 1]
[--data-dir DIR] [--compile]
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.nn import functional

import minigen as mg
from minigen.data import CharacterTokenizer, Loader, TextDataset, load_text, split_text
from minigen.kernels.bench.roofline import measure_bandwidth, measure_peak
from minigen.models.generate import generate
from minigen.program import CompiledStep
from minigen.program.report import bytes_of, flops_of

BATCH = 12
ESTIMATE = 20 * BATCH  # windows that nanoGPT's README takes for an estimate


class TorchBlock(torch.nn.Module):
    """minigen.nn.Block."""

    def __init__(self, block: mg.nn.Block) -> None:
        super().__init__()
        self.heads = block.attention.heads
        self.norm_1, self.norm_2 = norm(block.norm_1), norm(block.norm_2)
        self.qkv, self.out = linear(block.attention.qkv), linear(block.attention.out)
        self.up, self.down = linear(block.up), linear(block.down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        parts = self.qkv(self.norm_1(x)).split(width, 2)
        q, k, v = (part.view(n, t, self.heads, width // self.heads).transpose(1, 2) for part in parts)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).contiguous().view(n, t, width))
        return x + self.down(functional.gelu(self.up(self.norm_2(x))))


class TorchGPT(torch.nn.Module):
    """minigen.models.GPT, with the same weights."""

    def __init__(self, gpt: mg.models.GPT) -> None:
        super().__init__()
        self.config, self.schedule = gpt.config, gpt.schedule
        self.tokens = torch.nn.Parameter(torch.tensor(gpt.tokens.weight.numpy().copy()))
        self.positions = torch.nn.Parameter(torch.tensor(gpt.positions.weight.numpy().copy()))
        self.blocks = torch.nn.ModuleList(TorchBlock(block) for block in gpt.blocks)
        self.norm = norm(gpt.norm)
        groups = [{"params": [p for p in self.parameters() if (p.ndim == 2) == matrix], "weight_decay": decay}
                  for matrix, decay in ((True, gpt.config.weight_decay), (False, 0.0))]
        self.optimizer = torch.optim.AdamW(groups, gpt.config.lr, (0.9, gpt.config.beta2), fused=True)
        self.steps = 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = functional.embedding(tokens, self.tokens) + self.positions[:tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.tokens)

    def train_step(self, windows: np.ndarray) -> float:
        batch = torch.from_numpy(windows.copy())
        loss = functional.cross_entropy(self(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * self.schedule(self.steps)
        self.optimizer.step()
        self.steps += 1
        return loss.item()

    @torch.no_grad()
    def draw(self, length: int) -> None:
        """nanoGPT's `generate`: the last `context` tokens are read again for each."""
        tokens = torch.zeros(1, 1, dtype=torch.long)
        for _ in range(length):
            logits = self(tokens[:, -self.config.context:])[:, -1]
            drawn = torch.multinomial(functional.softmax(logits, -1), 1)
            tokens = torch.cat((tokens, drawn), 1)

    @torch.no_grad()
    def evaluate(self, windows: np.ndarray) -> np.ndarray:
        """Nats per token of each held-out window, (N,)."""
        losses = [functional.cross_entropy(self(part[:, :-1]).mT, part[:, 1:], reduction="none").mean(1)
                  for part in torch.from_numpy(windows.copy()).split(64)]
        return torch.cat(losses).numpy()


def linear(dense: mg.nn.Dense) -> torch.nn.Linear:
    layer = torch.nn.Linear(*dense.weight.shape, bias=dense.bias is not None)
    layer.weight.data = torch.tensor(dense.weight.numpy().T.copy())
    if dense.bias is not None:
        layer.bias.data = torch.tensor(dense.bias.numpy().copy())
    return layer


def norm(layer: mg.nn.LayerNorm) -> torch.nn.LayerNorm:
    return torch.nn.LayerNorm(layer.scale.size, eps=layer.eps, bias=layer.shift is not None)


def timed(function) -> tuple[float, float]:
    """Seconds on the wall, and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(name: str, ours: Callable[[], object], theirs: dict[str, Callable[[], object]], rounds: int, count: int,
            unit: str) -> float:
    """Print what one of `count` costs, in ms, for all, and how many times as long the others take; minigen's seconds
    of the processor."""
    times = [[timed(ours), *map(timed, theirs.values())] for _ in range(rounds)]
    for n, other in enumerate(theirs, 1):
        for kind, which in (("wall", 0), ("processor", 1)):
            ratios = sorted(row[n][which] / row[0][which] for row in times)
            mine, its = (statistics.median(row[i][which] for row in times) / count * 1e3 for i in (0, n))
            low, high = ratios[rounds // 4], ratios[3 * rounds // 4]
            print(f"{name:<10} {kind:<10} minigen {mine:8.3f} ms, {other} {its:8.3f} ms {unit}: "
                  f"{statistics.median(ratios):5.2f}x ({low:.2f}-{high:.2f})", flush=True)
    return statistics.median(row[0][1] for row in times) / count


def trained(settings: dict[str, Any], data: TextDataset, held_out: np.ndarray,
            steps: int) -> tuple[mg.models.GPT, TorchGPT, CompiledStep, float, float]:
    """Both after `steps` batches of `data`, the compiled step, and the losses on `held_out`: minigen's, PyTorch's."""
    gpt, seed = mg.models.GPT(**settings), settings["seed"]
    peer, step, loader = TorchGPT(gpt), mg.compile(gpt.train_step), Loader(len(data), BATCH, seed)
    for n in range(steps):
        epoch, index = loader.position(n)
        batch = data.batch(loader.batch(epoch, index), epoch)
        loss, other = float(step(batch)["loss"]), peer.train_step(batch)
        assert n >= 20 or abs(loss - other) < 1e-3 * other, f"step {n}: {loss} and {other}: not the same computation"
    ours, windows = gpt.evaluate(held_out)["loss"], peer.evaluate(held_out)
    print(f"seed {seed}, {steps} steps, all held-out text: minigen {ours:.4f}, PyTorch {windows.mean():.4f} nats per "
          f"character; an estimate of {ESTIMATE} windows +- {windows.std() / math.sqrt(ESTIMATE):.4f}", flush=True)
    return gpt, peer, step, ours, float(windows.mean())


def floor(step: CompiledStep, threads: int) -> float:
    """Seconds that the step's arithmetic and its bytes need."""
    instructions = step.last.program.instructions
    peak = measure_peak((threads,), dtypes=("float32",), seconds=0.6)[0].gflops * 1e9
    copies = {b.level: b.gbytes * 1e9 for b in measure_bandwidth((threads,), seconds=0.6)}
    bandwidth = copies.get("L2") or list(copies.values())[-1]
    print(f"the machine: {peak / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s; the step: "
          f"{sum(map(flops_of, instructions)) / 1e9:.2f} GFLOP, {sum(map(bytes_of, instructions)) / 1e6:.0f} MB")
    return sum(map(flops_of, instructions)) / peak + sum(map(bytes_of, instructions)) / bandwidth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--text", default="austen", help="austen, tinyshakespeare or a file")
    parser.add_argument("--data-dir", help="folder with tinyshakespeare.txt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lr", type=float, help="[default: the preset's]")
    parser.add_argument("--seeds", type=int, default=1, help="train with so many seeds")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    args = parser.parse_args()
    tokenizer = CharacterTokenizer((raw := load_text(args.text, data_dir=args.data_dir)).text)
    settings = {**mg.models.GPT.PRESETS["nanogpt"], "tokenizer": tokenizer.describe()}
    settings["lr"] = args.lr or settings["lr"]
    data, held_out = split_text(raw, settings["context"], tokenizer)
    torch.set_num_threads(args.threads)
    mg.set_threads(args.threads)
    print(f"{args.threads} thread(s), learning rate {settings['lr']}, "
          f"PyTorch {torch.__version__}, NumPy {np.__version__}, {args.rounds} rounds")
    with threadpool_limits(args.threads, "blas"):
        runs = [trained({**settings, "seed": seed}, data, held_out.items, args.steps) for seed in range(args.seeds)]
        gpt, peer, step, *_ = runs[0]
        ours, theirs = (statistics.mean(run[i] for run in runs) for i in (3, 4))
        print(f"mean of {len(runs)} seeds: minigen {ours:.4f}, PyTorch {theirs:.4f}", flush=True)
        batches = [data.batch(np.arange(n, n + BATCH), 0) for n in range(5)]
        peers = {"PyTorch": peer}
        if args.compile:
            peers["torch.compile"] = compiled = TorchGPT(gpt)
            compiled.forward = torch.compile(compiled.forward)
            compiled.train_step(batches[0])
        took = compare("training, compiled", lambda: [step(b) for b in batches],
                       {name: lambda p=p: [p.train_step(b) for b in batches] for name, p in peers.items()},
                       args.rounds, len(batches), "a step")
        least = floor(step, args.threads)
        print(f"the floor {least * 1e3:.1f} ms a step: minigen takes {took / args.threads / least:.2f} times as long")
        gpt.eval()
        start = np.zeros((1, 1), int)

        def draw() -> None:
            for _ in itertools.islice(generate(gpt, start, mg.Generator(0)), 256):
                pass

        compare("drawing", draw, {"PyTorch": lambda: peer.draw(256)}, max(3, args.rounds // 5), 256, "a token")


if __name__ == "__main__":
    main()
