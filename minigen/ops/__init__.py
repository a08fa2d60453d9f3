"""The differentiable operations: each a forward on arrays, a vjp on Tensors, and both equations in a docstring."""

# ruff: noqa: F403, F405 - each file says in __all__ what it offers
from .arithmetic import *
from .attention import *
from .elementwise import *
from .linear import *
from .noise import *
from .reduce import *
from .shape import *
from .update import *

__all__ = [
    "abs", "adam_step", "add", "assign", "astype", "attention", "attention_weights", "bernoulli_nll",
    "broadcast_to", "clip", "concatenate", "cross_entropy", "cross_entropy_grad", "dense", "div", "dropout_mask",
    "ema_step", "embedding", "equal", "erf", "exp", "full_like", "gate", "gelu", "gelu_slope", "index", "leaky_relu",
    "less", "less_equal", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "merge_heads",
    "min", "minimum", "mul", "neg", "normal", "normalise", "normalise_grad", "not_equal", "pow", "relu",
    "reshape", "rmsprop_step", "scatter_along", "scatter_index", "scatter_take", "self_attention",
    "self_attention_grad", "sgd_step", "sigmoid", "sign", "softmax", "softplus", "split", "split_heads", "sqrt",
    "stack", "sub", "sum", "sum_of_squares", "sum_to", "swap_last", "take", "take_along", "tanh", "to_device",
    "transpose", "uniform", "var", "where", "within",
]
