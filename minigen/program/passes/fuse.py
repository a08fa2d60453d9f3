"""Fusion: operations on single elements, and the sums of their results, share one loop over memory.

A loop has a domain, the shape that it runs over. It may hold every operation whose result has that shape (inputs
broadcast to it), the sums over some of its axes, and after the loop what is computed from complete sums: numbers.

A row, along the last axis, is still in the inner cache when it was summed. So a loop may go on with sums of rows, and
with what is computed from them, in another pass over the row: layer normalisation and its gradient are loops.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..formulas import REDUCTIONS, fits_in_a_loop
from ..ir import Instruction, Program, Value, dependencies

__all__ = ["Loop", "fuse_loops"]

_MOST_ARRAYS = 14  # in and out of one loop: registers for addresses run out


@dataclass(eq=False)
class Loop:
    """The instructions of a loop: `body` at every element of `domain`, `tail` once after it."""

    domain: tuple[int, ...]
    body: list[Instruction] = field(default_factory=list)
    tail: list[Instruction] = field(default_factory=list)

    @property
    def members(self) -> list[Instruction]:
        return [*self.body, *self.tail]

    def of_row(self, v: Value) -> bool:
        """Whether v is one number for each row of the domain."""
        return v.shape == _shape_of_rows(self.domain)

    @property
    def inputs(self) -> list[Value]:
        own = {i.output for i in self.members}
        return list(dict.fromkeys(v for i in self.members for v in i.reads if v not in own))


def fuse_loops(program: Program, by_rows: bool = True) -> None:
    """Gather what fits into loops, as few as the order of the rest allows; each becomes one instruction "loop".

    Without `by_rows` no loop reads the sums of its rows.
    """
    instructions = program.instructions
    units = _gather(program, by_rows)
    order = _ordered(units, dependencies(instructions))
    used: dict[Value, set[Instruction]] = {}
    for i in instructions:
        for v in i.needs:
            used.setdefault(v, set()).add(i)
        for v in i.outputs:
            if v.base is not None:
                used.setdefault(v.base, set()).add(i)
    leaving = set(program.results())
    program.instructions = []
    for unit in order:
        members = [instructions[n] for n in unit.numbers]
        if unit.domain is None or (len(members) == 1 and members[0].name in ("broadcast_to", "full_like")):
            program.instructions += members
        else:
            program.instructions.append(_as_instruction(unit, members, used, leaving))


@dataclass(eq=False)
class _Unit:
    """Instructions, by number, that are computed together; without a domain, one that is no loop's."""

    numbers: list[int]
    domain: tuple[int, ...] | None
    late: set[Value]  # what is known only after the loop
    rows: set[Value]  # what is known after a row


def _gather(program: Program, by_rows: bool) -> list[_Unit]:
    before = dependencies(program.instructions)
    units: list[_Unit] = []
    of: dict[int, _Unit] = {}
    maker = {v: n for n, i in enumerate(program.instructions) for v in i.outputs}
    overwritten = {v.root for i in program.instructions for v in i.writes}
    for n, i in enumerate(program.instructions):
        # A view of memory that is overwritten shows what is written: its elements cannot be taken at one moment.
        shows = any(v.base is not None and v.root in overwritten for v in i.outputs)
        domain = None if shows else _domain(i)
        sums = {i.output} if i.name in REDUCTIONS and domain is not None else set()
        rows = {v for v in sums if by_rows and domain is not None and v.shape == _shape_of_rows(domain)}
        unit = _Unit([n], domain, sums - rows, rows)
        units.append(unit)
        of[n] = unit
        if domain is None:
            continue
        for other in [u for u in _neighbours(program, i, of, maker, units) if u is not unit]:
            merged = _merge(program, other, unit, before, of, units)
            if merged is not None:
                unit = merged
    return units


def _domain(i: Instruction) -> tuple[int, ...] | None:
    if not fits_in_a_loop(i):
        return None
    shape = i.reads[0].shape if i.name in REDUCTIONS else i.output.shape
    return shape if 0 not in shape else None


