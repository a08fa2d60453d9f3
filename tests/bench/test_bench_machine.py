"""The description of a machine: what is needed to compare, nothing that names anybody."""

import getpass
import json
import socket

import numpy as np
import threadpoolctl

from minigen.kernels.bench import machine
from minigen.kernels.bench.machine import Cache, blas_threads, caches, describe, in_words


def test_it_has_what_a_comparison_needs_and_survives_json():
    found = json.loads(json.dumps(describe()))
    assert found["cpu"] and found["cores"] >= 1 and found["vector_bits"] in (128, 256, 512)
    assert found["libraries"]["numpy"] == np.__version__ and "numba" in found["libraries"]
    assert all(c["bytes"] > 0 and c["shared_by"] >= 1 for c in found["caches"])
    assert found["gpu"] is None
    words = in_words(found)
    assert found["cpu"] in words and "GPU: none" in words and np.__version__ in words
    assert "H100" in in_words({**found, "gpu": "NVIDIA H100"})


def test_it_names_neither_host_nor_user_nor_path(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-host")
    text = json.dumps(describe()) + in_words(describe())
    assert "/" not in text.replace(describe()["cpu"], "") and "\\\\" not in text
    for name in {socket.gethostname(), getpass.getuser()} - {"root"}:
        assert name not in text


def fake_caches(folder, rows):
    for number, (kind, level, size, shared) in enumerate(rows):
        index = folder / f"index{number}"
        index.mkdir()
        for name, value in zip(("type", "level", "size", "shared_cpu_list"), (kind, level, size, shared), strict=True):
            (index / name).write_text(f"{value}\n")


def test_caches_are_read_from_the_system(tmp_path):
    fake_caches(tmp_path, [("Data", 1, "48K", "0,64"), ("Instruction", 1, "32K", "0,64"), ("Unified", 2, "2048K", "0"),
                           ("Unified", 3, "1G", "0-3,64-67")])  # fmt: skip
    assert caches(tmp_path) == ((Cache("L1", 48 << 10, 2), Cache("L2", 2 << 20, 1), Cache("L3", 1 << 30, 8)), True)


def test_where_the_system_does_not_tell_that_is_said(tmp_path, monkeypatch):
    found, known = caches(tmp_path / "nowhere")
    assert not known and [c.name for c in found] == ["L1", "L2", "L3"]
    fake_caches(tmp_path, [("Data", 1, "what?", "0")])
    assert not caches(tmp_path)[1]
    monkeypatch.setattr(machine, "caches", lambda: (found, False))
    assert "(assumed)" in in_words(describe())


def test_blas_threads_hold_within_the_context():
    def counts():
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    before = counts()
    with blas_threads(1):
        assert counts() <= {1}
    assert counts() == before
