"""The matmul ladder: the same product from three nested loops to the processor's limit, a file a rung.

    naive          three loops, as the definition reads
    loop_order     the loop over columns innermost: the compiler makes vectors
    blocked        blocks of B that stay in the cache
    register_tile  4 x 4 tiles: fewer loads and stores for the same multiply-adds
    vector         a tile of C in vector registers, chosen by hand (`micro_kernel`), operands read in place
    packed         both operands copied into the order in which the tile reads them
    parallel       packed where it pays, on all threads
    blas           NumPy's
    best           what was measured to be fastest for the shape

`best` is never BLAS. How many times as fast as OpenBLAS it is, called by `np.matmul` with `out`, on one thread and on
two, is in kernels/README.md: more on every shape of the MNIST suite. BLAS would make
the bits depend on its number of threads. `minigen bench matmul` measures it again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...threads import threads_to_start
from .blocked import blocked
from .engine import ENGINES, entry_point, multiply, multiply_stacks, native_whole
from .epilogue import ACTIVATIONS, activate
from .loop_order import loop_order
from .naive import naive
from .register_tile import register_tile
from .whole import AS_NEEDED, BOTH, BY_SIZE

__all__ = ["RUNGS", "matmul", "product_arguments", "small_matmul"]

Array = NDArray[Any]

RUNGS = ("naive", "loop_order", "blocked", "register_tile", "vector", "packed", "parallel", "blas", "best")
"""The names of the rungs, slowest first; `best` is not a rung but a choice."""

_PACKING = {"vector": AS_NEEDED, "packed": BOTH, "parallel": BY_SIZE, "best": BY_SIZE}
_LOOPS = {f.__name__: f for f in (naive, loop_order, blocked, register_tile)}
_empty = np.empty
PARALLEL_WORK = 800_000
"""Multiply-adds below which a second thread does not pay: 14 microseconds of one."""


def matmul(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
    activation: str | None = None,
    slope: float = 0.01,
    out: Array | None = None,
    accumulate: bool = False,
    rung: str = "best",
    threads: int | None = None,
) -> Array:
    """out = activation(a b + bias), or with `accumulate` activation(out + a b + bias).

    Shapes: a (m, k), b (k, n), either transposed where asked; bias (n,); out (m, n), new unless given, overlapping
    with no operand. All of one dtype, float32 or float64; any strides. `activation`: relu, leaky_relu (which has the
    `slope`), tanh, sigmoid, gelu or softplus. `rung`: see `RUNGS`. `threads`: at most so many; by default as many as
    `set_threads` allows for the rungs "parallel" and "best", one for the others; "blas" goes by `set_threads` alone.
    An empty sum (k = 0) is 0. The bits of the result do not depend on the number of threads.

    Stacks of matrices, a (..., m, k) and b (..., k, n), are broadcast over their leading axes and multiplied one by
    one; they take neither bias, activation nor out.

    Raises ValueError for shapes that do not match, an unknown rung or activation, an `out` that overlaps, is missing
    for `accumulate`, or cannot be written; TypeError for other dtypes, or dtypes that differ.
    """
    if transpose_a:
        a = a.swapaxes(-1, -2)
    if transpose_b:
        b = b.swapaxes(-1, -2)
    try:
        (m, k), (_, n) = a.shape, b.shape
    except ValueError:
        if not (bias is activation is out is None) or accumulate:
            raise ValueError(f"matmul: matrices expected, got shapes {a.shape} and {b.shape}") from None
        return _stacks(a, b, rung, threads)
    dtype = a.dtype
    team = 1 if threads == 1 or m * k * n < PARALLEL_WORK else threads_to_start(threads)
    engine = ENGINES.get((dtype, team))
    if (  # the usual call, in little Python, which takes longer than a small product: compiled code sees to the rest
        engine is not None
        and rung == "best"
        and b.dtype is dtype
        and (not accumulate if out is None else out.dtype is dtype and out.ndim == 2 and out.flags.carray)
        and (bias is None or (bias.dtype is dtype and bias.ndim == 1 and bias.flags.c_contiguous))
        and activation in ACTIVATIONS
        and (threads is None or threads > 0)
    ):
        address, fork, worker, members, q, whole, no_bias = engine
        c = _empty((m, n), dtype) if out is None else out
        if whole(
            address, fork, worker, members, q, c, a, b, no_bias if bias is None else bias, accumulate, BY_SIZE,
            ACTIVATIONS[activation], 0.0 if activation == "relu" else slope, True,
        ):  # fmt: skip
            return c
    _require_operands(a, b, rung, threads)
    if bias is not None:
        if bias.dtype is not dtype or bias.shape != (n,):
            _require("bias", bias, dtype, (n,))
        bias = np.ascontiguousarray(bias)
    if activation is not None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"matmul: unknown activation {activation!r}: use one of {_names(ACTIVATIONS)}")
        if activation == "relu":
            slope = 0.0
    if out is None:
        if accumulate:
            raise ValueError("matmul: accumulate=True needs an `out` to add to")
        c = out = np.empty((m, n), dtype)
    else:
        c = _target(out, dtype, (m, n), accumulate, a, b, bias)
    packing = _PACKING.get(rung)
    if packing is None:
        _plain(rung, c, a, b, bias, accumulate)
        activate(c, activation, slope)
    elif m and n:
        if rung != "best":
            team = 1 if threads is None and rung != "parallel" else threads_to_start(threads)
        multiply(c, a, b, bias, accumulate, activation, slope, packing, team)
    if c is not out:
        out[...] = c
    return out


def small_matmul(
    a: Array,
    b: Array,
    *,
    bias: Array | None = None,
    activation: str | None = None,
    slope: float = 0.01,
    accumulate: bool = False,
    out: Array,
) -> Array:
    """`matmul` into a contiguous `out` by one thread, for a compiled step, which laid out the operands itself.

    It takes for granted that they have one dtype and that `out` is contiguous: to ask for all that `matmul` asks for
    takes Python longer than a small product takes.
    """
    address, fork, worker, team, q, whole, no_bias = ENGINES[a.dtype, 1]
    if (bias is None or bias.flags.c_contiguous) and whole(
        address, fork, worker, team, q, out, a, b, no_bias if bias is None else bias, accumulate, BY_SIZE,
        ACTIVATIONS[activation], 0.0 if activation == "relu" else slope, True,
    ):  # fmt: skip
        return out
    return matmul(a, b, bias=bias, activation=activation, slope=slope, accumulate=accumulate, out=out, threads=1)


def product_arguments(
    a: Array, b: Array, *, bias: Array | None = None, activation: str | None = None, slope: float = 0.01,
    accumulate: bool = False, out: Array,
) -> tuple[int, tuple[Any, ...], tuple[Any, ...]]:  # fmt: skip
    """The machine code of `small_matmul`, the types that it takes, and what it is given for these."""
    *engine, _, no_bias = ENGINES[a.dtype, 1]
    address, kinds = native_whole(a.dtype)
    return address, kinds, (
        *engine, out, a, b, no_bias if bias is None else bias, int(accumulate), BY_SIZE, ACTIVATIONS[activation],
        0.0 if activation == "relu" else slope, 0,
    )  # fmt: skip


def _stacks(a: Array, b: Array, rung: str, threads: int | None) -> Array:
    """The product of each matrix of a with its fellow of b."""
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul: matrices expected, got shapes {a.shape} and {b.shape}")
    _require_operands(a, b, rung, threads)
    (m, k), n = a.shape[-2:], b.shape[-1]
    if b.ndim == 2 and a.flags.c_contiguous:  # the same b for all: one tall product
        return matmul(a.reshape(math.prod(a.shape[:-1]), k), b, rung=rung, threads=threads).reshape(*a.shape[:-1], n)
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.empty((*leading, m, n), a.dtype)
    count = math.prod(leading)
    left = np.broadcast_to(a, (*leading, m, k)).reshape(count, m, k)
    right = np.broadcast_to(b, (*leading, *b.shape[-2:])).reshape(count, *b.shape[-2:])
    stack = out.reshape(count, m, n)
    if rung == "best" and out.size and m * n * k < PARALLEL_WORK:
        multiply_stacks(stack, left, right, BY_SIZE)
    else:
        for i in range(count):
            matmul(left[i], right[i], out=stack[i], rung=rung, threads=threads)
    return out


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _names(known: Any) -> str:
    return ", ".join(name for name in known if name)


def _require_operands(a: Array, b: Array, rung: str, threads: int | None) -> None:
    """That there is a product of these, matrices or stacks, on this rung and so many threads."""
    k, k_of_b = a.shape[-1], b.shape[-2]
    if k != k_of_b:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not match: {k} columns, {k_of_b} rows")
    if a.dtype != b.dtype or a.dtype not in _FLOATS:
        raise TypeError(f"matmul: float32 or float64 expected, the same for both, got {a.dtype} and {b.dtype}")
    if rung not in RUNGS:
        raise ValueError(f"matmul: unknown rung {rung!r}: use one of {_names(RUNGS)}")
    if threads is not None and threads < 1:
        raise ValueError(f"matmul: threads must be at least 1, got {threads}")


def _require(name: str, x: Array, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if x.dtype != dtype:
        raise TypeError(f"matmul: `{name}` of {dtype} expected, as `a` is, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(f"matmul: `{name}` of shape {shape} expected, got {x.shape}")


def _target(
    out: Array, dtype: np.dtype, shape: tuple[int, int], accumulate: bool, a: Array, b: Array, bias: Array | None
) -> Array:
    """The contiguous array to compute into: `out` itself, or one to be copied there."""
    if out.dtype != dtype or out.shape != shape:
        _require("out", out, dtype, shape)
    flags = out.flags
    if not flags.writeable:
        raise ValueError("matmul: `out` is read-only")
    # Arrays that own their memory cannot overlap; to find that out costs a fifth of comparing addresses.
    if not (flags.owndata and _apart(out, a) and _apart(out, b) and (bias is None or _apart(out, bias))):
        for x in (a, b, bias):
            if x is not None and np.may_share_memory(out, x) and np.shares_memory(out, x):
                raise ValueError("matmul: `out` overlaps with an operand, which would change while it is read")
    if flags.carray:
        return out
    return np.array(out, order="C") if accumulate else np.empty(shape, dtype)


def _apart(out: Array, x: Array) -> bool:
    """Whether x owns its memory, or another array than `out` does."""
    base = x.base
    if base is None:
        return x is not out
    return base is not out and type(base) is np.ndarray and base.base is None


def _plain(rung: str, c: Array, a: Array, b: Array, bias: Array | None, accumulate: bool) -> None:
    """C = A B + bias, or C + A B + bias, by NumPy or by the loops that want contiguous operands."""
    if rung == "blas":
        with np.errstate(all="ignore"):  # a compiled loop does not warn either
            if accumulate:
                c += a @ b
            else:
                np.matmul(a, b, out=c)
            if bias is not None:
                c += bias
        return
    if bias is not None:
        c[...] = c + bias if accumulate else bias
    elif not accumulate:
        c.fill(0)
    if c.size:
        _loop(rung, c.dtype)(c, np.ascontiguousarray(a), np.ascontiguousarray(b))


@functools.cache
def _loop(rung: str, dtype: np.dtype) -> Callable[..., None]:
    return entry_point(_LOOPS[rung], "ccc", dtype)
