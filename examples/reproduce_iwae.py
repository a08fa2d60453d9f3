"""A published table again: *Importance Weighted Autoencoders*, one stochastic layer, MNIST binarised anew in each step.

    L_k = E[log 1/k sum_i w_i],   w_i = p(x|z_i) p(z_i) / q(z_i|x),   z_1 .. z_k ~ q(z|x)

Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, Table 1: k = 1 (the VAE) reaches 86.76 nats on the test images,
k = 5 85.54, k = 50 84.78, each by 5000 draws per image. Networks (200 and 200 tanh units, latent 50), batch (20) and
Adam (epsilon 1e-4) are the paper's. Its schedule is 3^i passes at rate 0.001 10^(-i/7) for i = 0 .. 7, 3280 in all; a
shorter one here has the same eight rates, equally long. Other departures: Glorot's initialisation in the tanh layers
only; at k = 1 the KL in closed form; above, the gradient of L_k from one of the k draws, by its weight: unbiased.

Run: python examples/reproduce_iwae.py --draws 5 --budget 30      minutes, or --passes N: 3280 is the paper's schedule
The run is in runs/iwae-5, the curves of all k in runs/iwae.png. With --passes it goes on after an interruption.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minigen as mg
from minigen.metrics import vae_figures

PAPER, BATCH = {1: 86.76, 5: 85.54, 50: 84.78}, 20
RATES = [1e-3 * 10 ** (-i / 7) for i in range(8)]
FULL = sum(3**i for i in range(8))


def make(draws: int) -> mg.models.VAE:
    """The paper's network."""
    vae = mg.models.VAE(latent=50, hidden=(200, 200), activation="tanh", importance_samples=draws, one_backward=True)
    vae.optimizers["all"].eps = 1e-4
    return vae


def seconds_per_pass(vae: mg.models.VAE, images: np.ndarray) -> float:
    """By 100 steps, after 20 to warm up."""
    step = mg.compile(vae.train_step)
    for i in range(120):
        if i == 20:
            start = time.perf_counter()
        step(images[BATCH * i:BATCH * (i + 1)])
    return (time.perf_counter() - start) / 100 * len(images) / BATCH


def draw(folder: Path) -> None:
    """The loss of each k that was trained, over the passes."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run in sorted(folder.glob("iwae-*"), key=lambda run: int(run.name[5:])):
        rows = np.genfromtxt(run / "history.csv", delimiter=",", names=True)
        axes.plot(rows["epoch"], rows["loss"], label=f"k = {run.name[5:]}")
    axes.set(xscale="log", xlabel="passes", ylabel="-L_k on training images, nats")
    axes.legend()
    figure.savefig(folder / "iwae.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1, metavar="K", help="k of L_k; 1 is the VAE")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="as many passes as take this long")
    parser.add_argument("--passes", type=int, default=FULL, help=f"passes over the data [default: {FULL}]")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where iwae-K, the run's folder, is")
    parser.add_argument("--quick", action="store_true", help="8 passes over a few images")
    args = parser.parse_args()
    if args.quick and (args.budget is not None or args.passes != FULL):
        parser.error("--quick has a schedule of its own: leave --budget and --passes out")
    if args.passes < 8 or (args.budget is not None and not args.budget > 0):
        parser.error("expected 8 passes or more, one for each rate, and a budget above 0")
    (images, _), (test, _) = (mg.data.mnist(part, download=not args.quick) for part in ("train", "test"))
    vae, passes, samples = make(args.draws), args.passes, 5000
    if args.quick:
        images, test, passes, samples = images[:2500], test[:200], 8, 50
    pace = seconds_per_pass(make(args.draws), images)
    print(f"k = {args.draws}: {pace:.1f} s a pass, {pace * FULL / 3600:.1f} hours for the paper's {FULL}")
    passes = max(8, round(60 * args.budget / pace)) if args.budget is not None else passes
    out = args.out / f"iwae-{args.draws}"
    done = len((out / "history.csv").read_text().splitlines()) - 1 if (out / "history.csv").exists() else 0
    lengths = [3**i for i in range(8)] if passes == FULL else [passes / 8] * 8
    for end, rate in zip(np.cumsum(lengths).round().astype(int), RATES, strict=True):
        if end > done:
            vae.optimizers["all"].lr = rate
            history = mg.train(vae, images, epochs=end, batch_size=BATCH, test_images=test, out=out,
                               resume=out.exists(), compile=True)
            print(f"{end:4d} passes, rate {rate:.1e}: loss {history.rows[-1]['loss']:.2f} nats, "
                  f"test -ELBO {history.rows[-1]['test_negative_elbo']:.2f}", flush=True)

    draw(args.out)
    came = vae_figures(mg.load(out / "model.safetensors"), test, samples=samples)
    value, low, high = -came.bound.value, -came.bound.high, -came.bound.low
    print(f"k = {args.draws}, {passes} passes: -log p(x) at most {value:.2f} nats [{low:.2f}, {high:.2f}] by {samples} "
          f"draws an image, -ELBO {came.negative_elbo.value:.2f}, active units {came.active_units}; "
          f"the paper after {FULL} passes: {PAPER.get(args.draws, 'no figure')}")
    assert value < came.negative_elbo.value


if __name__ == "__main__":
    main()
