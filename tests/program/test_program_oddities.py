"""Names, memory and operations of a user's own that could have made a compiled step compute something else."""

import types

import numpy as np
import pytest

import minigen as mg
from minigen import nn, ops, optim
from minigen.autograd import OPS
from minigen.errors import DataError, DTypeError, GraphError, ShapeError, UsageError
from minigen.host import HostNumber

X = np.array([2, 3], np.float32)


def both(function, *args):
    """What the function gives eagerly and compiled, the latter at its first call and the second."""
    step = mg.compile(function)
    given = [mg.tensor(x) if isinstance(x, np.ndarray) else x for x in args]
    return [function(*given).data, step(*args).data, step(*args).data]


def agree(function, *args):
    eager, *compiled = both(function, *args)
    for y in compiled:
        np.testing.assert_allclose(y, eager, rtol=1e-6)


# Names ------------------------------------------------------------------------------------------------------


class Setting:
    scale = HostNumber()

    def __init__(self):
        self.scale = 5.0


def test_a_host_number_and_a_tensor_of_one_name():
    setting, scale = Setting(), mg.tensor(np.float32(2))
    agree(lambda x: x**scale * setting.scale, X)
    rng, draw = mg.Generator(0), mg.tensor(X)
    step = mg.compile(lambda x: x * draw + rng.uniform((2,)))
    again = mg.Generator(0)
    for _ in range(3):
        np.testing.assert_array_equal(step(X).data, X * X + again.uniform((2,)).data)


@pytest.mark.parametrize("name", ["slice", "loop_1", "lr", "draw", "cross_entropy_into", "stück", "β", "np"])
def test_an_argument_of_any_name(name):
    w = mg.Parameter(np.ones(2, np.float32))
    optimizer = optim.SGD([w], lr=0.5)
    step = mg.compile(eval(f"lambda {name}: trained({name})", {"trained": lambda x: trained(w, optimizer, x)}))
    for value in (1.0, 2.0, 3.0):
        w.data[...] = value
        assert float(step(X)) == 5 * value


def trained(w, optimizer, x):
    loss = (w * x[0:]).sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def test_keys_that_are_no_identifiers():
    agree(lambda batch: batch["½"] * batch["x²"] + batch["x2"] - batch["ﬁ"] * batch["fi"],
          {name: mg.tensor(X * n) for n, name in enumerate(("½", "x²", "x2", "ﬁ", "fi"), 1)})


# Memory -----------------------------------------------------------------------------------------------------


def test_a_gradient_that_is_there_may_have_any_layout():
    w = mg.Parameter(np.arange(9, dtype=np.float32).reshape(3, 3))
    x = mg.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    penalty = lambda x: ((w * w).sum() * x.sum()).backward()  # noqa: E731
    step = mg.compile(penalty)
    gradients = []
    for add in (penalty, step):
        for start in (np.ones((3, 3)), np.asfortranarray(np.arange(9).reshape(3, 3)), np.ones((3, 6))[:, ::2]):
            w.grad = mg.Tensor(start.astype(np.float32, order="K"))
            add(x)
            gradients.append(w.grad.data)
    for eager, compiled in zip(gradients[:3], gradients[3:], strict=True):
        np.testing.assert_array_equal(compiled, eager)
    w.grad = mg.Tensor(np.ones((3, 3)))
    with pytest.raises(DTypeError, match="mixed float types"):
        step(x)


def test_an_argument_in_memory_that_the_step_overwrites():
    w = mg.Parameter(np.ones(3, np.float32))
    optimizer = optim.SGD([w], lr=0.1)
    step = mg.compile(lambda x: trained(w, optimizer, x))
    step(np.ones(3, np.float32))
    before = w.data.copy()
    for x in (w.detach(), w.data[:], w.data[::-1]):
        with pytest.raises(GraphError, match="argument 'x' shares memory with another tensor, and the step overwrites"):
            step(x)
    np.testing.assert_array_equal(w.data, before)

    @mg.compile
    def swapped(x, y):
        x.copy_(y * 2)
        return y.sum()

    a, b = mg.tensor(X), mg.tensor(X)
    assert float(swapped(a, b)) == 5
    np.testing.assert_array_equal(a.data, 2 * X)
    for x, y in ((a, a), (a, mg.Tensor(a.data[:]))):
        with pytest.raises(GraphError, match="shares memory with another tensor"):
            swapped(x, y)


def test_memory_of_no_array_that_is_overwritten_is_given_as_an_argument():
    p, buffer = mg.Parameter(np.ones(8, np.float32)), bytearray(64)

    @mg.compile
    def step(x):
        with mg.no_grad():
            p.copy_(p * 2)
        return (x * 2.0).sum()

    step(np.ones(8, np.float32))
    p.data = np.frombuffer(buffer, np.float32, 8)
    with pytest.raises(GraphError, match="shares memory with another tensor"):
        step(np.frombuffer(buffer, np.float32, 8, 16))
    assert float(step(np.ones(8, np.float32))) == 16


