"""Make the embedded sample from the canonical files: python -m minigen.data.make_sample SOURCE TARGET

Every sixth training image (10 000) and every fifth test image (2 000), with their labels, in the same format
and under the same names. The strides run through the whole files, because MNIST's are not in random order
(the test set's first half is the easier one).
"""

import sys
from pathlib import Path

from minigen.data.idx import write_idx
from minigen.data.mnist import STEMS, read_split
from minigen.errors import MinigenError, UsageError

__all__ = ["STRIDES", "main", "make_sample"]

STRIDES = {"train": 6, "test": 5}


def make_sample(source: Path, target: Path) -> None:
    """Read the full set from the folder `source`, hashes checked, and write the sample into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for split, stride in STRIDES.items():
        images, labels = read_split(source, split)
        write_idx(target / f"{STEMS[split]}-images-idx3-ubyte.gz", images[::stride])
        write_idx(target / f"{STEMS[split]}-labels-idx1-ubyte.gz", labels[::stride])


def main(arguments: list[str]) -> None:
    """The command line: two folders."""
    if len(arguments) != 2:
        raise UsageError("usage: python -m minigen.data.make_sample SOURCE TARGET (two folders)")
    make_sample(Path(arguments[0]), Path(arguments[1]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MinigenError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
