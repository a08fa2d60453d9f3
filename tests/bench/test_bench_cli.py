"""minigen bench as it is typed: what it prints and writes, and one clear line for whatever is wrong."""

import dataclasses
import json

import numpy as np
import pytest
from bench_fakes import Clock, device, product, timing
from PIL import Image

from minigen.cli import main
from minigen.cli.bench import BENCHMARKS, matmul, report, roofline
from minigen.cli.bench import devices as devices_command
from minigen.cli.bench.table import Table
from minigen.kernels.bench import device as devices
from minigen.kernels.bench import ladder, streaming
from minigen.kernels.bench import roofline as limits
from minigen.kernels.bench.device import Product
from minigen.kernels.bench.devices import Comparison
from minigen.kernels.threads import processors

SMALL = ("--quick", "--threads", "1", "--out", "b")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The real kernels, for a moment only."""
    monkeypatch.setattr(limits, "_PEAK_SECONDS", (1e-4, 1e-4))
    monkeypatch.setattr(limits, "_COPIED", (1 << 12, 1 << 12))
    monkeypatch.setattr(limits, "_MEMORY", 1)
    monkeypatch.setattr(ladder, "_PROBE", 8)


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """bench("matmul", ...) -> (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)

    def run(*words):
        capsys.readouterr()
        code = main(["bench", *map(str, words)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err.replace("compiling kernels (first run only) ...\n", "")

    return run


def written(folder, name):
    record = json.loads((folder / "b" / f"{name}.json").read_text())
    with Image.open(folder / "b" / f"{name}.png") as picture:
        picture.load()
        assert picture.width > 300 and len(picture.getcolors(1 << 24)) > 10
    assert record["benchmark"] == name and record["asked"]["quick"] and record["machine"]["cores"] == processors()
    return record


def test_matmul(bench, tmp_path):
    code, out, err = bench("matmul", *SMALL, "--shape", "5x7x3", "--shape", "9x4x8:nt", "--dtype", "float64")
    assert (code, err) == (0, "")
    record = written(tmp_path, "matmul")
    assert [(r["m"], r["k"], r["n"], r["layout"]) for r in record["results"]] == [(5, 7, 3, "NN"), (9, 4, 8, "NT")]
    rungs = set(ladder.cpu().products) - {"parallel"}
    for r in record["results"]:
        assert r["dtype"] == "float64" and set(r["rungs"]) == rungs
        for rung in r["rungs"].values():
            assert rung["gflops"] > 0 and rung["over_blas"] > 0 and rung["of_peak"] > 0
    for part in ("The ladder: GFLOP/s in float64", "Beside BLAS", "5x7x3 NN", "9x4x8 NT", "written: b/matmul.json",
                 "a look, not a measurement", "vectors of"):  # fmt: skip
        assert part in out, part


def test_one_rung_beside_blas(bench, tmp_path):
    assert bench("matmul", *SMALL, "--shape", "5x7x3", "--rung", "vector")[0] == 0
    (result,) = written(tmp_path, "matmul")["results"]
    assert set(result["rungs"]) == {"vector", "blas"}


def test_more_threads(bench, tmp_path):
    if processors() < 2:
        pytest.skip("one core")
    assert bench("matmul", "--quick", "--threads", "2,1", "--out", "b", "--shape", "5x7x3")[0] == 0
    one, two = written(tmp_path, "matmul")["results"]
    assert (one["threads"], two["threads"]) == (1, 2) and set(two["rungs"]) == {"parallel", "blas", "best"}


def test_what_is_left_out_is_said(bench, tmp_path):
    code, out, _ = bench("matmul", *SMALL, "--shape", "40x50x60", "--budget", "1e-9")
    assert code == 0 and "left out: naive on 40x50x60 NN, about 0.0 s a call, over the budget of 1e-09 s" in out
    (result,) = written(tmp_path, "matmul")["results"]
    assert set(result["rungs"]) == {"blas", "best"} and "naive" in result["left_out"]


def test_a_wrong_rung_is_in_the_table_and_the_exit_code(bench, tmp_path, monkeypatch):
    def wrong(a, b, out, threads):
        np.matmul(a, b, out=out)
        out[0, 0] += 1

    mine = devices.cpu()
    spoilt = dataclasses.replace(mine, products={**mine.products, "vector": Product(wrong)})
    monkeypatch.setattr(devices, "cpu", lambda: spoilt)
    code, out, err = bench("matmul", *SMALL, "--shape", "5x7x3")
    assert code == 1 and "WRONG" in out
    assert err.startswith("minigen: error: bench matmul: 1 wrong and not timed: vector on 5x7x3 NN float32 (1 of 15")
    (result,) = written(tmp_path, "matmul")["results"]
    assert "vector" in result["wrong"] and "vector" not in result["rungs"]


def test_roofline(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(roofline, "SHAPES", ("5x7x3", "9x4x8"))
    code, out, err = bench("roofline", *SMALL)
    assert (code, err) == (0, "")
    record = written(tmp_path, "roofline")
    assert [(p["dtype"], p["threads"]) for p in record["peaks"]] == [("float32", 1), ("float64", 1)]
    assert record["bandwidths"][-1]["level"] == "memory" and all(b["gbytes"] > 0 for b in record["bandwidths"])
    assert {p["shape"] for p in record["points"]} == {"5x7x3 NN", "9x4x8 NN"}
    assert "Peak: multiply-adds in registers" in out and "FMA/ns" in out and "memory" in out


def test_elementwise(bench, tmp_path):
    code, out, err = bench("elementwise", *SMALL, "--kernel", "tanh", "--kernel", "adam")
    assert (code, err) == (0, "")
    results = written(tmp_path, "elementwise")["results"]
    assert [(r["kernel"], r["dtype"], r["bytes"] // r["numbers"]) for r in results] == [
        ("tanh", "float32", 8), ("adam", "float32", 28)]  # fmt: skip
    assert all(r["of_floor"] > 0 and r["over_numpy"] > 0 for r in results)
    assert "In the cache" in out and "From memory" not in out


def test_a_wrong_streaming_kernel(bench, tmp_path, monkeypatch):
    spoilt = dataclasses.replace(streaming.ROWS[0], ours=lambda x: x)
    monkeypatch.setattr(streaming, "ROWS", (spoilt,))
    code, out, err = bench("elementwise", *SMALL)
    assert code == 1 and "WRONG" in out and err.count("\n") == 1 and "exp float32 (1003 of 1003" in err
    assert "wrong" in written(tmp_path, "elementwise")["results"][0]


def test_json_is_the_file_and_nothing_else(bench, tmp_path):
    code, out, err = bench("matmul", *SMALL, "--shape", "5x7x3", "--json")
    assert (code, err) == (0, "") and out == (tmp_path / "b" / "matmul.json").read_text()


def test_markdown_is_tables_and_nothing_of_this_call(bench):
    code, out, err = bench("matmul", *SMALL, "--shape", "5x7x3", "--markdown")
    assert (code, err) == (0, "") and "written" not in out and "┃" not in out
    assert "**Beside BLAS**" in out and "| --- | ---: |" in out
    assert out.count("<details>") == out.count("</details>") == 1
    assert "Every rung" not in out


def test_the_default_folder_is_a_new_one_each_time(bench, tmp_path):
    for _ in range(2):
        assert bench("matmul", "--quick", "--threads", 1, "--shape", "2x2x2", "--rung", "naive")[0] == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["bench-matmul", "bench-matmul-2"]


@pytest.mark.parametrize(
    "words, message",
    [
        ("matmull", "no such benchmark 'matmull': choose from roofline, matmul, elementwise, training, devices; did"),
        ("matmul --rung vectro", "no such rung 'vectro': choose from naive, loop_order, blocked, register_tile, "),
        ("matmul --rung vectro", "did you mean 'vector'?"),
        ("matmul --shape 64x784", "'64x784' is no shape: expected MxKxN, 1 to 16384 each"),
        ("matmul --shape 0x1x1", "'0x1x1' is no shape"),
        ("matmul --dtype float16", "no such dtype 'float16': choose from float32, float64; did you mean"),
        ("matmul --budget 0", "invalid value for '--budget': '0' is not a number above 0"),
        ("matmul --budget soon", "'soon' is not a number above 0"),
        ("matmul --device tpu", "no such device 'tpu': choose from cpu, gpu"),
        ("matmul --threads 0", "invalid value for '--threads': '0' is not a number of threads, or several as in 1,2"),
        ("roofline --threads two", "'two' is not a number of threads"),
        ("roofline --threads 1,100000", "each from 1 to"),
        ("devices --threads ,", "',' is not a number of threads"),
        ("elementwise --threads 2", "the elementwise kernels run on one thread: --threads 1, or leave it out"),
        ("elementwise --kernel tahn", "no such kernel 'tahn': choose from exp, log"),
        ("elementwise --kernel tahn", "did you mean 'tanh'?"),
        ("matmul --json --markdown", "--json and --markdown are two ways to print: choose one"),
        ("matmul --out=", "invalid value for '--out': it is empty"),
        ("roofline --shape 1x1x1", "no such option --shape"),
    ],
)
def test_usage(bench, tmp_path, monkeypatch, words, message):
    if processors() < 2 and words == "elementwise --threads 2":
        pytest.skip("one core: refused before")
    code, out, err = bench(*words.split())
    assert (code, out) == (2, "") and err.startswith("minigen: error: ") and err.count("\n") == 1
    assert message in err, err
    assert not list(tmp_path.rglob("*.json"))


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_measured(bench, tmp_path, monkeypatch):
    def measured(*_, **__):
        raise AssertionError("something was measured")

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(limits, "measure_peak", measured)
    monkeypatch.setattr(limits, "measure_roofline", measured)
    monkeypatch.setattr(streaming, "measure", measured)
    for name in ("roofline", "matmul", "elementwise", "devices"):
        code, out, err = bench(name, "--out", "file/b")
        assert (code, out, err.count("\n")) == (6, "", 1)
        assert "file/b: cannot be written" in err and "name another folder with --out" in err


def test_without_a_gpu_there_is_one_clear_line(bench, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    for words in (("devices",), ("matmul", "--device", "gpu")):
        code, out, err = bench(*words)
        assert (code, out, err.count("\n")) == (5, "", 1)
        assert err.startswith("minigen: error: device 'gpu' needs CuPy, which is not installed")


def test_without_cublas_there_is_one_clear_line(bench, monkeypatch):
    def missing():
        raise ImportError('Failure finding "libcublasLt.so.13 or libcublasLt.so.12"')

    monkeypatch.setattr("minigen.backend.require_device", lambda name: name)
    monkeypatch.setattr("minigen.kernels.cuda.stopwatch.require_cublas", missing)
    code, out, err = bench("matmul", "--device", "gpu")
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert "held against cuBLAS, which CuPy cannot load (Failure finding" in err
    assert "pip install 'cupy-cuda12x[ctk]'" in err


def test_matmul_on_a_second_device_of_numpys_memory(bench, tmp_path, monkeypatch):
    """Where cuBLAS rounds, the table says how."""
    clock = Clock()
    products = {name: Product(clock.taking(1e-3, product)) for name in ("blas", "blas_bf16", "best")}
    monkeypatch.setattr(matmul, "_device", lambda name: device(clock, products, "gpu"))
    monkeypatch.setattr(matmul, "_gpu_name", lambda: "Imaginary GPU")
    code, out, err = bench("matmul", "--device", "gpu", *SMALL)
    assert (code, err) == (0, "") and "CUBLAS_COMPUTE_32F_FAST_TF32 and _FAST_16BF" in out
    assert written(tmp_path, "matmul")["machine"]["gpu"] == "Imaginary GPU"


def test_devices_with_a_second_device_of_numpys_memory(bench, tmp_path, monkeypatch):
    """Everything but the GPU: the command, its tables, its sentence, its picture."""
    clock = Clock()
    there = device(clock, {"best": Product(clock.taking(1e-3, lambda a, b, out, threads: np.matmul(a, b, out=out)))})
    monkeypatch.setattr("minigen.backend.require_device", lambda name: name)
    monkeypatch.setattr(devices, "gpu", lambda: there)
    monkeypatch.setattr(devices_command, "_gpu_name", lambda: "Imaginary GPU")
    monkeypatch.setattr(devices_command, "training_step", lambda name, batch: (lambda: None, np.zeros(batch)))
    code, out, err = bench("devices", *SMALL)
    assert (code, err) == (0, "")
    record = written(tmp_path, "devices")
    assert record["machine"]["gpu"] == "Imaginary GPU" and "GPU: Imaginary GPU" in out
    assert [r["size"] for r in record["results"] if r["what"] == "matmul"] == [32, 64, 128, 256]
    assert set(record["crossovers"]) == {"matmul", "step"}
    assert "Operands on the GPU: the " in out and "Operands that come and go: " in out


def test_the_sentences_about_devices():
    def comparison(size, cpu, gpu, transfer):
        one = [dataclasses.replace(T, seconds=(t,)) for t in (cpu, gpu, transfer)]
        return Comparison("matmul", size, *one, compile=0.5)

    from minigen.kernels.bench.timing import Timing

    T = Timing((1.0,), 1)
    found = [comparison(64, 1e-5, 4e-5, 1e-3), comparison(256, 4e-5, 2e-5, 1e-3)]
    record = devices_command.findings(found)
    (table,) = devices_command.tables(found, record)
    assert table.notes == ["Operands on the GPU: the GPU wins from 161 on. "
                           "Operands that come and go: the GPU does not win at the largest size measured."]  # fmt: skip
    assert table.rows[1] == ["256", "40.0", "20.0", "1000.0", "0.50", "2.00", "0.04"]
    record = devices_command.findings(found[1:])
    assert "the GPU wins from 256 on, the first measured" in devices_command.tables(found[1:], record)[0].notes[0]


def test_the_training_step_trains():
    step, images = devices_command.training_step("cpu", 5)
    assert images.shape == (5, 28, 28) and set(step()) >= {"reconstruction", "kl"}


def test_every_benchmark_is_there_and_has_a_help(bench):
    code, out, _ = bench("--help")
    assert code == 0 and all(name in out for name in BENCHMARKS)
    for name in BENCHMARKS:
        code, out, _ = bench(name, "--help")
        assert code == 0 and "--threads" in out and "--quick" in out and "--out" in out and "--json" in out


def test_shown_shapes_are_the_usual_ones_where_they_were_measured():
    def results(*names):
        return [ladder.Result(ladder.parse_shape(name), "float32", 1, {}) for name in names]

    assert matmul._shown(results("1x1x1", "64x784x128", "512x512x512")) == ["64x784x128 NN", "512x512x512 NN"]
    assert matmul._shown(results("1x1x1", "2x2x2", "64x784x128", "3x3x3")) == ["1x1x1 NN", "2x2x2 NN", "64x784x128 NN"]


def test_a_kernel_above_the_peak_casts_doubt_on_the_peak():
    result = ladder.Result(ladder.parse_shape("10x10x10"), "float32", 1, {"best": timing(1e-6), "blas": timing(1e-6)})
    assert result.gflops("best") == pytest.approx(2.0)
    for peak, doubt in ((1.9, True), (1.96, False), (2.5, False)):
        assert bool(matmul._ladder([result], {("float32", 1): peak}, ["10x10x10 NN"]).notes) is doubt


def test_a_table_as_markdown():
    table = Table("T", ("name", "n"), [["a", "1"], ["b", "2"]], notes=("A note.",))
    assert table.markdown() == "**T**\n\n| name | n |\n| --- | ---: |\n| a | 1 |\n| b | 2 |\n\nA note.\n"
    folded = dataclasses.replace(table, folded=True, notes=())
    assert folded.markdown().startswith("<details><summary>T</summary>\n\n| name | n |")


def test_percent():
    assert (report.percent(0.973), report.percent(None)) == ("97 %", "-")
