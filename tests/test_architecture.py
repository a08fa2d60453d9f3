"""The house rules: which file may import which, what may not be imported at all, and how large the core may be."""

import ast
import configparser
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each room and the rooms that its files may import, itself apart. A file or folder of minigen/ is a room, and
# kernels/ is one. A new room is one line.
KERNELS = {"kernels"}
BACKEND = {"errors", *KERNELS}
TENSOR = {"errors", "backend", "host"}
AUTOGRAD = {*TENSOR, "tensor"}
OPS = {*AUTOGRAD, *KERNELS, "autograd"}
TOOLS = {*OPS, "ops"}
LAYERS = {*TOOLS, "random", "checkpoint"}
MODELS = {*LAYERS, "nn", "losses", "optim", "metrics", "data"}
TRAINING = {*MODELS, "models", "plots", "debug", "gradcheck", "draw", "program", "threads"}
MAY_IMPORT = {
    "errors": set(),
    "kernels": set(),
    "host": {"errors"},
    "heap": set(),
    "backend": BACKEND,
    "tensor": TENSOR,
    "autograd": AUTOGRAD,
    "ops": OPS,
    "random": TOOLS,
    "threads": BACKEND,
    "gradcheck": TOOLS,
    "debug": TOOLS,
    "draw": TOOLS,
    "op_cases": TOOLS,
    "checkpoint": {"errors"},
    "data": {*TOOLS, "random"},
    "nn": LAYERS - {"checkpoint"},
    "losses": LAYERS - {"checkpoint"},
    "optim": {*LAYERS, "nn"} - {"checkpoint"},  # EMA averages a Module
    "metrics": {*LAYERS, "nn", "losses", "optim", "data"},  # trains a classifier, and keeps it
    "models": MODELS,
    "program": {*TOOLS, "random", "draw"},
    "plots": {"errors", "data", "metrics"},
    "peers": {*LAYERS, "nn", "models"},
    "training": TRAINING,
    "cli": {*TRAINING, "training", "op_cases", "peers"},
}
# The package itself names its public parts, and the command line starts there.
ANYTHING = {"__init__", "__main__"}
# The one import that points up: `tensor` spells out operators and backward, which are defined above it.
EXCEPTIONS = {("tensor", "autograd"), ("tensor", "ops")}
# Packages that only some rooms may import; the doctor, outside kernels/cpu/, asks Numba for its settings, and the cache
# of compiled kernels, in a private folder and under a digest, is a pickle because Numba makes it one.
ASKS_NUMBA = ("minigen/cli/doctor.py",)
ONLY_IN = {
    "cupy": ("minigen/backend.py", "kernels/cuda/"),
    "numba": ("kernels/cpu/", *ASKS_NUMBA),
    "llvmlite": ("kernels/cpu/", *ASKS_NUMBA),
    "pickle": ("kernels/cpu/cache.py",),
    "matplotlib": ("minigen/plots/", "minigen/draw.py"),
    "safetensors": ("minigen/checkpoint.py",),
    "pooch": ("minigen/data/",),
    "click": ("minigen/cli/",),
    "rich": ("minigen/cli/", "minigen/training/"),
}
NEVER = {"torch", "jax", "tensorflow", "cPickle", "dill", "shelve", "matplotlib.pyplot", "pylab"}


def imported(source, module):
    """The full names of all that `source`, the text of `module`, imports at any place: one per name."""
    package = module.removesuffix(".__init__") if module.endswith(".__init__") else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package if node.level else ""
            start = ".".join(part for part in (base, node.module) if part)
            yield from (f"{start}.{name.name}" for name in node.names)


def room_of(name):
    """'minigen.nn.layers.Dense' is in the room 'nn'."""
    return name.split(".")[1] if name.count(".") else "__init__"


def complaints(source, path):
    """What a file at `path` (relative to the root) imports or calls against the rules."""
    module = path.removesuffix(".py").replace("/", ".")
    module = f"minigen.{module}" if module.startswith("kernels") else module
    room = room_of(module)
    for name in imported(source, module):
        top = name.split(".")[0]
        if any(name == bad or name.startswith(bad + ".") for bad in NEVER):
            yield f"{path} imports {name}, which minigen never does"
        if top in ONLY_IN and not path.startswith(ONLY_IN[top]):
            yield f"{path} imports {name}, which only {', '.join(ONLY_IN[top])} may"
        if top == "kernels":
            yield f"{path} imports {name} under a name that belongs to another package"
        if top == "minigen" and room not in ANYTHING:
            other = room_of(name)
            if room not in MAY_IMPORT:
                yield f"{path} is in no room of the table: add a line for {room!r}"
            elif other not in MAY_IMPORT[room] | {room} and (room, other) not in EXCEPTIONS:
                yield f"{path} imports {name}: {room} may not import {other}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", True):
            yield f"{path}:{node.value.lineno} allows pickle"


def files():
    return sorted(path for folder in ("minigen", "kernels") for path in (ROOT / folder).rglob("*.py")
                  if not path.is_relative_to(ROOT / "minigen" / "kernels"))


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", files(), ids=relative)
def test_imports_point_one_way(path):
    assert list(complaints(path.read_text(), relative(path))) == []


