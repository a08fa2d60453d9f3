"""The two devices, as a benchmark sees them: memory, a stopwatch, and the products that compete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cpu.matmul import RUNGS, matmul
from .timing import Stopwatch, wall

__all__ = ["Device", "Product", "cpu", "gpu"]

Array = Any  # on the device

BOTH = ("float32", "float64")


@dataclass(frozen=True)
class Product:
    """A competitor: `call(a, b, out, threads)` computes out = a b.

    `rounding` is that of the operands where it is coarser than the dtype's. `serial` takes part on one thread,
    `threaded` on more. `always` takes part however long it takes.
    """

    call: Callable[[Array, Array, Array, int], Any]
    dtypes: tuple[str, ...] = BOTH
    rounding: float = 0.0
    serial: bool = True
    threaded: bool = False
    always: bool = False


@dataclass(frozen=True)
class Device:
    """Where a benchmark runs. `full_of_nan(shape, dtype)` is an array on it, `put` and `get` copy there and back,
    `wait` returns when all is done.
    """

    name: str
    products: Mapping[str, Product]
    put: Callable[[Any], Array]
    get: Callable[[Array], Any]
    full_of_nan: Callable[[tuple[int, int], str], Array]
    stopwatch: Stopwatch
    wait: Callable[[], None] = lambda: None


def cpu(stopwatch: Stopwatch | None = None) -> Device:
    """NumPy's memory, and the rungs of `cpu.matmul`."""
    return Device(
        "cpu",
        {rung: _on_cpu(rung) for rung in RUNGS},
        put=lambda x: x,
        get=lambda x: x,
        full_of_nan=lambda shape, dtype: np.full(shape, np.nan, dtype),
        stopwatch=stopwatch or wall(),
    )


def _on_cpu(rung: str) -> Product:
    return Product(
        lambda a, b, out, threads: matmul(a, b, out=out, rung=rung, threads=threads),
        serial=rung != "parallel",
        threaded=rung in ("parallel", "blas", "best"),
        always=rung in ("blas", "best"),
    )


_ROUNDING = {"tensor_core_tf32": 2.0**-11, "tensor_core_bf16": 2.0**-8}
"""Of the operands: TF32 keeps 11 bits, bfloat16 8."""


def gpu() -> Device:
    """CuPy's memory, and the rungs of `cuda.matmul` that this GPU can run; `blas` is cuBLAS, `blas_tf32` and
    `blas_bf16` the same on tensor cores."""
    from ..cuda import device, linear, stopwatch
    from ..cuda.launch import RUNGS as CUDA_RUNGS

    def on_gpu(rung: str) -> Callable[..., Any]:
        return lambda a, b, out, threads: linear.matmul(a, b, out=out, rung=rung)

    def on_tensor_cores(rounding: str) -> Callable[..., Any]:
        return lambda a, b, out, threads: stopwatch.cublas_rounded(a, b, out, rounding)

    able = device.capability()
    products = {
        name: Product(on_gpu(name), tuple(map(str, rung.dtypes)), _ROUNDING.get(name, 0.0))
        for name, rung in CUDA_RUNGS.items()
        if rung.capability <= able
    }
    products["blas"] = Product(lambda a, b, out, threads: stopwatch.cublas(a, b, out), always=True)
    for name in stopwatch.ROUNDED if able >= (8, 0) else ():
        products[f"blas_{name}"] = Product(on_tensor_cores(name), ("float32",), _ROUNDING[f"tensor_core_{name}"])
    products["best"] = Product(on_gpu("best"), always=True)
    return Device(
        "gpu", products, stopwatch.to_device, stopwatch.to_host, stopwatch.empty, stopwatch.elapsed,
        stopwatch.synchronize,
    )  # fmt: skip
