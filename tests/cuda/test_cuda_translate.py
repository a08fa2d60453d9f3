"""The translator: what it knows, what it refuses, and that each refusal names the place."""

# ruff: noqa: B018 - statements without effect are what the translator must refuse

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigen.kernels.cuda.translate import DOUBLE, FLOAT, ULONG, TranslationError, Translator

_F, _I = np.float32, np.int32
_HALF, _FLAG, _NAME = _F(0.5), _I(-(2**31)), "text"


def _swap(x: Any, y: Any) -> Any:
    """The names on the left stand on the right."""
    x, y = y, x
    return x - y


def _fields(x: Any) -> Any:
    n = np.float32(x).view(np.int32)
    return np.int32((n & _FLAG) | (n >> _I(3))).view(np.float32)


def _weak(x: Any) -> Any:
    y = 1.0 if x >= 0.0 else -x
    return y * (1.0 + x)


def _pair(x: Any) -> Any:
    return x, -x


def _loop(x: Any) -> Any:
    for _ in range(3):
        x = x + _HALF
    return x


def _calls(x: Any) -> Any:
    return abs(_loop(np.sqrt(x)))


def translated(function: Any, *types: str) -> str:
    translator = Translator()
    translator.add(function, types)
    return translator.source


def test_names_on_the_left_may_stand_on_the_right(emulated: Any) -> None:
    source = translated(_swap, FLOAT, FLOAT) + _kernel("out[0] = formula::swap(5.0f, 3.0f);")
    out = np.zeros(1, np.float32)
    emulated().load(source).get_function("f")((1, 1, 1), (1, 1, 1), [out])
    assert out[0] == -2


def _kernel(body: str) -> str:
    return f'extern "C" __global__ void f(float *out) {{ {body} }}'


@pytest.mark.parametrize(("function", "x"), [(_fields, -1.5), (_weak, 2.0), (_weak, -2.0), (_loop, 1), (_calls, 2.0)])
def test_translations_compute_what_python_computes(emulated: Any, function: Any, x: float) -> None:
    name = function.__name__.strip("_")
    source = translated(function, FLOAT) + _kernel(f"out[0] = formula::{name}({float(x)}f);")
    out = np.zeros(1, np.float32)
    emulated().load(source).get_function("f")((1, 1, 1), (1, 1, 1), [out])
    assert out[0] == function(_F(x))


def test_a_function_is_translated_once_for_each_type() -> None:
    translator = Translator()
    assert translator.add(_weak, [FLOAT]) is translator.add(_weak, [FLOAT])
    assert translator.add(_weak, [DOUBLE]).results == (DOUBLE,)
    assert translator.source.count(" weak(") == 2
    assert translator.add(_pair, [FLOAT]).type == "pair_result"


# Each is refused, for the reason given beside it.
def _global(x: Any) -> Any:
    return x + _NAME


def _mixed(x: Any) -> Any:
    return x + np.float64(x)


def _branch(x: Any) -> Any:
    if x > _HALF:
        x = _HALF
    return x


def _truth(x: Any) -> Any:
    return x if x else _HALF


def _chain(x: Any) -> Any:
    return x if _HALF < x < _F(2.0) else _HALF


def _power(x: Any) -> Any:
    return x**2


def _divided(x: Any) -> Any:
    return x // _HALF


def _retyped(x: Any) -> Any:
    y = x
    y = np.float64(y)
    return y


def _unknown_call(x: Any) -> Any:
    return np.sin(x)


def _keyword(x: Any) -> Any:
    return np.sqrt(x, dtype=np.float32)


def _after(x: Any) -> Any:
    return x
    x = x + x


def _nothing(x: Any) -> Any:
    x = x + x


def _late(x: Any) -> Any:
    for _ in range(2):
        y = x
    return y


def _counter(x: Any) -> Any:
    for i in range(2):
        x = x + i
    return x


def _integer(x: Any) -> Any:
    y = 3
    return x + y


def _odd_view(x: Any) -> Any:
    return x.view(np.int64)


def _two(x: Any) -> Any:
    return x + _pair(x)


def _subscript(x: Any) -> Any:
    return x[0]


def _float_for_integer(x: Any) -> Any:
    return np.uint64(x) + 0.5


REFUSED = [
    (_global, "a name that is neither local nor a typed constant"),
    (_mixed, "float with double"),
    (_branch, "this statement"),
    (_truth, "a number as a condition"),
    (_chain, "this comparison"),
    (_power, "this operator"),
    (_divided, "this operator"),
    (_retyped, "a float that becomes a double"),
    (_unknown_call, "this call on float"),
    (_keyword, "a keyword argument"),
    (_after, "a statement after return"),
    (_nothing, "a function without return"),
    (_late, "a name that is neither local"),
    (_counter, "this loop"),
    (_integer, "an integer without a type"),
    (_odd_view, "this view of a float"),
    (_two, "a call that gives several numbers"),
    (_subscript, "this expression"),
    (_float_for_integer, "a Python float as unsigned long long"),
]


@pytest.mark.parametrize(("function", "reason"), REFUSED, ids=lambda v: getattr(v, "__name__", ""))
def test_the_rest_is_refused_by_name_and_line(function: Any, reason: str) -> None:
    with pytest.raises(TranslationError, match=f"^{function.__name__}, line [0-9]+: {reason}") as caught:
        translated(function, FLOAT)
    line = int(str(caught.value).split("line ")[1].split(":")[0])
    first = function.__code__.co_firstlineno
    assert first <= line <= first + 4


def test_types_must_match_the_parameters() -> None:
    with pytest.raises(TranslationError, match="2 arguments, 1 types"):
        translated(_swap, FLOAT)
    with pytest.raises(TranslationError, match="the negative of a unsigned long long"):
        translated(_pair, ULONG)


def test_two_formulas_of_one_name_are_refused() -> None:
    def swap(x: Any, y: Any) -> Any:
        return x + y

    translator = Translator()
    translator.add(_swap, [FLOAT, FLOAT])
    with pytest.raises(TranslationError, match="two formulas are called swap"):
        translator.add(swap, [FLOAT, FLOAT])
