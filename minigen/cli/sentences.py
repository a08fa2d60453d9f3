"""What the commands do for a text VAE: samples, reconstructions, and its figures."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import texts

if TYPE_CHECKING:
    from ..data import RawText, SentenceDataset
    from ..metrics import Estimate, SentenceFigures

__all__ = ["evaluate", "reconstruct", "sample", "show", "verdict"]

_SENTENCES = 1000  # held-out ones that are judged, at most
_WAYS = 20  # interpolations that are judged
_ENCODED = ("temperature", "top_k", "top_p")


def verdict(model: Any, figures: Mapping[str, float]) -> str:
    """Whether the posterior has collapsed, in words, from what `TextVAE.evaluate` gives."""
    from ..metrics import posterior_verdict

    return posterior_verdict(figures["reconstruction"], figures["without_z"], figures["kl"],
                             int(figures["active_units"]), model.config.latent)


def show(lines: Sequence[str], out: Path | None = None) -> None:
    """Print lines, with question marks for what the terminal lacks, or write them into a .txt file."""
    from ..checkpoint import atomic_file

    text = "".join(f"{line}\n" for line in lines)
    if out is None:
        encoding = sys.stdout.encoding or "utf-8"
        click.echo(text.encode(encoding, "replace").decode(encoding), nl=False)
        return
    if out.suffix != ".txt":
        raise UsageError(f"--out {out}: expected a name that ends in .txt")
    with atomic_file(out) as stream:
        stream.write(text.encode("utf-8", "replace"))
    click.echo(f"{len(lines)} lines in {out}")


def sample(model: Any, count: int, seed: int, out: Path | None, given: dict[str, Any]) -> None:
    """Sentences from the prior."""
    from ..models import Sampling

    if unfit := [name for name in given if name not in _ENCODED]:
        raise UsageError(f"--{unfit[0]} is for a gpt, but a text-vae writes whole sentences: leave it out")
    sampling = Sampling(given.get("temperature", 1.0 if given else 0.0), given.get("top_k"), given.get("top_p"))
    show(model.sample(count, seed=seed, sampling=sampling), out)


def reconstruct(model: Any, folder: Path, count: int, text: str | None, data_dir: str | None, out: Path | None) -> None:
    """Held-out sentences, evenly spread, each with what comes back beneath."""
    _, _, held_out = _load(model, text or texts.text_of_run(folder), data_dir)
    chosen = held_out.texts[::max(1, len(held_out) // count)][:count]
    pairs = zip(chosen, model.reconstruct(chosen), strict=True)
    show([line for text, copy in pairs for line in (text, f"  -> {copy}")], out)


def _load(model: Any, name: str, data_dir: str | None) -> tuple[RawText, SentenceDataset, SentenceDataset]:
    from ..data import split_sentences

    raw = texts.load_named(name, data_dir)
    return raw, *split_sentences(raw, model.config.context, model.tokenizer)


def evaluate(runs: Sequence[texts.Run], count: int, seed: int, text: str | None, data_dir: str | None,
             out: Path) -> None:
    """Print the figures of each run on held-out sentences and of `count` samples; leave them in evaluation.json."""
    from ..checkpoint import atomic_file
    from ..metrics import posterior_verdict, sentence_figures

    name = text or texts.text_of_run(runs[0].folder)
    likelihoods, samples, verdicts = {}, {}, []
    for run in runs:
        raw, train, held_out = _load(run.model, name, data_dir)
        found = sentence_figures(run.model, held_out.rows[:_SENTENCES], seed=seed)
        characters = sum(map(len, held_out.texts[:_SENTENCES])) / len(held_out.rows[:_SENTENCES])
        likelihoods[run.name] = found, characters
        samples[run.name] = _written(run.model, count, seed, raw, train, held_out)
        words = posterior_verdict(found.reconstruction.value, found.without_z.value, found.kl.value,
                                  found.active_units, run.model.config.latent)
        verdicts.append(f"{run.name}: {words}")
    _print(likelihoods, samples)
    show(verdicts)
    record = {"samples": count, "seed": seed, "text": name, "sets": {
        name: {**_recorded(*likelihoods[name]), **samples[name]} for name in samples}}
    with atomic_file(out / "evaluation.json") as stream:
        stream.write((json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    click.echo(f"{min(len(held_out), _SENTENCES)} held-out sentences, {count} samples; numbers in "
               f"{out / 'evaluation.json'}")


def _written(model: Any, count: int, seed: int, raw: RawText, train: SentenceDataset,
             held_out: SentenceDataset) -> dict[str, float]:
    """Figures of what the model writes: of samples, of reconstructions, and of the middles of interpolations."""
    from ..data import text_parts
    from ..metrics import copying, known_words, recovered_words, variety

    seen, unseen = text_parts(raw)
    drawn = model.sample(count, seed=seed)
    originals = list(held_out.texts[:_SENTENCES])
    copies = model.reconstruct(originals)
    ends = [(originals[i], originals[-1 - i]) for i in range(min(_WAYS, len(originals)))]
    middles = [text for a, b in ends for text in model.interpolate(a, b, 7)[1:-1]]
    plain = originals[:count]
    figures = {"recovered_words": recovered_words(originals, copies),
               "recovered_by_another": recovered_words(originals, copies[1:] + copies[:1]),
               "known_words_between": known_words(middles, seen), "known_words": known_words(drawn, seen),
               "ordinary_known_words": known_words(originals, seen),
               "distinct_sentences_between": len(set(middles)) / len(middles),
               **variety(drawn), **{f"ordinary_{name}": value for name, value in variety(plain).items()}}
    return figures | copying(drawn, seen, unseen)


_LIKELIHOOD = (
    ("negative ELBO, nats per sentence (low)", "negative_elbo"),
    ("  decoder's loss with z", "reconstruction"),
    ("  KL", "kl"),
    ("decoder's loss without z, at z = 0", "without_z"),
    ("  with the z of another sentence", "another_z"),
    ("log p(x), at least (high)", "bound"),
)
# Title, figure of what is written, the same of held-out text or of what a model that ignores z would get.
_WRITTEN = (
    ("words recovered in reconstructions", "recovered_words", "recovered_by_another"),
    ("real words, in samples", "known_words", "ordinary_known_words"),
    ("  between two sentences", "known_words_between", "ordinary_known_words"),
    ("different sentences between two", "distinct_sentences_between", ""),
    ("distinct words, of all words", "distinct_1", "ordinary_distinct_1"),
    ("distinct pairs of words", "distinct_2", "ordinary_distinct_2"),
    ("self-BLEU", "self_bleu", "ordinary_self_bleu"),
    ("longest copy from training, characters", "longest_copy", "ordinary_copy"),
)


def _print(likelihoods: Mapping[str, tuple[SentenceFigures, float]],
           samples: Mapping[str, Mapping[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for title in ("", *likelihoods, "held-out text"):
        table.add_column(title, justify="right" if title else "left")
    for title, name in _LIKELIHOOD:
        table.add_row(title, *(_cell(getattr(found, name)) for found, _ in likelihoods.values()), "")
    for title, name in (("negative ELBO, nats per token", "per_token"), ("  per character", "per_character"),
                        ("  bits per character", "bits_per_character"), ("active units", "active_units")):
        table.add_row(title, *(f"{_recorded(*pair)[name]:.4g}" for pair in likelihoods.values()), "")
    first = next(iter(samples.values()))
    for title, name, beside in _WRITTEN:
        table.add_row(title, *(f"{found[name]:.3g}" for found in samples.values()),
                      f"{first[beside]:.3g}" if beside in first else "")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print("In the last column, beside the words recovered: those in the reconstruction of another sentence. "
                  "Real words are those of the training text.", style="dim", soft_wrap=True)


def _cell(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ±{(estimate.high - estimate.low) / 2:.2f}"


def _recorded(found: SentenceFigures, characters: float) -> dict[str, Any]:
    """The figures as numbers, also per token and per character."""
    figures = {name: value._asdict() if hasattr(value, "_asdict") else value for name, value in found._asdict().items()}
    nats = found.negative_elbo.value
    return {**figures, "per_token": nats / found.tokens, "per_character": nats / characters,
            "bits_per_character": nats / characters / math.log(2)}