def _shape_of_rows(domain: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of one number a row, if the domain has rows of more than one."""
    return (*domain[:-1], 1) if len(domain) > 1 and domain[-1] > 1 else None


def _neighbours(program: Program, i: Instruction, of: dict[int, _Unit], maker: dict[Value, int],
                units: list[_Unit]) -> list[_Unit]:
    """The loops that make what i reads, then those that read the same arrays."""
    makers = [of[maker[v]] for v in i.reads if v in maker]
    large = {v for v in i.reads if v.size > 1}
    readers = [u for u in units if u.domain is not None
               and any(v in large for n in u.numbers for v in program.instructions[n].reads)]
    return [u for u in dict.fromkeys([*makers, *readers]) if u.domain is not None]


def _merge(program: Program, a: _Unit, b: _Unit, before: list[set[int]], of: dict[int, _Unit],
           units: list[_Unit]) -> _Unit | None:
    """a and b as one loop, if they may be one."""
    if a is b or a.domain is None:
        return None
    read_by_a, read_by_b = ({v for n in u.numbers for v in program.instructions[n].reads} for u in (a, b))
    tail = b.domain == () and a.domain != ()
    row = b.domain == _shape_of_rows(a.domain)
    if tail:
        # only numbers that a sum of this loop completes
        if not any(v in a.late and v.shape == () for v in read_by_b):
            return None
    elif row:
        # only what goes on with sums of this loop's rows
        if not read_by_b & a.rows or read_by_b & a.late or b.late:
            return None
    elif a.domain != b.domain or (a.domain != () and (read_by_b & a.late or read_by_a & b.late)):
        return None
    numbers = sorted(a.numbers + b.numbers)
    arrays = {v for n in numbers for v in (*program.instructions[n].reads, *program.instructions[n].outputs)}
    made = {v for n in numbers for v in program.instructions[n].outputs}
    if len({v for v in arrays - made if v.size > 1}) > _MOST_ARRAYS or _would_circle({*numbers}, before, of):
        return None
    made_by_b = {v for n in b.numbers for v in program.instructions[n].outputs}
    merged = _Unit(numbers, a.domain, a.late | (made_by_b if tail else b.late), a.rows | (made_by_b if row else b.rows))
    units.remove(a)
    units.remove(b)
    units.append(merged)
    for n in numbers:
        of[n] = merged
    return merged


def _would_circle(together: set[int], before: list[set[int]], of: dict[int, _Unit]) -> bool:
    """Whether something outside must come after one of these and before another."""
    stack = [m for n in together for m in before[n] if m not in together]
    seen = set()
    while stack:
        m = stack.pop()
        if m in seen:
            continue
        seen.add(m)
        for k in of[m].numbers:
            for needed in before[k]:
                if needed in together:
                    return True
                stack.append(needed)
    return False


def _ordered(units: list[_Unit], before: list[set[int]]) -> list[_Unit]:
    """The units so that each comes after what it needs, and otherwise as early as the step had them."""
    of = {n: u for u in units for n in u.numbers}
    needs = {u: {of[m] for n in u.numbers for m in before[n]} - {u} for u in units}
    done: set[_Unit] = set()
    order: list[_Unit] = []
    waiting = sorted(units, key=lambda u: u.numbers[-1])
    while waiting:
        ready = next(u for u in waiting if needs[u] <= done)
        waiting.remove(ready)
        done.add(ready)
        order.append(ready)
    return order


def _as_instruction(unit: _Unit, members: list[Instruction], used: dict[Value, set[Instruction]],
                    leaving: set[Value]) -> Instruction:
    assert unit.domain is not None
    loop = Loop(unit.domain)
    for i in members:
        late = _domain(i) == () != unit.domain
        (loop.tail if late else loop.body).append(i)
    own = set(members)
    outputs = [i.output for i in members if i.output in leaving or used.get(i.output, set()) - own]
    for v in outputs:
        v.base, v.ordered = v.base if v.offset is not None else None, True
    last = members[-1]
    phases = {i.phase for i in members}
    phase = next(p for p in ("update", "backward", "forward") if p in phases)
    return Instruction("loop", tuple(loop.inputs), {"loop": loop}, outputs, (), phase, last.site,
                       members[0].says if len(members) == 1 else _summary(members))


def _summary(members: list[Instruction]) -> str:
    names = list(dict.fromkeys(i.name for i in members))
    more = f" and {len(members) - 3} more" if len(members) > 3 else ""
    return f"{', '.join(names[:3])}{more}, in one pass"
