"""The options of `minigen train` that switch feedback on, and the controllers that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .options import MNIST, Place, Positive, Whole

if TYPE_CHECKING:
    from ..training import feedback

__all__ = ["controllers", "feedback_options"]

_BY_METRIC = ("on_plateau", "stop_early", "keep_best")


def feedback_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--kl-target, --ada, --balance, --on-plateau, --stop-early, --keep-best and --patience."""
    figure = "A figure of the history, lower is better, such as test_negative_elbo; or frechet."
    for option in (
        click.option("--patience", type=Whole(1), metavar="N",
                     help="Epochs without a lower METRIC that --on-plateau and --stop-early wait. [default: 5 and 10]"),
        click.option("--keep-best", type=Place(str), metavar="METRIC", help=f"Keep the best model as well. {figure}"),
        click.option("--stop-early", type=Place(str), metavar="METRIC", help="End when METRIC no longer falls."),
        click.option("--on-plateau", type=Place(str), metavar="METRIC",
                     help="Halve the learning rate when METRIC no longer falls."),
        click.option("--balance", type=Positive(), metavar="F",
                     help="gan: hold the discriminator's accuracy at F, such as 0.8, by its learning rate."),
        click.option("--ada", is_flag=True, default=None,
                     help="gan: augment what the discriminator sees, the more the more it overfits."),
        click.option("--kl-target", type=Positive(), metavar="NATS",
                     help="vae: hold the KL divergence there, by beta."),
    ):  # fmt: skip
        command = option(command)
    return command


def controllers(given: Mapping[str, Any]) -> list[feedback.Controller]:
    """What the options ask for; none by default. UsageError for a combination that means nothing."""
    from ..training.feedback import (
        FRECHET,
        AdaptiveAugmentation,
        Balance,
        Controller,
        KeepBest,
        KLTarget,
        OnPlateau,
        StopEarly,
    )

    patience = {} if given["patience"] is None else {"patience": given["patience"]}
    if patience and given["on_plateau"] is None and given["stop_early"] is None:
        raise UsageError("--patience is how long --on-plateau and --stop-early wait: give one of them, or leave it out")
    if FRECHET in [given[name] for name in _BY_METRIC] and given["data"] not in (None, MNIST):
        raise UsageError(f"{FRECHET} during training is measured by the feature net of MNIST, which does not know "
                         f"{given['data']}: choose a loss, and compare whole runs with "
                         "minigen evaluate --features FILE")
    asked: list[Controller] = []
    if given["kl_target"] is not None:
        asked.append(KLTarget(given["kl_target"]))
    if given["ada"]:
        asked.append(AdaptiveAugmentation())
    if given["balance"] is not None:
        asked.append(Balance(given["balance"]))
    if given["on_plateau"] is not None:
        asked.append(OnPlateau(given["on_plateau"], **patience))
    if given["keep_best"] is not None:
        asked.append(KeepBest(given["keep_best"]))
    if given["stop_early"] is not None:
        asked.append(StopEarly(given["stop_early"], **patience))
    return asked
