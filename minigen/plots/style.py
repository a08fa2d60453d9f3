"""What all pictures have in common: colours, resolution, open axes, and files that are written whole.

Matplotlib's Figure is used without pyplot: no window, no global state, no figure left open. Every picture is written to
a temporary file in the same folder and then renamed, so an interrupted run leaves the old picture or the new one, never
half of one.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import OutputError

__all__ = ["DPI", "LINE_STYLES", "PALETTE", "atomic", "open_axes", "save_figure"]

DPI = 120
LINE_STYLES = ("-", "--", "-.", ":")

# Okabe and Ito's colours, told apart with any common colour blindness, and two of Tol's to make ten.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#7A7A7A",
    "#B5A900",
    "#332288",
    "#882255",
)


def open_axes(axes: Axes) -> None:
    """A pale grid, and no lines above and on the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all; OutputError where that cannot be done."""
    with atomic(path) as stream:
        figure.savefig(stream, format="png")


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """A stream into a temporary file beside `path` that takes its place when all went well."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); name another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
