"""From its second run on a program calls kernels in sequences: the same bits, wherever its memory goes meanwhile."""

import numpy as np
import pytest

import minigen as mg
from minigen import models, optim
from minigen.data.tokenizer import CharacterTokenizer
from minigen.kernels.cpu.sequence import AVAILABLE
from minigen.program import runnable

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="kernels are plain Python, or check bounds, here")

TOKENIZER = CharacterTokenizer("abcdef").describe()
MODELS = {
    "GAN": lambda: models.GAN.preset("document", seed=0),
    "VAE": lambda: models.VAE.preset("document", seed=0),
    "wide VAE": lambda: models.VAE(hidden=(300,), latent=3, seed=0),
    "GPT": lambda: models.GPT(tokenizer=TOKENIZER, context=6, layers=1, heads=2, width=8, seed=0),
}


def batches(name, count, rows=5):
    rng = np.random.default_rng(0)
    for _ in range(count):
        pixels = rng.integers(0, 256, (rows, 28, 28)).astype(np.uint8)
        yield rng.integers(0, 6, (rows, 7)) if name == "GPT" else pixels


def in_sequences(step):
    return step.last._running is not step.last.emitted


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_they_give_the_bits_of_single_calls(name, threads, monkeypatch):
    before = mg.get_threads()
    mg.set_threads(threads)
    states = []
    try:
        for possible in (True, False):
            monkeypatch.setattr(runnable, "AVAILABLE", possible)
            model = MODELS[name]()
            step = mg.compile(model.train_step)
            for images in batches(name, 4, rows=70):
                step(images)
            assert in_sequences(step) == possible
            states.append(model.state_dict())
    finally:
        mg.set_threads(before)
    for key, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][key], err_msg=key)


def test_memory_and_threads_may_change_between_steps():
    before = mg.get_threads()
    model, twin = MODELS["wide VAE"](), MODELS["wide VAE"]()
    step, other = mg.compile(model.train_step), mg.compile(twin.train_step)
    try:
        for n, images in enumerate(batches("VAE", 9, rows=70)):
            if n % 3 == 2:
                assert in_sequences(step) or n > 2  # they wait longer each time that memory moves
                for p in model.parameters():
                    p.data = p.data.copy()
            mg.set_threads(1 + n % 5 // 3)
            step(images)
            mg.set_threads(1)
            other(images)
    finally:
        mg.set_threads(before)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, twin.state_dict()[key], err_msg=key)


def test_state_that_is_not_aligned_is_read_line_by_line():
    raw = np.zeros(4 * 6 + 1, np.uint8)[1:].view(np.float32).reshape(2, 3)
    raw[...] = np.arange(6).reshape(2, 3)
    w, v = mg.Tensor(raw), mg.Parameter(np.ones((3, 1), np.float32))
    optimizer = optim.SGD([v], lr=0.1)

    @mg.compile
    def step(x):
        loss = (((x @ w) @ v) * (x @ w)).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x = np.ones((4, 2), np.float32)
    losses = [float(step(x)) for _ in range(4)]
    assert not raw.flags.aligned and not in_sequences(step)
    w.data = raw.copy()
    v.data[...] = 1
    assert [float(step(x)) for _ in range(4)] == losses and in_sequences(step)


def test_sequences_wait_longer_each_time_that_memory_moves():
    model = MODELS["VAE"]()
    step = mg.compile(model.train_step)
    runs = []
    for _ in range(4):
        model.parameters()[0].data = model.parameters()[0].data.copy()
        count = 0
        while not count or not in_sequences(step):
            step(next(batches("VAE", 1)))
            count += 1
        runs.append(count)
    assert runs == [2, 3, 5, 9]


def test_a_host_number_is_read_at_every_step():
    model, twin = MODELS["VAE"](), MODELS["VAE"]()
    step = mg.compile(model.train_step)
    for n, images in enumerate(batches("VAE", 5)):
        model.beta = twin.beta = 0.5 * n
        loss, expected = step(images)["loss"].item(), twin.train_step(images)["loss"]
        assert loss == pytest.approx(expected, rel=1e-5)
    assert in_sequences(step) and len(step.programs) == 1
