"""Generator: numbers that depend on a seed and a count, and on nothing else."""

import numpy as np
import pytest

import minigen as mg
from minigen.errors import UsageError
from minigen.random import Generator


def test_the_same_seed_gives_the_same_numbers():
    a, b = Generator(7), Generator(7)
    for _ in range(3):
        np.testing.assert_array_equal(a.normal((3, 4)).data, b.normal((3, 4)).data)
        np.testing.assert_array_equal(a.uniform((5,)).data, b.uniform((5,)).data)


def test_another_seed_or_another_draw_gives_other_numbers():
    a, b = Generator(7), Generator(8)
    first, second = a.uniform((100,)), a.uniform((100,))
    assert not (first.data == second.data).any()
    assert not (first.data == b.uniform((100,)).data).any()


def test_a_draw_does_not_depend_on_what_was_drawn_before():
    a, b = Generator(7), Generator(7)
    a.normal((1000,))
    b.dropout_mask((3,), rate=0.5)
    np.testing.assert_array_equal(a.uniform((8,)).data, b.uniform((8,)).data)


def test_a_short_draw_is_the_beginning_of_a_long_one():
    np.testing.assert_array_equal(Generator(7).uniform((3,)).data, Generator(7).uniform((300,)).data[:3])


def test_the_state_is_two_integers_and_goes_round():
    a = Generator(7)
    a.normal((2,))
    a.bernoulli(mg.tensor([0.5]))
    assert a.state() == (7, 2)
    b = Generator(*a.state())
    np.testing.assert_array_equal(a.normal((9,)).data, b.normal((9,)).data)
    assert a.state() == b.state() == (7, 3)


def test_forks_are_reproducible_and_independent_of_the_draws_so_far():
    a, b = Generator(7), Generator(7)
    a.normal((5,))
    np.testing.assert_array_equal(a.fork("noise").normal((9,)).data, b.fork("noise").normal((9,)).data)
    assert a.state() == (7, 1), "a fork draws nothing"


def test_forks_by_different_names_and_from_different_seeds_are_uncorrelated():
    streams = [Generator(7), Generator(7).fork("a"), Generator(7).fork("b"), Generator(8).fork("a"),
               Generator(7).fork("a").fork("a")]
    samples = np.stack([g.normal((4000,)).data for g in streams])
    correlation = np.corrcoef(samples) - np.eye(len(streams))
    assert abs(correlation).max() < 4 / np.sqrt(4000)
    assert len({g.seed for g in streams}) == 5


def test_a_fork_is_the_same_on_every_machine():
    assert Generator(0).fork("noise").seed == int.from_bytes(
        __import__("hashlib").sha256(b"0/noise").digest()[:8], "little")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_and_uniform_have_their_moments_and_types(dtype):
    g = Generator(3)
    z, u = g.normal((200, 100), dtype), g.uniform((200, 100), dtype)
    assert z.dtype == u.dtype == dtype
    assert z.shape == u.shape == (200, 100)
    n = z.size
    assert abs(z.data.mean()) < 5 / np.sqrt(n)
    assert abs((z.data**2).mean() - 1) < 5 * np.sqrt(2 / n)
    assert abs((z.data**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert abs(u.data.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
    assert u.data.min() >= 0
    assert u.data.max() < 1


def test_a_dropout_mask_is_zero_or_scaled_and_one_on_average():
    mask = Generator(3).dropout_mask((200, 100), rate=0.2).data
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1.25)}
    kept = (mask > 0).mean()
    assert abs(kept - 0.8) < 5 * np.sqrt(0.16 / mask.size)
    assert mask.mean() == pytest.approx(1, abs=0.02)
    assert Generator(3).dropout_mask((4,), rate=0.5, dtype="float64").dtype == "float64"


def test_a_dropout_rate_of_zero_keeps_everything():
    np.testing.assert_array_equal(Generator(3).dropout_mask((50,), rate=0.0).data, np.ones(50))


def test_bernoulli_draws_ones_with_the_given_probabilities():
    p = mg.tensor(np.broadcast_to([0.0, 0.25, 0.9, 1.0], (5000, 4)), requires_grad=True)
    x = Generator(3).bernoulli(p)
    assert x.dtype == p.dtype
    assert not x.requires_grad
    assert set(np.unique(x.data)) == {0, 1}
    np.testing.assert_allclose(x.data.mean(axis=0), [0, 0.25, 0.9, 1], atol=5 * 0.5 / np.sqrt(5000))
    assert x.data[:, 0].max() == 0
    assert x.data[:, 3].min() == 1
    assert Generator(3).bernoulli(mg.tensor([0.5], dtype="float64")).dtype == "float64"


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_is_a_64_bit_number(seed):
    with pytest.raises(UsageError, match=f"got {seed}"):
        Generator(seed)
    Generator(2**64 - 1).normal((2,))
    Generator(0)


def test_random_numbers_are_operations_that_a_hook_sees(ran):
    g = Generator(3)
    g.normal((2,))
    g.uniform((2,))
    g.dropout_mask((2,), rate=0.5)
    assert ran == ["normal", "uniform", "dropout_mask"]


def test_an_empty_draw_is_empty_and_counts():
    g = Generator(3)
    assert g.normal((0, 4)).shape == (0, 4)
    assert g.state() == (3, 1)


def test_seeding_restarts_the_default_generator():
    from minigen.random import default_generator

    before = default_generator.state()
    try:
        mg.seed(11)
        first = default_generator.normal((3,)).data
        mg.seed(11)
        np.testing.assert_array_equal(first, default_generator.normal((3,)).data)
        assert default_generator.state() == (11, 1)
        with pytest.raises(UsageError):
            mg.seed(-1)
    finally:
        default_generator.seed, default_generator.draw = before
