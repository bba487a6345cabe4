"""NumPy's ufuncs on tensors: ``np.exp(x)`` is ``mr.ops.exp(x)``, and ``array + x`` is ``add(array, x)``."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..core.state import state
from ..core.tensor import Tensor, as_tensor
from ..errors import WRITTEN_HERE, ArgumentError, GraphError
from . import arithmetic
from .activation import tanh

OPERATORS = {  # NumPy's name: the name in Python's module ``operator``
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "true_divide": "truediv", "power": "pow",
    "matmul": "matmul", "negative": "neg", "positive": "pos", "absolute": "abs", "equal": "eq", "not_equal": "ne",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "floor_divide": "floordiv",
    "remainder": "mod", "bitwise_and": "and_", "bitwise_or": "or_", "bitwise_xor": "xor", "invert": "invert",
}  # fmt: skip
FUNCTIONS = {name: getattr(arithmetic, name) for name in ("exp", "log", "sqrt", "maximum", "minimum")} | {"tanh": tanh}


class ArrayUfunc:
    """The attribute ``Tensor.__array_ufunc__``.

    NumPy takes it from the class, and calls it for every ufunc. Masked arrays and CuPy take it from the instance: None
    tells them to leave ``array + tensor`` to the tensor.
    """

    def __get__(self, instance: Tensor | None, owner: type[Tensor]) -> Any:
        return apply if instance is None else None


def apply(x: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """Run the op that computes ``ufunc``. Any other ufunc runs on the arrays, unless a gradient would be lost."""
    name = ufunc.__name__
    if method == "__call__" and not options and (name in OPERATORS or name in FUNCTIONS):
        function = FUNCTIONS.get(name) or getattr(operator, OPERATORS[name])
        return function(as_tensor(inputs[0], like=x), *inputs[1:])
    if any(isinstance(array, Tensor) for array in options.get("out", ())):
        raise ArgumentError(f"np.{name}: out is a tensor; write t[...] = np.{name}(...) without out.")
    tensors = [part for part in inputs if isinstance(part, Tensor)]
    is_test = all(types.endswith(("?", "O")) for types in ufunc.types)  # isfinite and the like have no gradient
    if state.grad_enabled and any(t.requires_grad for t in tensors) and not is_test:
        instead = f"mr.ops.{name}" if name in FUNCTIONS else WRITTEN_HERE.get(name, "x.detach() for a constant")
        raise GraphError(f"np.{name}: this call cannot be recorded, and its gradient would be lost; write {instead}.")
    arrays = [part.numpy() if isinstance(part, Tensor) else part for part in inputs]
    return getattr(ufunc, method)(*arrays, **options)
