"""`minigen train` as the tests of its options type it."""

import shlex

import pytest

from minigen.cli import main


@pytest.fixture
def train(small_images, monkeypatch, capsys):
    """train("vae --augment shift=1") -> (exit code, stdout, stderr), in a folder with 40 images of 6 x 6."""
    monkeypatch.chdir(small_images)
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)

    def run(words):
        capsys.readouterr()
        code = main(["train", *shlex.split(words)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    return run
