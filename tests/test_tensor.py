"""Tensor: NumPy manners, construction, element types and every operator against NumPy."""

import operator

import numpy as np
import pytest

import minigen as mg
from minigen import ops
from minigen.errors import DeviceError, DTypeError, GraphError, ShapeError
from minigen.tensor import Parameter, Tensor

A = np.array([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]])
B = np.array([[2.0, 0.5, -1.5], [1.0, 4.0, 3.0]])


@pytest.fixture
def t():
    return mg.tensor(A, dtype="float64")


# Construction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, dtype", [
    (1, "int64"), (1.0, "float32"), (True, "bool"), ([1, 2], "int64"), ([1.0, 2], "float32"), ([], "float32"),
    (np.ones(2), "float32"), (np.ones(2, "float16"), "float32"), (np.ones(2, "float32"), "float32"),
    (np.ones(2, "uint8"), "uint8"), (np.float64(1), "float32"), (range(3), "int64"),
], ids=repr)
def test_floats_become_float32_and_the_rest_keeps_its_type(value, dtype):
    t = mg.tensor(value)
    assert t.dtype == dtype
    np.testing.assert_array_equal(t.data, value)
    assert (t.requires_grad, t.grad, t.op, t.version, t.device) == (False, None, None, 0, "cpu")


def test_float64_on_request():
    assert mg.tensor([1, 2], dtype="float64").dtype == "float64"
    assert mg.tensor([1.0], dtype=np.float64).dtype == "float64"
    assert mg.tensor([1.9], dtype="int32").dtype == "int32"


def test_a_tensor_holds_a_copy():
    array = np.ones(3, "float32")
    t = mg.tensor(array)
    array[:] = 5
    other = mg.tensor(t)
    other[0] = 7.0
    np.testing.assert_array_equal(t.data, [1, 1, 1])


def test_a_copy_of_a_tensor_is_a_leaf():
    x = mg.tensor([1.0], requires_grad=True)
    copy = mg.tensor(x * x)
    assert (copy.op, copy.requires_grad) == (None, False)


@pytest.mark.parametrize("value", ["text", [[1.0], [1.0, 2.0]], object(), None, 1j, np.array(["a"]), ["1"]], ids=repr)
def test_what_holds_no_numbers_is_a_dtype_error(value):
    with pytest.raises(DTypeError, match=type(value).__name__):
        mg.tensor(value)


def test_an_unsupported_float_type_is_named():
    with pytest.raises(DTypeError, match="float16 is not supported: use float32 or float64"):
        mg.tensor([1.0], dtype="float16")
    with pytest.raises(DTypeError):
        mg.tensor([1.0], dtype="complex64")


def test_devices_that_are_not_there_say_what_to_do():
    with pytest.raises(DeviceError, match="device 'tpu' is unknown: use 'cpu' or 'gpu'"):
        mg.tensor([1.0], device="tpu")
    with pytest.raises(DeviceError, match="unknown"):
        mg.tensor([1.0]).to("abacus")


def test_to_the_same_device_is_the_same_tensor(t):
    assert t.to("cpu") is t


def test_a_foreign_array_is_on_no_device():
    from minigen.backend import namespace

    assert namespace(np.ones(2), 1, 2.0) is np
    with pytest.raises(DeviceError, match="an array of type list"):
        namespace([1.0])


def test_integers_cannot_require_grad():
    with pytest.raises(GraphError, match="int64: gradients are real numbers"):
        mg.tensor([1, 2], requires_grad=True)


def test_a_parameter_is_a_tensor_that_requires_grad():
    p = Parameter(np.ones(2, "float32"))
    assert isinstance(p, Tensor)
    assert p.requires_grad
    assert not Parameter(np.ones(2), requires_grad=False).requires_grad


def test_a_tensor_has_no_room_for_misspelt_attributes(t):
    with pytest.raises(AttributeError):
        t.gard = 1
    with pytest.raises(AttributeError):
        mg.Parameter(A).gard = 1


# NumPy manners --------------------------------------------------------------------------------------------------


def test_shape_size_and_dimensions(t):
    assert (t.shape, t.ndim, t.size, len(t)) == ((2, 3), 2, 6, 2)
    assert t.dtype == np.float64


def test_numpy_is_a_read_only_view(t):
    view = t.numpy()
    assert np.shares_memory(view, t.data)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    t[0, 0] = 9.0
    assert view[0, 0] == 9


def test_asarray_and_array(t):
    np.testing.assert_array_equal(np.asarray(t), A)
    assert np.asarray(t, dtype="float32").dtype == "float32"
    copy = np.array(t)
    copy[0, 0] = 5
    assert t.data[0, 0] == 1.5
    assert np.array([t[0], t[1]]).shape == (2, 3)
    assert np.asarray(mg.tensor(A, requires_grad=True, dtype="float64") * 2).tolist() == (A * 2).tolist()


def test_an_array_on_the_left_leaves_the_operation_to_the_tensor(t):
    for y in (A * t, A + t, A - t, A / t, A @ t.T, A < t, A == t):
        assert type(y) is Tensor
    np.testing.assert_array_equal((A - t).data, np.zeros((2, 3)))


