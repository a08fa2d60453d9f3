"""Optimizers against transcriptions of their papers, schedules against closed forms, clipping, averaging."""

import math

import numpy as np
import pytest

import minigen as mg
from minigen import nn, optim
from minigen.errors import CheckpointError, DTypeError, ShapeError, UsageError, VersionError
from minigen.random import Generator
from minigen.tensor import Parameter, Tensor


def parameter(rng, *shape, dtype="float64"):
    return Parameter(rng.standard_normal(shape).astype(dtype))


def give(p, gradient):
    p.grad = Tensor(np.asarray(gradient, p.dtype).reshape(p.shape))


# The papers' algorithms, in float64 -------------------------------------------------------------------------
# Each yields the parameter after every step; `gradients` is a list, one entry a step.


def sgd(p, gradients, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """Sutskever et al. 2013, in the form with lr outside the velocity."""
    velocity = 0
    for g in gradients:
        g = g + weight_decay * p
        velocity = momentum * velocity + g
        p = p - lr * (g + momentum * velocity if nesterov else velocity)
        yield p


def rmsprop(p, gradients, lr, rho=0.9, eps=1e-8, weight_decay=0.0):
    """Tieleman & Hinton 2012, lecture 6e, slide 29."""
    mean_square = 0
    for g in gradients:
        g = g + weight_decay * p
        mean_square = rho * mean_square + (1 - rho) * g**2
        p = p - lr * g / (np.sqrt(mean_square) + eps)
        yield p


def adam(p, gradients, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Kingma & Ba 2015, Algorithm 1; weight decay as in Loshchilov & Hutter 2019, Algorithm 2, line 6."""
    m = v = 0
    for t, g in enumerate(gradients, start=1):
        g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
        yield p


def adamw(p, gradients, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    """Loshchilov & Hutter 2019, Algorithm 2, line 12, with the decay scaled by lr, as everyone's code does."""
    m = v = 0
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = p - lr * (m_hat / (np.sqrt(v_hat) + eps) + weight_decay * p)
        yield p


CASES = [
    (optim.SGD, sgd, dict(lr=0.1)),
    (optim.SGD, sgd, dict(lr=0.1, weight_decay=0.3)),
    (optim.SGD, sgd, dict(lr=0.1, momentum=0.8)),
    (optim.SGD, sgd, dict(lr=0.1, momentum=0.8, weight_decay=0.3)),
    (optim.SGD, sgd, dict(lr=0.1, momentum=0.8, nesterov=True)),
    (optim.SGD, sgd, dict(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.3)),
    (optim.RMSprop, rmsprop, dict(lr=0.1)),
    (optim.RMSprop, rmsprop, dict(lr=0.1, rho=0.5, eps=0.1, weight_decay=0.3)),
    (optim.Adam, adam, dict(lr=0.1)),
    (optim.Adam, adam, dict(lr=0.1, betas=(0.5, 0.9), eps=0.1, weight_decay=0.3)),
    (optim.AdamW, adamw, dict(lr=0.1)),
    (optim.AdamW, adamw, dict(lr=0.1, betas=(0.5, 0.9), eps=0.1, weight_decay=0.3)),
    (optim.AdamW, adam, dict(lr=0.1, weight_decay=0.0)),
]
OPTIMIZERS = [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW]
each = pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda c: c.__name__)


def test_every_optimizer_has_a_transcription():
    public = {getattr(optim, name) for name in optim.__all__ if isinstance(getattr(optim, name), type)}
    optimizers = {c for c in public if issubclass(c, optim.Optimizer)} - {optim.Optimizer}
    assert optimizers == {make for make, _, _ in CASES} == set(OPTIMIZERS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "paper", "settings"), CASES, ids=lambda v: getattr(v, "__name__", None) or str(v)
)
def test_an_optimizer_follows_its_paper(make, paper, settings, dtype, rng):
    ps = [parameter(rng, *shape, dtype=dtype) for shape in ((3, 2), (5,), (0, 3))]
    gradients = [[rng.standard_normal(p.shape).astype(dtype) for _ in range(6)] for p in ps]
    paths = [
        list(paper(p.data.astype(float), [g.astype(float) for g in gs], **settings))
        for p, gs in zip(ps, gradients, strict=True)
    ]
    optimizer = make(ps, **settings)
    for step in range(6):
        for p, gs in zip(ps, gradients, strict=True):
            give(p, gs[step])
        optimizer.step()
        for p, path in zip(ps, paths, strict=True):
            assert p.dtype == dtype
            np.testing.assert_allclose(
                p.data, path[step], **(dict(rtol=1e-12) if dtype == "float64" else dict(rtol=2e-5, atol=2e-6))
            )


