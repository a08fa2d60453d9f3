"""minigen doctor: what is installed, where things are kept, and what to do about what is not."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..errors import DataError, DeviceError

__all__ = ["command"]

_PACKAGES = ("numpy", "numba", "llvmlite", "matplotlib", "pillow", "safetensors", "click", "rich", "pooch",
             "threadpoolctl")  # fmt: skip
_VECTORS = ("avx512f", "avx2", "avx", "fma", "neon", "sve")


class Finding(NamedTuple):
    """One line: `todo` is what to do where something is amiss, `optional` where something could be better."""

    subject: str
    found: str
    todo: str = ""
    optional: str = ""


@click.command("doctor")
def command() -> None:
    """Say what is installed, where things are kept, and what to do about what is not."""
    todos = 0
    for finding in _examine():
        todos += bool(finding.todo)
        state = "to do" if finding.todo else "note" if finding.optional else "ok"
        advice = finding.todo or finding.optional
        click.echo(f"{state:<7}{finding.subject:<15}{finding.found}{': ' if advice else ''}{advice}")
    click.echo("nothing is amiss" if not todos else f"to do: {todos}")


def _examine() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in _PACKAGES:
        yield _package(name)
    yield _processor()
    yield _threads()
    yield _compiler()
    yield _kernel_cache()
    yield _data()
    yield _current_folder()
    yield _gpu()


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", f"pip install {name}")


def _processor() -> Finding:
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    vectors = [name for name in _VECTORS if features.get(name)]
    return Finding("CPU", f"{binding.get_host_cpu_name()}, {', '.join(vectors) or 'no vector instructions known'}")


def _threads() -> Finding:
    import threadpoolctl

    from ..threads import get_threads, processors

    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    blas = ", ".join(f"{pool['internal_api']} {pool['version']} with {pool['num_threads']}" for pool in pools)
    return Finding("threads", f"{get_threads()} on {processors()} processors; BLAS {blas or 'not recognised'}")


def _compiler() -> Finding:
    from numba.core import config

    settings: Any = config
    if settings.DISABLE_JIT:
        return Finding("compiler", "off, kernels run as plain Python", "unset NUMBA_DISABLE_JIT, which makes them slow")
    return Finding("compiler", "on")


def _kernel_cache() -> Finding:
    from ..kernels.cpu.cache import cache_directory

    folder = cache_directory()
    if not _writable(folder):
        return Finding("kernel cache", f"{folder} cannot be written", "set MINIGEN_CACHE_DIR to a folder of your own")
    count = len(list(folder.glob("*.bin")))
    return Finding("kernel cache", f"{folder}, {count} compiled kernels")


def _data() -> Finding:
    from ..data import load_mnist

    try:
        dataset = load_mnist("train", download=False)
    except DataError as error:
        return Finding("MNIST", str(error), "correct or unset MINIGEN_DATA")
    if dataset.is_sample:
        what = "the next training run tries to download the full set; or name a folder that has it in MINIGEN_DATA"
        return Finding("MNIST", f"only the sample of {len(dataset)} images that comes with minigen", optional=what)
    return Finding("MNIST", f"{len(dataset)} training images in {dataset.origin}")


def _current_folder() -> Finding:
    if _writable(Path("runs")):
        return Finding("runs", str(Path("runs").absolute()))
    return Finding("runs", f"{Path('runs').absolute()} cannot be written", "change folder, or train with --out DIR")


def _gpu() -> Finding:
    from ..backend import describe_gpu

    try:
        return Finding("GPU", describe_gpu())
    except DeviceError as error:
        return Finding("GPU", "none in use", optional=str(error))


def _writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, or in the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
