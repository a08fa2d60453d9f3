"""What `minigen train` does otherwise where the model learns from text, and the texts that a person names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .suggest import did_you_mean

if TYPE_CHECKING:
    from ..data import RawText, TextDataset

__all__ = ["KIND", "as_before", "load", "load_named", "require_fit", "settings"]

KIND = "gpt"
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
