"""Optimizer kernels: against their references, against the first steps by hand, and their manners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import ADAM, DTYPES, OPTIMIZERS, RMSPROP, SGD, SHAPES, assert_same

from minigen import kernels
from minigen.kernels import reference
from minigen.kernels.cpu import optimizers

IDS = [f"{name}-{i}" for i, (name, _, _) in enumerate(OPTIMIZERS)]


def _arrays(count: int, shape: tuple[int, ...], dtype: type) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    arrays = [np.asarray(rng.standard_normal(shape), dtype) for _ in range(count)]
    return [*arrays[:2], *(np.asarray(abs(a)) for a in arrays[2:])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "count", "keywords"), OPTIMIZERS, ids=IDS)
def test_agrees_with_the_reference(
    name: str, count: int, keywords: dict[str, Any], shape: tuple[int, ...], dtype: type
) -> None:
    ours, theirs = _arrays(count, shape, dtype), _arrays(count, shape, dtype)
    for _ in range(3):
        assert getattr(kernels, name)(*ours, **keywords) is None
        getattr(reference, name)(*theirs, **keywords)
    for a, b in zip(ours, theirs, strict=True):
        assert_same(a, b, rtol=3e-5 if dtype == np.float32 else 1e-13, atol=1e-6 if dtype == np.float32 else 1e-15)
    np.testing.assert_array_equal(ours[1], _arrays(count, shape, dtype)[1])  # the gradient (or p of ema)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "count", "keywords"), OPTIMIZERS, ids=IDS)
def test_the_same_bits_on_any_number_of_threads(
    name: str, count: int, keywords: dict[str, Any], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "_PARALLEL_SIZE", 5)
    for size in (5, 16, 17, 33, 1000):
        results = []
        for threads in (1, 2, 3):
            monkeypatch.setattr(optimizers, "threads_to_start", lambda threads=threads: threads)
            arrays = _arrays(count, (size,), dtype)
            getattr(kernels, name)(*arrays, **keywords)
            results.append([a.tobytes() for a in arrays])
        assert results[0] == results[1] == results[2]


def test_sgd_without_momentum_needs_no_buffer() -> None:
    p, g = np.ones(3), np.full(3, 2.0)
    kernels.sgd(p, g, np.empty(0), **(SGD | {"momentum": 0.0, "weight_decay": 0.0}))
    np.testing.assert_allclose(p, 0.8)


def test_sgd_momentum_by_hand() -> None:
    p, g, buf = np.zeros(1), np.ones(1), np.zeros(1)
    for expected in (-0.1, -0.29):  # steps lr * 1, lr * 1.9
        kernels.sgd(p, g, buf, lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
        np.testing.assert_allclose(p, expected)
    kernels.sgd(p, g, buf, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)
    np.testing.assert_allclose(p, -0.29 - 0.1 * (1 + 0.9 * 2.71))


def test_first_step_of_adam_is_the_learning_rate_whatever_the_gradient() -> None:
    """Bias correction: m / (1 - beta1) = g and v / (1 - beta2) = g^2 at step 1."""
    g = np.array([1e-3, -5.0, 40.0])
    p, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    kernels.adam(p, g, m, v, **(ADAM | {"step": 1, "weight_decay": 0.0, "eps": 0.0}))
    np.testing.assert_allclose(p, -0.1 * np.sign(g))


def test_decoupled_decay_leaves_the_moments_alone() -> None:
    p, g, m, v = np.full(2, 3.0), np.zeros(2), np.zeros(2), np.zeros(2)
    kernels.adam(p, g, m, v, **(ADAM | {"decoupled": True, "weight_decay": 0.5}))
    np.testing.assert_allclose(p, 3.0 * (1 - 0.1 * 0.5))
    assert not m.any() and not v.any()


def test_rmsprop_and_ema_by_hand() -> None:
    p, g, sq = np.zeros(1), np.full(1, 2.0), np.zeros(1)
    kernels.rmsprop(p, g, sq, **(RMSPROP | {"weight_decay": 0.0, "eps": 0.0}))
    np.testing.assert_allclose([p[0], sq[0]], [-0.1 * 2 / np.sqrt(0.4), 0.4])
    average = np.full(1, 10.0)
    kernels.ema(average, np.full(1, 20.0), decay=0.75)
    np.testing.assert_allclose(average, 12.5)


@pytest.mark.parametrize(("name", "count", "keywords"), OPTIMIZERS[:1] + OPTIMIZERS[4:], ids=IDS[:1] + IDS[4:])
def test_what_cannot_be_updated_is_refused_and_left_alone(name: str, count: int, keywords: dict[str, Any]) -> None:
    kernel = getattr(kernels, name)
    for wrong, error, message in (
        (np.ones((4, 3)), ValueError, "one shape"),
        (np.ones((3, 4), np.float32), TypeError, "one dtype"),
        (np.ones((4, 3)).T, ValueError, "C-contiguous"),
    ):
        for position in range(count):
            arrays = [np.ones((3, 4)) for _ in range(count)]
            arrays[position] = wrong.copy(order="K")
            with pytest.raises(error, match=f"^{name}: .*{message}"):
                kernel(*arrays, **keywords)
            assert all((a == 1).all() for a in arrays)
    frozen = [np.ones(3) for _ in range(count)]
    frozen[0].flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        kernel(*frozen, **keywords)
    with pytest.raises(TypeError, match=f"^{name}: .*got int64$"):
        kernel(*[np.ones(3, np.int64) for _ in range(count)], **keywords)


def test_adam_counts_steps_from_one() -> None:
    with pytest.raises(ValueError, match="step counts from 1, got 0"):
        kernels.adam(*[np.ones(2) for _ in range(4)], **(ADAM | {"step": 0}))
