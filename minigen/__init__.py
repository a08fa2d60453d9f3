"""minigen: generative models from the equation to the kernel, in NumPy and Numba.

>>> import minigen as mg
>>> w = mg.tensor([0.0, 1.0], requires_grad=True)
>>> mg.tanh(w).sum().backward()
>>> w.grad
Tensor([1.  , 0.42], shape=(2,), float32)
"""

from . import tensor as _first  # noqa: F401, I001 - the engine is built on Tensor, which names it at its end
from . import data, errors, kernels, losses, metrics, models, nn, ops, optim
from .autograd import apply, backward, grad, hook, no_grad, op
from .debug import detect_nan
from .draw import draw
from .gradcheck import gradcheck
from .heap import keep_freed_memory as _keep_freed_memory
from .models import load
from .ops import *  # noqa: F403
from .ops import __all__ as _operations
from .program import compile
from .random import Generator, seed
from .tensor import Parameter, Tensor, tensor
from .threads import get_threads, set_threads
from .training import feedback, train

__all__ = ["Generator", "Parameter", "Tensor", "apply", "backward", "compile", "data", "detect_nan", "draw", "errors",
           "feedback", "get_threads", "grad", "gradcheck", "hook", "kernels", "load", "losses", "metrics", "models",
           "nn", "no_grad", "op", "ops", "optim", "seed", "set_threads", "tensor", "train"]
__all__ += _operations

_keep_freed_memory()
