"""Every operation on the GPU: what the CPU computes, forward and backward, and not a copy in between."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import minigen as mg
from minigen.backend import device_of, to_device
from minigen.kernels.cuda import rows
from minigen.op_cases import cases
from minigen.tensor import Tensor

CASES = [case for case in cases() if case.inputs]
TOLERANCE = {"float64": dict(rtol=1e-11, atol=1e-13), "float32": dict(rtol=2e-5, atol=4e-6)}


def every(some: list[Any]) -> Any:
    return pytest.mark.parametrize("case", some, ids=[case.name for case in some])


def on_device(x: np.ndarray, device: str) -> Tensor:
    """A leaf with the layout of x: one that is not contiguous is so on the GPU too."""
    if x.flags.forc:
        data = to_device(np.ascontiguousarray(x.T), device).T if x.flags.f_contiguous else to_device(x, device)
    else:
        data = to_device(np.repeat(x, 2, axis=-1), device)[..., ::2]
    return Tensor(data, requires_grad=x.dtype.kind == "f")


def inputs(case: Any, dtype: str, device: str) -> list[Tensor]:
    typed = [x.astype(dtype, order="K") if x.dtype.kind == "f" else x for x in case.inputs]
    layouts = [t if x.flags.forc else np.repeat(t, 2, axis=-1)[..., ::2]
               for x, t in zip(case.inputs, typed, strict=True)]
    return [on_device(x, device) for x in layouts]


def listed(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def contracted(outputs: list[Tensor], seed: int) -> Tensor:
    """sum(c * y) with random c, the same on both devices."""
    rng = np.random.default_rng(seed)
    total = None
    for y in outputs:
        c = Tensor(to_device(rng.standard_normal(y.shape).astype(y.dtype), y.device))
        term = (y * c).sum()
        total = term if total is None else total + term
    assert total is not None
    return total


def assert_alike(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        host, expected = to_device(a.data, "cpu"), b.data
        np.testing.assert_array_equal(np.isfinite(host), np.isfinite(expected))
        tolerance = TOLERANCE[str(b.dtype)] if b.dtype.kind == "f" else dict(rtol=0, atol=0)
        np.testing.assert_allclose(host, expected, **tolerance)


def results(case: Any, dtype: str, device: str) -> tuple[list[Tensor], list[Tensor]]:
    """What the operation gives, and its first and (in float64) second derivatives, contracted with random numbers."""
    given = inputs(case, dtype, device)
    free = [x for x in given if x.requires_grad]
    outputs = listed(case.function(*given))
    if not case.order:
        return outputs, []
    first = mg.grad(contracted(outputs, 1), free, create_graph=case.order > 1, allow_unused=True)
    again = [g for g in first if g.requires_grad]
    if not again or dtype == "float32":
        return outputs, first
    return outputs, [*first, *mg.grad(contracted(again, 2), free, allow_unused=True)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every(CASES)
def test_forward_and_gradients(gpu: str, case: Any, dtype: str) -> None:
    with mg.no_grad() if not case.order else contextlib.nullcontext():
        (outputs, gradients), (expected, derivatives) = (results(case, dtype, device) for device in (gpu, "cpu"))
    assert all(device_of(y.data) == ("cpu" if case.op == "to_device" else "gpu") for y in outputs)
    assert all(g.device == "gpu" for g in gradients)
    assert_alike(outputs, expected)
    assert_alike(gradients, derivatives)


@every([case for case in CASES if case.order and "transposed" not in case.name and "strided" not in case.name])
def test_nothing_is_copied(standin: Any, case: Any) -> None:
    """Neither arrays nor single numbers cross, but for the lists of numbers in a key, which go up."""
    given = inputs(case, "float32", "gpu")
    outputs = listed(case.function(*given))
    if case.op == "to_device":
        return
    total = contracted(outputs, 1)
    standin.log.clear()
    case.function(*given)
    mg.grad(total, [x for x in given if x.requires_grad], allow_unused=True)
    assert (standin.log.down, standin.log.reads) == ([], 0)
    assert standin.log.up == [] or "repeated" in case.name or "mask" in case.name or case.op == "scatter_index"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_numbers_have_the_same_bits(gpu: str, dtype: str) -> None:
    ours, theirs = mg.Generator(7), mg.Generator(7)
    for shape in ((), (0,), (5,), (3, 1001)):
        for name, extra in (("normal", ()), ("uniform", ()), ("dropout_mask", (0.3,))):
            a = getattr(ours, name)(shape, *extra, dtype=dtype, device=gpu)
            b = getattr(theirs, name)(shape, *extra, dtype=dtype)
            assert (a.device, b.device) == ("gpu", "cpu")
            assert a.to("cpu").numpy().tobytes() == b.numpy().tobytes()
    p = mg.tensor(np.linspace(0, 1, 50), dtype=dtype)
    assert ours.bernoulli(p.to(gpu)).to("cpu").numpy().tobytes() == theirs.bernoulli(p).numpy().tobytes()
    assert ours.state() == theirs.state()


def test_rows_are_added_in_one_order_on_both_devices(gpu: str) -> None:
    """The gradient of an embedding: the CPU's bits, which atomic additions in any order would not give."""
    rng = np.random.default_rng(5)
    i, g = rng.integers(-3, 3, (40, 5)), rng.standard_normal((40, 5, 2, 7)).astype(np.float32)
    ours, theirs = (mg.ops.scatter_take(mg.tensor(g, device=device), mg.tensor(i, device=device), shape=(3, 2, 7))
                    for device in (gpu, "cpu"))
    assert ours.to("cpu").numpy().tobytes() == theirs.numpy().tobytes()


def test_more_rows_than_the_kernel_takes_are_added_all_the_same(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_PLACES", 3)
    g, i = mg.tensor(np.ones((4, 2), np.float32), device=gpu), mg.tensor([0, 1, 1, 2], device=gpu)
    assert mg.ops.scatter_take(g, i, shape=(3, 2)).to("cpu").numpy().tolist() == [[1, 1], [2, 2], [1, 1]]


def test_gradcheck_on_the_gpu(gpu: str) -> None:
    x = mg.tensor([[0.3, -1.2, 0.5]], dtype="float64", device=gpu)
    w = mg.tensor([[0.1], [0.7], [-0.4]], dtype="float64", device=gpu)
    assert mg.gradcheck(lambda x, w: mg.tanh(x @ w) * mg.softmax(x), x, w, order=2) < 1e-6
