"""Matrix products.

Both functions raise ShapeError if the sizes do not fit, and DTypeError if an input does not hold floats,
or the dtypes of the inputs differ.
"""

import math

from ..core import checks
from ..core.autograd import Op, Shape
from ..core.backend import Array
from ..core.tensor import Tensor, TensorLike
from ..errors import ShapeError, sizes


class MatMul(Op, name="matmul"):
    def forward(self, a: Array, b: Array) -> Array:
        return a @ b  # (..., M, K) @ (..., K, P) -> (..., M, P)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = self.inputs
        to_a = (upstream @ b.transpose(-2, -1)).sum_to(a.shape) if self.needs(0) else None  # (..., M, P) @ (..., P, K)
        to_b = (a.transpose(-2, -1) @ upstream).sum_to(b.shape) if self.needs(1) else None  # (..., K, M) @ (..., M, P)
        return to_a, to_b

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        return math.prod(output) * inputs[0][-1]


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """The matrix product (..., M, K) @ (..., K, P) -> (..., M, P).

    Leading axes broadcast. A vector (K,) is treated as a row on the left and as a column on the right, and its extra
    axis is removed from the result.
    """
    a = checks.floats("matmul", a, "a", b if isinstance(b, Tensor) else None, "b")
    b = checks.floats("matmul", b, "b", a, "a")
    given = f"matmul: a is {sizes(a.shape)} and b is {sizes(b.shape)}"
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"{given}, but a scalar is not a matrix; multiply with *.")
    inner = b.shape[-2:][0]  # b is (K,) or (..., K, P)
    if a.shape[-1] != inner:
        hint = " Is b transposed?" if a.shape[-1] == b.shape[-1] else ""
        raise ShapeError(f"{given}, but a has {a.shape[-1]} columns and b {inner} rows; they must be equal.{hint}")
    for p, q in zip(a.shape[-3::-1], b.shape[-3::-1], strict=False):
        if p != q and 1 not in (p, q):
            raise ShapeError(f"{given}, whose leading axes {p} and {q} do not broadcast.")
    if b.ndim == 1:
        return matmul(a, b.expand_dims(1)).squeeze(-1)  # (..., M, K) @ (K, 1) -> (..., M, 1) -> (..., M)
    if a.ndim == 1:
        return matmul(a.expand_dims(0), b).squeeze(-2)  # (1, K) @ (..., K, P) -> (..., 1, P) -> (..., P)
    return MatMul()(a, b)


class Linear(Op):
    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = x @ weight.T  # (..., C) @ (C, O) -> (..., O)
        return y if bias is None else y + bias

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *bias = self.inputs
        m = math.prod(x.shape[:-1])  # not -1, since C and O can be 0
        dy = upstream.reshape(m, weight.shape[0])  # (..., O) -> (M, O)
        rows = x.reshape(m, weight.shape[1])  # (..., C) -> (M, C)
        dx = (dy @ weight).reshape(x.shape) if self.needs(0) else None  # (M, O) @ (O, C) -> (M, C) -> (..., C)
        dweight = dy.T @ rows if self.needs(1) else None  # (O, M) @ (M, C) -> (O, C)
        return (dx, dweight, *(dy.sum(axis=0) for _ in bias))

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        return math.prod(output) * inputs[1][1]


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """x @ weight.T + bias, where x is (..., C), weight (O, C), bias (O,), and the result (..., O)."""
    x = checks.floats("linear", x)
    weight = checks.floats("linear", weight, "weight", like=x)
    checks.axes("linear", weight, 2, "(O, C)", "weight")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        given = f"x has {x.shape[-1] if x.ndim else 'no'} features (x: {sizes(x.shape)})"
        needed = f"weight expects {weight.shape[1]} (weight: {sizes(weight.shape)}, (O, C))"
        raise ShapeError(f"linear: {given} but {needed}. Is a flatten missing before the layer?")
    return Linear()(x, weight, *checks.bias("linear", bias, weight.shape[0], x))
