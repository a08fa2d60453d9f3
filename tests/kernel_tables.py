"""Measure again what kernels/README.md shows: its tables and its pictures, on this machine.

The README has places like

    <!-- minigen bench matmul --markdown -->
    ... what the command printed ...
    <!-- end -->

This runs each such command, puts what it prints in its place, and its picture into kernels/pictures/. It takes about
ten minutes, on a machine that does nothing else.

Run: python tests/kernel_tables.py [--quick]
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "kernels" / "README.md"
PICTURES = ROOT / "kernels" / "pictures"
PLACE = re.compile(r"(<!-- minigen (bench [^\n]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def refreshed(text: str, run: Callable[[list[str]], str]) -> str:
    """The text with what `run(words of the command)` gives in each place."""
    return PLACE.sub(lambda match: f"{match[1]}\n{run(shlex.split(match[2])).strip()}\n\n{match[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="to see that it works; not to be committed")
    quick = ["--quick"] * parser.parse_args().quick

    def run(words: list[str]) -> str:
        print("minigen", *words, *quick, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "minigen", *words, *quick, "--out", folder]
            text = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
            for picture in Path(folder).glob("*.png"):
                shutil.copyfile(picture, PICTURES / picture.name)
        return text

    README.write_text(refreshed(README.read_text(), run))


if __name__ == "__main__":
    main()
