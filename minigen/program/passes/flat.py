"""Updates: all parameters of one optimizer lie one after the other in memory, and are moved in one pass."""

from __future__ import annotations

import itertools
from typing import Any

from ...host import Number
from ..formulas import fits_in_a_loop
from ..ir import Instruction, Program, Value

__all__ = ["flat", "flatten_updates", "placed"]

_STEPS = {"adam_step": "adam", "sgd_step": "sgd", "rmsprop_step": "rmsprop"}


def flatten_updates(program: Program) -> None:
    """Join the updates that stand side by side with the same settings, and place their gradients side by side too."""
    joined: list[Instruction] = []
    for _, group in itertools.groupby(program.instructions, _settings):
        members = list(group)
        if members[0].name in _STEPS and _can_join(members):
            joined += _join_optimizer(program, members)
        elif members[0].name == "ema_step":
            joined += _join_averages(program, members)
        else:
            joined += members
    program.instructions = joined


def _settings(i: Instruction) -> Any:
    """Equal for updates that may be joined."""
    attrs = tuple((k, v.text if isinstance(v, Number) else repr(v)) for k, v in i.attrs.items())
    return (i.name, attrs) if i.name in _STEPS or i.name == "ema_step" else id(i)


def _can_join(members: list[Instruction]) -> bool:
    targets = [v for i in members for v in i.writes]
    gradients = [i.inputs[1] for i in members]
    return (len({v.root for v in targets}) == len(targets)
            and all(_may_move(v) and v.size for v in targets)
            and len({v.dtype for v in targets} | {g.dtype for g in gradients}) == 1
            and not {g.root for g in gradients} & {v.root for v in targets})


def _may_move(v: Value) -> bool:
    """Whether a tensor's memory may become a part of a flat one."""
    return v.kind == "state" and v.base is None and v.ordered and not v.shared


def _join_optimizer(program: Program, members: list[Instruction]) -> list[Instruction]:
    name = _STEPS[members[0].name]
    tensors = [flat(program, f"{name}_{slot}", [i.inputs[k] for i in members])
               for k, slot in [(0, "parameters"), *((k, f"state_{k - 1}") for k in members[0].mutates if k)]]
    first = members[0]
    gradients, copies = placed(program, f"{name}_gradients", [(i.inputs[1], i) for i in members])
    joined = Instruction(name, (tensors[0], gradients, *tensors[1:]), first.attrs, [],
                         (0, *range(2, 1 + len(tensors))), "update", first.site,
                         f"{first.says}, {len(members)} parameters at once")
    return [*copies, joined]


def placed(program: Program, name: str, values: list[tuple[Value, Instruction]]) -> tuple[Value, list[Instruction]]:
    """The values, each with one that reads it, one after the other in a flat one, and the copies into that of those
    that cannot be made in their place."""
    made = {v: i for i in program.instructions for v in i.outputs}
    parts: list[Value] = []
    copies: list[Instruction] = []
    for v, reader in values:
        root = v.root
        if (root in made and _fills(made[root]) and root.size == v.size and root not in parts
                and (v is root or (v in made and made[v].name == "product"))):
            parts.append(root)
        else:
            parts.append(Value(program.made(f"{v.name}_placed"), v.shape, v.dtype))
            copies.append(Instruction("copy", (v,), {}, [parts[-1]], (), "update", reader.site, "in its place"))
    return flat(program, name, parts), copies


def _fills(i: Instruction) -> bool:
    """Whether an instruction computes into memory that it is given: what will be in a loop does."""
    return i.name == "product" or (fits_in_a_loop(i) and i.name not in ("broadcast_to", "full_like")
                                   and all(v.size for v in i.reads))


def flat(program: Program, name: str, parts: list[Value]) -> Value:
    """A value whose parts, one after the other, are these."""
    bases = {v.base for v in parts}
    if len(bases) == 1 and (base := bases.pop()) is not None and base.parts == parts:
        return base
    whole = Value(program.made(name), (sum(v.size for v in parts),), parts[0].dtype, parts[0].kind, parts=parts)
    start = 0
    for v in parts:
        v.base, v.offset = whole, start
        start += v.size
    return whole


def _join_averages(program: Program, members: list[Instruction]) -> list[Instruction]:
    """Averages of parameters that an optimizer has placed side by side are taken in one pass, others one by one."""
    averages = {i.inputs[0].root for i in members}
    if len(averages) < len(members) or averages & {i.inputs[1].root for i in members}:
        return members  # an average of an average: their order counts
    joined: list[Instruction] = []
    alone = list(members)
    for weights in dict.fromkeys(i.inputs[1].base for i in members if i.inputs[1].offset is not None):
        assert weights is not None
        of = {i.inputs[1]: i for i in members}
        run = [of[p] for p in weights.parts if p in of]
        targets = [i.inputs[0] for i in run]
        if len(run) < len(weights.parts) or len(set(targets)) < len(run) or not all(map(_may_move, targets)):
            continue
        average = flat(program, "average", targets)
        joined.append(Instruction("ema", (average, weights), run[0].attrs, [], (0,), "update", run[0].site,
                                  f"{run[0].says}, {len(run)} parameters at once"))
        alone = [i for i in alone if i not in run]
    return joined + alone
