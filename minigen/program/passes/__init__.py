"""What is done to a program between the trace and the source: a file a pass, which changes the program it is given."""

from __future__ import annotations

from ..ir import Program
from .clip import flatten_clipping
from .common import share_common
from .dead import remove_dead
from .epilogue import accumulate_products, activate_products, plain_products
from .flat import flatten_updates
from .fold import fold_constants
from .fuse import fuse_loops
from .outer import write_out_outer
from .placement import place_on_gpu
from .rows import write_out_rows
from .slopes import keep_slopes

__all__ = ["optimise"]


def optimise(program: Program, device: str = "cpu") -> None:
    """All passes, in the order in which each finds most; for the gpu with those that a program there needs."""
    if device == "gpu":
        place_on_gpu(program)
    fold_constants(program)
    share_common(program)
    if device == "cpu":
        write_out_rows(program)
        keep_slopes(program)
    remove_dead(program)
    write_out_outer(program)
    plain_products(program)
    activate_products(program)
    accumulate_products(program)
    flatten_updates(program)
    flatten_clipping(program)
    fuse_loops(program, by_rows=device == "cpu")
    if device == "gpu":
        from .parts import part_sums  # which reads the sources of CUDA kernels

        part_sums(program)
