"""Precision, recall, density and coverage of two draws from N(0, I) in 1000 dimensions: known values.

    python tests/metrics/known_answer.py [--count 10000] [--seeds 1] [--brute]

The README of Naeem et al.'s code (github.com/clovaai/generative-evaluation-prdc) gives, for 10 000 points and 5
neighbours, precision .4772, recall .4705, density 1.0555, coverage .9735, of a draw whose seed it does not name. How
far another draw may be from that, `--seeds 8` told: means .4803, .4761, 1.0161, .9706 with standard deviations between
seeds of .0110, .0127, .0630, .0058, so that the published draw is within 0.7 of a standard deviation in each.
`--brute` computes as that code does, from whole matrices of distances; otherwise minigen does.
"""

import argparse
import time

import numpy as np

from minigen.metrics import Manifold, manifold_figures

NAMES = ("precision", "recall", "density", "coverage")


def whole_matrices(samples, real, k=5):
    def squared(a, b):
        a, b = a.astype(np.float64), b.astype(np.float64)
        return np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T

    inside = squared(samples, real) <= np.partition(squared(real, real), k, axis=1)[:, k]
    other = squared(real, samples) <= np.partition(squared(samples, samples), k, axis=1)[:, k]
    return inside.any(1).mean(), other.any(1).mean(), inside.sum(1).mean() / k, inside.any(0).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--brute", action="store_true")
    given = parser.parse_args()
    rows = []
    for seed in range(given.seeds):
        start = time.perf_counter()
        x, y = np.random.default_rng(seed).standard_normal((2, given.count, 1000)).astype(np.float32)
        if given.brute:
            rows.append(whole_matrices(x, y))
        else:
            rows.append([e.value for e in manifold_figures(Manifold(x), Manifold(y))])
        print(f"seed {seed}", *(f"{n} {v:.4f}" for n, v in zip(NAMES, rows[-1], strict=True)),
              f"({time.perf_counter() - start:.1f} s)", flush=True)
    for name, mean, deviation in zip(NAMES, np.mean(rows, 0), np.std(rows, 0, ddof=min(1, len(rows) - 1)), strict=True):
        print(f"{name:<10} mean {mean:.4f}  standard deviation between seeds {deviation:.4f}")


if __name__ == "__main__":
    main()
