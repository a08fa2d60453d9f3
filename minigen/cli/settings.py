"""The option of `minigen train` that changes any setting of a model, by the name that its config has for it."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import click

from ..errors import UsageError

__all__ = ["changes", "set_option"]


def set_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--set."""
    return click.option(
        "--set", "changes", multiple=True, metavar="NAME=VALUE",
        help="Any other setting of the model, as in --set r1=0 --set generator=128,256. `minigen info RUN` shows them.",
    )(command)  # fmt: skip


def changes(texts: Sequence[str], config: type[Any], options: Collection[str]) -> dict[str, Any]:
    """The settings that "r1=0" or "generator=128,256" name; the model itself says which values it takes.

    UsageError for what is no setting of `config`, and for one that has an option of its own, among `options`.
    """
    fields = {field.name: field for field in dataclasses.fields(config)}
    found = {}
    for text in texts:
        name, given, value = (part.strip() for part in text.partition("="))
        if not given or not value:
            raise UsageError(f"--set {text}: expected a name and a value, as in --set r1=0")
        if name in fields and name in options:
            raise UsageError(f"--set {text}: this setting has an option of its own, --{name.replace('_', '-')}")
        plain = _value(value)
        several = name in fields and isinstance(fields[name].default, tuple)
        found[name] = (plain,) if several and isinstance(plain, int) else plain
    return found


def _value(text: str) -> Any:
    """A number, a tuple, True, False or None as Python writes it; anything else is the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
