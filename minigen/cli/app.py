"""The group of commands: each is imported when it is called."""

from __future__ import annotations

import importlib
from typing import Any

import click

from ..threads import get_threads
from .suggest import did_you_mean

__all__ = ["COMMANDS", "minigen"]

COMMANDS = {
    "train": "Train a GAN or a VAE on images, a GPT or a VAE on text, and show what it learned.",
    "sample": "Draw new images, or write new text, with a trained model.",
    "reconstruct": "Encode and decode held-out images or sentences with a trained VAE.",
    "interpolate": "Go from one sentence to another through the latent space of a text VAE.",
    "evaluate": "Measure how good and how varied a trained model's images or texts are.",
    "features": "Train the feature net that evaluate measures with.",
    "data": "Look at a file of images: what is in it, what is wrong with it, what a run would see.",
    "info": "Show what a run was made of, or list all runs.",
    "gradcheck": "Hold the gradient of every operation against finite differences.",
    "bench": "Measure the kernels: the limits of this machine, the matmul ladder, CPU and GPU.",
    "doctor": "Say what is installed, where things are kept, and what to do about what is not.",
}


class _Commands(click.Group):
    """Commands by name; their one-line helps are here, so that listing them imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"minigen.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"no such command {name!r}{did_you_mean(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"minigen {version('minigen')}")
        except PackageNotFoundError:
            click.echo("minigen, run from a checkout: not installed")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def minigen(**_: Any) -> None:
    """Generative models from the equation to the kernel: train a GAN or a VAE on MNIST in minutes.

    Begin with `minigen train gan`. Pictures and weights go to a folder under runs/.
    """
    get_threads()  # a MINIGEN_THREADS that says nothing is said now, and not in the middle of a run
