"""The command line: `minigen train gan` and its companions, one file a command.

What takes long to import is imported inside the commands, so that `minigen --help` answers at once.
"""

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (`sys.argv` unless given) and return its exit code; nothing that went wrong is raised."""
    import os
    import sys

    from .app import minigen
    from .failure import exit_code_of

    for name in ("stdout", "stderr"):  # Python has none where the shell closed it, as `>&-` does
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Not minigen.main(), which has exit codes of its own for Ctrl-C and closed pipes.
        with minigen.make_context("minigen", words) as context:
            minigen.invoke(context)
    except BaseException as error:  # Ctrl-C too: each has its code
        return exit_code_of(error)
    return exit_code_of(None)
