"""Dead code: what nobody reads is not computed."""

from __future__ import annotations

from ..ir import Program, Value

__all__ = ["remove_dead"]


def remove_dead(program: Program) -> None:
    """Drop the instructions whose results neither leave the step nor are read by one that stays.

    What overwrites memory stays, if that memory outlives the step or is read again.
    """
    wanted: set[Value] = set()

    def want(v: Value) -> None:
        wanted.add(v)
        if v.base is not None:
            want(v.base)

    for v in program.results():
        want(v)
    kept = []
    for i in reversed(program.instructions):
        writes = [v.root for v in i.writes]
        if any(v in wanted for v in i.outputs) or any(r in wanted or r.kind in ("state", "argument") for r in writes):
            kept.append(i)
            for v in i.reads:
                want(v)
    program.instructions = kept[::-1]
