"""Kernels whose numbers lie in memory give the bits of those that take them by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_on import on
from numpy.testing import assert_array_equal

from minigen.kernels import scalar
from minigen.kernels.cuda import coefficients, from_memory, optimizers, random
from minigen.kernels.cuda.translate import TranslationError, Translator

SETTINGS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "sgd": ("sgd", 2, {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": ("sgd", 3, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": ("sgd", 3, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}),
    "rmsprop": ("rmsprop", 3, {"lr": 0.1, "rho": 0.9, "eps": 1e-8, "weight_decay": 0.01}),
    "adam": ("adam", 4, {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "step": 3, "weight_decay": 0.1,
                         "decoupled": True}),
    "ema": ("ema", 2, {"decay": 0.9}),
}  # fmt: skip


def test_every_kernel_is_here() -> None:
    assert SETTINGS.keys() == coefficients.BY_KERNEL.keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", SETTINGS)
def test_updates(machine: Any, monkeypatch: pytest.MonkeyPatch, kernel: str, dtype: type) -> None:
    on(machine, monkeypatch)
    name, count, settings = SETTINGS[kernel]
    rng = np.random.default_rng(1)
    for n in (1, 257, 1000):
        start = [abs(rng.standard_normal(n)).astype(dtype) for _ in range(count)]
        a, b = ([machine.array(x.copy()) for x in start] for _ in range(2))
        given = machine.array(np.array(coefficients.BY_KERNEL[kernel](**settings)))
        from_memory.update(kernel, given, a)
        more = {"nesterov": kernel == "nesterov", "momentum": settings.get("momentum", 0.0)} if name == "sgd" else {}
        buffers = [machine.array(np.empty(0, dtype))] if kernel == "sgd" else []
        getattr(optimizers, name)(*b, *buffers, **{**settings, **more})
        for ours, theirs in zip(a, b, strict=True):
            assert_array_equal(machine.numpy(ours), machine.numpy(theirs))
            assert np.isfinite(machine.numpy(ours)).all()
        assert (machine.numpy(a[0]) != start[0]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_random_numbers(machine: Any, monkeypatch: pytest.MonkeyPatch, name: str, dtype: type) -> None:
    on(machine, monkeypatch)
    for seed, draw, n in ((0, 0, 5), (2**64 - 1, 2**63 + 5, 1030), (7, 1, 1)):
        key, out = machine.array(np.array([seed, draw], np.uint64)), machine.array(np.empty(n, dtype))
        getattr(from_memory, name)(key, out)
        assert_array_equal(machine.numpy(out), machine.numpy(getattr(random, name)(seed, draw, (n,), dtype)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_random_numbers_may_start_anywhere(
    machine: Any, monkeypatch: pytest.MonkeyPatch, name: str, dtype: type
) -> None:
    """Four bytes, or eight, behind where an access of sixteen may start, and no number too many."""
    on(machine, monkeypatch)
    key = machine.array(np.array([3, 4], np.uint64))
    for first in range(5):
        for n in range(1, 10):
            out = machine.array(np.zeros(16, dtype))
            getattr(from_memory, name)(key, out[first : first + n])
            expected = np.zeros(16, dtype)
            expected[first : first + n] = machine.numpy(getattr(random, name)(3, 4, (n,), dtype))
            assert_array_equal(machine.numpy(out), expected)


def test_arrays_that_do_not_fit_are_refused(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on(emulated(), monkeypatch)
    with pytest.raises(ValueError, match="^ema: arrays of one shape expected"):
        from_memory.update("ema", np.zeros(2), [np.ones(3), np.ones(2)])


def test_an_expression_is_translated_alone() -> None:
    translator = Translator()
    names = {"np": np, "scalar": scalar}
    code, kind = translator.expression("c0 if x < c0 else np.sqrt(x)", {"x": "float", "c0": "float"}, names)
    assert (code, kind) == ("(x < c0) ? c0 : ::sqrtf(x)", "float")
    assert translator.expression("np.float32(b)", {"b": "unsigned char"}, names) == ("(float)(b)", "float")
    code, kind = translator.expression("scalar.softplus(-x)", {"x": "float"}, names)
    assert (code, kind) == ("formula::softplus(-x)", "float") and "float softplus(float x)" in translator.source
    for text in ("x + y", "open(x)", "x if x else x", "x * unknown"):
        with pytest.raises(TranslationError, match="line 1: .* is not translated"):
            translator.expression(text, {"x": "float", "y": "double"}, names)