@each
def test_a_step_reads_the_gradient_and_changes_no_memory_but_its_own(make, rng):
    p = parameter(rng, 4)
    bystander = parameter(rng, 4)
    give(p, g := rng.standard_normal(4))
    before = bystander.data.copy()
    make([p]).step()
    np.testing.assert_array_equal(p.grad.data, g)
    np.testing.assert_array_equal(bystander.data, before)


@each
def test_a_gradient_with_strides_is_read_in_its_own_order(make, rng):
    plain, other = parameter(rng, 4, 3), Parameter(np.zeros((4, 3)))
    other.data[...] = plain.data
    constant = mg.tensor(rng.standard_normal((3, 4)), dtype="float64").T
    give(plain, constant.data)
    (other * constant).sum().backward()
    other.grad = Tensor(np.asfortranarray(other.grad.data))
    make([plain], lr=0.1).step()
    make([other], lr=0.1).step()
    np.testing.assert_array_equal(other.data, plain.data)


@each
def test_a_parameter_with_strides_is_refused_rather_than_trained_wrongly(make, rng):
    p = Parameter(rng.standard_normal((3, 4)).T)
    before = p.data.copy()
    give(p, np.ones((4, 3)))
    with pytest.raises(ShapeError, match="must be C-contiguous"):
        make([p]).step()
    np.testing.assert_array_equal(p.data, before)


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        (lambda ps: optim.SGD(ps, lr=0.1), 200),
        (lambda ps: optim.SGD(ps, lr=0.05, momentum=0.8), 200),
        (lambda ps: optim.SGD(ps, lr=0.05, momentum=0.8, nesterov=True), 200),
        (lambda ps: optim.Adam(ps, lr=0.1), 500),
        (lambda ps: optim.AdamW(ps, lr=0.1, weight_decay=0.0), 500),
        # RMSprop keeps stepping by about lr however near it is: its rate has to shrink.
        (lambda ps: optim.RMSprop(ps, lr=0.05), 400),
    ],
    ids=["SGD", "momentum", "Nesterov", "Adam", "AdamW", "RMSprop"],
)
def test_an_optimizer_finds_the_minimum_of_a_quadratic(optimizer, steps):
    x = Parameter(np.array([3.0, -2.0]))
    goal, stiffness = mg.tensor([1.0, -1.0], dtype="float64"), mg.tensor([1.0, 5.0], dtype="float64")
    o = optimizer([x])
    rate = o.lr
    for step in range(steps):
        o.lr = rate * optim.Cosine(steps)(step)
        error = x - goal
        (stiffness * error * error).sum().backward()
        o.step()
        o.zero_grad()
    np.testing.assert_allclose(x.data, goal.data, atol=1e-3)


def test_adams_first_step_is_the_learning_rate_against_the_sign(rng):
    p = parameter(rng, 100)
    before, g = p.data.copy(), rng.standard_normal(100) * 10.0 ** rng.integers(-3, 4, 100)
    give(p, g)
    optim.Adam([p], lr=0.01).step()
    np.testing.assert_allclose(p.data - before, -0.01 * np.sign(g), rtol=1e-2)


def test_adamw_decays_the_weight_outside_the_normalised_step(rng):
    p, q = parameter(rng, 5), parameter(rng, 5)
    q.data[...] = p.data
    before, zero = p.data.copy(), np.zeros(5)
    give(p, zero)
    give(q, zero)
    optim.AdamW([p], lr=0.1, weight_decay=0.3).step()
    optim.Adam([q], lr=0.1, weight_decay=0.3).step()
    np.testing.assert_allclose(p.data, before * (1 - 0.1 * 0.3), rtol=1e-14)
    np.testing.assert_allclose(q.data, before - 0.1 * np.sign(before), rtol=1e-4)


def test_the_published_default_settings():
    p = [Parameter(np.ones(1, np.float32))]
    assert (optim.Adam(p).lr, optim.Adam(p).betas, optim.Adam(p).eps) == (1e-3, (0.9, 0.999), 1e-8)
    assert (optim.Adam(p).weight_decay, optim.AdamW(p).weight_decay) == (0.0, 1e-2)
    assert optim.RMSprop(p).rho == 0.9


