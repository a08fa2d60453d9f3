"""A VAE of sentences, and its one great danger: a decoder that does not listen.

    L = L_rec + beta L_KL,   L_rec = -sum_t log p(x_t | z, x_1 .. x_{t-1})

The decoder sees the words before, so that it can guess the next one without z; and to leave z unread costs nothing,
while to use it costs KL. Trained as the equation stands, the posterior collapses to the prior: KL = 0, and what is left
is a language model. Three remedies of Bowman et al. 2016 and Kingma et al. 2016 are switched on here one after another:

    annealing      beta rises from almost 0: the encoder learns to say something before it has to pay for it
    word dropout   blanks in the decoder's input: it has to ask z what it can no longer read
    free bits      sum_j max(free, KL_j): so many nats of each dimension are for nothing

Run: python examples/11_text_vae.py     (minutes; --quick: seconds, too few steps for good sentences)
"""

import argparse

import minigen as mg
from minigen.data import BytePairTokenizer, Loader, SentenceDataset, load_text, split_sentences
from minigen.losses import vae as losses
from minigen.metrics import posterior_verdict

REMEDIES = {
    "none": {"word_dropout": 0.0, "free": 0.0, "anneal": 0},
    "annealing": {"word_dropout": 0.0, "free": 0.0},
    "and word dropout": {"word_dropout": 0.3, "free": 0.0},
    "and free bits": {"word_dropout": 0.3, "free": 0.7},
}


def fit(model: mg.models.TextVAE, data: SentenceDataset, steps: int, batch_size: int) -> None:
    """The training step of `TextVAE`, written out."""
    c, loader = model.config, Loader(len(data), batch_size, seed=0)
    optimizer, noise = mg.optim.Adam(model.parameters(), c.lr), mg.Generator(1)

    def train_step(rows, beta):
        mu, log_var = model.posterior(rows)
        z = losses.reparameterise(mu, log_var, noise.normal(mu.shape))
        reconstruction = mg.mean(model.reconstruction(rows, z))
        (reconstruction + beta * losses.kl_free_bits(mu, log_var, c.free)).backward()
        mg.optim.clip_norm(model.parameters(), c.clip)
        optimizer.step()
        optimizer.zero_grad()
        return reconstruction

    compiled = mg.compile(train_step)
    for step in range(steps):
        rows = data.batch(loader.batch(*loader.position(step)), loader.position(step)[0])
        compiled(rows, float(model.kl_weight(step)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small model, few steps, the first and the last remedy")
    quick = parser.parse_args().quick
    steps, batch_size, vocabulary = (600, 16, 300) if quick else (1500, 32, 2048)
    sizes = {"width": 32, "heads": 2, "layers": 1, "latent": 24, "lr": 5e-3} if quick else {}
    novel = load_text()
    tokenizer = BytePairTokenizer.train(novel.text, vocabulary)
    train, test = split_sentences(novel, 20, tokenizer)
    found = {}
    for name, remedy in REMEDIES.items():
        if quick and name in ("annealing", "and word dropout"):
            continue
        model = mg.models.TextVAE(tokenizer=tokenizer.describe(), **{"anneal": steps // 2, **sizes, **remedy})
        fit(model, train, steps, batch_size)
        found[name] = f = model.evaluate(test.rows)
        verdict = posterior_verdict(f["reconstruction"], f["without_z"], f["kl"], int(f["active_units"]),
                                    model.config.latent)
        print(f"{name}: {verdict}\n")
    print("from one held-out sentence to another:")
    for text in model.interpolate(test.texts[0], test.texts[-1]):
        print(f"  {text}")
    first, last = found["none"], found["and free bits"]
    assert first["kl"] < 1 < last["kl"]
    assert last["reconstruction"] < 0.97 * last["without_z"] and first["reconstruction"] > 0.98 * first["without_z"]


if __name__ == "__main__":
    main()
