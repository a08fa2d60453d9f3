"""Every example runs with --quick, in seconds, and asserts what it teaches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_uses_public_names_only(example):
    text = example.read_text()
    assert len(text.splitlines()) < 100
    assert "assert " in text
    assert "._" not in text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_on_the_learning_path(example):
    assert example.name in (ROOT / "examples" / "README.md").read_text()
