"""Where arrays live: the only file that tells NumPy from CuPy.

A device is "cpu" (a NumPy array). Everything above asks here for the namespace of an array, its device, or
an array on a device, so that a second array library changes this file alone. The hot loops are chosen one
level below, in `minigen.kernels`, by the same rule: the array's type decides.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from .errors import DeviceError, DTypeError

__all__ = ["DEFAULT_DTYPE", "Array", "as_array", "device_of", "namespace", "require_device"]

Array = Any  # numpy.ndarray; the name marks where an array of any device may stand

DEFAULT_DTYPE = np.dtype("float32")
FLOATS = (np.dtype("float32"), np.dtype("float64"))


def namespace(*values: Array) -> ModuleType:
    """The module (numpy) whose functions work on these arrays; numbers among them may stand on any device."""
    for value in values:
        if not isinstance(value, np.ndarray | int | float):
            raise DeviceError(f"an array of type {type(value).__name__} is on no device that minigen knows")
    return np


def device_of(array: Array) -> str:
    """"cpu" for a NumPy array."""
    namespace(array)
    return "cpu"


def require_device(device: str) -> str:
    """Return `device` if arrays can live there; raise DeviceError with what to do otherwise."""
    if device == "cpu":
        return device
    if device != "gpu":
        raise DeviceError(f"device {device!r} is unknown: use 'cpu' or 'gpu'")
    try:
        import cupy
    except ImportError:
        raise DeviceError(
            "device 'gpu' needs CuPy, which is not installed: pip install 'minigen[cuda12]' or 'minigen[cuda13]', "
            "to match the CUDA driver, or use device 'cpu'"
        ) from None
    if not cupy.is_available():
        raise DeviceError("device 'gpu': CuPy is installed but finds no CUDA device or driver; use device 'cpu'")
    raise DeviceError("device 'gpu': this version of minigen has no GPU kernels yet; use device 'cpu'")


def as_array(value: Any, dtype: str | np.dtype | None = None, device: str = "cpu") -> Array:
    """A fresh array of `value` on `device`: floats become float32 unless `dtype` says otherwise.

    Raises DTypeError for what holds no numbers, or for a float type other than float32 and float64.
    """
    require_device(device)
    try:
        array = np.array(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"cannot make a tensor of {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"a tensor holds floats, integers or booleans, not {array.dtype} ({type(value).__name__})")
    if array.dtype.kind == "f" and (dtype is None or array.dtype not in FLOATS):
        if dtype is not None:
            raise DTypeError(f"dtype {array.dtype} is not supported: use float32 or float64")
        array = array.astype(DEFAULT_DTYPE)
    return array
