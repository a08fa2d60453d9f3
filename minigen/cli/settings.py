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
    found: dict[str, Any] = {}
    for text in texts:
        name, given, value = (part.strip() for part in text.partition("="))
        if not given or not value:
            raise UsageError(f"--set {text}: expected a name and a value, as in --set r1=0")
        if name in fields and name in options:
            raise UsageError(f"--set {text}: this setting has an option of its own, --{name.replace('_', '-')}")
        if name in found:
            raise UsageError(f"--set {text}: {name} was given already, as {found[name]!r}; give it once")
        default = fields[name].default if name in fields else None
        found[name] = _sizes(text, value, default) if isinstance(default, tuple) else _value(value)
    return found


def _sizes(text: str, value: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """One or several positive integers, as a person types them: no tuple of Python."""
    plain = _value(value)
    sizes = plain if isinstance(plain, tuple) else (plain,)
    if not all(type(size) is int and size > 0 for size in sizes):
        raise UsageError(f"--set {text}: expected positive integers, such as {','.join(map(str, default))}")
    return sizes


def _value(text: str) -> Any:
    """A number, a tuple, True, False or None as Python writes it; anything else is the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
