"""How every failure ends: one line on stderr, and an exit code that a script can tell apart.

0 success, 1 internal, 2 usage, 3 data, 4 checkpoint, 5 device, 6 input/output, 7 diverged, 130 interrupted;
141, as of other tools, where the reader of the output went away.
"""

from __future__ import annotations

import os
import sys
import traceback

import click

from ..errors import MinigenError, OutputError, UsageError
from .suggest import did_you_mean

__all__ = ["exit_code_of"]

INTERRUPTED = 130
BROKEN_PIPE = 141
TRACEBACK = "MINIGEN_TRACEBACK"


def exit_code_of(error: BaseException | None) -> int:
    """Tell the user what went wrong and return the exit code; None is success, if the output can be flushed."""
    try:
        if error is not None and os.environ.get(TRACEBACK, "0") not in ("", "0"):
            traceback.print_exception(error)
        code = _tell(error)
        sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    if code == BROKEN_PIPE:
        _discard_output()
    return code


def _tell(error: BaseException | None) -> int:
    match error:
        case None:
            return 0
        case click.exceptions.Exit():
            return error.exit_code
        case BrokenPipeError():
            return BROKEN_PIPE
        case click.ClickException():
            return _tell_usage(error)
        case MinigenError():
            _line(str(error))
            return error.exit_code
        case KeyboardInterrupt() | click.Abort():
            print(f"minigen: {_interrupted(error)}", file=sys.stderr)
            return INTERRUPTED
        case MemoryError():
            _line("out of memory: take a smaller batch, a smaller model or fewer images")
            return 1
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            _line(f"{where}{error.strerror or error}")
            return OutputError.exit_code
        case _:
            summary = "".join(traceback.format_exception_only(error)).strip().replace("\n", " ")
            _line(f"unexpected: {summary}; a fault of minigen: {TRACEBACK}=1 shows where, please report it")
            return 1


def _line(text: str) -> None:
    print(f"minigen: error: {text}", file=sys.stderr)


def _tell_usage(error: click.ClickException) -> int:
    context: click.Context | None = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # a bare `minigen`, from click 8.2 on: its message is the help
        print(error.format_message(), file=sys.stderr)
        return UsageError.exit_code
    if isinstance(error, click.NoSuchOption):
        options = [name for parameter in context.command.params for name in parameter.opts] if context else []
        text = f"no such option {error.option_name}{did_you_mean(error.option_name, [*options, '--help'])}"
    else:
        text = error.format_message().strip().rstrip(".")
        text = text[:1].lower() + text[1:]
    _line(f"{text} ({context.command_path} --help shows all)" if context else text)
    return UsageError.exit_code


def _interrupted(error: BaseException) -> str:
    out = getattr(error, "out", None)
    if not isinstance(error, KeyboardInterrupt) or not str(error):
        return "interrupted"
    kept = f"; saved in {out}, go on with the same command and --resume --out {out}" if out else ""
    return f"{error}{kept}"


def _discard_output() -> None:
    """The reader went away: what Python would still flush at its end goes nowhere, and silently."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is not a file, as in a test
        pass
