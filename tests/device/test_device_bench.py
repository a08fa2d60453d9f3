"""minigen bench elementwise on the GPU: every kernel has its row, is right, and is held against a copy there."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from minigen.cli import main
from minigen.kernels.bench import streaming
from minigen.kernels.bench.streaming import measure
from minigen.kernels.cuda import elementwise, optimizers, random

ROWS = [row.name for row in streaming.ROWS]


def test_every_streaming_kernel_has_a_row(gpu: str) -> None:
    names = {*elementwise.__all__, *optimizers.__all__, *random.__all__} - {"source"}
    assert names == {row.name for row in streaming.gpu().rows} - {"momentum", "adamw"}  # variants


@pytest.mark.parametrize("name", ROWS)
def test_every_kernel_is_right_and_is_timed_beside_a_copy(gpu: str, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(streaming, "_GPU_NUMBERS", 5000)
    machine = streaming.gpu()
    rows = [row for row in machine.rows if row.name == name]
    for result in measure(rows, machine=machine, seconds=0.01):
        assert result.wrong is None and result.place == "memory" and set(result.timings) == {"ours", "copy"}
        assert result.of_floor > 0 and result.over_numpy is None


def test_the_inputs_outgrow_the_cache_and_the_gpu_keeps_the_time(standin: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(streaming, "_GPU_NUMBERS", 1 << 10)
    seen, copied = set(), set()

    def spy(x: Any) -> None:
        seen.add(x.data.ptr if x.size == 1 << 10 else None)

    def elapsed(call: Any, times: int) -> float:
        for _ in range(20):
            call()
        return 1e-3 * times

    def copy(target: Any, source: Any) -> None:
        copied.add(source.nbytes)

    machine = dataclasses.replace(streaming.gpu(), stopwatch=elapsed, copy=copy)
    row = dataclasses.replace(machine.rows[0], ours=lambda x: spy(x) or elementwise.exp(x))
    (result,) = measure([row], machine=machine, dtypes=("float32",), seconds=1e-3)
    moved = row.bytes_moved(1 << 10, "float32")
    assert len(seen - {None}) * moved >= 2 * machine.last_cache() == 2 << 16
    assert copied == {moved // 2} and result.of_floor == pytest.approx(1)


def test_a_wrong_kernel_is_not_timed(gpu: str) -> None:
    machine = streaming.gpu()
    spoilt = dataclasses.replace(machine.rows[0], ours=elementwise.tanh)
    (result,) = measure([spoilt], machine=machine, dtypes=("float32",))
    assert "of 1003 numbers are off" in (result.wrong or "") and not result.timings


def test_the_command(gpu: str, tmp_path: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(streaming, "_GPU_NUMBERS", 5000)
    words = ["bench", "elementwise", "--device", "gpu", "--quick", "--kernel", "exp", "--kernel", "adam", "--out", "b"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "From memory" in out and "In the cache" not in out
    record = json.loads((tmp_path / "b" / "elementwise.json").read_text())
    assert record["device"] == "gpu" and record["machine"]["gpu"]
    assert [(r["kernel"], r["dtype"]) for r in record["results"]] == [("exp", "float32"), ("adam", "float32")]
    assert (tmp_path / "b" / "elementwise.png").exists()