def test_a_numpy_function_refuses_a_tensor(t):
    with pytest.raises(TypeError):
        np.exp(t)


def test_iteration_gives_the_rows(t):
    rows = list(t)
    assert [row.data.tolist() for row in rows] == A.tolist()
    x = mg.tensor(A, requires_grad=True, dtype="float64")
    first, second = x
    (first * second).sum().backward()
    np.testing.assert_array_equal(x.grad.data, A[::-1])


def test_a_scalar_has_no_length():
    with pytest.raises(ShapeError, match=r"len\(\) of a tensor of shape \(\)"):
        len(mg.tensor(1.0))
    with pytest.raises(ShapeError):
        list(mg.tensor(1.0))


def test_repr_shows_values_shape_type_and_origin():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert repr(mg.tensor([1.0, 2.0])) == "Tensor([1., 2.], shape=(2,), float32)"
    assert repr(x) == "Tensor([1., 2.], shape=(2,), float32, requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 4.], shape=(2,), float32, op=mul)"
    assert repr(mg.tensor(True)) == "Tensor(True, shape=(), bool)"
    assert repr(mg.tensor(0.123456)) == "Tensor(0.1235, shape=(), float32)"
    assert repr(mg.tensor(np.arange(20))).count(",") == 22
    assert repr(mg.tensor(np.arange(21))) == "Tensor([ 0,  1, ..., 19, 20], shape=(21,), int64)"
    assert repr(mg.tensor([[1], [2]])) == "Tensor([[1],\n        [2]], shape=(2, 1), int64)"


def test_a_single_element_becomes_a_python_number():
    t = mg.tensor([[2.75]])
    assert (t.item(), float(t), int(t), bool(t)) == (2.75, 2.75, 2, True)
    assert type(t.item()) is float
    assert type(mg.tensor(3).item()) is int
    assert not mg.tensor(0.0)
    assert not mg.tensor([1.0]) == mg.tensor([2.0])


@pytest.mark.parametrize("convert", [float, int, bool, Tensor.item])
def test_several_elements_are_not_one_number(t, convert):
    with pytest.raises(ShapeError, match=r"shape \(2, 3\) is not one number: reduce it first, or use \.numpy\(\)"):
        convert(t)
    with pytest.raises(ShapeError):
        convert(t[:0])


def test_a_tensor_is_hashed_by_identity(t):
    other = mg.tensor(A, dtype="float64")
    assert len({t, other, t}) == 2
    assert hash(t) != hash(other)


# Operators --------------------------------------------------------------------------------------------------------

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv]
COMPARE = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@pytest.mark.parametrize("f", BINARY + COMPARE)
@pytest.mark.parametrize("other", [B, A, B[0], B[:, :1], 2.0, 3, True], ids=lambda o: str(np.shape(o)) + str(type(o)))
def test_a_binary_operator_agrees_with_numpy_on_either_side(t, f, other):
    for y, expected in ((f(t, other), f(A, other)), (f(other, t), f(other, A))):
        assert type(y) is Tensor
        np.testing.assert_array_equal(y.data, expected)
        assert y.dtype == expected.dtype
    if isinstance(other, np.ndarray):
        np.testing.assert_array_equal(f(t, mg.tensor(other, dtype="float64")).data, f(A, other))


def test_powers(t):
    positive = mg.tensor(np.abs(A), dtype="float64")
    np.testing.assert_allclose((t**2).data, A**2)
    np.testing.assert_allclose((2**t).data, 2**A)
    np.testing.assert_allclose((positive**t).data, np.abs(A) ** A)
    np.testing.assert_allclose((np.abs(B) ** t).data, np.abs(B) ** A)


def test_matrix_products(t):
    np.testing.assert_allclose((t @ B.T).data, A @ B.T)
    np.testing.assert_allclose((B.T @ t).data, B.T @ A)
    np.testing.assert_allclose((t @ mg.tensor(B.T, dtype="float64")).data, A @ B.T)


def test_signs(t):
    np.testing.assert_array_equal((-t).data, -A)
    np.testing.assert_array_equal(abs(t).data, abs(A))


def test_every_operator_records_its_operation():
    x = mg.tensor(np.abs(A), requires_grad=True)
    made = [x + 1, 1 + x, x - 1, 1 - x, x * 2, 2 * x, x / 2, 2 / x, x**2, 2**x, x @ x.T, -x, abs(x), x[0], x.T,
            x.reshape(6), x.transpose(1, 0), x.sum(), x.max(), x.min(), x.astype("float64")]
    assert [y.op for y in made] == ["add", "add", "sub", "sub", "mul", "mul", "div", "div", "pow", "pow", "matmul",
                                    "neg", "abs", "index", "transpose", "reshape", "transpose", "sum", "max", "min",
                                    "astype"]


def test_augmented_assignment_makes_a_new_tensor(t):
    before = t
    t += 1
    assert t is not before
    np.testing.assert_array_equal(before.data, A)


