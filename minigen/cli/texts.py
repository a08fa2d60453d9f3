"""What `minigen train` does otherwise where the model learns from text, and the texts that a person names."""

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
    from ..data import RawText, TextDataset

__all__ = ["KIND", "as_before", "evaluate", "load", "load_named", "require_fit", "settings"]

KIND = "gpt"
_LENGTH = 500  # tokens of a text that is judged
_OPTIONS = ("text", "tokenizer", "vocabulary", "context")


def require_fit(kind: str, given: dict[str, Any]) -> None:
    """Raise UsageError for an option that this kind of model has no use for."""
    from ..models import GPT

    if kind == KIND and given["preset"] is not None and given["preset"] not in GPT.PRESETS:
        raise UsageError(f"GPT has no preset {given['preset']!r}: choose from {', '.join(GPT.PRESETS)}")
    if kind == KIND and given["data"] is not None:
        raise UsageError("--data names images, but a gpt learns from text: name one with --text")
    if kind != KIND and (named := [name for name in _OPTIONS if given[name] is not None]):
        raise UsageError(f"--{named[0]} is for a gpt, but a {kind} learns from images: leave it out")
    if given["vocabulary"] is not None and given["tokenizer"] == "characters":
        raise UsageError("--vocabulary is the number of byte pairs: give --tokenizer bytes, or leave it out")


def load_named(name: str, data_dir: str | None) -> RawText:
    """The text called so, or in the file called so."""
    from ..data.text import AUSTEN, SHAKESPEARE, load_text

    if name not in (AUSTEN, SHAKESPEARE) and not Path(name).suffix and not Path(name).exists():
        raise UsageError(f"--text {name}: neither 'austen', 'tinyshakespeare' nor a text file"
                         f"{did_you_mean(name, [AUSTEN, SHAKESPEARE])}")
    return load_text(name, data_dir=data_dir)


def load(given: dict[str, Any], reporter: Any) -> tuple[TextDataset, TextDataset]:
    """The two parts of the text, cut by the tokenizer that was asked for, or by that of the run that goes on."""
    from ..data import BytePairTokenizer, CharacterTokenizer, split_text, tokenizer_from
    from ..data.text import AUSTEN
    from ..models import GPT

    raw = load_named(given["text"] or AUSTEN, given["data_dir"])
    reporter.notice(raw.note)
    before = given.get("settings")
    if before is not None:
        tokenizer = tokenizer_from(before["tokenizer"])
    elif given["tokenizer"] == "bytes" or given["vocabulary"] is not None:
        tokenizer = BytePairTokenizer.train(raw.text, given["vocabulary"] or 512)
    else:
        tokenizer = CharacterTokenizer(raw.text)
    preset = GPT.PRESETS.get(given["preset"] or "default", {})
    context = before["context"] if before else given["context"] or preset.get("context", GPT.Config.context)
    return split_text(raw, context, tokenizer)


def settings(data: TextDataset, steps: int) -> dict[str, Any]:
    """The fields of the config that follow from the text; the learning rate falls over all `steps`."""
    return {"tokenizer": data.tokenizer.describe(), "context": data.context, "steps": steps,
            "warmup": max(1, min(100, steps // 10))}


def as_before(record: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """For a run that goes on: its text, unless named again; UsageError where its place is not known."""
    for name in ("tokenizer", "vocabulary", "context", "preset"):
        if given[name] is not None:
            raise UsageError(f"--{name} cannot be changed in a run that goes on: leave it out")
    if given["text"] is None and record["data"]["source"] == "file":
        raise UsageError(f"the run was trained on {record['data']['name']}: say where that text is with --text FILE")
    return {"text": given["text"] or record["data"]["name"].removesuffix("-train"), "data": None,
            "settings": record["model"]["config"]}


# Title, figure of the samples, the same of held-out text.
_FIGURES = (
    ("perplexity of held-out text (low)", "perplexity", ""),
    ("bits per character of it (low)", "bits_per_character", ""),
    ("distinct words, of all words", "distinct_1", ""),
    ("distinct pairs of words (near held-out)", "distinct_2", "ordinary_distinct_2"),
    ("self-BLEU (near held-out)", "self_bleu", "ordinary_self_bleu"),
    ("longest copy from training, characters", "longest_copy", "ordinary_copy"),
)


class _Run(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def model(self) -> Any: ...


def evaluate(runs: Sequence[_Run], count: int, seed: int, text: str | None, data_dir: str | None, out: Path) -> None:
    """Print the figures of `count` samples of each run, and leave them in evaluation.json.

    All are held against the text of the first run, or the one that is named.
    """
    from ..checkpoint import atomic_file
    from ..data import split_text, text_parts
    from ..metrics import evaluate_text

    raw = load_named(text or _text_of_run(runs[0].folder), data_dir)
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


def _text_of_run(folder: Path) -> str:
    """The text that the run's record names, if it is not a file, whose place it does not tell: UsageError."""
    from ..data.text import AUSTEN
    from ..training import RunFolder

    if not RunFolder(folder).config.exists():
        return AUSTEN
    data = RunFolder(folder).read_record()["data"]
    if data["source"] in ("file", "array"):
        raise UsageError(f"{folder} was trained on {data['name']}: say where that text is with --text FILE")
    return str(data["name"]).removesuffix("-train")
