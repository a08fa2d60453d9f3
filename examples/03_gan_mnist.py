"""A GAN learns digits, with the training loop written out.

`mg.train` does this and more (checkpoints, plots); here is what it comes down to: shuffle, cut into batches, let
`train_step` move the discriminator and then the generator.

Run: python examples/03_gan_mnist.py     (writes runs/examples/gan_samples.png; about a minute)
"""

import argparse
from pathlib import Path

import numpy as np

import minigen as mg
from minigen.plots import save_grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, a few steps")
    parser.add_argument("--steps", type=int, help="20 or more [default: 4000, with --quick 60]")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="folder for the picture")
    args = parser.parse_args()
    steps = (60 if args.quick else 4000) if args.steps is None else args.steps
    if steps < 20:
        parser.error(f"--steps {steps}: expected 20 or more")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {args.out}: cannot be made a folder ({error.strerror}); name another")

    images, _ = mg.data.mnist("train", download=False)
    small = {"generator": (32,), "discriminator": (32,), "latent": 8, "lr": 2e-3} if args.quick else {}
    gan = mg.models.GAN.preset("default", seed=0, **small)
    print(gan.summary())
    before = gan.sample(100, seed=1)

    loader = mg.data.Loader(len(images), batch_size=64, seed=0, drop_last=True)
    for step, indices in enumerate(loader.steps()):
        if step == steps:
            break
        losses = gan.train_step(images[indices])
        if step % max(steps // 10, 1) == 0:
            print(f"step {step:5d}   " + "   ".join(f"{name} {value:.3f}" for name, value in losses.items()))

    after = gan.sample(100, seed=1)
    save_grid(after, args.out / "gan_samples.png")
    print(f"Samples: {args.out / 'gan_samples.png'}")

    # What was learned first: which pixels are ink at all. Real digits have a dark border and a bright middle.
    real = images.mean(axis=0) / 255
    distance = [float(np.abs(samples.mean(axis=0) - real).mean()) for samples in (before, after)]
    print(f"mean image, distance to the real one: {distance[0]:.3f} before, {distance[1]:.3f} after")
    assert distance[1] < distance[0]


if __name__ == "__main__":
    main()
