"""The two machines that CUDA tests run on: `load(source, defines, arithmetic)`, `array(x)`, `numpy(x)`, `capability`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from emulation import emulator

from minigen.kernels.cuda import compile as cuda_compile
from minigen.kernels.cuda import device

__all__ = ["Emulated", "Gpu"]


class Emulated:
    """Runs on the CPU: arrays are NumPy's. `reverse` runs the last thread of a block first; with `flush` a subnormal
    number is zero, as it is for a GPU's float32."""

    name = "emulated"
    capability = (9, 0)
    array = staticmethod(np.asarray)
    numpy = staticmethod(np.asarray)

    def __init__(self, reverse: bool = False, flush: bool = False) -> None:
        self.reverse, self.flush = reverse, flush

    def load(self, source: str, defines: Sequence[str] = (), arithmetic: Sequence[str] = ()) -> Any:
        defines = [*defines, "FLUSH_SUBNORMALS"] if self.flush else defines
        return _Reversible(emulator.Module(source, defines), self.reverse)


class _Reversible:
    def __init__(self, module: emulator.Module, reverse: bool) -> None:
        self.module, self.reverse = module, reverse

    def get_function(self, name: str) -> Any:
        return self.module.get_function(name, reverse=self.reverse)


class Gpu:
    """Runs on the GPU, through CuPy."""

    name = "gpu"
    reverse = False

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.capability = device.capability()

    def array(self, x: Any) -> Any:
        """On the device, with the strides that the NumPy array has."""
        x = np.asarray(x)
        if x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous:
            return self.cupy.asarray(np.ascontiguousarray(x.T)).T
        return self.cupy.asarray(x)

    def numpy(self, x: Any) -> np.ndarray:
        return self.cupy.asnumpy(x)

    def load(self, source: str, defines: Sequence[str] = (), arithmetic: Sequence[str] = cuda_compile.FAST) -> Any:
        return cuda_compile.load(source, tuple(defines), tuple(arithmetic))
