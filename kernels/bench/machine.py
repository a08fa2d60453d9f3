"""What the numbers were measured on: enough to compare them with others, and nothing that names a person or a host."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from ..cpu.host import features, tile_for
from ..cpu.limits import processor
from ..threads import processors

__all__ = ["Cache", "blas_threads", "caches", "describe", "in_words", "last_cache"]

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_CPUINFO = Path("/proc/cpuinfo")
_VECTORS = ("avx512f", "avx2", "avx", "fma", "sse4.2", "neon", "sve")
_LIBRARIES = ("numpy", "numba", "llvmlite", "cupy-cuda12x", "cupy-cuda13x")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Cache(NamedTuple):
    """A level of the memory above the last: `size` in bytes, shared by so many processors."""

    name: str
    size: int
    shared_by: int


_ASSUMED = (Cache("L1", 32 << 10, 1), Cache("L2", 1 << 20, 1), Cache("L3", 32 << 20, 1))


def caches(folder: Path = _CACHES) -> tuple[tuple[Cache, ...], bool]:
    """The data caches from the innermost out, and whether the system told (Linux does) or they are assumed."""
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        for index in sorted(folder.glob("index[0-9]*")):
            kind, level, size, shared = (
                (index / name).read_text().strip() for name in ("type", "level", "size", "shared_cpu_list")
            )
            if kind != "Instruction":
                found.append(Cache(f"L{level}", int(size[:-1]) * _UNITS[size[-1]], _count(shared)))
    return (tuple(sorted(found)), True) if found else (_ASSUMED, False)


def _count(listed: str) -> int:
    """How many processors "0-3,8" names: 5."""
    ends = [part.split("-") for part in listed.split(",")]
    return sum(int(last[-1]) - int(last[0]) + 1 for last in ends)


def last_cache() -> int:
    """Bytes of the outermost cache: what inputs must exceed, taken together, to come from memory."""
    return caches()[0][-1].size


def describe() -> dict[str, Any]:
    """The machine, for JSON."""
    found, known = caches()
    has = features()
    return {
        "cpu": _cpu_name(),
        "design": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": processors(),
        "vector_bits": tile_for(np.dtype(np.float32)).width * 32,
        "instructions": [name for name in _VECTORS if name in has],
        "caches": [{"level": c.name, "bytes": c.size, "shared_by": c.shared_by} for c in found],
        "caches_known": known,
        "python": platform.python_version(),
        "libraries": {name: v for name in _LIBRARIES if (v := _version(name))},
        "blas": [
            {"name": pool["internal_api"], "version": pool["version"], "threads": pool["num_threads"],
             "architecture": pool.get("architecture", "")}
            for pool in _blas_pools()
        ],
        "gpu": None,
    }  # fmt: skip


def in_words(machine: dict[str, Any]) -> str:
    """The same in two lines, for a person."""
    sizes = ", ".join(f"{c['level']} {_bytes(c['bytes'])}" for c in machine["caches"])
    assumed = "" if machine["caches_known"] else " (assumed)"
    blas = ", ".join(f"{b['name']} {b['version']}" for b in machine["blas"]) or "a BLAS that is not recognised"
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    gpu = machine["gpu"] or "none"
    return (
        f"{machine['cpu']} ({machine['design']}), {machine['cores']} cores, vectors of {machine['vector_bits']} bits, "
        f"{sizes}{assumed}; GPU: {gpu}\nPython {machine['python']}, {libraries}, {blas}"
    )


@contextlib.contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Within the context, NumPy's BLAS uses so many threads."""
    with threadpoolctl.threadpool_limits(count, user_api="blas"):
        yield


def _blas_pools() -> list[dict[str, Any]]:
    """NumPy's, where it brought its own; SciPy, once imported, brings another."""
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return [pool for pool in pools if Path(pool["filepath"]).parent.name.startswith("numpy")] or pools


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "a processor without a name"


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
