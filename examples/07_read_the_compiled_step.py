"""A training step becomes a program that can be read: backprop as a textbook would print it.

The step is ten lines. `mg.compile` records what they do, forward, backward and the optimizer's update together, and
writes it down as straight-line Python with every loop spelled out. That text is what runs, and it is faster.

Run: python examples/07_read_the_compiled_step.py     (writes runs/examples/vae_step.py; half a minute at first)
"""

import argparse
import time
from pathlib import Path

import numpy as np

import minigen as mg
from minigen.losses import vae as losses


def make(hidden: int, latent: int, seed: int):
    """A small VAE and its training step: equation (4.2.2), then Adam."""
    rng = mg.Generator(seed)
    dense = lambda n_in, n_out: mg.nn.Dense(n_in, n_out, rng=rng)  # noqa: E731
    encoder = mg.nn.Sequential(dense(784, hidden), mg.nn.Tanh())
    mu_of, log_var_of = dense(hidden, latent), dense(hidden, latent)
    decoder = mg.nn.Sequential(dense(latent, hidden), mg.nn.Tanh(), dense(hidden, 784))
    everything = mg.nn.Sequential(encoder, mu_of, log_var_of, decoder)
    optimizer = mg.optim.Adam(everything.parameters(), lr=1e-3)
    noise = mg.Generator(seed + 1)

    def step(x, beta):
        h = encoder(x)
        mu, log_var = mu_of(h), log_var_of(h)
        z = losses.reparameterise(mu, log_var, noise.normal(mu.shape))
        reconstruction = losses.bernoulli_nll(decoder(z), x)
        loss = losses.negative_elbo(reconstruction, losses.kl_normal(mu, log_var), beta=beta)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, a few steps")
    parser.add_argument("--steps", type=int, help="20 or more [default: 500, with --quick 20]")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="folder for the program")
    args = parser.parse_args()
    hidden, steps = (16, 20) if args.quick else (128, 500)
    steps = steps if args.steps is None else args.steps
    if steps < 20:
        parser.error(f"--steps {steps}: expected 20 or more")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {args.out}: cannot be made a folder ({error.strerror}); name another")

    images, _ = mg.data.mnist("train", download=False)
    x = (images[: 64 * 10].reshape(10, 64, 784) > 127).astype(np.float32)
    eager, compiled = make(hidden, 8, seed=0), mg.compile(make(hidden, 8, seed=0))

    compiled(x[0], 1.0), eager(mg.Tensor(x[0]), 1.0)  # the first call writes the program
    print(compiled.source)
    compiled.save(args.out / "vae_step.py")
    print(f"The same text, to run and to step through: python -m pdb {args.out / 'vae_step.py'}\n")

    seconds, curves = [], []
    for run, wrap in ((eager, mg.Tensor), (compiled, lambda batch: batch)):
        start = time.perf_counter()
        curves.append([float(run(wrap(x[n % 10]), min(1.0, n / steps))) for n in range(steps)])
        seconds.append(time.perf_counter() - start)
    print(f"eager {seconds[0] / steps * 1e6:.0f} us a step, compiled {seconds[1] / steps * 1e6:.0f} us; "
          f"losses {curves[0][0]:.3f} to {curves[0][-1]:.3f} and {curves[1][0]:.3f} to {curves[1][-1]:.3f}")
    print(compiled.explain())

    # The two ways compute the same but for rounding, and one program served every step: beta is an argument of it.
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-3)
    assert curves[1][-1] < curves[1][0]
    assert len(compiled.programs) == 1 and "for the gradient of tanh" in compiled.source


if __name__ == "__main__":
    main()
