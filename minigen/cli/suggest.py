"""The nearest name to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import click

__all__ = ["Name", "did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'train'?`, or nothing where no name is near."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


class Name(click.ParamType):
    """One of a few names, which `known` gives when it is needed."""

    def __init__(self, name: str, known: Callable[[], Iterable[str]]) -> None:
        self.name = name
        self.known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = list(self.known())
        if value in names:
            return str(value)
        # The parameter itself stays out of the message: the sentence already says what the name is for.
        message = f"no such {self.name} {value!r}: choose from {', '.join(names)}{did_you_mean(str(value), names)}"
        raise click.UsageError(message, ctx)
