"""What `minigen train` does otherwise where the model learns from text, the texts that a person names, and a GPT's
figures. Those of a text VAE, and what else it does, are in `sentences`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from ..errors import UsageError
from .suggest import did_you_mean

if TYPE_CHECKING:
    from ..data import RawText, SentenceDataset, TextDataset, Tokenizer

__all__ = ["GPT", "KINDS", "TEXT_VAE", "Run", "as_before", "evaluate", "load", "load_named", "require_fit", "settings",
           "text_of_run"]

GPT, TEXT_VAE = KINDS = ("gpt", "text-vae")
_LENGTH = 500  # tokens of a text that is judged
_OPTIONS = ("text", "tokenizer", "vocabulary", "context")
_VAE_OPTIONS = ("word_dropout", "free", "anneal")
_VOCABULARY = {GPT: 512, TEXT_VAE: 2048}


def require_fit(kind: str, given: dict[str, Any]) -> None:
    """Raise UsageError for an option that this kind of model has no use for."""
    if kind in KINDS and given["data"] is not None:
        raise UsageError(f"--data names images, but a {kind} learns from text: name one with --text")
    if kind in KINDS and given["augment"] is not None:
        raise UsageError(f"--augment changes images, but a {kind} learns from text: leave it out")
    if kind not in KINDS and (named := [name for name in _OPTIONS if given[name] is not None]):
        raise UsageError(f"--{named[0]} is for a gpt or a text-vae, but a {kind} learns from images: leave it out")
    if kind != TEXT_VAE and (named := [name for name in _VAE_OPTIONS if given[name] is not None]):
        raise UsageError(f"--{named[0].replace('_', '-')} is for a text-vae, and this is a {kind}: leave it out")
    if given["vocabulary"] is not None and given["tokenizer"] == "characters":
        raise UsageError("--vocabulary is the number of byte pairs: give --tokenizer bytes, or leave it out")


def load_named(name: str, data_dir: str | None) -> RawText:
    """The text called so, or in the file called so."""
    from ..data.text import AUSTEN, SHAKESPEARE, load_text

    if name not in (AUSTEN, SHAKESPEARE) and not Path(name).suffix and not Path(name).exists():
        raise UsageError(f"--text {name}: neither 'austen', 'tinyshakespeare' nor a text file"
                         f"{did_you_mean(name, [AUSTEN, SHAKESPEARE])}")
    return load_text(name, data_dir=data_dir)


def load(kind: str, given: dict[str, Any],
         reporter: Any) -> tuple[TextDataset, TextDataset] | tuple[SentenceDataset, SentenceDataset]:
    """The two parts of the text, cut by the tokenizer that was asked for, or by that of the run that goes on."""
    from ..data import split_sentences, split_text, tokenizer_from
    from ..data.text import AUSTEN
    from ..models import MODELS

    raw = load_named(given["text"] or AUSTEN, given["data_dir"])
    reporter.notice(raw.note)
    before = given.get("settings")
    tokenizer = tokenizer_from(before["tokenizer"]) if before is not None else _new_tokenizer(kind, given, raw.text)
    model: Any = MODELS[kind]
    preset = model.PRESETS.get(given["preset"] or "default", {})
    context = before["context"] if before else given["context"] or preset.get("context", model.Config.context)
    return split_text(raw, context, tokenizer) if kind == GPT else split_sentences(raw, context, tokenizer)


def _new_tokenizer(kind: str, given: dict[str, Any], text: str) -> Tokenizer:
    from ..data import BytePairTokenizer, CharacterTokenizer

    by_default = "characters" if kind == GPT and given["vocabulary"] is None else "bytes"
    if (given["tokenizer"] or by_default) == "bytes":
        return BytePairTokenizer.train(text, given["vocabulary"] or _VOCABULARY[kind])
    return CharacterTokenizer(text)


def settings(kind: str, given: dict[str, Any], data: TextDataset | SentenceDataset, steps: int) -> dict[str, Any]:
    """The fields of the config that follow from the text and from options; the learning rate falls over all `steps`."""
    found = {"tokenizer": data.tokenizer.describe(), "context": data.context, "steps": steps,
             "warmup": max(1, min(100, steps // 10))}
    if kind == TEXT_VAE:
        if (given["preset"] or "default") == "default":
            found["anneal"] = 2 * steps // 3
        found |= {name: given[name] for name in _VAE_OPTIONS if given[name] is not None}
    return found


def as_before(record: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """For a run that goes on: its text, unless named again; UsageError where its place is not known."""
    for name in ("tokenizer", "vocabulary", "context", "preset", *_VAE_OPTIONS):
        if given[name] is not None:
            raise UsageError(f"--{name.replace('_', '-')} cannot be changed in a run that goes on: leave it out")
    if given["text"] is None and record["data"]["source"] == "file":
        raise UsageError(f"the run was trained on {record['data']['name']}: say where that text is with --text FILE")
    return {"text": given["text"] or record["data"]["name"].removesuffix("-train"), "data": None,
            "settings": record["model"]["config"]}


# Title, figure of the samples, the same of held-out text.
_FIGURES = (
    ("perplexity of held-out text (low)", "perplexity", ""),
    ("bits per character of it (low)", "bits_per_character", ""),
    ("distinct words, of all words", "distinct_1", "ordinary_distinct_1"),
    ("distinct pairs of words (near held-out)", "distinct_2", "ordinary_distinct_2"),
    ("self-BLEU (near held-out)", "self_bleu", "ordinary_self_bleu"),
    ("longest copy from training, characters", "longest_copy", "ordinary_copy"),
)


class Run(Protocol):
    """A run that is judged."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def model(self) -> Any: ...


def evaluate(runs: Sequence[Run], count: int, seed: int, text: str | None, data_dir: str | None, out: Path) -> None:
    """Print the figures of `count` samples of each run, and leave them in evaluation.json.

    All are held against the text of the first run, or the one that is named.
    """
    from ..checkpoint import atomic_file
    from ..data import split_text, text_parts
    from ..metrics import evaluate_text

    raw = load_named(text or text_of_run(runs[0].folder), data_dir)
    train, held_out = text_parts(raw)
    figures = {}
    for run in runs:
        windows = split_text(raw, run.model.config.context, run.model.tokenizer)[1].items
        figures[run.name] = evaluate_text(run.model, windows, run.model.sample(count, seed=seed, length=_LENGTH), train,
                                          held_out)
    _print(figures)
    record = {"samples": count, "tokens": _LENGTH, "seed": seed, "text": raw.name, "sets": figures}
    with atomic_file(out / "evaluation.json") as stream:
        stream.write((json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    click.echo(f"{count} texts of {_LENGTH} tokens each; numbers in {out / 'evaluation.json'}")


def _print(figures: Mapping[str, Mapping[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for title in ("", *figures, "held-out text"):
        table.add_column(title, justify="right" if title else "left")
    first = next(iter(figures.values()))
    for title, name, ordinary in _FIGURES:
        table.add_row(title, *(f"{found[name]:.4g}" for found in figures.values()),
                      f"{first[ordinary]:.4g}" if ordinary in first else "")
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def text_of_run(folder: Path) -> str:
    """The text that the run's record names, if it is not a file, whose place it does not tell: UsageError."""
    from ..data.text import AUSTEN
    from ..training import RunFolder

    if not RunFolder(folder).config.exists():
        return AUSTEN
    data = RunFolder(folder).read_record()["data"]
    if data["source"] in ("file", "array"):
        raise UsageError(f"{folder} was trained on {data['name']}: say where that text is with --text FILE")
    return str(data["name"]).removesuffix("-train")