def test_comparison_with_what_is_no_number_is_an_error(t):
    with pytest.raises(DTypeError, match="equal: argument 'b' must be a Tensor"):
        t == None  # noqa: B015, E711


# Methods ------------------------------------------------------------------------------------------------------------


def test_methods_agree_with_numpy(t):
    cube = mg.tensor(np.arange(24.0).reshape(2, 3, 4), dtype="float64")
    c = cube.data
    for y, expected in [
        (t.T, A.T), (t.transpose(), A.T), (cube.transpose(2, 0, 1), c.transpose(2, 0, 1)), (cube.T, c.T),
        (t.reshape(3, 2), A.reshape(3, 2)), (t.reshape((3, 2)), A.reshape(3, 2)), (t.reshape(-1), A.ravel()),
        (t.reshape([-1, 1]), A.reshape(-1, 1)), (t.sum(), A.sum()), (t.sum(0), A.sum(0)),
        (t.sum(1, True), A.sum(1, keepdims=True)), (cube.sum((0, 2)), c.sum((0, 2))), (t.mean(), A.mean()),
        (t.mean(axis=1), A.mean(1)), (cube.mean((0, 1), True), c.mean((0, 1), keepdims=True)), (t.max(), A.max()),
        (t.max(0), A.max(0)), (t.min(axis=1, keepdims=True), A.min(1, keepdims=True)), (t.min(), A.min()),
        (t.max(1, True), A.max(1, keepdims=True)), (t.astype("float32"), A.astype("float32")),
        (t.astype(int), A.astype(int)), (ops.var(t, 0), A.var(0)), (ops.mean(t, -1), A.mean(-1)),
    ]:
        np.testing.assert_allclose(y.data, expected)
        assert y.shape == np.shape(expected)
        assert y.dtype == expected.dtype


KEYS = [0, -1, slice(None), slice(None, None, -1), (0, 1), (..., 1), (None, 0), (slice(0, 1), [0, 2]),
        np.array([1, 0, 1]), (np.array([0, 1]), np.array([2, 0])), np.array([True, False]), A > 0, [1, 1], np.int64(1),
        (), ..., True]


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_indexing_agrees_with_numpy_and_so_does_its_gradient(key):
    x = mg.tensor(A, requires_grad=True, dtype="float64")
    y = x[key]
    np.testing.assert_array_equal(y.data, A[key])
    assert y.shape == A[key].shape
    y.sum().backward()
    counts = np.zeros_like(A)
    np.add.at(counts, key, 1)
    np.testing.assert_array_equal(x.grad.data, counts)


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_assignment_agrees_with_numpy(t, key):
    expected = A.copy()
    expected[key] = 8.0
    t[key] = 8.0
    np.testing.assert_array_equal(t.data, expected)
    assert t.version == 1


def test_a_tensor_is_an_index_and_a_mask(t):
    np.testing.assert_array_equal(t[t > 0].data, A[A > 0])
    np.testing.assert_array_equal(t[mg.tensor([1, 0]), 2].data, A[[1, 0], 2])
    x = mg.tensor(A, requires_grad=True, dtype="float64")
    x[x > 0].sum().backward()
    np.testing.assert_array_equal(x.grad.data, A > 0)
    t[t < 0] = 0.0
    np.testing.assert_array_equal(t.data, np.maximum(A, 0))


def test_a_value_is_broadcast_and_converted_by_assignment(t):
    t[:, 1:] = mg.tensor([[10.0], [20.0]], dtype="float64")
    np.testing.assert_array_equal(t.data, [[1.5, 10, 10], [3, 20, 20]])
    t[0] = np.array([1, 2, 3])
    np.testing.assert_array_equal(t.data[0], [1, 2, 3])


def test_copy_replaces_all_values_in_place(t):
    memory = t.data
    assert t.copy_(B) is t
    assert t.data is memory
    np.testing.assert_array_equal(t.data, B)
    t.copy_(0.0)
    assert not t.data.any()
    assert t.version == 2


def test_a_value_that_does_not_fit_is_not_assigned(t):
    with pytest.raises(ShapeError, match="assign"):
        t[0] = np.ones(4)
    with pytest.raises(ShapeError, match="out of bounds"):
        t[5] = 1.0
    assert t.version == 0


def test_a_float32_value_is_not_silently_put_into_a_float64_tensor(t):
    with pytest.raises(DTypeError, match="mixed float types"):
        t[0] = mg.tensor([1.0, 2.0, 3.0])


def test_a_read_only_view_cannot_be_changed():
    row = mg.tensor([1.0, 2.0])
    wide = ops.broadcast_to(row, shape=(3, 2))
    with pytest.raises(ShapeError, match="read-only"):
        wide[0] = 5.0
    np.testing.assert_array_equal(row.data, [1, 2])


def test_public_names_are_reachable_from_the_package():
    for name in (*ops.__all__, "tensor", "Tensor", "Parameter", "grad", "no_grad", "hook", "op", "apply", "gradcheck",
                 "detect_nan", "draw", "Generator"):
        assert hasattr(mg, name), name
