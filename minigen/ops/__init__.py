"""The differentiable operations: each a forward on arrays, a vjp on Tensors, and both equations in a docstring."""

from .arithmetic import (
    abs,
    add,
    astype,
    clip,
    div,
    equal,
    full_like,
    less,
    less_equal,
    maximum,
    minimum,
    mul,
    neg,
    not_equal,
    pow,
    sign,
    sub,
    to_device,
    where,
)
from .elementwise import (
    bernoulli_nll,
    erf,
    exp,
    gate,
    gelu,
    leaky_relu,
    log,
    log1p,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
)
from .linear import dense, matmul
from .noise import dropout_mask, normal, uniform
from .reduce import log_softmax, logsumexp, max, mean, min, normalise, softmax, sum, var
from .shape import (
    broadcast_to,
    concatenate,
    index,
    reshape,
    scatter_along,
    scatter_index,
    scatter_take,
    split,
    stack,
    sum_to,
    swap_last,
    take,
    take_along,
    transpose,
)
from .update import adam_step, assign, ema_step, rmsprop_step, sgd_step

__all__ = [
    "abs", "adam_step", "add", "assign", "astype", "bernoulli_nll", "broadcast_to", "clip", "concatenate", "dense",
    "div", "dropout_mask", "ema_step", "equal", "erf", "exp", "full_like", "gate", "gelu", "index", "leaky_relu",
    "less", "less_equal", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "min",
    "minimum", "mul", "neg", "normal", "normalise", "not_equal", "pow", "relu", "reshape",
    "rmsprop_step", "scatter_along", "scatter_index", "scatter_take", "sgd_step", "sigmoid", "sign", "softmax",
    "softplus", "split", "sqrt", "stack", "sub", "sum", "sum_to", "swap_last", "take", "take_along", "tanh",
    "to_device", "transpose", "uniform", "var", "where",
]