@pytest.mark.parametrize("path, source", [
    ("minigen/autograd.py", "from .ops import add"),
    ("minigen/autograd.py", "from . import ops"),
    ("minigen/ops/linear.py", "from ..nn import Dense"),
    ("minigen/ops/linear.py", "import minigen.models"),
    ("minigen/ops/linear.py", "from .. import random"),
    ("minigen/ops/linear.py", "from .. import add"),
    ("minigen/ops/__init__.py", "from ..nn import Dense"),
    ("minigen/ops/linear.py", "def f():\n    from minigen.training import loop"),
    ("minigen/errors.py", "from . import backend"),
    ("minigen/tensor.py", "from . import gradcheck"),
    ("minigen/nn/layers.py", "from ..models.gan import GAN"),
    ("minigen/nn/__init__.py", "from ..program import compile"),
    ("minigen/losses/gan.py", "from ..nn import Module"),
    ("minigen/models/gan.py", "from ..training import loop"),
    ("minigen/models/gan.py", "from ..plots import grid"),
    ("minigen/data/idx.py", "from minigen.models import GAN"),
    ("minigen/training/loop.py", "from ..cli import main"),
    ("minigen/checkpoint.py", "from .tensor import Tensor"),
    ("minigen/program/trace.py", "from ..training import loop"),
    ("minigen/attic/old.py", "from ..errors import ShapeError"),
    ("kernels/reference.py", "from ..errors import ShapeError"),
    ("kernels/cpu/random.py", "from minigen.errors import ShapeError"),
    ("kernels/cpu/random.py", "from ...backend import namespace"),
    ("kernels/cpu/random.py", "import kernels.reference"),
    ("kernels/reference.py", "import numba"),
    ("minigen/ops/linear.py", "from numba import njit"),
    ("minigen/ops/linear.py", "import cupy as cp"),
    ("minigen/nn/layers.py", "try:\n    import torch\nexcept ImportError:\n    torch = None"),
    ("minigen/plots/style.py", "import matplotlib.pyplot as plt"),
    ("minigen/plots/style.py", "from matplotlib import pyplot"),
    ("minigen/checkpoint.py", "import pickle"),
    ("minigen/data/files.py", "import numpy as np\nnp.load('x', allow_pickle=True)"),
    ("minigen/data/files.py", "import numpy as np\nnp.load('x', allow_pickle=trusted)"),
], ids=lambda text: text.replace("\n", " "))
def test_the_checker_catches(path, source):
    assert list(complaints(source, path))


@pytest.mark.parametrize("path, source", [
    ("minigen/tensor.py", "from . import autograd, ops"),
    ("minigen/backend.py", "def f():\n    import cupy"),
    ("minigen/ops/linear.py", "from .. import kernels\nfrom ..tensor import Tensor\nfrom .shape import reshape"),
    ("minigen/ops/__init__.py", "from .shape import reshape"),
    ("minigen/models/gan.py", "from .. import checkpoint\nfrom ..nn import Dense\nfrom ..data import to_unit"),
    ("kernels/cpu/random.py", "from numba import njit\nfrom .. import reference\nfrom ..scalar import exp"),
    ("minigen/data/files.py", "import numpy as np\nnp.load('x', allow_pickle=False)"),
    ("minigen/__init__.py", "from . import models\nfrom .cli import main"),
], ids=lambda text: text.replace("\n", " "))
def test_the_checker_lets_pass(path, source):
    assert list(complaints(source, path)) == []


def test_the_table_names_no_room_twice_and_every_arrow_ends_in_a_room():
    assert {other for rooms in MAY_IMPORT.values() for other in rooms} <= set(MAY_IMPORT)


def test_the_table_has_no_circle():
    below = {room: MAY_IMPORT[room] - {room} for room in MAY_IMPORT}
    while below:
        lowest = [room for room, others in below.items() if not others & set(below)]
        assert lowest, f"rooms that import each other: {sorted(below)}"
        for room in lowest:
            del below[room]


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    tracked = subprocess.run(["git", "ls-files", "*__init__.py"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    folders = {Path(line).parent.as_posix().replace("/", ".") for line in tracked.stdout.split()}
    packages = {f"minigen.{name}" if name.startswith("kernels") else name for name in folders
                if name.startswith(("minigen", "kernels"))}
    assert packages <= listed
    assert not {name for name in listed - packages if not folder_of(name).is_dir()}


def folder_of(package):
    return ROOT / package.replace("minigen.kernels", "kernels").replace(".", "/")


def test_kernels_is_reached_through_minigen():
    link = ROOT / "minigen" / "kernels"
    assert link.resolve() == ROOT / "kernels"


def test_the_core_stays_small_enough_to_read():
    core = ["errors.py", "backend.py", "tensor.py", "autograd.py", "gradcheck.py"]
    paths = [ROOT / "minigen" / name for name in core] + list((ROOT / "minigen" / "ops").glob("*.py"))
    paths.remove(ROOT / "minigen" / "ops" / "attention.py")  # built on the core, for one kind of network
    assert sum(lines_of_code(path.read_text()) for path in paths) < 1500


def lines_of_code(source):
    """Lines that are neither blank nor a comment nor part of a docstring."""
    said = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            said |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(bool(line.strip()) and not line.strip().startswith("#") and number not in said
               for number, line in enumerate(source.splitlines(), 1))


def test_lines_of_code_leaves_out_what_is_said_about_them():
    text = '"""Module."""\n\nx = 1  # one\n# two\ndef f():\n    """Says\n    more."""\n    return x\n'
    assert lines_of_code(text) == 3
