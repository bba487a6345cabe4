"""NumPy's ufuncs on tensors: ``np.exp(x)`` is ``mr.ops.exp(x)``, and ``array + x`` is ``add(array, x)``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.state import state
from ..core.tensor import Tensor, as_tensor
from ..errors import WRITTEN_HERE, ArgumentError, GraphError
from ..ops import exp, log, maximum, minimum, sqrt, tanh

FUNCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.divide: operator.truediv,
    np.power: operator.pow, np.matmul: operator.matmul, np.negative: operator.neg, np.positive: operator.pos,
    np.absolute: operator.abs, np.equal: operator.eq, np.not_equal: operator.ne, np.less: operator.lt,
    np.less_equal: operator.le, np.greater: operator.gt, np.greater_equal: operator.ge,
    np.floor_divide: operator.floordiv, np.remainder: operator.mod, np.bitwise_and: operator.and_,
    np.bitwise_or: operator.or_, np.bitwise_xor: operator.xor, np.invert: operator.invert, np.exp: exp, np.log: log,
    np.sqrt: sqrt, np.tanh: tanh, np.maximum: maximum, np.minimum: minimum,
}  # fmt: skip


class ArrayUfunc:
    """The attribute ``Tensor.__array_ufunc__``; until this module is imported, it is None.

    NumPy takes it from the class, and calls it for every ufunc. Masked arrays and CuPy take it from the instance: None
    tells them to leave ``array + tensor`` to the tensor.
    """

    def __get__(self, instance: Tensor | None, owner: type[Tensor]) -> Any:
        return apply if instance is None else None


def apply(x: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """Run the op that computes ``ufunc``. Any other ufunc runs on the arrays, unless a gradient would be lost."""
    if ufunc in FUNCTIONS and method == "__call__" and not options:
        return FUNCTIONS[ufunc](as_tensor(inputs[0], like=x), *inputs[1:])
    name = ufunc.__name__
    if any(isinstance(array, Tensor) for array in options.get("out", ())):
        raise ArgumentError(f"np.{name}: out is a tensor; write t[...] = np.{name}(...) without out.")
    is_test = all(types.endswith(("?", "O")) for types in ufunc.types)  # isfinite and the like have no gradient
    if state.grad_enabled and not is_test and any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
        instead = WRITTEN_HERE.get(name, "")
        if not instead or ".numpy()" in instead:  # which would lose the gradient, too
            instead = "t.detach() if no gradient is needed, or use operators and mr.ops"
        raise GraphError(f"np.{name}: minires cannot record this call, so its gradient would be lost; write {instead}.")
    arrays = [part.numpy() if isinstance(part, Tensor) else part for part in inputs]
    return getattr(ufunc, method)(*arrays, **options)
