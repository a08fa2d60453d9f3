"""Where arrays live: the only file that tells NumPy from CuPy.

A device is "cpu" (a NumPy array) or "gpu" (a CuPy array, on CUDA's current device). Everything above asks here for
the namespace of an array, its device, or an array on a device, so that another array library changes this file alone.
The hot loops are chosen one level below, in `minigen.kernels`, by the same rule: the array's type decides.

Arrays cross between the devices in `to_device` and nowhere else. What would need a crossing that nobody asked for is a
DeviceError; a single number may be read with `item`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Callable
from importlib import metadata, util
from types import ModuleType
from typing import Any

import numpy as np

from .errors import DeviceError, DTypeError, OutOfMemoryError
from .kernels import on as kernels_on
from .kernels.cpu.rows import add_rows

__all__ = ["DEFAULT_DTYPE", "Array", "add_at", "after_freeing", "as_array", "as_key", "cupy_packages",
           "describe_gpu", "device_of", "is_array", "namespace", "out_of_memory", "require_device",
           "require_one_device", "retrying", "share_memory", "to_device"]

Array = Any  # numpy.ndarray or cupy.ndarray; the name marks where an array of any device may stand

DEFAULT_DTYPE = np.dtype("float32")
FLOATS = (np.dtype("float32"), np.dtype("float64"))
_HOST = (np.ndarray, np.generic)
_ANYWHERE = (*_HOST, int, float)


def _cupy_array(value: Any) -> bool:
    """Whether CuPy made this. Where CuPy was never imported, it did not."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def is_array(value: Any) -> bool:
    """Whether this is an array, on whatever device."""
    return isinstance(value, np.ndarray) or _cupy_array(value)


def device_of(array: Array) -> str:
    """"cpu" for a NumPy array, "gpu" for one of CuPy's; DeviceError for anything else."""
    if isinstance(array, _HOST):
        return "cpu"
    if _cupy_array(array):
        return "gpu"
    raise DeviceError(f"an array of type {type(array).__name__} is on no device that minigen knows")


def namespace(*values: Array) -> ModuleType:
    """The module (numpy or cupy) whose functions work on these arrays; numbers among them may stand on any device."""
    for value in values:
        if not isinstance(value, _ANYWHERE):
            break
    else:
        return np
    devices = {device_of(value) for value in values if not isinstance(value, int | float)}
    require_one_device("this function", devices)
    return sys.modules["cupy"] if "gpu" in devices else np


def require_one_device(name: str, devices: set[str]) -> None:
    """DeviceError where arrays on both devices meet."""
    if len(devices) > 1:
        raise DeviceError(f"{name}: arrays on the cpu and on the gpu meet, and nothing is copied between them unasked: "
                          "move one with .to('gpu') or .to('cpu')")


def share_memory(a: Array, b: Array) -> bool:
    """Whether the memory of two arrays may overlap."""
    return device_of(a) == device_of(b) and bool(namespace(a).may_share_memory(a, b))


def to_device(array: Array, device: str) -> Array:
    """`array` on `device`: itself where it is there already, else a copy that is complete when this returns."""
    if device_of(array) == device:
        return array
    require_device(device)
    if device == "cpu":
        return sys.modules["cupy"].asnumpy(array)
    return retrying(lambda: sys.modules["cupy"].asarray(array), "a copy to the gpu")


