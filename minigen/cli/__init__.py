"""The command line: `minigen train gan` and its companions, one file a command.

What takes long to import is imported inside the commands, so that `minigen --help` answers at once.
"""

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (`sys.argv` unless given) and return its exit code; nothing that went wrong is raised."""
    import contextlib
    import os
    import sys

    from .app import minigen
    from .failure import exit_code_of

    words = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        if sys.stdout is None:  # the shell closed it, as `>&-` does
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if sys.stderr is None:
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        try:
            # Not minigen.main(), which has exit codes of its own for Ctrl-C and closed pipes.
            with minigen.make_context("minigen", words) as context:
                minigen.invoke(context)
        except BaseException as error:  # Ctrl-C too: each has its code
            return exit_code_of(error)
        return exit_code_of(None)
