"""What the discriminator sees through: the identity at p = 0, its gradient, and that it does not leak below 4/5."""

import numpy as np
import pytest

import minigen as mg
from minigen.models import GAN
from minigen.models.augment import NOISE, SHIFT, Augmentation


def augmentation(p, shape=(8, 6), seed=0):
    made = Augmentation(shape, mg.Generator(seed))
    made.p = p
    return made


def through(x, p, seed=0):
    return augmentation(p, x.shape[1:], seed)(mg.tensor(x.reshape(len(x), -1))).numpy().reshape(x.shape)


def test_nothing_changes_at_p_0(rng):
    x = rng.uniform(-1, 1, (5, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(through(x, 0.0), x, atol=1e-6)


def test_each_image_is_flipped_shifted_cut_and_grained_as_often_as_it_should_be():
    """A single bright pixel tells what was done to it: 4000 images of 21 x 21, p = 1/2."""
    x = np.full((4000, 21, 21), -1, np.float32)
    x[:, 10, 8] = 1
    y = through(x, 0.5)
    grained = np.abs(y[:, 0, :] + 1).max(1) > 1e-3
    assert grained.mean() == pytest.approx(0.5, abs=0.03)
    assert np.std(y[grained][:, 0, :]) == pytest.approx(NOISE, rel=0.02)
    quiet = y[~grained]
    kept = quiet.max((1, 2)) > 0
    places = np.array([np.unravel_index(image.argmax(), image.shape) for image in quiet[kept]])
    rows = np.bincount(places[:, 0] - 10 + SHIFT, minlength=7) / len(places)
    expected = np.full(7, 0.5 / 7) + np.eye(7)[SHIFT] * 0.5
    np.testing.assert_allclose(rows, expected, atol=0.03)
    assert set(places[:, 1] - 8) <= {*range(-3, 4), *range(1, 8)}  # 12 is the mirror image of 8
    assert ((places[:, 1] == 15).mean(), (places[:, 1] == 5).mean()) == pytest.approx((0.25 / 14, 0.75 / 14), abs=0.02)
    hidden = 0.5 * 0.5 * 0.5  # applied, the row in the square, the column in it: near the middle
    assert 1 - kept.mean() == pytest.approx(hidden, abs=0.03)
    assert np.allclose(quiet.sum((1, 2)), -441 + 2 * kept, atol=1e-3), "a pixel moves or goes, nothing else"


def test_a_gradient_flows_back_through_what_was_done(rng):
    """T is affine in the images: for the same draws T(x + d) - T(x) is linear in d, and its transpose the gradient."""
    x, d, g = (rng.standard_normal((6, 48)).astype(np.float32) for _ in range(3))
    image = mg.tensor(x, requires_grad=True)
    (augmentation(0.7)(image) * mg.tensor(g)).sum().backward()
    forward = augmentation(0.7)(mg.tensor(x + d)).numpy() - augmentation(0.7)(mg.tensor(x)).numpy()
    assert 0 < np.abs(image.grad.numpy()).sum()
    assert (forward * g).sum() == pytest.approx((d * image.grad.numpy()).sum(), rel=1e-4)
    assert not np.allclose(image.grad.numpy(), g)


@pytest.mark.parametrize("p", [0.4, 0.79])
def test_two_distributions_never_look_the_same_through_it(p):
    """The operators on distributions, as matrices: their smallest eigenvalue is what the module says it is."""
    size = 2 * SHIFT + 1
    shift = sum(np.roll(np.eye(16), s, 1) for s in range(-SHIFT, SHIFT + 1)) / size
    both = np.kron(shift, shift)
    shifts = np.linalg.eigvalsh((1 - p) * np.eye(len(both)) + p * both)
    assert shifts.min() >= 1 - 5 * p / 4 > 0
    flip = (1 - p) * np.eye(2) + p * np.full((2, 2), 0.5)
    assert np.linalg.eigvalsh(flip).min() == pytest.approx(1 - p)
    # Three pixels of 0 or 1; a cutout sets two neighbours, or all, to 0.
    states = np.array(list(np.ndindex(2, 2, 2)))
    cutout = np.zeros((8, 8))
    for hidden in ((0, 1), (1, 2), (0, 1, 2)):
        for source, state in enumerate(states):
            after = np.where(np.isin(range(3), hidden), 0, state)
            cutout[np.flatnonzero((states == after).all(1))[0], source] += 1 / 3
    eigenvalues = np.linalg.eigvals((1 - p) * np.eye(8) + p * cutout)
    assert np.abs(eigenvalues.imag).max() < 1e-8 and eigenvalues.real.min() >= 1 - p - 1e-8


def test_real_and_generated_images_are_seen_alike_and_the_generator_learns_through_it(rng):
    """Compiled and eager, three steps at three values of p; p = 0 with an augmentation is the step without one."""
    images = rng.integers(0, 256, (8, 6, 6)).astype(np.uint8)

    def gan():
        model = GAN(image_shape=(6, 6), latent=3, generator=(5,), discriminator=(5,), seed=1)
        model.augmentation, model.watched = augmentation(0.0, (6, 6), 7), True
        return model

    eager, compiled = gan(), gan()
    step = mg.compile(compiled.train_step)
    for p in (0.0, 0.5, 0.8):
        eager.augmentation.p = compiled.augmentation.p = p
        ours, theirs = step(images), eager.train_step(images)
        for name, value in theirs.items():
            assert float(ours[name]) == pytest.approx(value, rel=1e-4, abs=1e-6)
    assert len(step.programs) <= 2, "p is a number of the step, not a constant of its program"
    plain = GAN(image_shape=(6, 6), latent=3, generator=(5,), discriminator=(5,), seed=1)
    fresh = gan()
    theirs, ours = plain.train_step(images), fresh.train_step(images)
    assert ours["generator_loss"] == pytest.approx(theirs["generator_loss"], rel=1e-5)
    assert set(ours) - set(theirs) == {"real_sign", "fake_sign"}
    seen = []
    fresh.augmentation = lambda x: seen.append(x) or x
    fresh.train_step(images)
    assert len(seen) == 3 and seen[2].requires_grad and not seen[1].requires_grad
