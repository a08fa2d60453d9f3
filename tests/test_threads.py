"""The number of threads: what it may be, whom it reaches, and what a fork leaves of it."""

import os
import subprocess
import sys

import pytest
import threadpoolctl

import minigen as mg
from minigen.kernels import threads

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
computes_in_tiles = pytest.mark.skipif(not COMPILED, reason="without compilation NumPy adds, in an order of its own")


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.setattr(threads, "_chosen", threads._chosen)
    with threadpoolctl.threadpool_limits(user_api="blas"):
        yield


def blas_threads():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_one_number_for_kernels_and_blas(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    for n in (1, 2):
        mg.set_threads(n)
        assert mg.get_threads() == n
        assert blas_threads() == {n}


def test_never_more_than_there_are_processors(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    mg.set_threads(1000)
    assert mg.get_threads() == 2
    assert blas_threads() == {2}


@pytest.mark.parametrize("n", [0, -1, 2.0, "2", None, True])
def test_what_is_no_number_of_threads_is_refused(n):
    before = mg.get_threads()
    with pytest.raises(mg.errors.UsageError, match="whole number of at least 1"):
        mg.set_threads(n)
    assert mg.get_threads() == before


def run(script, *arguments, **variables):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)} | variables
    return subprocess.run([sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True)


def test_no_more_threads_are_started_than_there_are_processors(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)
    assert [threads.threads_to_start(n) for n in (1, 3, 4, 10**9)] == [1, 3, 3, 3]
    with pytest.raises(TypeError, match="integer"):
        threads.threads_to_start(2.5)


SAY = """
import threadpoolctl, minigen as mg
pools = threadpoolctl.threadpool_info()
print(mg.get_threads(), *{pool["num_threads"] for pool in pools if pool["user_api"] == "blas"})
"""


def test_the_environment_says_the_first_number():
    assert run(SAY, MINIGEN_THREADS="1").stdout == "1 1\n"
    assert run(SAY, MINIGEN_THREADS="").stdout.split()[0] == str(threads.processors())


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_wrong_environment_is_a_usage_error(text):
    script = "import minigen as mg\ntry: mg.get_threads()\nexcept mg.errors.UsageError as error: print(error)"
    done = run(script, MINIGEN_THREADS=text)
    said = f"MINIGEN_THREADS={text!r}: the number of threads is a whole number of at least 1\n"
    assert done.stdout == said, done.stderr


def test_a_wrong_environment_is_one_line_of_a_command():
    done = run("import sys; from minigen.cli import main; sys.exit(main(['doctor']))", MINIGEN_THREADS="two")
    assert done.returncode == 2 and done.stderr.startswith("minigen: error: MINIGEN_THREADS='two'")
    assert done.stderr.count("\n") == 1


FORK = """
import os, sys
import numpy as np
from minigen.kernels import matmul, threads
a = np.arange(90000, dtype=np.float32).reshape(300, 300) % 7
before = matmul(a, a, threads=2)
child = os.fork()
if not child:
    same = all(np.array_equal(matmul(a, a, rung=rung, threads=2), before) for rung in ("best", "parallel"))
    os._exit(0 if same and threads.get_threads() == 1 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@computes_in_tiles
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("layer", ["default", "omp", "workqueue"])
def test_a_forked_child_goes_on_with_one_thread(layer):
    done = run(FORK, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"Numba has no layer {layer} here")
    assert done.returncode == 0, done.stderr


@computes_in_tiles
def test_callers_in_several_threads_under_the_plainest_layer():
    script = """
import threading
import numpy as np
from minigen.kernels import matmul
a = np.arange(90000, dtype=np.float32).reshape(300, 300) % 7
expected = matmul(a, a, threads=1)
wrong = []
def work():
    for i in range(5):
        if not np.array_equal(matmul(a, a, threads=2), expected):
            wrong.append(i)
workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers: worker.start()
for worker in workers: worker.join()
assert not wrong
"""
    done = run(script, NUMBA_THREADING_LAYER="workqueue")
    assert done.returncode == 0, done.stderr


@computes_in_tiles
def test_a_training_step_does_not_depend_on_it(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)
    rng = mg.Generator(3)
    x, w = rng.normal((256, 300)), mg.Parameter(rng.normal((300, 200)).data)
    gradients = []
    for n in (1, 2, 3):
        mg.set_threads(n)
        w.grad = None
        mg.tanh(x @ w).sum().backward()
        gradients.append(w.grad.numpy().tobytes())
    assert len(set(gradients)) == 1
