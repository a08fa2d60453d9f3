"""The cache of compiled kernels may be absent, broken or hostile: the result is the same."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_cases import JIT

from minigen.kernels.cpu import cache, jit

SCRIPT = """
import numpy as np
from minigen import kernels
from minigen.kernels.cpu.jit import announce_compilation
told = []
with announce_compilation(told.append):
    y = kernels.tanh(np.ones(5, np.float32))
    kernels.sigmoid(np.ones(5, np.float32))
assert abs(y - np.tanh(1)).max() < 1e-6
print(*told)
"""


SHARED = """
import numpy as np
from minigen.kernels.cpu.jit import announce_compilation
from minigen.kernels.cpu.team import team_for
told = []
with announce_compilation(told.append):
    team_for(2)
print(*told)
"""


def _run(folder: Path, script: str = SCRIPT) -> str:
    """What a fresh process, with this cache, announces to compile."""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    environment |= {"MINIGEN_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def _sound(path: Path) -> bool:
    """Whether the digest at the head of a cached file is that of the rest."""
    content = path.read_bytes()
    return hashlib.sha256(content[32:]).digest() == content[:32]


def test_cache_serves_and_survives_damage(tmp_path: Path) -> None:
    assert _run(tmp_path) == "unary"  # announced once, though two kernels are compiled
    folder = tmp_path / "numba"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 or os.name == "nt"
    files = sorted(folder.iterdir())
    assert len(files) == 2
    assert _run(tmp_path) == ""
    damage = {"truncated": lambda b: b[: len(b) // 2], "empty": lambda b: b"", "garbage": lambda b: b"\x80" * len(b)}
    damage["one bit"] = lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]
    for harm in damage.values():
        for path in files:
            path.write_bytes(harm(path.read_bytes()))
            assert not _sound(path)
        assert _run(tmp_path) == "unary"
        assert all(map(_sound, files))  # mended
    assert _run(tmp_path) == ""


def test_what_shares_work_out_is_in_the_cache_as_well(tmp_path: Path) -> None:
    assert [_run(tmp_path, SHARED) for _ in range(2)] == ["fork", ""]


@pytest.mark.parametrize("setting", ["NUMBA_OPT=0", "NUMBA_BOUNDSCHECK=1", "NUMBA_LOOP_VECTORIZE=0"])
def test_code_made_with_other_settings_is_not_taken(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(tmp_path) == "unary"
    with monkeypatch.context() as changed:
        changed.setenv(*setting.split("="))
        assert _run(tmp_path) == "unary"
    assert _run(tmp_path) == ""


def test_a_folder_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _run(tmp_path / "file") == "unary"
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert _run(locked) == "unary"


@pytest.mark.skipif(os.name == "nt", reason="mode bits are POSIX")
def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "numba"
    folder.mkdir()
    folder.chmod(0o777)
    assert _run(tmp_path) == "unary"
    assert not list(folder.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="owners are POSIX")
def test_a_folder_of_someone_else_or_a_link_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    assert cache._private(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert not cache._private(link)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert not cache._private(tmp_path)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_default_folder_follows_the_platform(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIGEN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("LOCALAPPDATA", "/l")
    monkeypatch.setattr(sys, "platform", platform)
    expected = {"linux": "/x/minigen/numba", "darwin": "Library/Caches/minigen/numba", "win32": "/l/minigen/numba"}
    assert cache.cache_directory().as_posix().endswith(expected[platform])


def test_factories_products_have_different_names() -> None:
    def make(n: int):  # noqa: ANN202
        def loop() -> int:
            return n

        return loop

    assert cache._describe(make(1)) != cache._describe(make(2))
    assert cache._describe(make(1)) == cache._describe(make(1))


@pytest.mark.parametrize("decorate", [lambda function: function, jit.jit()], ids=["plain", "compiled"])
def test_names_go_into_closures_of_closures(decorate) -> None:  # noqa: ANN001
    def make(n: int):  # noqa: ANN202
        @decorate
        def inner() -> int:
            return n

        def loop() -> int:
            return inner()

        return loop

    assert cache._describe(make(1)) != cache._describe(make(2))
    assert cache._describe(make(1)) == cache._describe(make(1))


def test_without_compilation_nothing_is_announced() -> None:
    told: list[str] = []
    with jit.announce_compilation(told.append):
        pass
    assert told == []


@pytest.mark.skipif(not JIT, reason="needs the compiler")
def test_announcement_comes_before_the_first_compilation_only() -> None:
    told: list[str] = []

    def twice(x: float) -> float:
        return 2 * x

    def thrice(x: float) -> float:
        return 3 * x

    with jit.announce_compilation(told.append):
        assert jit.numba.njit(twice)(1.0) == 2
        assert jit.numba.njit(thrice)(1.0) == 3
    assert told == ["twice"]
