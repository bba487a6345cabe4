"""The textbook: each op, defined once.

An op is a class (``forward`` on arrays, ``backward`` on tensors) followed by the function that users call, which checks
its arguments. To find the backward of ``conv2d``, open the file that defines ``Conv2d``.
"""

# ruff: noqa: I001

from ..core.calls import missing_attributes, missing_name, pytorch_names
from ..core.tensor import Tensor
from ..errors import WRITTEN_HERE
from .activation import dropout, gelu, leaky_relu, log_softmax, relu, residual_add, sigmoid, silu, softmax, tanh
from .arithmetic import (
    abs, add, clip, div, exp, floor_divide, log, masked_fill, maximum, minimum, mul, neg, pow, remainder, sqrt, sub,
    where,
)  # fmt: skip
from .conv import col2im, conv2d, conv_transpose2d, im2col
from .detection import giou_loss, sigmoid_focal_loss
from .linalg import linear, matmul
from .loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from .norm import batch_norm, group_norm, layer_norm
from .pool import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d
from .reduce import argmax, argmin, broadcast_to, logsumexp, max, mean, min, std, sum, sum_to, var
from .resize import interpolate
from .shape import (
    astype, concatenate, expand_dims, flatten, flip, getitem, pad, permute, reshape, squeeze, stack, to_device,
    transpose,
)  # fmt: skip

__all__ = [
    "abs", "adaptive_avg_pool2d", "add", "argmax", "argmin", "astype", "avg_pool2d", "batch_norm",
    "binary_cross_entropy_with_logits", "broadcast_to", "clip", "col2im", "concatenate", "conv2d", "conv_transpose2d",
    "cross_entropy", "div", "dropout", "exp", "expand_dims", "flatten", "flip", "floor_divide", "gelu", "getitem",
    "giou_loss", "global_avg_pool2d", "group_norm", "im2col", "interpolate", "layer_norm", "leaky_relu", "linear",
    "log", "log_softmax", "logsumexp", "masked_fill", "matmul", "max", "max_pool2d", "maximum", "mean", "min",
    "minimum", "mse_loss", "mul", "neg", "pad", "permute", "pow", "relu", "remainder", "reshape", "residual_add",
    "sigmoid", "sigmoid_focal_loss", "silu", "softmax", "sqrt", "squeeze", "stack", "std", "sub", "sum", "sum_to",
    "tanh", "to_device", "transpose",
    "var", "where",
]  # fmt: skip

_OPERATORS = {
    "add": add, "sub": sub, "mul": mul, "truediv": div, "floordiv": floor_divide, "mod": remainder, "pow": pow,
    "matmul": matmul,
}  # fmt: skip
for _name, _function in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _function)
    setattr(Tensor, f"__r{_name}__", lambda x, other, f=_function: f(other, x))  # Python calls x.__rsub__(2) for 2 - x

for _name in __all__:  # every public function also takes PyTorch's names of its arguments
    globals()[_name] = pytorch_names(globals()[_name])
    globals()[_name].__module__ = __name__  # where pickle finds it

_METHODS = [
    exp, log, sqrt, abs, tanh, sigmoid, relu, clip, masked_fill, sum, mean, var, std, max, min, logsumexp, softmax,
    log_softmax, argmax, argmin, reshape, transpose, permute, flatten, squeeze, expand_dims, broadcast_to, sum_to, flip,
    astype, to_device,
]  # fmt: skip
for _name, _attribute in {
    **{_function.__name__: _function for _function in _METHODS},
    "view": reshape, "unsqueeze": expand_dims, "expand": broadcast_to,  # PyTorch's names
    "__neg__": neg, "__abs__": abs, "__getitem__": getitem,
}.items():  # fmt: skip
    setattr(Tensor, _name, _attribute)

missing_attributes(Tensor, {**{_name: f"mr.ops.{_name}(x, ...)" for _name in __all__}, **WRITTEN_HERE})
del globals()["norm"]  # the module, so that mr.ops.norm(x) raises the error that says what to write

__getattr__ = missing_name("mr.ops", __all__, {
    "cat": "concatenate(tensors, axis)", "mm": "matmul(a, b)", "bmm": "matmul(a, b)", "clamp": "clip(x, low, high)",
    "unsqueeze": "expand_dims(x, axis)", "view": "reshape(x, shape)", "elu": "where(x > 0, x, exp(-relu(-x)) - 1)",
    "nll_loss": "cross_entropy(logits, labels)", "one_hot": "np.eye(classes)[labels]", "norm": "(x * x).sum() ** 0.5",
})  # fmt: skip
