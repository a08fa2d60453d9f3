"""A program as a file that runs by itself: its source, and beside it, in an .npz, what it works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array, is_array, to_device
from ..errors import OutputError, UsageError

if TYPE_CHECKING:
    from .runnable import Runnable

__all__ = ["load", "save"]

_MAIN = '''

if __name__ == "__main__":
    # One step, from the state and on the arguments that were saved beside this file. To go through it line by line:
    # python -m pdb {name}, then b {line} and c.
    from {memory} import Arena
    from minigen.program.save import load

    saved = load(__file__{device})
    step = bind(Arena({size}), saved["state"], saved["constant"])
    results, numbers = step(*saved["argument"].values())
    for name, result in zip({results}, results, strict=True):
        print(name, result)
'''


def save(program: Runnable, path: Path) -> None:
    """Write `path`, a Python file that needs minigen's kernels only, and an .npz of the same name with the state, the
    constants and the arguments of the next step, if it were called as the last was.

    Raises OutputError where it cannot be written, and UsageError for a program with operations of the user's.
    """
    if users := [i.name for i in program.program.instructions if not i.own]:
        raise UsageError(f"{path}: the program calls {', '.join(users)}, of your own, which a file that runs by itself "
                         "would not have: write it with minigen's operations")
    names = [v.name for v in program.emitted.outputs]
    there = ', "gpu"' if program.device == "gpu" else ""
    text = program.emitted.source.rstrip() + _MAIN.format(
        name=path.name, size=program.plan.size, results=names, memory=program.memory.__name__, device=there,
        line=min(program.emitted.lines, default=1),
    )
    arguments = [v.name for v in program.program.arguments] + list(program.program.ledger.reads)
    arrays: dict[str, Any] = {f"state/{name}": a for name, a in program.state().items()}
    arrays |= {f"constant/{name}": a for name, a in program.emitted.constants.items()}
    arrays |= {f"{'argument' if is_array(a) else 'number'}/{name}": a
               for name, a in zip(arguments, program.arguments(), strict=True)}
    arrays = {name: to_device(a, "cpu") if is_array(a) else a for name, a in arrays.items()}
    try:
        path.write_text(text, encoding="utf-8")
        np.savez(path.with_suffix(".npz"), **arrays)
    except OSError as error:
        raise OutputError(f"{path}: the program cannot be written ({error.strerror}); name another file") from None


def load(path: str, device: str = "cpu") -> dict[str, dict[str, Array]]:
    """What `save` wrote beside the file: by name under "state", "constant" and "argument"; numbers are numbers.

    State and constants are brought to `device`, where the program runs.
    """
    found: dict[str, dict[str, Array]] = {"state": {}, "constant": {}, "argument": {}}
    with np.load(Path(path).with_suffix(".npz"), allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, _, name = key.partition("/")
            array = arrays[key]
            if kind == "number":
                found["argument"][name] = array.item()
            else:
                found[kind][name] = array if kind == "argument" else to_device(array, device)
    return found
