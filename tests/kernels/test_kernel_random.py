"""Random numbers: Philox by its published vectors, the same bits as the reference, and statistics."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from kernel_cases import DTYPES, JIT, SHAPES

from minigen import kernels
from minigen.kernels import reference, scalar_random

N = 200_000 if JIT else 1500
SEED, DRAW = 0x123456789ABCDEF0, 0xFEDCBA9876543210

# Random123's kat_vectors for philox4x32-10: (seed, draw, block, words); counter = (block, draw), low word first.
ONES = 2**64 - 1
KNOWN = [
    (0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (ONES, ONES, ONES, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        0x299F31D0A4093822,
        0x0370734413198A2E,
        0x85A308D3243F6A88,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("seed", "draw", "block", "words"), KNOWN, ids=["zeros", "ones", "pi"])
def test_known_answers(seed: int, draw: int, block: int, words: tuple[int, ...]) -> None:
    ours = scalar_random.philox(np.uint64(seed), np.uint64(draw), np.uint64(block))
    assert tuple(int(w) for w in ours) == words
    theirs = reference.philox(seed, draw, np.array([block], np.uint64))
    assert tuple(int(w) for w in theirs[0]) == words


def test_the_zero_vector_through_the_public_kernel() -> None:
    np.testing.assert_array_equal(kernels.random_bits(0, 0, 4), np.array(KNOWN[0][3], np.uint32))


@pytest.mark.parametrize("n", [*range(18), 31, 32, 33, 127, 1000, 1023])
@pytest.mark.parametrize(("seed", "draw"), [(0, 0), (SEED, DRAW), (ONES, ONES)])
def test_words_are_those_of_the_reference(seed: int, draw: int, n: int) -> None:
    words = kernels.random_bits(seed, draw, n)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words, reference.random_bits(seed, draw, n))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_the_same_bits_as_the_reference(name: str, dtype: type) -> None:
    for shape in (*SHAPES, (N,)):
        ours = getattr(kernels, name)(SEED, DRAW, shape, dtype)
        theirs = getattr(reference, name)(SEED, DRAW, shape, dtype)
        assert ours.dtype == theirs.dtype == dtype and ours.shape == theirs.shape == shape
        assert ours.tobytes() == theirs.tobytes()


def test_the_polynomials_are_close_to_the_functions() -> None:
    """The bits are ours, the distribution is Box and Muller's: r cos a and r sin a of the same words."""
    words = reference.random_bits(1, 2, 2 * (N // 2)).astype(np.float64).reshape(-1, 2)
    r, a = np.sqrt(-2 * np.log((words[:, 0] + 0.5) / 2**32)), 2 * np.pi * words[:, 1] / 2**32
    z = kernels.normal(1, 2, (N // 2, 2), np.float32)
    # u rounds to 24 bits near 1, where r is nearly 0 and the error of r^2 is 2^-23
    np.testing.assert_allclose(z, np.stack([r * np.cos(a), r * np.sin(a)], axis=1), rtol=0, atol=5e-4)
    bits = reference.random_bits(1, 2, 4 * (N // 4)).astype(np.uint64).reshape(-1, 4)
    u = ((bits[:, 0] << np.uint64(21) | bits[:, 1] >> np.uint64(11)) + np.float64(1)) / 2**53
    a = 2 * np.pi * (bits[:, 2] / 2**32 + bits[:, 3] / 2**64)
    z = kernels.normal(1, 2, (N // 4, 2), np.float64)
    r = np.sqrt(-2 * np.log(u))
    np.testing.assert_allclose(z, np.stack([r * np.cos(a), r * np.sin(a)], axis=1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_longer_draw_begins_with_the_shorter(dtype: type) -> None:
    long = kernels.normal(5, 6, (37,), dtype), kernels.uniform(5, 6, (37,), dtype), kernels.random_bits(5, 6, 37)
    for k in range(0, 37, 3):
        np.testing.assert_array_equal(kernels.normal(5, 6, (k,), dtype), long[0][:k])
        np.testing.assert_array_equal(kernels.uniform(5, 6, (k,), dtype), long[1][:k])
        np.testing.assert_array_equal(kernels.random_bits(5, 6, k), long[2][:k])


@pytest.mark.parametrize("dtype", DTYPES)
def test_distributions(dtype: type) -> None:
    """Kolmogorov and Smirnov, the first four moments, the tails; the seeds are fixed, so this cannot flicker."""
    u, z = kernels.uniform(7, 1, (N,), dtype), kernels.normal(7, 2, (N,), dtype).astype(np.float64)
    assert 0 <= u.min() and u.max() < 1
    assert scipy.stats.kstest(u, "uniform").pvalue > 0.01
    assert scipy.stats.kstest(z, "norm").pvalue > 0.01
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 4 * np.sqrt(variance / N)
    for threshold in (1.0, 2.0, 3.0):
        tail = 2 * scipy.stats.norm.sf(threshold)
        assert abs((abs(z) > threshold).mean() - tail) < 4 * np.sqrt(tail / N)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_seeds_and_draws_are_uncorrelated(dtype: type) -> None:
    z = kernels.normal(1, 1, (N // 4, 4), dtype).astype(np.float64)
    lanes = np.corrcoef(np.concatenate([z, z**2], axis=1).T)
    lanes[np.tile(np.eye(4, dtype=bool), (2, 2))] = 0  # a lane with itself, or with its own square
    assert abs(lanes).max() < 4.5 * np.sqrt(4 / N)
    flat = z.reshape(-1)
    streams = [flat, flat[np.r_[1 : flat.size, 0]]]  # and its neighbour
    streams += [kernels.normal(s, d, (flat.size,), dtype) for s, d in ((2, 1), (1, 2), (1 + 2**32, 1), (1, 1 + 2**32))]
    correlation = np.corrcoef(np.stack(streams).astype(np.float64)) - np.eye(len(streams))
    assert abs(correlation).max() < 4.5 / np.sqrt(flat.size)


def test_the_ends_of_the_range_are_finite() -> None:
    low, high = np.uint64(0), np.uint64(2**32 - 1)
    for first in (low, high):
        for second in (low, high, np.uint64(2**31)):
            assert np.isfinite(scalar_random.normal_pair_32(first, second)).all()
            with np.errstate(over="ignore"):
                assert np.isfinite(scalar_random.normal_pair_64(first, first, second, second)).all()
    assert abs(scalar_random.normal_pair_32(low, low)[0] - 6.7637) < 1e-3
    assert scalar_random.uniform_32(high) < 1 and scalar_random.uniform_64(high, high) < 1


@pytest.mark.parametrize(("seed", "draw"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**64)])
def test_seeds_beyond_64_bits_are_refused(seed: int, draw: int) -> None:
    for call in (
        lambda: kernels.random_bits(seed, draw, 3),
        lambda: kernels.uniform(seed, draw, (3,), np.float32),
        lambda: kernels.normal(seed, draw, (3,), np.float32),
    ):
        with pytest.raises(ValueError, match=r"\[0, 2\*\*64\)"):
            call()


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_other_dtypes_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}: .*got int32$"):
        getattr(kernels, name)(1, 2, (3,), np.int32)
