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
from .attention import (
    attention,
    attention_weights,
    merge_heads,
    self_attention,
    self_attention_grad,
    split_heads,
)
from .elementwise import (
    bernoulli_nll,
    erf,
    exp,
    gate,
    gelu,
    gelu_slope,
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
from .reduce import (
    cross_entropy,
    cross_entropy_grad,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    normalise,
    normalise_grad,
    softmax,
    sum,
    sum_of_squares,
    var,
)
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
    "abs", "adam_step", "add", "assign", "astype", "attention", "attention_weights", "bernoulli_nll",
    "broadcast_to", "clip", "concatenate", "cross_entropy", "cross_entropy_grad", "dense", "div", "dropout_mask",
    "ema_step", "equal", "erf", "exp", "full_like", "gate", "gelu", "gelu_slope", "index", "leaky_relu", "less",
    "less_equal", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "merge_heads",
    "min", "minimum", "mul", "neg", "normal", "normalise", "normalise_grad", "not_equal", "pow", "relu",
    "reshape", "rmsprop_step", "scatter_along", "scatter_index", "scatter_take", "self_attention",
    "self_attention_grad", "sgd_step", "sigmoid", "sign", "softmax", "softplus", "split", "split_heads", "sqrt",
    "stack", "sub", "sum", "sum_of_squares", "sum_to", "swap_last", "take", "take_along", "tanh", "to_device",
    "transpose", "uniform", "var", "where",
]
