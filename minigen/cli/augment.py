"""The option of `minigen train` that changes training images, and the steps of a pipeline that it names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import CheckpointError, DataError, UsageError
from .suggest import did_you_mean

if TYPE_CHECKING:
    from ..data import Pipeline

__all__ = ["augment_option", "pipeline_of", "steps"]


def augment_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--augment."""
    return click.option(
        "--augment", metavar="STEPS",
        help="Images: change each training image anew in every epoch, as in shift=2,rotate=10; also scale, shear, "
             "elastic, noise, flip.",
    )(command)  # fmt: skip


def steps(text: str) -> list[Any]:
    """The steps of `minigen.data` that "shift=2,rotate=10" names, in this order; UsageError for anything else.

    The number is a step's first setting; without one it is the default.
    """
    from ..data import augment

    known = {name.lower(): getattr(augment, name) for name in augment.__all__}
    found = []
    for part in text.split(","):
        name, given, value = (word.strip() for word in part.partition("="))
        if name not in known:
            raise UsageError(f"--augment {text}: no such step {name!r}: choose from {', '.join(known)}"
                             f"{did_you_mean(name, known)}")
        found.append(known[name](_number(text, name, value, known[name])) if given else known[name]())
    return found


def _number(text: str, name: str, value: str, step: Any) -> int | float:
    """`value` as a number of the kind that the first setting of `step` is."""
    usual = dataclasses.fields(step)[0].default
    try:
        return int(value) if isinstance(usual, int) else float(value)
    except ValueError as error:
        what = "a whole number" if isinstance(usual, int) else "a number"
        raise UsageError(f"--augment {text}: {value!r} is not {what}; give one as in {name}={usual}") from error


def pipeline_of(record: Mapping[str, Any], where: str) -> Pipeline | None:
    """What the images of a recorded run went through; CheckpointError where the record is damaged."""
    from ..data import Pipeline

    try:
        return Pipeline.of(record["data"]["pipeline"]) if "pipeline" in record["data"] else None
    except DataError as error:
        raise CheckpointError(f"{where}: damaged ({error}); restore it, or train anew") from error
