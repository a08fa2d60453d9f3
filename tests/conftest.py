"""What all tests share: numbers that are the same in every run, and operations that live for one test."""

import os
import signal

import numpy as np
import pytest
from hypothesis import settings

from minigen import autograd
from minigen import tensor as make

# The first call of a kernel compiles it, which no deadline for a single example survives.
settings.register_profile("minigen", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("minigen")

# Under nohup, or in the background of some shells, Ctrl-C is ignored, by every process that is started there too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item):
    if item.get_closest_marker("compiled") and os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        pytest.skip("takes minutes without compiled kernels")


@pytest.fixture
def rng():
    return np.random.default_rng(20240229)


@pytest.fixture
def small_images(tmp_path):
    """A folder with images.npz: 40 images of 6 x 6."""
    pixels = (np.arange(40 * 36).reshape(40, 6, 6) * 37 % 251).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    return tmp_path


@pytest.fixture
def leaf(rng):
    """leaf(2, 3): a tensor of that shape that requires grad, of other standard normal values at every call."""

    def function(*shape, dtype="float64"):
        return make(rng.standard_normal(shape), requires_grad=True, dtype=dtype)

    return function


@pytest.fixture
def scratch_op():
    """The decorator `op`, whose operations are forgotten after the test."""
    before = dict(autograd.OPS)
    yield autograd.op
    autograd.OPS.clear()
    autograd.OPS.update(before)


@pytest.fixture
def ran():
    """A list that grows by the name of each operation that runs."""
    names = []
    with autograd.hook(lambda op, inputs, attrs, output: names.append(op.name)):
        yield names
