"""Optimizer steps on the GPU against their references, and their manners."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from cuda_on import on

from minigen.kernels import reference
from minigen.kernels.cuda import compile as cuda_compile
from minigen.kernels.cuda import optimizers

SGD = dict(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.01)
RMSPROP = dict(lr=0.1, rho=0.9, eps=1e-6, weight_decay=0.01)
ADAM = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-6, step=3, weight_decay=0.01, decoupled=False)
# (name, how many arrays, keywords); the second array does not change
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("sgd", 3, SGD),
    ("sgd", 3, SGD | {"nesterov": True}),
    ("sgd", 3, SGD | {"momentum": 0.0}),
    ("rmsprop", 3, RMSPROP),
    ("adam", 4, ADAM),
    ("adam", 4, ADAM | {"step": 1, "weight_decay": 0.0}),
    ("adam", 4, ADAM | {"decoupled": True}),
    ("ema", 2, dict(decay=0.9)),
]
IDS = [f"{name}-{i}" for i, (name, _, _) in enumerate(CASES)]


def arrays(count: int, shape: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    made = [np.asarray(rng.standard_normal(shape), dtype) for _ in range(count)]
    return [*made[:2], *(np.asarray(abs(a)) for a in made[2:])]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "count", "keywords"), CASES, ids=IDS)
def test_agrees_with_the_reference(
    machine: Any, monkeypatch: Any, name: str, count: int, keywords: dict[str, Any], dtype: type
) -> None:
    on(machine, monkeypatch)
    for shape in ((), (0,), (1,), (5, 7), (255,), (257,), (3, 333)):
        theirs = arrays(count, shape, dtype)
        ours = [machine.array(a.copy()) for a in theirs]
        unchanged = theirs[1].copy()
        for _ in range(3):
            assert getattr(optimizers, name)(*ours, **keywords) is None
            getattr(reference, name)(*theirs, **keywords)
        rtol, atol = (3e-5, 1e-6) if dtype == np.float32 else (1e-13, 1e-15)
        for a, b in zip(map(machine.numpy, ours), theirs, strict=True):
            assert a.dtype == b.dtype and np.isfinite(a).all()
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
        np.testing.assert_array_equal(machine.numpy(ours[1]), unchanged)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "count", "keywords"), CASES, ids=IDS)
def test_an_array_may_start_anywhere(
    machine: Any, monkeypatch: Any, name: str, count: int, keywords: dict[str, Any], dtype: type
) -> None:
    """As the weights of a layer within the memory of all do; what lies before and behind stays as it is."""
    on(machine, monkeypatch)
    for size in (1, 3, 4, 6, 1023, 1025):
        for shift in range(4):
            theirs = arrays(count, (size + 8,), dtype)
            ours = [machine.array(a.copy()) for a in theirs]
            starts = [shift if k == 0 else 3 - shift if k == 1 else 1 for k in range(count)]
            getattr(optimizers, name)(*[a[s : s + size] for a, s in zip(ours, starts, strict=True)], **keywords)
            getattr(reference, name)(*[a[s : s + size] for a, s in zip(theirs, starts, strict=True)], **keywords)
            for a, b in zip(map(machine.numpy, ours), theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=3e-5 if dtype == np.float32 else 1e-13, atol=1e-6)


def test_the_kernels_walk_ends_where_n_says(machine: Any) -> None:
    load = machine.load(cuda_compile.read("four.cuh") + """
extern "C" __global__ void next(float *y, const float *x, long long n)
{
    for_each(n, [=](float &y, float x) { y = x + 1; }, y, x);
}
""")
    for n in range(10):
        y, x = machine.array(np.zeros(12, np.float32)), machine.array(np.zeros(12, np.float32))
        load.get_function("next")((1, 1, 1), (32, 1, 1), [y, x, np.int64(n)])
        np.testing.assert_array_equal(machine.numpy(y), np.arange(12) < n)


def test_sgd_without_momentum_needs_no_buffer(emulated: Any, monkeypatch: Any) -> None:
    on(emulated(), monkeypatch)
    p = np.ones(3)
    optimizers.sgd(p, np.full(3, 2.0), np.empty(0), lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)
    np.testing.assert_allclose(p, 0.8)


@pytest.mark.parametrize(("name", "count", "keywords"), CASES[:1] + CASES[3:], ids=IDS[:1] + IDS[3:])
def test_what_cannot_be_updated_is_refused_and_left_alone(name: str, count: int, keywords: dict[str, Any]) -> None:
    for wrong, error, message in (
        (np.ones((4, 3)), ValueError, "one shape"),
        (np.ones((3, 4), np.float32), TypeError, "one dtype"),
        (np.ones((4, 3)).T, ValueError, "C-contiguous"),
    ):
        for position in range(count):
            given = [np.ones((3, 4)) for _ in range(count)]
            given[position] = wrong
            with pytest.raises(error, match=f"^{name}: .*{message}"):
                getattr(optimizers, name)(*given, **keywords)
            assert all((a == 1).all() for a in given)
    with pytest.raises(TypeError, match=f"^{name}: .*got int64$"):
        getattr(optimizers, name)(*[np.ones(3, np.int64) for _ in range(count)], **keywords)


def test_adam_counts_steps_from_one() -> None:
    with pytest.raises(ValueError, match="step counts from 1, got 0"):
        optimizers.adam(*[np.ones(2) for _ in range(4)], **(ADAM | {"step": 0}))


@pytest.mark.parametrize("name", optimizers.__all__)
def test_the_arguments_are_the_references(name: str) -> None:
    ours, contract = (inspect.signature(getattr(module, name)) for module in (optimizers, reference))
    assert ours.parameters.keys() == contract.parameters.keys()
