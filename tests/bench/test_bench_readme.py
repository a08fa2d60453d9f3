"""kernels/README.md: every table and picture has the command that makes it, and one command makes them all."""

import re
import sys
from pathlib import Path

from minigen.cli.bench import BENCHMARKS
from minigen.kernels.cpu.matmul import RUNGS
from minigen.kernels.cuda.launch import RUNGS as CUDA_RUNGS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import kernel_tables  # noqa: E402

TEXT = kernel_tables.README.read_text()


def test_each_place_gets_what_its_own_command_prints():
    text = "a\n<!-- minigen bench x --markdown -->\nold\n<!-- end -->\nb\n<!-- minigen bench y -->\n<!-- end -->\nc\n"
    asked = []
    new = kernel_tables.refreshed(text, lambda words: asked.append(words) or f"new {words[1]}\n")
    assert asked == [["bench", "x", "--markdown"], ["bench", "y"]]
    assert new == ("a\n<!-- minigen bench x --markdown -->\n\nnew x\n\n<!-- end -->\nb\n"
                   "<!-- minigen bench y -->\n\nnew y\n\n<!-- end -->\nc\n")  # fmt: skip
    assert kernel_tables.refreshed(new, lambda words: f"new {words[1]}\n") == new


def test_the_readme_has_a_place_for_what_can_be_measured_without_a_gpu():
    commands = [match[1].split() for match in kernel_tables.PLACE.findall(TEXT)]
    assert [words[1] for words in commands] == ["roofline", "matmul", "elementwise"]
    assert all(words[1] in BENCHMARKS and "--markdown" in words for words in commands)
    tables = [kernel_tables.PLACE.search(TEXT[TEXT.index(f"minigen bench {name}") - 5 :])[0]
              for name in ("roofline", "matmul", "elementwise")]  # fmt: skip
    assert all(table.count("\n| ") > 5 and "--quick" not in table.split("-->", 1)[1] for table in tables)


def test_the_readme_names_every_rung_and_its_file():
    for rung in RUNGS:
        assert f"`{rung}`" in TEXT, rung
    for rung in CUDA_RUNGS:
        assert f"`{rung}`" in TEXT, rung
    for name in re.findall(r"`(cpu/[\w/]+\.py|cuda/[\w/]+\.\w+|bench/\w+\.py)`", TEXT):
        assert (ROOT / "kernels" / name).exists(), name


def test_pictures_are_small_and_shown():
    for picture in kernel_tables.PICTURES.glob("*.png"):
        assert f"](pictures/{picture.name})" in TEXT
        assert picture.stat().st_size < 150_000
    assert {f"{name}.png" for name in ("roofline", "matmul", "elementwise")} <= {
        p.name for p in kernel_tables.PICTURES.iterdir()}  # fmt: skip