def as_array(value: Any, dtype: str | np.dtype | None = None, device: str = "cpu") -> Array:
    """A fresh array of `value` on `device`: floats become float32 unless `dtype` says otherwise.

    Raises DTypeError for what holds no numbers, or for a float type other than float32 and float64.
    """
    require_device(device)
    try:
        array = value.astype(dtype or value.dtype) if _cupy_array(value) else np.array(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"cannot make a tensor of {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"a tensor holds floats, integers or booleans, not {array.dtype} ({type(value).__name__})")
    if array.dtype.kind == "f" and (dtype is None or array.dtype not in FLOATS):
        if dtype is not None:
            raise DTypeError(f"dtype {array.dtype} is not supported: use float32 or float64")
        array = array.astype(DEFAULT_DTYPE)
    return to_device(array, device)


def as_key(key: Any, array: Array) -> Any:
    """A key into `array` as its library takes it: lists, which are Python's numbers, become arrays on its device.

    CuPy would copy a NumPy array in a key to the GPU unasked: DeviceError.
    """
    if isinstance(array, np.ndarray):
        return key
    if isinstance(key, tuple):
        return tuple(as_key(part, array) for part in key)
    if isinstance(key, np.ndarray):
        require_one_device("a key into a tensor", {"cpu", device_of(array)})
    return as_array(key, None if key else np.dtype(np.intp), device_of(array)) if isinstance(key, list) else key


def add_at(target: Array, key: Any, values: Array) -> None:
    """target[key] += values, where a place that occurs twice gets both.

    Rows are added in the order of the key, so that the sum is the same every time; on the GPU other keys go to atomic
    additions, whose order is not, and so do more rows than `kernels.cuda.rows.MOST_PLACES`.
    """
    xp = namespace(target, values)
    if (is_array(key) and device_of(key) == device_of(target) and key.dtype.kind in "iu" and target.ndim > 1
            and getattr(target.flags, "carray", target.flags.c_contiguous) and target.dtype == values.dtype in FLOATS
            and values.size and values.shape == (*key.shape, *target.shape[1:])):
        add = add_rows if xp is np else kernels_on("gpu").rows.add_rows
        add(target.reshape(len(target), -1), key.ravel(), values.reshape(key.size, -1))  # NumPy's is slow for rows
    else:
        xp.add.at(target, as_key(key, target), values)


# Memory of the GPU ----------------------------------------------------------------------------------------------


def retrying(compute: Callable[[], Any], what: str) -> Any:
    """compute(), and again after giving back the GPU's memory that is not in use, where there was too little."""
    try:
        return compute()
    except MemoryError as error:
        return after_freeing(error, compute, what)


def after_freeing(error: MemoryError, compute: Callable[[], Any], what: str) -> Any:
    """compute(), which failed with `error`, once more, after the GPU's memory that is not in use was given back.

    Raises OutOfMemoryError where it fails again, and `error` itself where it was the CPU's memory that ran out.
    """
    if not _is_gpu_memory(error):
        raise error
    error.__traceback__ = None  # its frames hold arrays
    gc.collect()
    sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    try:
        return compute()
    except MemoryError as again:
        failure = out_of_memory(again, what)
    raise failure  # out here, where it does not remember `again` and what that holds


def out_of_memory(error: MemoryError, what: str) -> OutOfMemoryError:
    """The error that says how much there is; raises `error` itself where it was the CPU's memory that ran out."""
    if not _is_gpu_memory(error):
        raise error
    free, total = (size / 2**20 for size in sys.modules["cupy"].cuda.Device().mem_info)
    return OutOfMemoryError(f"{what} needs more than the {free:,.0f} MiB that are free of the gpu's {total:,.0f} MiB: "
                            "take a smaller batch or model, or device 'cpu'")


def _is_gpu_memory(error: MemoryError) -> bool:
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(error, cupy.cuda.memory.OutOfMemoryError)


# Is it there? ---------------------------------------------------------------------------------------------------


def require_device(device: str) -> str:
    """Return `device` if arrays can live there; raise DeviceError with what to do otherwise."""
    if device == "gpu":
        _working_cupy()
    elif device != "cpu":
        raise DeviceError(f"device {device!r} is unknown: use 'cpu' or 'gpu'")
    return device


@functools.cache
def _working_cupy() -> ModuleType:
    """CuPy, once it was seen to compile and run a kernel; DeviceError with what to do otherwise."""
    packages = cupy_packages()
    if len(packages) > 1:
        raise DeviceError(
            f"device 'gpu': {len(packages)} CuPy packages are installed ({', '.join(packages)}), which overwrite each "
            f"other: pip uninstall {' '.join(map(_name, packages))}, then install one, to match the CUDA driver"
        )
    try:
        import cupy
    except (ImportError, OSError) as error:
        if getattr(error, "filename", None):
            raise _without_cache(error) from None
        if util.find_spec("cupy") is not None:
            raise DeviceError(f"device 'gpu': CuPy is installed but cannot be imported ({_first_line(error)}): "
                              "install it anew, to match the CUDA driver, or use device 'cpu'") from None
        raise DeviceError(
            "device 'gpu' needs CuPy, which is not installed: pip install 'minigen[cuda12]' or 'minigen[cuda13]', "
            "to match the CUDA driver, or use device 'cpu'"
        ) from None
    if int(cupy.__version__.split(".")[0]) < 14:
        raise DeviceError(f"device 'gpu' needs CuPy 14 or newer, got {cupy.__version__}: pip install -U 'cupy...>=14'")
    _require_gpu(cupy)
    _require_compiler(cupy, packages)
    return cupy


def cupy_packages() -> list[str]:
    """The installed distributions that bring a module `cupy`: more than one is a fault."""
    installed = []
    for name in ("cupy", *(f"cupy-cuda{n}x" for n in range(11, 20))):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed.append(f"{name} {metadata.version(name)}")
    return installed


def _require_gpu(cupy: ModuleType) -> None:
    try:
        if cupy.cuda.runtime.getDeviceCount() > 0:
            return
        reason = "no CUDA device"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        reason = _first_line(error)
    raise DeviceError(f"device 'gpu': CuPy is installed but finds no CUDA device or driver ({reason}): install "
                      "NVIDIA's driver, or use device 'cpu'")


_PROBE = 'extern "C" __global__ void probe(float *x) { *x += 1.0f; }'


def _require_compiler(cupy: ModuleType, packages: list[str]) -> None:
    """A kernel of our own needs NVRTC, one of CuPy's the toolkit's headers as well: both are tried."""
    try:
        x = cupy.zeros(1, np.float32) + 1
        cupy.RawModule(code=_PROBE).get_function("probe")((1,), (1,), (x,))
        if x.item() == 2:
            return
        reason = "1 + 1 is not 2 there"
    except OSError as error:
        raise _without_cache(error) from None
    except Exception as error:  # of many kinds: the compiler's, the loader's
        reason = _first_line(error)
    package = _name(packages[0]) if packages else "cupy-cuda12x"
    raise DeviceError(f"device 'gpu': no kernel can be compiled, NVRTC or the headers of the CUDA toolkit are missing "
                      f"({reason}): pip install '{package}[ctk]', or use device 'cpu'")


def _without_cache(error: Exception) -> DeviceError:
    """CuPy makes its folder for compiled kernels when it is imported, and writes there what it compiles."""
    return DeviceError(f"device 'gpu': CuPy cannot keep what it compiles ({_first_line(error)}): set CUPY_CACHE_DIR to "
                       "a folder that can be written to, or use device 'cpu'")


def _name(package: str) -> str:
    return package.split()[0]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =")]
    return lines[0] if lines else type(error).__name__


def describe_gpu() -> str:
    """The GPU in a line: its name, capability, memory, and the versions of CuPy and CUDA. DeviceError without one."""
    cupy = _working_cupy()
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    free, total = cupy.cuda.Device().mem_info
    version = cupy.cuda.runtime.runtimeGetVersion()
    return (f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}, "
            f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free, CuPy {cupy.__version__}, "
            f"CUDA {version // 1000}.{version % 1000 // 10}")
