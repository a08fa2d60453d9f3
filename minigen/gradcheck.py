"""Gradients checked against finite differences, to any order: a public tool, and what the tests are made of.

For a random cotangent c the scalar L = sum(c * f(x)) is differentiated twice over: by the engine, and by the
central difference (L(x + h e) - L(x - h e)) / 2h, whose error is O(h^2). A random cotangent matters: with
c = 1 the gradient of a softmax is zero however wrong its vjp is. The next order checks the same of the
function (x, c) -> dL/dx: a vjp must be differentiable in its cotangent too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from . import kernels
from .autograd import grad
from .backend import Array, namespace, to_device
from .errors import MinigenError, UsageError
from .tensor import Tensor, TensorLike, tensor

__all__ = ["GradcheckError", "gradcheck"]

EVERY_ENTRY_UP_TO = 64  # larger inputs are checked along this many random directions
STEP = 6e-6  # about the cube root of the float64 rounding unit: truncation and rounding errors balance

Function = Callable[..., Tensor | Sequence[Tensor]]


class GradcheckError(MinigenError, AssertionError):
    """An analytic gradient that the numbers contradict."""


def gradcheck(f: Function, *inputs: TensorLike, order: int = 1, rtol: float = 1e-6, seed: int = 0) -> float:
    """Check every derivative of `f` up to `order` at `inputs`, in float64; return the largest relative error.

    `f` maps Tensors to a Tensor or several. Float inputs are differentiated, others passed through. The error
    is |analytic - numeric| / (1 + the largest |numeric| of that input). Raises GradcheckError, naming the order,
    the input and the entry, where it exceeds `rtol` or where a value is not finite. Stay off kinks: a finite
    difference across one measures nothing. UsageError where there is nothing to check: no order, or
    no floats among the inputs.
    """
    points = [_double(x) for x in inputs]
    if not isinstance(order, int) or order < 1 or (points and not _free(points)):
        raise UsageError(f"gradcheck: order = {order!r}: expected a whole number from 1, and an input of floats")
    worst = 0.0
    for k in range(1, order + 1):
        worst = max(worst, _check(f, points, k, rtol, seed))
        if k < order:
            f, points = _gradient_of(f, points, seed + k)
    return worst


def _double(x: TensorLike) -> Tensor:
    """A float64 copy that requires grad; integers and booleans stay as they are."""
    array = x.data if isinstance(x, Tensor) else np.asarray(x)
    if array.dtype.kind != "f":
        return tensor(array)
    copy = namespace(array).empty_like(array, dtype=np.float64, order="K")
    copy[...] = array
    return Tensor(copy, requires_grad=True)


def _gradient_of(f: Function, points: list[Tensor], seed: int) -> tuple[Function, list[Tensor]]:
    """(x, c) -> the gradients of sum(c * f(x)) with respect to x, and the place (x, c) to check it at."""
    cotangents = _cotangents(_listed(f(*points)), seed)

    def gradients(*inputs: Tensor) -> list[Tensor]:
        x, c = inputs[:len(points)], inputs[len(points):]
        return grad(_contract(_listed(f(*x)), c), _free(x), create_graph=True, allow_unused=True)

    return gradients, [*points, *cotangents]


def _free(points: Sequence[Tensor]) -> list[Tensor]:
    return [p for p in points if p.requires_grad]


def _listed(outputs: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else outputs


def _cotangents(outputs: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Standard normal numbers in the shape of each output."""
    return [Tensor(kernels.on(y.device).normal(seed, i, y.shape, "float64"), requires_grad=True)
            for i, y in enumerate(outputs)]


def _contract(outputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> Tensor:
    """sum(c * output) over all outputs."""
    total: Tensor = tensor(0.0, dtype="float64", device=outputs[0].device if outputs else "cpu")
    for y, c in zip(outputs, cotangents, strict=True):
        total = total + (y * c).sum()
    return total


def _check(f: Function, points: list[Tensor], order: int, rtol: float, seed: int) -> float:
    outputs = _listed(f(*points))
    cotangents = _cotangents(outputs, seed + order)
    free = _free(points)
    # Through c there is a graph even where f has none; a gradient that is not there is then zero.
    analytic = grad(_contract(outputs, cotangents), free, allow_unused=True)
    worst = 0.0
    for number, (point, gradient) in enumerate(zip(free, analytic, strict=True)):
        directions = _directions(point, seed)
        slopes = np.array([_slope(f, points, point, d, cotangents) for d in directions])
        with np.errstate(invalid="ignore"):  # an infinite gradient times zero: the NaN is an error below
            expected = np.array([float((gradient.data * d).sum()) for d in directions])
        worst = max(worst, _compare(expected, slopes, order, number, point, rtol))
    return worst


def _directions(point: Tensor, seed: int) -> list[Array]:
    """Unit vectors along every entry, or random ones for a large input, on its device."""
    n = point.size
    rows = np.eye(n) if n <= EVERY_ENTRY_UP_TO else kernels.normal(seed, 2**32, (EVERY_ENTRY_UP_TO, n), "float64")
    return [to_device((row / math.sqrt(row @ row)).reshape(point.shape), point.device) for row in rows]


def _slope(f: Function, points: list[Tensor], point: Tensor, direction: Array,
           cotangents: list[Tensor]) -> float:
    """The central difference of the contracted f along `direction` of one input."""
    start = point.data.copy()
    h = STEP * max(1.0, float(abs(start * (direction != 0)).max()))
    values = []
    for sign in (1, -1):
        point.data[...] = start + sign * h * direction
        values.append(_contract(_listed(f(*points)), cotangents).item())
    point.data[...] = start
    return (values[0] - values[1]) / (2 * h)


def _compare(analytic: np.ndarray, numeric: np.ndarray, order: int, number: int, point: Tensor, rtol: float) -> float:
    error = np.abs(analytic - numeric) / (1 + np.abs(numeric).max(initial=0.0))
    error = np.where(np.isfinite(analytic) & np.isfinite(numeric), error, np.inf)
    if not error.size:
        return 0.0
    worst = int(error.argmax())
    if error[worst] > rtol:
        raise GradcheckError(
            f"order {order}, input {number} of shape {point.shape}, direction {worst} of {error.size}: "
            f"analytic {analytic[worst]:.10g}, numeric {numeric[worst]:.10g}, "
            f"relative error {error[worst]:.2g} > {rtol:g}"
        )
    return float(error[worst])
