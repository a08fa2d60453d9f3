"""Six controllers, each on and off, on 500 images of MNIST: does it do what it should, and is the model better for it?

The same VAE and the same GAN are trained as they are, then with one controller. The GAN's discriminator learns four
times as fast as its generator and has no R1 penalty, which leaves the controllers something to do. The bound on log
p(x) in nats (high is good) and the Frechet distance (low) are of held-out images that no controller has looked at; KL,
r and the accuracy, which controllers hold, of the training images.

Run: python examples/09_feedback.py     (prints the table of examples/README.md)
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import minigen as mg
from minigen import feedback, metrics

FIGURE = "test_negative_elbo"  # what the controllers of the VAE look at, on 500 other held-out images


def vae(seed: int) -> mg.models.VAE:
    return mg.models.VAE(hidden=(200,), lr=3e-3, seed=seed)


def gan(seed: int) -> mg.models.GAN:
    return mg.models.GAN(r1=0.0, lr_discriminator=2e-3, seed=seed)


# What is trained, what is switched on, and whether the best model is judged in place of the last.
RUNS = {
    "vae": (vae, [], False),
    "vae, KLTarget(20)": (vae, [feedback.KLTarget(20.0)], False),
    "vae, OnPlateau": (vae, [feedback.OnPlateau(FIGURE)], False),
    "vae, KeepBest and StopEarly": (vae, [feedback.KeepBest(FIGURE), feedback.StopEarly(FIGURE, patience=5)], True),
    "gan": (gan, [], False),
    "gan, AdaptiveAugmentation": (gan, [feedback.AdaptiveAugmentation(images=20_000)], False),
    "gan, Balance(0.65)": (gan, [feedback.Balance(0.65)], False),
}


def judged(model, training: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """What each controller is meant to hold, and how good the model is."""
    if model.kind == "vae":
        found = metrics.vae_figures(model, held_out, samples=50)
        return {"KL": model.evaluate(training)["kl"], "bound": found.bound.value}
    with mg.no_grad():
        real = np.sign(model.discriminator(model.preprocess(training)).numpy()).mean()
        fakes = (model.sample(len(training), seed=1) * 255).astype(np.uint8)
        fake = np.sign(model.discriminator(model.preprocess(fakes)).numpy()).mean()
    net = metrics.mnist_classifier()
    ours, theirs = (metrics.moments(net.describe_images(x)[0].astype(np.float64))
                    for x in (model.sample(2000, seed=2), held_out))
    return {"r": real, "accuracy": (2 + real - fake) / 4, "Frechet": metrics.frechet_gaussians(ours, theirs)}


def run(name: str, seed: int, epochs: int, images: np.ndarray, tests: np.ndarray) -> dict[str, float]:
    """One training run, and what it came to."""
    make, controllers, keeps = RUNS[name]
    model = make(seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run" if keeps else None
        history = mg.train(model, images, epochs=epochs, batch_size=50, seed=seed, test_images=tests[:500], out=out,
                           compile=True, feedback=controllers)
        model = mg.load(out / "best.safetensors") if out else model
    return {"epochs": len(history), **judged(model, images, tests[500:])}


def told(column: str, values: list[float]) -> str:
    """The mean over the seeds, and the lowest and highest where there are several."""
    digits = 0 if column == "epochs" else 2
    spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{column} {np.mean(values):.{digits}f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three epochs, one seed")
    args = parser.parse_args()
    images, tests = (mg.data.mnist(split, download=False)[0] for split in ("train", "test"))
    images, tests = images[:500], tests[:1000 if args.quick else 2500]
    found = {}
    for name in RUNS:
        seeds, epochs = range(1 if args.quick else 3), 3 if args.quick else 100 if name.startswith("vae") else 60
        rows = [run(name, seed, epochs, images, tests) for seed in seeds]
        found[name] = {column: [row[column] for row in rows] for column in rows[0]}
        print(f"{name:<28}" + "  ".join(told(*pair) for pair in found[name].items()), flush=True)
    assert all(np.isfinite(values).all() for row in found.values() for values in row.values())
    free, held = (np.mean(found[name]["KL"]) for name in ("vae", "vae, KLTarget(20)"))
    if args.quick:
        assert held > free, "beta begins at 0: at first the KL may grow"
    else:
        assert abs(held - 20) < 1.5 < abs(free - 20)


if __name__ == "__main__":
    main()
