"""The source of a program: what runs is what is shown, it says what each line is, and it runs by itself."""

from __future__ import annotations

import ast
import linecache
import re
import subprocess
import sys

import numpy as np
import pytest

import minigen as mg
from minigen import nn, ops, optim
from minigen.errors import GraphError, OutputError
from minigen.program.report import flops_of
from minigen.program.step import CompiledStep
from minigen.random import Generator
from minigen.tensor import Parameter

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 6, 5)).astype(np.uint8)


@pytest.fixture(scope="module")
def gan():
    model = mg.models.GAN(image_shape=(6, 5), latent=4, generator=(12,), discriminator=(12,), r1=0.0)
    step = CompiledStep(model.train_step, interpret=True)
    step(IMAGES)
    return step


def test_every_line_says_its_part_its_equation_and_the_line_it_came_from(gan):
    body = gan.source.split("    def step(")[1].splitlines()[1:]
    headings = [line for line in body if re.match(r" {8}# (forward|backward|update), minigen/\S+\.py:\d+$", line)]
    lines = [line for line in body if line.startswith("        ") and line not in headings]
    assert len(headings) >= 6 and {line.split()[1] for line in headings} == {"forward,", "backward,", "update,"}
    assert all("  # " in line for line in lines if "return" not in line)
    assert "# Y = X W + b" in gan.source and "for the gradient of leaky_relu" in gan.source
    model = "\n".join(headings)
    assert "minigen/models/gan.py" in model and "minigen/losses/gan.py" in model


def test_the_source_is_valid_and_is_what_runs(gan):
    ast.parse(gan.source)
    model = mg.models.GAN.preset("document", seed=0)
    step = mg.compile(model.train_step)
    images = np.zeros((4, 28, 28), np.uint8)
    step(images)
    name = step.last._step.__code__.co_filename
    assert "".join(linecache.getlines(name)) == step.source  # what a debugger and a traceback show
    step(images)
    name = step.last._step.__code__.co_filename
    text = "".join(linecache.getlines(name))
    assert name.endswith("in sequences>") and text == step.last.emitted.played[mg.get_threads() == 1].source
    said = [line for line in text.split("def step(")[1].splitlines() if "  # " in line]
    assert said and set(said) <= set(step.source.splitlines()) and len(said) < step.source.count("  # ") / 2


@pytest.mark.parametrize("name", ["sum_row", "sum_total", "sum_out", "neg_2", "neg_2_2", "i", "c0", "n1", "class_"])
def test_an_argument_may_have_a_name_that_the_source_would_give(name):
    names = {}
    exec(f"def function(x, {name}): return (-(-x * {name})).sum() - (-{name}).sum()", names)
    rng = np.random.default_rng(0)
    x, other = (mg.tensor(rng.normal(size=(rows, 8)), dtype="float64") for rows in (3, 1))
    expected = names["function"](x, other).item()
    assert mg.compile(names["function"])(x, other).item() == pytest.approx(expected, rel=1e-12)


def test_a_line_of_a_user_is_named_by_file_and_number():
    net = nn.Dense(3, 1, rng=Generator(0))
    optimizer = optim.SGD(net.parameters())

    def body(x):
        loss = (net(x) * 2.0).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    step = CompiledStep(body, interpret=True)
    step(np.ones((2, 3), np.float32))
    first = body.__code__.co_firstlineno
    assert f"# forward, {__file__}:{first + 1}" in step.source
    assert f"# backward, {__file__}:{first + 1}" in step.source
    assert f"# update, {__file__}:{first + 3}" in step.source


def test_the_source_is_the_same_again():
    def source():
        model = mg.models.VAE(image_shape=(6, 5), latent=3, hidden=(12,))
        step = CompiledStep(model.train_step, interpret=True)
        step(IMAGES)
        return step.source

    assert source() == source()


def test_batches_of_two_sizes_share_their_loops():
    """The last, shorter batch of an epoch costs a trace and no machine code."""
    model = mg.models.GAN.preset("document", image_shape=(6, 5))
    step = CompiledStep(model.train_step, interpret=True)
    step(IMAGES)
    whole = step.source
    step(IMAGES[:5])

    def texts(source):
        return re.sub(r"loop_\d+", "", source.split("def bind(")[0].split("import array, loop, ordered, plus")[1])

    assert texts(whole) == texts(step.source)


def test_a_saved_program_runs_by_itself_and_does_the_next_step(gan, tmp_path):
    path = tmp_path / "gan_step.py"
    gan.save(path)
    run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    found = [float(line.split()[1]) for line in run.stdout.splitlines()]
    losses = [float(loss) for loss in gan(IMAGES).values()]
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    with pytest.raises(OutputError, match="cannot be written"):
        gan.save(tmp_path / "no folder" / "step.py")


def test_explain_lists_every_line_and_changes_nothing(gan):
    before = gan.last.state()["adam_parameters"].copy()
    text = gan.explain()
    np.testing.assert_array_equal(gan.last.state()["adam_parameters"], before)
    rows = [line for line in text.splitlines() if re.match(r"\s*\d+  (forward|backward|update)", line)]
    assert len(rows) == len(gan.last.emitted.lines)
    assert all(float(line.split()[5]) >= 0 for line in rows)
    assert re.search(r"\d+ operations became \d+ lines; arena \d+ KiB", text) and "GFLOP/s" in text


@pytest.mark.parametrize("causal, pairs", [(True, 1 + 2 + 3 + 4 + 5), (False, 25)])
def test_flops_count_the_products_within_attention(causal, pairs):
    """Of each pair of query and key, width numbers in two products forward and in five backward."""
    weight = Parameter(np.random.default_rng(0).standard_normal((8, 24)).astype("float32"))

    def step(x, lengths):
        y = ops.self_attention(x @ weight, lengths, heads=2, causal=causal)
        y.sum().backward()
        return y

    compiled = CompiledStep(step)
    compiled(np.ones((2, 5, 8), "float32"), np.array([5, 5]))
    found = {i.name: flops_of(i) for i in compiled.last.program.instructions if i.name.startswith("self_attention")}
    assert found == {"self_attention": 2 * 2 * 2 * pairs * 8, "self_attention_grad": 5 * 2 * 2 * pairs * 8}


def test_draw_shows_the_program_before_and_after(gan, tmp_path):
    dot = gan.draw(tmp_path / "step.png")
    assert dot.count("leaky_relu") > 1 and dot.count("product leaky_relu") == 3 and "dense" in dot
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_there_is_no_source_before_the_first_call():
    with pytest.raises(GraphError, match="call it once"):
        _ = CompiledStep(lambda x: x).source


@pytest.mark.parametrize("interpret", [True, False])
def test_values_may_be_called_as_what_a_loop_has_itself(interpret):
    """Its indices, its numbers and words of C++."""

    def step(c0, i, n1, double):
        a = (c0 * 0.3 + i) * n1 - double * 0.7
        return a.sum(0), a

    values = np.random.default_rng(0).normal(size=(4, 3, 4))
    total, a = CompiledStep(step, interpret)(*values)
    expected = (values[0] * 0.3 + values[1]) * values[2] - values[3] * 0.7
    np.testing.assert_allclose(a.data, expected, rtol=1e-12)
    np.testing.assert_allclose(total.data, expected.sum(0), rtol=1e-12)
