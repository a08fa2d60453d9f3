"""Do the tests notice when the code is wrong? A small mutation runner.

    python tests/mutation.py [--paths minigen/ops ...] [--sample 100] [--seed 0] [--jobs 2]

Each mutant is one small change to one file: an operator swapped, a condition negated, a constant moved, a
statement dropped, arguments swapped or forgotten. The tests that know the file run against it in a copy of the
package (never in the working tree) and in a fresh process. A mutant dies when a test fails, the import fails or
the time is up. What survives is printed with its place: a missing test, or a change that changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

# Which tests know which files; the likeliest killer first, because the first failure ends the run.
TESTS = {
    "minigen/autograd.py": ["test_autograd", "test_tensor", "test_debug", "test_ops"],
    "minigen/tensor.py": ["test_tensor", "test_autograd"],
    "minigen/ops/noise.py": ["test_random", "test_ops"],
    "minigen/ops": ["test_ops", "test_tensor", "test_autograd"],
    "minigen/losses/text.py": ["text/test_gpt"],
    "minigen/losses": ["test_losses", "test_losses_exact"],
    "minigen/optim": ["test_optim"],
    "minigen/metrics/classifier.py": ["metrics/test_classifier"],
    "minigen/metrics/fit.py": ["metrics/test_classifier"],
    "minigen/metrics/judge.py": ["cli/test_cli_evaluate"],
    "minigen/metrics/neighbours.py": ["metrics/test_neighbours"],
    "minigen/metrics/manifold.py": ["metrics/test_manifold"],
    **{f"minigen/metrics/{name}.py": ["metrics/test_vae_metrics"]
       for name in ("vae", "parzen", "copies", "cheats", "interval")},
    **{f"minigen/metrics/{name}.py": ["metrics/test_distribution_metrics"]
       for name in ("frechet", "kernel", "inception", "classes", "checks")},
    **{f"minigen/data/{name}.py": ["data/test_pipeline", "data/test_pipeline_clean"]
       for name in ("draws", "augment", "clean", "pipeline")},
}

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}


class Mutant(NamedTuple):
    path: str  # relative to the root
    line: int
    change: str
    source: str


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of `node`."""
    if type(node) in SWAPS:
        yield SWAPS[type(node)]()
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
        if node.value == 1:
            yield ast.Constant(0)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield type(node)(**{**dict(ast.iter_fields(node)), "test": ast.UnaryOp(ast.Not(), node.test)})
    elif isinstance(node, ast.Call):
        if len(node.args) > 1:
            yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
        for keyword in node.keywords:
            yield ast.Call(node.func, node.args, [k for k in node.keywords if k is not keyword])
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Raise | ast.Expr) and not docstring:
        yield ast.Pass()


def _is_inert(node: ast.AST) -> bool:
    """Text, types and lists of names, whose change no behaviour shows."""
    lists = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__slots__")
    return lists or isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom)


def places(parent: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, index, child) of all that may be changed below `parent`."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "exc", "ctx", "type_params"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _is_inert(child):
                yield parent, field, index, child
                yield from places(child)


def mutants_of(path: Path) -> Iterator[Mutant]:
    tree = ast.parse(path.read_text())
    line = 1
    for parent, field, index, child in places(tree):
        line = getattr(child, "lineno", getattr(parent, "lineno", line))
        for new in variants(child):
            whole = child if hasattr(child, "lineno") else parent
            before = _text(whole)
            _put(parent, field, index, new)
            after = "pass" if isinstance(new, ast.Pass) else _text(new if whole is child else parent)
            yield Mutant(path.relative_to(ROOT).as_posix(), line, f"{before}  ->  {after}",
                         ast.unparse(ast.fix_missing_locations(tree)))
            _put(parent, field, index, child)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is not None:
        getattr(parent, field)[index] = node
    else:
        setattr(parent, field, node)


def tests_for(path: str) -> list[str]:
    return next(tests for prefix, tests in TESTS.items() if path.startswith(prefix))


def _text(node: ast.AST) -> str:
    first = ast.unparse(ast.fix_missing_locations(node)).strip().splitlines()[0]
    return first[:70] + "..." * (len(first) > 70)


def run(folder: Path, tests: list[str], timeout: float, write_bytecode: bool = False) -> str | None:
    """What killed the code in `folder`, None where its tests pass."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}.py" for test in tests)]
    # Bytecode is written once, by the run on the unchanged code: its time stamp is too coarse for mutants.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "" if write_bytecode else "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return "time is up"
    return None if done.returncode == 0 else next(
        (line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "it does not start")


def judge(mutant: Mutant, folders: queue.Queue[Path], timeout: float) -> str | None:
    folder = folders.get()
    target = folder / mutant.path
    original = target.read_text()
    try:
        target.write_text(mutant.source)
        for stale in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
            stale.unlink()
        return run(folder, tests_for(mutant.path), timeout)
    finally:
        target.write_text(original)
        folders.put(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paths", nargs="+", default=list(TESTS), help="files or folders to change")
    parser.add_argument("--sample", type=int, default=100, help="how many mutants, drawn at random (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="say of each mutant what killed it")
    options = parser.parse_args()

    files = sorted({file for path in options.paths for file in
                    ([ROOT / path] if path.endswith(".py") else (ROOT / path).glob("*.py"))})
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    total = len(mutants)
    if 0 < options.sample < total:
        mutants = sorted(random.Random(options.seed).sample(mutants, options.sample))
    with tempfile.TemporaryDirectory() as scratch:
        folders: queue.Queue[Path] = queue.Queue()
        start = time.monotonic()
        for number in range(options.jobs):
            folder = Path(scratch) / str(number)
            for name in ("minigen", "kernels", "tests"):
                shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "pyproject.toml", folder)
            for tests in {tuple(tests_for(mutant.path)) for mutant in mutants}:
                if reason := run(folder, list(tests), 600, write_bytecode=True):
                    print(f"the unchanged code fails its tests: {reason}", file=sys.stderr)
                    return 1
            folders.put(folder)
        timeout = 20 + 3 * (time.monotonic() - start) / options.jobs
        dead = 0
        with ThreadPoolExecutor(options.jobs) as pool:
            verdicts = pool.map(lambda mutant: judge(mutant, folders, timeout), mutants)
            for mutant, verdict in zip(mutants, verdicts, strict=True):
                dead += verdict is not None
                if verdict is None or options.verbose:
                    print(f"{mutant.path}:{mutant.line}: {mutant.change}", f"  [{verdict}]" * bool(verdict), flush=True)
    print(f"{dead} of {len(mutants)} mutants died ({dead / max(len(mutants), 1):.0%}), of {total} that there are")
    return 0


if __name__ == "__main__":
    sys.exit(main())
