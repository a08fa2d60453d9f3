"""The order of the data: a permutation, a function of (seed, epoch), the same after a stop at any step."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen import kernels
from minigen.data import Loader, permutation
from minigen.errors import UsageError

SEEDS = st.integers(0, 2**64 - 1)
EPOCHS = st.integers(0, 2**40)
FROZEN = ([7, 0, 3, 5, 2, 6, 1, 4], [1, 2, 7, 4, 6, 5, 0, 3])


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), seed=SEEDS, epoch=EPOCHS)
def test_the_order_is_a_permutation_and_repeatable(count, seed, epoch):
    order = permutation(count, seed, epoch)
    assert order.dtype == np.int64 and sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, permutation(count, seed, epoch))


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 50), seed=SEEDS, epoch=EPOCHS, data=st.data(), drop_last=st.booleans())
def test_an_epoch_holds_each_item_once(count, seed, epoch, data, drop_last):
    batch_size = data.draw(st.integers(1, count))
    loader = Loader(count, batch_size, seed, drop_last=drop_last)
    batches = list(loader.epoch(epoch))
    assert len(batches) == len(loader)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    seen = np.concatenate(batches)
    expected = count // batch_size * batch_size if drop_last else count
    assert np.array_equal(seen, permutation(count, seed, epoch)[:expected])


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 30), seed=SEEDS, data=st.data(), drop_last=st.booleans())
def test_a_run_resumed_at_any_step_goes_on_as_if_uninterrupted(count, seed, data, drop_last):
    batch_size = data.draw(st.integers(1, count))
    stop = data.draw(st.integers(0, 3 * count))
    whole = list(itertools.islice(Loader(count, batch_size, seed, drop_last=drop_last).steps(), stop + 7))
    resumed = list(itertools.islice(Loader(count, batch_size, seed, drop_last=drop_last).steps(stop), 7))
    assert len(resumed) == 7
    assert all(np.array_equal(a, b) for a, b in zip(whole[stop:], resumed, strict=True))


@settings(max_examples=30, deadline=None)
@given(step=st.integers(0, 100))
def test_position_batch_epoch_and_steps_agree(step):
    loader = Loader(10, 3, 5)
    epoch, index = loader.position(step)
    expected = next(Loader(10, 3, 5).steps(step))
    assert np.array_equal(loader.batch(epoch, index), expected)
    assert np.array_equal(next(loader.epoch(epoch, index)), expected)


def test_orders_differ_between_epochs_and_seeds_and_from_the_identity():
    orders = [permutation(40, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)] + [
        list(range(40))
    ]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


def test_every_order_is_as_likely_as_another():
    counts = np.zeros(6)
    for epoch in range(600):
        first, second, _ = permutation(3, 0, epoch)
        counts[2 * first + (second == (first + 1) % 3)] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 20.5  # chi squared, 5 degrees of freedom, p = 0.001


def test_items_with_equal_keys_keep_their_order(monkeypatch):
    monkeypatch.setattr(kernels, "random_bits", lambda seed, draw, n: np.zeros(n, np.uint32))
    assert permutation(50, 0, 0).tolist() == list(range(50))


def test_the_order_has_a_random_stream_of_its_own(monkeypatch):
    keys = []
    real = kernels.random_bits
    monkeypatch.setattr(
        kernels, "random_bits", lambda seed, draw, n: keys.append((seed, draw)) or real(seed, draw, n)
    )
    permutation(4, 3, 9)
    assert keys == [(3 ^ int.from_bytes(b"shuffle!", "big"), 9)]


def test_the_order_of_a_seed_stays_the_same_between_versions():
    assert permutation(8, 0, 0).tolist() == FROZEN[0]
    assert permutation(8, 0, 1).tolist() == FROZEN[1]


def test_going_back_to_an_earlier_epoch():
    loader = Loader(10, 4, 0)
    first = loader.batch(0, 1).copy()
    loader.batch(1, 0)
    assert np.array_equal(loader.batch(0, 1), first)


def test_batches_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        Loader(10, 4, 0).batch(0, 0)[0] = 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Loader(10, 64, 0), "batch size 64 is larger than the 10 items there are: give 10 or less"),
        (lambda: Loader(10, 0, 0), "batch size 0: expected at least 1"),
        (lambda: Loader(0, 1, 0), "the data set is empty"),
        (lambda: Loader(10, 1, -1), "seed -1: expected a whole number from 0"),
        (lambda: Loader(10, 1, 2**64), "seed 18446744073709551616: expected"),
        (lambda: Loader(10, 4, 0).batch(0, 3), "batch 3 does not exist: an epoch has batches 0 to 2"),
        (lambda: Loader(10, 4, 0).batch(-1, 0), "epoch -1: counted from 0"),
        (lambda: Loader(10, 4, 0).epoch(-1), "epoch -1: counted from 0"),
        (lambda: Loader(10, 4, 0).epoch(0, 4), "cannot start at batch 4: an epoch has batches 0 to 2"),
        (lambda: Loader(10, 4, 0).steps(-1), "step -1: counted from 0"),
    ],
)
def test_what_cannot_be_is_refused_at_once(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_starting_at_the_end_of_an_epoch_gives_nothing():
    assert list(Loader(10, 4, 0).epoch(0, 3)) == []
