"""A VAE with a 2-d latent, its training step written out from the equations, and a map of what it learned.

    z = mu(x) + sigma(x) eps,   eps ~ N(0, I)                        the reparameterisation
    L = E[-log p(x|z)] + KL(q(z|x) || p(z))                          the negative ELBO, nats per image

Run: python examples/04_vae_mnist.py     (writes vae_manifold.png and vae_latent.png into runs/examples)
"""

import argparse
from pathlib import Path

import minigen as mg
from minigen.losses.vae import bernoulli_nll, kl_normal, negative_elbo, reparameterise
from minigen.plots import manifold_points, save_latent_scatter, save_manifold


def train_step(vae: mg.models.VAE, images, optimizer: mg.optim.Adam) -> tuple[float, float]:
    """One step on a batch: what `vae.train_step` does, line by line. Returns L_rec and L_KL."""
    x = vae.preprocess(images, vae.noise)  # pixels drawn as 0 or 1
    mu, log_var = vae.posterior(x)  # the encoder's two heads
    z = reparameterise(mu, log_var, vae.noise.normal(mu.shape))
    reconstruction = bernoulli_nll(vae.decoder(z), x)
    kl = kl_normal(mu, log_var)
    negative_elbo(reconstruction, kl).backward()
    optimizer.step()
    optimizer.zero_grad()
    return reconstruction.item(), kl.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small net, a few steps")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="folder for the pictures")
    args = parser.parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {args.out}: cannot be made a folder ({error.strerror}); name another")
    epochs, hidden = (5, (64,)) if args.quick else (10, (400,))

    images, _ = mg.data.mnist("train", download=False)
    held_out, labels = mg.data.mnist("test", download=False)
    if args.quick:
        images, held_out, labels = images[:1000], held_out[:200], labels[:200]
    vae = mg.models.VAE(latent=2, hidden=hidden, likelihood="bernoulli", seed=0)
    optimizer = vae.optimizers["all"]

    before = vae.evaluate(held_out)["negative_elbo"]
    loader = mg.data.Loader(len(images), batch_size=100, seed=0)
    for epoch in range(epochs):
        for indices in loader.epoch(epoch):
            reconstruction, kl = train_step(vae, images[indices], optimizer)
        print(f"epoch {epoch + 1}: last batch {reconstruction:.1f} + {kl:.1f} nats")
    after = vae.evaluate(held_out)["negative_elbo"]
    print(f"negative ELBO on held-out images: {before:.1f} nats before, {after:.1f} after")

    save_manifold(vae.decode(manifold_points(10 if args.quick else 20)), args.out / "vae_manifold.png")
    save_latent_scatter(vae.encode(held_out), labels, args.out / "vae_latent.png")
    print(f"Pictures: {args.out / 'vae_manifold.png'}, {args.out / 'vae_latent.png'}")
    assert after < before - 50


if __name__ == "__main__":
    main()