def test_state_of_other_strides_is_traced_again():
    p = mg.Parameter(np.zeros((4, 6), np.float32)[:, :4])
    step = mg.compile(lambda x: mg.exp(p[2] * x) + 1.0)
    x = mg.tensor(np.arange(4, dtype=np.float32))
    for n in range(4):
        if n == 2:
            p.data = np.asfortranarray(np.arange(16, dtype=np.float32).reshape(4, 4) / 16)
        np.testing.assert_allclose(step(x).data, np.exp(p.data[2] * x.data) + 1, rtol=1e-6)


def test_tensors_that_come_to_share_memory_are_seen_to():
    results = []
    for way in (lambda f: f, mg.compile):
        p, q = mg.Parameter(np.ones(3, np.float32)), mg.Parameter(np.ones(3, np.float32))
        optimizer = optim.SGD([p, q], lr=0.1)

        def body(x, p=p, q=q, optimizer=optimizer):
            ((p + 2 * q) * x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        step = way(body)
        for n in range(5):
            if n == 3:
                q.data = p.data
            step(mg.tensor(np.ones(3, np.float32)))
        results.append((p.data.copy(), q.data.copy()))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


def test_a_copy_of_a_tensor_in_a_step_is_an_error_and_its_text_tells_no_values():
    p = mg.Parameter(X.copy())
    with pytest.raises(GraphError, match="oddities.*a Tensor is copied by mg.tensor"):
        mg.compile(lambda x: x * mg.tensor(p))(X)
    shown = mg.compile(lambda x: (x * 1.0, repr(p)))(X)[1]
    assert shown == "Tensor(of a step that is being compiled, shape=(2,), float32)"


def test_arrays_of_other_kinds_are_arrays():
    ones = np.ones((2, 2), np.float32)
    for kind in (ones.view(np.matrix), ones.view(np.recarray)):
        step = mg.compile(lambda x: mg.exp(x) * 2.0)
        for _ in range(3):
            np.testing.assert_allclose(step(kind).data, 2 * np.e)
        np.testing.assert_allclose(mg.exp(kind).data, np.e)
        np.testing.assert_allclose(mg.kernels.exp(kind), np.e, rtol=1e-6)
        np.testing.assert_allclose(mg.kernels.bernoulli_nll(kind, kind), np.log(1 + 1 / np.e), rtol=1e-6)
    with pytest.raises(DTypeError, match="got MaskedArray"):
        mg.Tensor(np.ma.array([1.0, 2.0], mask=[0, 1]))


def test_an_error_of_arithmetic_stays_one():
    step = mg.compile(lambda x, n: x * (1 / n))
    step(X, 2.0)
    with pytest.raises(ZeroDivisionError, match="in a compiled step"):
        step(X, 0.0)


def test_no_two_results_share_memory():
    a, b = mg.Parameter(np.ones((4, 3), np.float32)), mg.Parameter(np.ones((4, 3), np.float32))

    @mg.compile
    def step(i):
        y = ops.take(a + b, i)
        y.sum().backward()
        return y, y.T, y

    results = step(np.array([0, 1, 1]))
    arrays = [a.grad.data, b.grad.data, *(y.data for y in results)]
    for n, array in enumerate(arrays):
        array[...] = n
    assert [array.ravel()[0] for array in arrays] == [0, 1, 2, 3, 4]


def test_the_first_result_of_a_step_that_captures_is_like_all_others():
    w, table = mg.Parameter(np.ones(2, np.float32)), np.ones(2, np.float32)
    step = mg.compile(lambda x: (x * w * mg.Tensor(table.copy()), w))
    for _ in range(3):
        y, shown = step(X)
        assert not y.requires_grad and not np.shares_memory(shown.data, w.data)
        with pytest.raises(GraphError, match="or in a compiled step"):
            y.sum().backward()


def test_averages_of_averages_keep_their_order():
    results = []
    for way in (lambda f: f, mg.compile):
        net, slow, slower = (nn.Dense(2, 1, rng=mg.Generator(0)) for _ in range(3))
        optimizer = optim.SGD(net.parameters(), lr=1.0)

        def body(x, net=net, slow=slow, slower=slower, optimizer=optimizer):
            net(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            with mg.no_grad():
                for to, of in ((slower, slow), (slow, net)):
                    for p, q in zip(to.parameters(), of.parameters(), strict=True):
                        ops.ema_step(p, q, decay=0.9)

        step = way(body)
        for _ in range(2):
            step(mg.tensor(np.ones((1, 2), np.float32)))
        results.append(slower.weight.data)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


# Operations -------------------------------------------------------------------------------------------------

STRENGTH = 1.0
DICE = np.random.default_rng(0)


@pytest.fixture
def users():
    """Operations of a user's, as long as a test lasts."""
    known = set(OPS)

    @mg.op
    def reversed_gradient(x):
        return x.copy()

    @reversed_gradient.vjp
    def _(g, y, x):
        return g * -STRENGTH

    @mg.op
    def times_strength(x):
        return x * np.float32(STRENGTH)

    @mg.op
    def noisy(x):
        return x + DICE.random(x.shape).astype(x.dtype)

    yield types.SimpleNamespace(reversed_gradient=reversed_gradient, times_strength=times_strength, noisy=noisy)
    for name in set(OPS) - known:
        del OPS[name]


def test_what_a_users_operation_reads_is_watched(users, monkeypatch):
    p, fixed = mg.Parameter(np.ones(2, np.float32)), mg.tensor(X)

    def body(x):
        (users.reversed_gradient(p) * x).sum().backward()
        g, p.grad = p.grad, None
        return g + users.times_strength(fixed)

    step = mg.compile(body)
    np.testing.assert_array_equal(step(X).data, 0)
    monkeypatch.setitem(globals(), "STRENGTH", 3.0)
    np.testing.assert_array_equal(step(X).data, 3 * X - 3 * X)
    fixed.data[...] = 1
    np.testing.assert_array_equal(step(X).data, 3 - 3 * X)


def test_a_users_operation_that_draws_is_an_error(users):
    with pytest.raises(GraphError, match="the step draws from the random numbers of"):
        mg.compile(lambda x: users.noisy(x) - users.noisy(x))(X)


def test_a_program_with_a_users_operation_is_not_saved(users, tmp_path):
    step = mg.compile(lambda x: users.times_strength(x))
    step(X)
    with pytest.raises(UsageError, match=r"the program calls times_strength, of your own"):
        step.save(tmp_path / "step.py")
    assert not list(tmp_path.iterdir())


def test_an_index_out_of_range_is_the_error_of_its_line():
    layer = nn.Embedding(5, 2, rng=mg.Generator(0))
    step = mg.compile(lambda i, labels: ops.cross_entropy(layer(i), labels).sum())
    step(np.array([0, 4]), np.array([0, 1]))
    for wrong in ([0, -1], [5, 0]):
        with pytest.raises(ShapeError, match="oddities.*`embedding`, in a compiled step: Embedding has rows 0 to 4"):
            step(np.array(wrong), np.array([0, 1]))
    with pytest.raises(ShapeError, match=r"test_program_oddities.*`cross_entropy`, in a compiled step: "):
        step(np.array([0, 4]), np.array([0, 2]))


def test_zeros_keep_their_sign():
    with np.errstate(divide="ignore"):
        agree(lambda x: 1.0 / (x * -0.0 + 0.0), X)
        agree(lambda x: 1.0 / (x * -0.0 - 0.0), X)


def test_attributes_of_other_kinds():
    agree(lambda x: ops.clip(x, low=3.0, high=1.0), np.array([0.5, 2, 4], np.float32))
    agree(lambda x: ops.clip(x, low=2.5, high=None), X)
    agree(lambda x: ops.clip(x, low=np.array([0, 4]), high=np.array([1, 5])), X)
    agree(lambda x: x.sum(axis=np.int64(0)), np.ones((2, 3), np.float32))
    agree(lambda x: ops.tanh(0.5) * x, X)


# Arguments --------------------------------------------------------------------------------------------------


def test_equal_arguments_of_other_types_are_others():
    step = mg.compile(lambda x, way: x * 2.0 if way is True else x)
    np.testing.assert_array_equal(step(X, np.True_).data, X)
    np.testing.assert_array_equal(step(X, True).data, 2 * X)


def test_a_host_number_is_a_number():
    with pytest.raises(UsageError, match=r"Setting.scale = None: expected a number"):
        Setting().scale = None


@pytest.mark.parametrize("model", [mg.models.GAN, mg.models.VAE])
def test_a_compiled_step_refuses_pixels_as_the_eager_one_does(model):
    m = model(latent=2, image_shape=(4, 4))
    step = mg.compile(m.train_step)
    good = np.linspace(0, 1, 48, dtype=np.float32).reshape(3, 4, 4)
    step(good)
    before = m.state_dict()
    for wrong in (good * 255, good - 0.5, np.where(good > 0.5, np.float32(np.nan), good)):
        for train_step in (m.train_step, step):
            with pytest.raises(DataError, match="values from"):
                train_step(wrong)
    for wrong in (good.astype(np.float64), (good * 255).astype(np.int64)):
        for train_step in (m.train_step, step):
            with pytest.raises(DTypeError, match=r"expected uint8, or float32 in \[0, 1\]"):
                train_step(wrong)
    for name, value in m.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
