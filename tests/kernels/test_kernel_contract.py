"""Every public kernel has a reference of the same signature, a test row, and honest manners."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from kernel_cases import ELEMENTWISE, OPTIMIZERS, RANDOM, REDUCTIONS
from row_cases import NAMES as ROWS

import minigen as mg
from minigen import kernels
from minigen.kernels import reference, scalar, scalar64, scalar_random


def test_every_kernel_has_a_reference_and_a_row() -> None:
    rows = {*ELEMENTWISE, *(name for name, _, _ in OPTIMIZERS), *RANDOM, *REDUCTIONS, *ROWS, "matmul"}
    assert set(kernels.__all__) == rows
    assert set(reference.__all__) == rows


@pytest.mark.parametrize("name", kernels.__all__)
def test_kernel_and_reference_take_the_same_arguments(name: str) -> None:
    ours, contract = (inspect.signature(getattr(module, name)) for module in (kernels, reference))
    assert ours == contract
    assert getattr(kernels, name).__doc__


def test_both_precisions_have_every_formula() -> None:
    assert scalar.FORMULAS.keys() == scalar64.FORMULAS.keys() == ELEMENTWISE.keys()


def test_every_private_function_of_scalar_is_declared_a_helper() -> None:
    for module in (scalar, scalar64):
        private = {f for n, f in vars(module).items() if n.startswith("_") and inspect.isfunction(f)}
        assert private == set(module.HELPERS)
    functions = {f for f in vars(scalar_random).values() if inspect.isfunction(f)}
    assert functions == set(scalar_random.FORMULAS)


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def test_kernels_import_neither_minigen_nor_numba_outside_cpu() -> None:
    root = Path(kernels.__file__).parent
    for path in root.glob("**/*.py"):
        depth = len(path.relative_to(root).parts)
        for name in _imports(path):
            assert not name.startswith("minigen"), path
            assert len(name) - len(name.lstrip(".")) <= depth, path
            assert not name.startswith("numba") or "cpu" in path.parts, path


def test_what_is_no_array_is_refused_by_name() -> None:
    rest_of = {"exp": (), "softmax": (), "matmul": ([1.0],), "leaky_relu": (0.1,), "gate": ([1.0], 0.1),
               "gelu_slope": ([1.0],), "bernoulli_nll": ([1.0],)}  # fmt: skip
    for name, rest in rest_of.items():
        with pytest.raises(TypeError, match=f"{name}: an array expected, got list"):
            getattr(kernels, name)([1.0, 2.0], *rest)
        with pytest.raises(TypeError, match=f"{name}: an array expected, got Tensor: pass its `data`"):
            getattr(kernels, name)(mg.tensor([1.0]), *rest)
