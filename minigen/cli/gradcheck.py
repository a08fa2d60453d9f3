"""minigen gradcheck: every operation against its NumPy oracle and against finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import MinigenError
from .options import device_option
from .suggest import did_you_mean

if TYPE_CHECKING:
    from ..op_cases import Case
    from ..tensor import Tensor

__all__ = ["command"]


@click.command("gradcheck")
@click.argument("ops", metavar="[OP]...", nargs=-1)
@device_option
def command(ops: tuple[str, ...], device: str) -> None:
    """Hold the gradient of every operation against finite differences, in float64.

    Names of operations narrow it down. `value` is the largest error against NumPy, `gradient` that of every order of
    derivative against central differences, both relative. Exit code 1 if one is wrong.
    """
    from ..backend import require_device
    from ..op_cases import cases

    require_device(device)
    by_op: dict[str, list[Case]] = {}
    for case in cases():
        by_op.setdefault(case.op, []).append(case)
    for name in ops:
        if name not in by_op:
            context = click.get_current_context()
            raise click.UsageError(f"no such operation {name!r}{did_you_mean(name, by_op)}", context)
    chosen = {name: by_op[name] for name in ops} if ops else by_op
    click.echo(f"{'operation':<16}{'cases':>6}{'orders':>8}{'value':>10}{'gradient':>10}")
    failures = [failure for name, rows in chosen.items() if (failure := _check(name, rows, device))]
    if failures:
        raise MinigenError(f"gradcheck: {len(failures)} of {len(chosen)} operations are wrong: {', '.join(failures)}")
    click.echo(f"all {len(chosen)} operations are right")


def _check(name: str, rows: list[Case], device: str) -> str | None:
    """Print the row of one operation; its name if it is wrong."""
    from ..backend import to_device
    from ..gradcheck import GradcheckError, gradcheck
    from ..tensor import Tensor

    value = gradient = 0.0
    try:
        for case in rows:
            inputs = [Tensor(to_device(x, device)) for x in case.inputs]
            value = max(value, _value_error(case, inputs))
            if case.order:
                gradient = max(gradient, gradcheck(case.function, *inputs, order=case.order))
    except GradcheckError as error:
        click.echo(f"{name:<16}  WRONG  {case.name}: {error}")
        return name
    orders = max(case.order for case in rows)
    shown = f"{gradient:>10.1e}" if orders else f"{'-':>10}"
    click.echo(f"{name:<16}{len(rows):>6}{orders or '-':>8}{value:>10.1e}{shown}")
    return None


def _value_error(case: Case, inputs: list[Tensor]) -> float:
    """The largest |y - oracle| / (1 + |oracle|); GradcheckError where it is above rounding."""
    import numpy as np

    from ..backend import to_device
    from ..gradcheck import GradcheckError
    from ..tensor import Tensor

    outputs: Any = case.function(*inputs)
    expected: Any = case.oracle(*case.inputs)
    if isinstance(outputs, Tensor):
        outputs, expected = [outputs], [expected]
    worst = 0.0
    for y, right in zip(outputs, expected, strict=True):
        if y.shape != np.shape(right):
            raise GradcheckError(f"the result has shape {y.shape}, expected {np.shape(right)}")
        difference = np.abs(np.asarray(to_device(y.data, "cpu"), np.float64) - np.asarray(right, np.float64))
        error = float((difference / (1 + np.abs(right))).max(initial=0.0))
        if not error < 1e-6:
            raise GradcheckError(f"the result is off by {error:.2g} from NumPy's")
        worst = max(worst, error)
    return worst