@each
def test_a_parameter_without_a_gradient_stays_as_it_is(make, rng):
    still, moved = parameter(rng, 3), parameter(rng, 3)
    before = still.data.copy()
    give(moved, np.ones(3))
    optimizer = make([still, moved], weight_decay=0.5)
    optimizer.step()
    np.testing.assert_array_equal(still.data, before)
    assert still.version == 0 and moved.version == 1
    assert not any(state[0].data.any() for state in optimizer.state.values())


@each
def test_a_rate_of_zero_moves_nothing(make, rng):
    p = parameter(rng, 3)
    before = p.data.copy()
    give(p, np.ones(3))
    make([p], lr=0.0, weight_decay=0.5).step()
    np.testing.assert_array_equal(p.data, before)


@each
def test_a_step_moves_the_version_so_that_a_stale_graph_is_an_error(make, rng):
    p = parameter(rng, 3)
    y = (p * p).sum()
    give(p, np.ones(3))
    make([p]).step()
    assert p.version == 1
    with pytest.raises(VersionError, match="changed in place"):
        y.backward()


@each
def test_a_step_leaves_no_graph(make, rng):
    p = parameter(rng, 3)
    give(p, np.ones(3))
    make([p]).step()
    assert p._node is None and p.requires_grad


@each
def test_zero_grad_forgets(make, rng):
    p = parameter(rng, 3)
    give(p, np.ones(3))
    make([p]).zero_grad()
    assert p.grad is None


# State ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
        lambda ps: optim.RMSprop(ps, lr=0.1),
        lambda ps: optim.Adam(ps, lr=0.1),
        lambda ps: optim.AdamW(ps, lr=0.1),
    ],
    ids=["SGD", "RMSprop", "Adam", "AdamW"],
)
def test_a_restored_state_continues_bit_by_bit(make, rng):
    start = [rng.standard_normal(s).astype(np.float32) for s in ((3, 2), (4,))]
    gradients = [[rng.standard_normal(a.shape).astype(np.float32) for a in start] for _ in range(8)]

    def run(optimizer, steps):
        for gs in steps:
            for p, g in zip(optimizer.parameters, gs, strict=True):
                give(p, g)
            optimizer.step()
        return [p.data.copy() for p in optimizer.parameters]

    whole = run(make([Parameter(a.copy()) for a in start]), gradients)
    first = make([Parameter(a.copy()) for a in start])
    weights = run(first, gradients[:5])
    state = first.state_dict()
    run(first, gradients[5:])  # the state must not share memory with what goes on
    second = make([Parameter(a) for a in weights])
    second.load_state_dict(state)
    assert second.steps == 5
    for a, b in zip(run(second, gradients[5:]), whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: s.pop("m.0"),
        lambda s: s.pop("steps"),
        lambda s: s.update({"m.1": s["m.0"]}),
        lambda s: s.update({"v.0": np.zeros(4)}),
    ],
)
def test_a_foreign_state_is_refused_whole(damage, rng):
    p = parameter(rng, 3)
    optimizer = optim.Adam([p])
    give(p, np.ones(3))
    optimizer.step()
    before = optimizer.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    damage(state)
    with pytest.raises(CheckpointError, match="saved state"):
        optimizer.load_state_dict(state)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_state_of_another_optimizer_is_refused(rng):
    p = parameter(rng, 3)
    with pytest.raises(CheckpointError, match="does not fit Adam over 1 parameters: .*'square.0'"):
        optim.Adam([p]).load_state_dict(optim.RMSprop([p]).state_dict())


# Errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "settings", "name"),
    [
        (optim.SGD, dict(lr=-0.1), "lr"),
        (optim.SGD, dict(lr=math.inf), "lr"),
        (optim.SGD, dict(lr=math.nan), "lr"),
        (optim.SGD, dict(momentum=1.0), "momentum"),
        (optim.SGD, dict(momentum=-0.1), "momentum"),
        (optim.SGD, dict(weight_decay=-1.0), "weight_decay"),
        (optim.RMSprop, dict(rho=1.0), "rho"),
        (optim.RMSprop, dict(rho=-0.1), "rho"),
        (optim.RMSprop, dict(eps=0.0), "eps"),
        (optim.RMSprop, dict(weight_decay=-1.0), "weight_decay"),
        (optim.Adam, dict(betas=(0.9, 1.0)), "beta2"),
        (optim.Adam, dict(betas=(-0.1, 0.9)), "beta1"),
        (optim.Adam, dict(eps=0.0), "eps"),
        (optim.Adam, dict(weight_decay=-1.0), "weight_decay"),
        (optim.AdamW, dict(lr=-1.0), "lr"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(make, settings, name):
    with pytest.raises(UsageError, match=f"^{name} must be .*, got [-0-9.nainf]+$"):
        make([Parameter(np.ones(2, np.float32))], **settings)


@pytest.mark.parametrize(("make", "name"), [(optim.StepDecay, "every"), (optim.Cosine, "total")])
def test_a_schedule_needs_a_length(make, name):
    with pytest.raises(UsageError, match=f"{make.__name__} needs {name} >= 1, got 0"):
        make(0)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(UsageError, match="nesterov needs a momentum above 0, got 0"):
        optim.SGD([Parameter(np.ones(2, np.float32))], nesterov=True)


@each
def test_no_parameters_are_refused(make):
    with pytest.raises(UsageError, match=f"{make.__name__} got no parameters"):
        make([])


def test_the_base_class_defines_no_update(rng):
    p = parameter(rng, 2)
    give(p, np.ones(2))
    with pytest.raises(TypeError, match="Optimizer defines no update"):
        optim.Optimizer([p], 0.1).step()


def test_a_gradient_of_another_float_type_is_refused(rng):
    p = parameter(rng, 2, dtype="float32")
    p.grad = Tensor(np.ones(2))
    with pytest.raises(DTypeError, match="float64"):
        optim.SGD([p]).step()


# Schedules --------------------------------------------------------------------------------------------------


def test_step_decay_multiplies_every_so_often():
    schedule = optim.StepDecay(10, 0.5)
    assert [schedule(s) for s in (0, 9, 10, 19, 20, 45)] == [1, 1, 0.5, 0.5, 0.25, 0.0625]
    assert optim.StepDecay(3)(3) == 0.1


def test_cosine_falls_from_one_to_its_floor_and_stays():
    schedule = optim.Cosine(100)
    assert schedule(0) == 1 and schedule(50) == pytest.approx(0.5)
    assert schedule(25) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert schedule(100) == schedule(1000) == 0
    floored = optim.Cosine(100, floor=0.2)
    assert floored(0) == 1 and floored(50) == pytest.approx(0.6) and floored(100) == floored(101) == 0.2


def test_warmup_rises_linearly_and_hands_over():
    assert [optim.Warmup(4)(s) for s in (0, 1, 2, 3, 4, 99)] == [0.25, 0.5, 0.75, 1, 1, 1]
    joined = optim.Warmup(4, optim.StepDecay(2, 0.5))
    assert [joined(s) for s in (3, 4, 5, 6, 8)] == [1, 1, 1, 0.5, 0.25]


def test_plateau_shrinks_after_patience_updates_without_improvement():
    plateau = optim.Plateau(patience=2, shrink=0.5)
    assert [plateau.update(m) for m in (3, 2, 2, 2, 2, 2, 1, 1, 1)] == [
        1,
        1,
        1,
        0.5,
        0.5,
        0.25,
        0.25,
        0.25,
        0.125,
    ]


def test_plateau_counts_only_an_improvement_beyond_the_threshold():
    small, large = optim.Plateau(1, 0.5, threshold=0.1), optim.Plateau(1, 0.5, threshold=0.1)
    assert small.update(10.0) == large.update(10.0) == 1
    assert small.update(9.5) == 0.5 and large.update(8.9) == 1
    negative = optim.Plateau(1, 0.5, threshold=0.1)
    assert [negative.update(m) for m in (-10.0, -10.5, -12.0)] == [1, 0.5, 0.5]


def test_plateau_takes_a_metric_that_is_not_a_number_for_no_improvement():
    plateau = optim.Plateau(patience=1)
    assert [plateau.update(m) for m in (1.0, math.nan, 0.5)] == [1, 0.5, 0.5]
    assert plateau.best == 0.5


@pytest.mark.parametrize("settings", [dict(patience=0), dict(shrink=0.0), dict(shrink=1.0)])
def test_plateau_refuses_bad_settings(settings):
    with pytest.raises(UsageError, match="Plateau needs"):
        optim.Plateau(**settings)


# Clipping ---------------------------------------------------------------------------------------------------


def two_with_gradients():
    p, q, unused = (Parameter(np.zeros(2)) for _ in range(3))
    give(p, [3.0, 0.0])
    give(q, [0.0, -4.0])
    return p, q, unused


def test_clip_norm_scales_all_gradients_by_one_factor():
    p, q, unused = two_with_gradients()
    assert optim.clip_norm([p, q, unused], 1.0) == 5
    np.testing.assert_allclose(p.grad.data, [0.6, 0])
    np.testing.assert_allclose(q.grad.data, [0, -0.8])
    assert unused.grad is None


def test_clip_norm_leaves_a_small_gradient_as_it_is():
    p, q, unused = two_with_gradients()
    before = p.grad, q.grad
    assert optim.clip_norm([p, q, unused], 5.0) == 5
    assert (p.grad, q.grad) == before


def test_clip_norm_reports_a_norm_that_is_not_finite_and_hides_nothing():
    p, q, _ = two_with_gradients()
    give(p, [math.inf, 0.0])
    assert optim.clip_norm(iter([p, q]), 1.0) == math.inf
    np.testing.assert_array_equal(p.grad.data, [math.inf, 0])
    np.testing.assert_array_equal(q.grad.data, [0, -4])


def test_clip_value_bounds_each_element():
    p, q, unused = two_with_gradients()
    optim.clip_value([p, q, unused], 3.5)
    np.testing.assert_array_equal(p.grad.data, [3, 0])
    np.testing.assert_array_equal(q.grad.data, [0, -3.5])
    optim.clip_value([p], 0.5)
    np.testing.assert_array_equal(p.grad.data, [0.5, 0])
    assert unused.grad is None


@pytest.mark.parametrize("clip", [optim.clip_norm, optim.clip_value])
@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_a_bound_must_be_positive(clip, bound):
    with pytest.raises(UsageError, match="must be positive"):
        clip([], bound)


# Weight averaging -------------------------------------------------------------------------------------------


def twins():
    return [nn.Sequential(nn.Dense(2, 3, rng=Generator(s)), nn.BatchNorm(3)) for s in (1, 2)]


def test_the_average_starts_as_a_copy_that_is_not_trained():
    source, average = twins()
    optim.EMA(source, average)
    for name, t in source.named_tensors().items():
        np.testing.assert_array_equal(average.named_tensors()[name].data, t.data)
        assert not np.shares_memory(average.named_tensors()[name].data, t.data)
    assert not any(p.requires_grad for p in average.parameters())
    assert all(p.requires_grad for p in source.parameters())


def test_the_average_follows_its_recurrence_with_the_decay_warmed_up(rng):
    source, average = twins()
    ema = optim.EMA(source, average, decay=0.25)
    expected = source[0].weight.data.astype(float)
    for t in range(8):
        source[0].weight.data[...] = w = rng.standard_normal((2, 3)).astype(np.float32)
        d = min(0.25, (1 + t) / (10 + t))  # 0.1, 0.18, then 0.25 from the third update on
        expected = d * expected + (1 - d) * w
        ema.update()
        np.testing.assert_allclose(average[0].weight.data, expected, rtol=1e-5, atol=1e-6)
    assert ema.updates == 8


def test_buffers_are_averaged_as_well(rng):
    source, average = twins()
    ema = optim.EMA(source, average, decay=0.9)
    before = average[1].running_mean.data.copy()
    source(mg.tensor(rng.standard_normal((6, 2))))
    assert source[1].running_mean.data.any()
    ema.update()  # the first update has decay 1/10
    expected = 0.1 * before + 0.9 * source[1].running_mean.data
    np.testing.assert_allclose(average[1].running_mean.data, expected, rtol=1e-6)


def test_averaging_leaves_the_source_alone():
    source, average = twins()
    before = source.state_dict()
    optim.EMA(source, average, decay=0.5).update()
    for name, t in source.named_tensors().items():
        np.testing.assert_array_equal(t.data, before[name])
        assert t.version == 0


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(UsageError, match="at least 0 and under 1"):
        optim.EMA(*twins(), decay=decay)


# PyTorch, where it is installed -----------------------------------------------------------------------------


@pytest.mark.compare
@pytest.mark.parametrize(
    ("name", "settings", "theirs"),
    [
        ("SGD", dict(momentum=0.9, nesterov=True, weight_decay=0.1), {}),
        ("RMSprop", dict(rho=0.8), dict(alpha=0.8)),
        ("Adam", dict(weight_decay=0.1), {}),
        ("AdamW", {}, {}),
    ],
)
def test_an_optimizer_takes_the_steps_of_pytorch(name, settings, theirs, rng):
    torch = pytest.importorskip("torch")
    p = parameter(rng, 7)
    q = torch.tensor(p.data.copy(), requires_grad=True)
    ours = getattr(optim, name)([p], lr=0.05, **settings)
    others = getattr(torch.optim, name)(
        [q], lr=0.05, **({k: v for k, v in settings.items() if k != "rho"} | theirs)
    )
    for _ in range(5):
        g = rng.standard_normal(7)
        give(p, g)
        q.grad = torch.tensor(g)
        ours.step()
        others.step()
    np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12)
