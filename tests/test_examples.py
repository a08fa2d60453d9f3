"""Every example runs with --quick, in seconds, and asserts what it teaches."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigen as mg

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_quickly_and_its_assertions_hold(example, tmp_path):
    compiled = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}  # a network trained without: hours
    environment = {**compiled, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-W", "error", str(example), "--quick"], cwd=tmp_path, env=environment,
                            capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("words, message", [
    ("03_gan_mnist --steps -1", "--steps -1: expected 20 or more"),
    ("03_gan_mnist --quick --steps 0", "--steps 0: expected 20 or more"),
    ("03_gan_mnist --out file", "--out file: cannot be made a folder (File exists); name another"),
    ("04_vae_mnist --out file", "--out file: cannot be made a folder"),
    ("06_matmul_ladder --out file/there", "--out file/there: cannot be made a folder (Not a directory)"),
    ("07_read_the_compiled_step --steps 0", "--steps 0: expected 20 or more"),
    ("07_read_the_compiled_step --out file", "--out file: cannot be made a folder"),
    ("reproduce_iwae --passes 3", "expected 8 passes or more, one for each rate, and a budget above 0"),
    ("reproduce_iwae --budget 0", "expected 8 passes or more, one for each rate, and a budget above 0"),
    ("reproduce_iwae --quick --passes 9", "--quick has a schedule of its own: leave --budget and --passes out"),
])
def test_what_an_example_refuses_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    name, *arguments = words.split()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_uses_public_names_only(example):
    text = example.read_text()
    assert len(text.splitlines()) < 100
    assert "assert " in text
    assert "._" not in text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_on_the_learning_path(example):
    assert example.name in (ROOT / "examples" / "README.md").read_text()


def test_the_page_shows_the_program_that_its_code_becomes():
    page = (ROOT / "examples" / "COMPILED.md").read_text()
    eager, program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(f"import minigen as mg\n{eager}", "page.py", "exec"), names)
    step = mg.compile(names["step"])
    step(mg.tensor(np.zeros((64, 784), np.float32)))
    source = step.source.splitlines()
    assert [line for line in program.splitlines() if line and line not in source] == []
