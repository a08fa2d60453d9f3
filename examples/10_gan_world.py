"""A GAN in a world where the truth is known: two mixtures in the plane, with the best D and the JSD beside it.

Data p and generator q are mixtures of Gaussians N(x; m_k, s_k^2 I), drawn as x = m_k + s_k z: at every step the best
discriminator is known, and with it how far the trained one falls short:

    logit*(x) = log p(x) - log q(x)        L_D(D*) = 2 (log 2 - JSD(p, q))        L_D(D) - L_D(D*) >= 0

(Goodfellow et al. 2014, equations 2, 5, 6); integrals are sums over a grid.

Run: python examples/10_gan_world.py     (writes runs/examples/gan_world.gif and .png; some 10 seconds)
"""

import argparse
import io
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import minigen as mg
from minigen.losses import gan

MODES, LOG_SCALES = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]]), np.full((3, 1), math.log(0.5))  # of the data
AXIS = np.linspace(-5, 5, SIDE := 61)
GRID = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)
CELL = (AXIS[1] - AXIS[0]) ** 2


def log_density(x: mg.Tensor, means: mg.Tensor, log_scales: mg.Tensor) -> mg.Tensor:
    """log of the mean of N(x; m_k, s_k^2 I) over k: x (N, 2), means (K, 2), log_scales (K, 1) -> (N,)."""
    k = len(means)
    difference = x.reshape(-1, 1, 2) - means.reshape(1, k, 2)
    scales = log_scales.reshape(1, k)
    each = -0.5 * (difference * difference).sum(axis=2) * mg.exp(-2 * scales) - 2 * scales
    return mg.logsumexp(each, axis=1) - math.log(2 * math.pi * k)


def d_loss(logit: mg.Tensor, log_p: mg.Tensor, log_q: mg.Tensor) -> mg.Tensor:
    """L_D = int p softplus(-logit) + q softplus(logit), over the grid: (N,) each."""
    return ((mg.exp(log_p) * mg.softplus(-logit) + mg.exp(log_q) * mg.softplus(logit)) * CELL).sum()


def frame(title: str, trained: np.ndarray, exact: np.ndarray, points: np.ndarray, pull: np.ndarray) -> Image.Image:
    """D as it is and as it should be, the generated points, and where the generator's loss pulls them."""
    figure, picture = Figure(figsize=(8, 4), layout="constrained"), io.BytesIO()
    for axes, logit, name in zip(figure.subplots(1, 2), (trained, exact), ("D", "D* = p / (p + q)"), strict=True):
        surface = 1 / (1 + np.exp(-logit.reshape(SIDE, SIDE).clip(-30, 30)))
        axes.contourf(AXIS, AXIS, surface, levels=np.linspace(0, 1, 11), cmap="RdBu")
        axes.plot(*points.T, "k.", markersize=5)
        axes.plot(*MODES.T, "wX", markersize=11, markeredgecolor="black")
        axes.set(title=name, aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
    figure.axes[0].quiver(*points.T, *pull.T, color="green", width=0.005, scale=20)
    figure.suptitle(title)
    figure.savefig(picture, format="png", dpi=80)
    return Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="folder for the pictures")
    steps, every = (60, 30) if (args := parser.parse_args()).quick else (500, 20)
    args.out.mkdir(parents=True, exist_ok=True)
    rng, nn = mg.Generator(seed=2), mg.nn
    layers = [layer for n in (2, 48) for layer in (nn.Dense(n, 48, rng=rng), nn.Tanh())]
    net = nn.Sequential(*layers, nn.Dense(48, 1, rng=rng))
    means = mg.Parameter(np.array([[0.3, 0.0], [-0.2, 0.2], [-0.2, -0.2]], np.float32))
    log_scales = mg.Parameter(np.full((3, 1), math.log(0.4), np.float32))
    plays, judges = (mg.optim.Adam(p, 1e-2, (0.5, 0.999)) for p in ([means, log_scales], net.parameters()))
    grid, noise = mg.tensor(GRID, dtype="float32"), rng.normal((3, 30, 2))
    log_p = log_density(grid, *(mg.tensor(a, dtype="float32") for a in (MODES, LOG_SCALES)))
    frames, distances = [], []
    for step in range(steps + 1):
        loss = d_loss(net(grid).reshape(-1), log_p, log_q := log_density(grid, means, log_scales).detach())
        fake = (means.reshape(3, 1, 2) + mg.exp(log_scales).reshape(3, 1, 1) * noise).reshape(-1, 2)
        if step % every == 0:
            best = d_loss(log_p - log_q, log_p, log_q).item()
            distances.append(math.log(2) - best / 2)  # the JSD
            print(title := f"step {step}: L_D {loss.item():.3f}, best {best:.3f}; JSD {distances[-1]:.3f} nats")
            assert loss.item() > best - 1e-5  # no D beats D*, but for rounding
            pull = -mg.grad(gan.generator_loss(net(fake)), [fake], retain_graph=True)[0].numpy() * len(fake)
            frames.append(frame(title, net(grid).numpy(), (log_p - log_q).numpy(), fake.numpy(), pull))
        loss.backward()
        judges.step()
        judges.zero_grad()
        if step >= every:  # D has a head start
            with net.frozen():
                gan.generator_loss(net(fake)).backward()
            plays.step()
            plays.zero_grad()
    frames[0].save(args.out / "gan_world.gif", save_all=True, append_images=frames[1:], duration=250, loop=0)
    frames[len(frames) // 6].save(args.out / "gan_world.png")
    assert distances[-1] < (distances[0] if args.quick else 0.01)


if __name__ == "__main__":
    main()
