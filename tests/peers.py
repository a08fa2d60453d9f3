"""The eager training step beside PyTorch's: the same nets, weights, losses, optimizer, batches and threads.

Needs the extra `compare`. First both are held to the same loss curve, then timed in one process, alternating, in
rounds of steps; the figure is the median of the rounds.

Run: python tests/peers.py [--threads 1] [--batch-size 64]
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torch.nn import functional

import minigen as mg


def torch_copy(sequential: mg.nn.Sequential) -> torch.nn.Sequential:
    """The same layers with the same weights."""
    layers: list[torch.nn.Module] = []
    for layer in sequential.layers:
        match layer:
            case mg.nn.Dense():
                linear = torch.nn.Linear(*layer.weight.shape)
                linear.weight.data = torch.tensor(layer.weight.numpy().T.copy())
                linear.bias.data = torch.tensor(layer.bias.numpy().copy())
                layers.append(linear)
            case mg.nn.LeakyReLU():
                layers.append(torch.nn.LeakyReLU(layer.slope))
            case mg.nn.Tanh():
                layers.append(torch.nn.Tanh())
            case _:
                raise TypeError(f"no peer for {layer}")
    return torch.nn.Sequential(*layers)


class TorchGAN:
    """GAN.train_step, in PyTorch."""

    def __init__(self, gan: mg.models.GAN) -> None:
        self.g, self.d = torch_copy(gan.generator), torch_copy(gan.discriminator)
        self.latent = gan.config.latent
        betas = (gan.config.beta1, 0.999)
        self.g_optimizer = torch.optim.Adam(self.g.parameters(), gan.config.lr, betas, fused=True)
        self.d_optimizer = torch.optim.Adam(self.d.parameters(), gan.config.lr, betas, fused=True)

    def train_step(self, images: np.ndarray, noise: torch.Tensor | None = None) -> float:
        real = torch.from_numpy(images).reshape(len(images), -1).float().div_(127.5).sub_(1)
        fake = self.g(torch.randn(len(real), self.latent) if noise is None else noise)
        d_loss = functional.softplus(-self.d(real)).mean() + functional.softplus(self.d(fake.detach())).mean()
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()
        self.d.requires_grad_(False)
        g_loss = functional.softplus(-self.d(fake)).mean()
        self.g_optimizer.zero_grad()
        g_loss.backward()
        self.g_optimizer.step()
        self.d.requires_grad_(True)
        return d_loss.item() + g_loss.item()


class TorchVAE:
    """VAE.train_step with the Bernoulli likelihood, in PyTorch."""

    def __init__(self, vae: mg.models.VAE) -> None:
        parts = vae.encoder, mg.nn.Sequential(vae.mu), mg.nn.Sequential(vae.log_var), vae.decoder
        self.encoder, self.mu, self.log_var, self.decoder = map(torch_copy, parts)
        parameters = [p for part in (self.encoder, self.mu, self.log_var, self.decoder) for p in part.parameters()]
        self.optimizer = torch.optim.Adam(parameters, vae.config.lr, fused=True)

    def train_step(self, images: np.ndarray, noise: torch.Tensor | None = None) -> float:
        intensities = torch.from_numpy(images).reshape(len(images), -1).float().div_(255)
        x = intensities if noise is not None else torch.bernoulli(intensities)
        h = self.encoder(x)
        mu, log_var = self.mu(h), self.log_var(h)
        eps = torch.randn_like(mu) if noise is None else noise
        logits = self.decoder(mu + torch.exp(log_var * 0.5) * eps)
        reconstruction = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        kl = 0.5 * (mu * mu + log_var.exp() - log_var - 1).sum() / len(x)
        loss = reconstruction + kl
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return reconstruction.item() + kl.item()


def same_curve(model: mg.models.GenerativeModel, peer, images: np.ndarray, steps: int = 20) -> float:
    """The largest relative difference of the losses over the first steps, both fed minigen's own noise."""
    worst = 0.0
    for step in range(steps):
        batch = images[step * 64:step * 64 + 64]
        if model.kind == "vae":  # binarised beforehand, so that the first draw of noise is the one for z
            batch = (batch > 127).astype(np.uint8) * 255
            peek = mg.Generator(*model.noise.state())
            peek.uniform((len(batch), 784))
        else:
            peek = mg.Generator(*model.noise.state())
        noise = torch.tensor(peek.normal((len(batch), model.config.latent)).numpy())
        losses = model.train_step(batch)
        ours = sum(losses.values()) if model.kind == "gan" else losses["reconstruction"] + losses["kl"]
        worst = max(worst, abs(ours - peer.train_step(batch, noise)) / abs(ours))
    return worst


def rounds(model, peer, images: np.ndarray, batch_size: int, count: int = 30, steps: int = 20) -> list[tuple]:
    """Milliseconds a step, (minigen, PyTorch) in each round."""
    def timed(train_step) -> float:
        start = time.perf_counter()
        for step in range(steps):
            train_step(images[step * batch_size:(step + 1) * batch_size])
        return (time.perf_counter() - start) / steps * 1e3

    return [(timed(model.train_step), timed(peer.train_step)) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    images, _ = mg.data.mnist("train", download=False)
    torch.set_num_threads(args.threads)
    mg.set_threads(args.threads)
    rows = {
        "document GAN": (mg.models.GAN.preset("document"), TorchGAN),
        "VAE 784-400-20": (mg.models.VAE(), TorchVAE),
        "VAE 784-64-32-2": (mg.models.VAE(latent=2, hidden=(64, 32)), TorchVAE),
    }
    print(f"batch {args.batch_size}, {args.threads} thread(s), PyTorch {torch.__version__}, NumPy {np.__version__}")
    print(f"{'model':<16} {'curves differ by':>16} {'minigen ms':>11} {'PyTorch ms':>11} "
          f"{'ratio':>7} {'quartiles':>13}")
    for name, (model, make) in rows.items():
        peer = make(model)
        difference = same_curve(model, peer, images)
        assert difference < 1e-3, f"{name}: the losses differ by {difference:.1e}: not the same computation"
        times = rounds(model, peer, images, args.batch_size)
        ratios = sorted(theirs / ours for ours, theirs in times)
        ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        print(f"{name:<16} {difference:16.1e} {ours:11.3f} {theirs:11.3f} {statistics.median(ratios):6.2f}x "
              f"{low:6.2f}-{high:.2f}")


if __name__ == "__main__":
    main()
