"""The one VAE whose bound is known: a linear decoder with Gaussian noise.

With p(z) = N(0, I) and p(x|z) = N(W z, s^2 I) the evidence is a Gaussian, and so is the posterior:

    log p(x) = log N(x; 0, C),  C = W W^T + s^2 I          p(z|x) = N(M^-1 W^T x, s^2 M^-1),  M = W^T W + s^2 I

(Bishop 2006, equations 12.36 and 12.42.) The negative ELBO must be -log p(x) where q(z|x) is that posterior, and above
it by exactly KL(q(z|x) || p(z|x)) everywhere else. There, averaging k draws inside the logarithm closes the gap: the
importance-weighted bound L_k falls to -log p(x) as k grows (Burda, Grosse & Salakhutdinov 2016, theorem 1).

Run: python examples/05_vae_exact.py
"""

import argparse
import math

import numpy as np

import minigen as mg
from minigen.losses import vae as losses


def exact_nll(x: np.ndarray, w: np.ndarray, s2: float) -> float:
    """-log p(x) in nats, averaged over the rows of x (N, pixels); w (latent, pixels)."""
    covariance = w.T @ w + s2 * np.eye(w.shape[1])
    _, log_det = np.linalg.slogdet(covariance)
    distance = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    return float(0.5 * (distance + log_det + w.shape[1] * math.log(2 * math.pi)).mean())


def bound(x: mg.Tensor, w: mg.Tensor, mu: mg.Tensor, log_var: mg.Tensor, s2: float, rng: mg.Generator,
          samples: int) -> mg.Tensor:
    """The negative ELBO with `samples` draws of z per row of x, by minigen's losses."""
    n = len(x)
    mu, log_var = (mg.broadcast_to(t, shape=(n, w.shape[0])) for t in (mu, log_var))
    mu, log_var, x = (mg.concatenate([t] * samples) for t in (mu, log_var, x))
    z = losses.reparameterise(mu, log_var, rng.normal(mu.shape, "float64"))
    return losses.negative_elbo(losses.gaussian_nll(z @ w, math.log(s2), x), losses.kl_normal(mu, log_var))


def importance_bound(x: mg.Tensor, w: mg.Tensor, mu: mg.Tensor, log_var: mg.Tensor, s2: float, rng: mg.Generator,
                     k: int) -> mg.Tensor:
    """-L_k: the same with k draws inside the logarithm."""
    log_var = mg.broadcast_to(log_var, shape=mu.shape)
    noise = rng.normal((k, *mu.shape), "float64")
    z = losses.reparameterise(mu, log_var, noise)
    nll = losses.gaussian_nll(z.reshape(-1, len(w)) @ w, math.log(s2), mg.concatenate([x] * k), per_sample=True)
    return losses.importance_weighted(losses.log_importance_weights(nll.reshape(k, len(x)), z, noise, log_var))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    steps = 300 if parser.parse_args().quick else 1500

    rng, s2, latent, pixels, n = mg.Generator(seed=3), 0.25, 2, 6, 200
    # Orthogonal rows, so that the exact posterior has the diagonal covariance that a VAE can express.
    rows, _ = np.linalg.qr(rng.normal((pixels, latent), "float64").numpy())
    w = (rows * [1.5, 0.7]).T
    x = rng.normal((n, latent), "float64").numpy() @ w + math.sqrt(s2) * rng.normal((n, pixels), "float64").numpy()
    truth = exact_nll(x, w, s2)

    data, weights = (mg.tensor(a, dtype="float64") for a in (x, w))
    m_inverse = np.linalg.inv(w @ w.T + s2 * np.eye(latent))
    best_mu = mg.tensor(x @ w.T @ m_inverse, dtype="float64")
    best_log_var = mg.tensor(np.log(s2 * np.diag(m_inverse)), dtype="float64")
    at_posterior = bound(data, weights, best_mu, best_log_var, s2, rng, samples=200).item()
    print(f"exact  -log p(x)                     {truth:.4f} nats")
    print(f"negative ELBO at the exact posterior {at_posterior:.4f}")

    too_wide, gaps = best_log_var + math.log(3), []
    for k in (1, 10, 100, 1000):
        gaps.append(importance_bound(data, weights, best_mu, too_wide, s2, rng, k).item() - truth)
        print(f"q three times too wide, k = {k:4d} draws: gap {gaps[-1]:+.4f}")

    # Now learn q(z|x) = N(x V, diag exp(log_var)) from nothing.
    encoder = mg.Parameter(np.zeros((pixels, latent)))
    log_var = mg.Parameter(np.zeros(latent))
    optimizer = mg.optim.Adam([encoder, log_var], lr=2e-2)
    for step in range(steps + 1):
        loss = bound(data, weights, data @ encoder, log_var, s2, rng, samples=4)
        if step % (steps // 5) == 0:
            print(f"step {step:5d}: negative ELBO {loss.item():.4f}, gap {loss.item() - truth:+.4f}")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    learned = bound(data, weights, data @ encoder, log_var, s2, rng, samples=200).item()
    print(f"learned: {learned:.4f}, gap {learned - truth:+.4f} nats; posterior variances "
          f"{np.exp(log_var.numpy()).round(4)}, exact {np.exp(best_log_var.numpy()).round(4)}")
    assert abs(at_posterior - truth) < 0.02  # sampling error only
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] and abs(gaps[3]) < 0.01
    assert -0.02 < learned - truth < 0.05


if __name__ == "__main__":
    main()
