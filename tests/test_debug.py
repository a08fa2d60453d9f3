"""detect_nan: where a value that is not finite came from."""

import threading

import numpy as np
import pytest

import minigen as mg
from minigen import ops
from minigen.debug import NaNError, call_site


def log_of(x):
    return ops.log(x)


def test_the_first_operation_that_makes_a_nan_is_named_with_its_inputs_and_the_line_that_called_it():
    x = mg.tensor([1.0, -2.0, 0.0])
    with mg.detect_nan(), pytest.raises(NaNError) as caught:
        log_of(x)
    text = str(caught.value)
    assert text.startswith("`log` gave 1 NaN and 1 infinite of 3 values, called at ")
    line = log_of.__code__.co_firstlineno + 1
    assert f"test_debug.py:{line} in log_of" in text
    assert "x: (3,) float32, from -2 to 1" in text


def test_attributes_and_numbers_are_shown():
    with mg.detect_nan(), pytest.raises(NaNError) as caught:
        with np.errstate(all="ignore"):
            mg.tensor([1.0, np.inf, np.nan]).reshape(3, 1)
    assert "x: (3,) float32, from 1 to 1, 2 not finite" in str(caught.value)
    assert "shape = (3, 1)" in str(caught.value)
    with mg.detect_nan(), pytest.raises(NaNError, match=r"b: 0\.0"), np.errstate(all="ignore"):
        mg.tensor([1.0]) / 0.0
    with mg.detect_nan(), pytest.raises(NaNError, match=r"input 1: \(1,\) float32, 1 not finite"):
        ops.concatenate(mg.tensor([1.0]), mg.tensor([np.nan]))


def test_a_nan_in_the_backward_pass_names_the_operation_that_was_differentiated():
    x = mg.tensor([0.0], requires_grad=True)
    with mg.detect_nan(), np.errstate(divide="ignore"):
        y = ops.sqrt(x)
        with pytest.raises(NaNError) as caught:
            y.sum().backward()
    text = str(caught.value)
    assert text.startswith("`div` gave 0 NaN and 1 infinite of 1 values")
    assert "in the gradient of `sqrt`, called at " in text
    assert "in test_a_nan_in_the_backward_pass" in text.split("in the gradient of")[1]


def test_a_graph_made_outside_has_no_recorded_place():
    x = mg.tensor([0.0], requires_grad=True)
    y = ops.sqrt(x).sum()
    with mg.detect_nan(), np.errstate(divide="ignore"), pytest.raises(NaNError, match="an unrecorded place"):
        y.backward()


def test_a_forward_operation_after_a_failed_backward_pass_is_not_called_a_gradient():
    x = mg.tensor([0.0], requires_grad=True)
    with mg.detect_nan(), np.errstate(divide="ignore"), pytest.raises(NaNError):
        ops.sqrt(x).sum().backward()
    with mg.detect_nan(), pytest.raises(NaNError) as caught:
        ops.log(mg.tensor(-1.0))
    assert "in the gradient of" not in str(caught.value)


def test_in_place_operations_are_watched_too():
    target = mg.tensor([1.0, 2.0])
    with mg.detect_nan(), pytest.raises(NaNError, match="`assign` gave 1 NaN and 0 infinite of 2"):
        target[0] = np.nan
    average = mg.tensor([1.0])
    with mg.detect_nan(), pytest.raises(NaNError, match="`ema_step`"):
        ops.ema_step(average, mg.tensor([np.inf]), decay=0.9)


def test_a_buffer_that_turns_infinite_is_reported_though_the_parameter_is_finite():
    p, g, buffer = mg.tensor([1.0]), mg.tensor([1.0]), mg.tensor([1.0])
    with mg.detect_nan(), pytest.raises(NaNError, match="sgd_step"):
        buffer.data[:] = np.inf
        ops.sgd_step(p, g, buffer, lr=0.0, momentum=0.9, nesterov=False, weight_decay=0.0)


def test_finite_values_integers_and_booleans_pass():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    with mg.detect_nan():
        y = (ops.exp(x) * x).sum()
        y.backward()
        mg.tensor([1, 2]) + 1
        x > 1  # noqa: B015
    assert np.isfinite(x.grad.data).all()


def test_outside_the_context_nothing_is_watched():
    with mg.detect_nan():
        pass
    assert np.isnan(ops.log(mg.tensor(-1.0)).item())


def test_another_thread_is_not_watched():
    results = []
    with mg.detect_nan():
        thread = threading.Thread(target=lambda: results.append(ops.log(mg.tensor(-1.0)).item()))
        thread.start()
        thread.join()
    assert np.isnan(results).all()


def test_an_error_is_an_arithmetic_error():
    assert issubclass(NaNError, ArithmeticError)


def test_the_call_site_is_this_line():
    place = call_site()
    line = test_the_call_site_is_this_line.__code__.co_firstlineno + 1
    assert place.endswith(f"test_debug.py:{line} in test_the_call_site_is_this_line")
