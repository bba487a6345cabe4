"""Elementwise arithmetic, with NumPy's broadcasting.

When an op broadcasts an input, its backward must sum the gradients of all copies of that input; ``sum_to`` does this.
Functions of two operands raise ShapeError if the shapes do not broadcast. exp, log and sqrt raise DTypeError if x does
not hold floats; ``/`` raises it if neither operand holds floats.
"""

import numpy as np

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module, to_device
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import ArgumentError, DTypeError, ShapeError, sizes


class Add(Op, saves="shapes"):
    def forward(self, a: Array, b: Array) -> Array:
        return a + b

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        a_shape, b_shape = self.input_shapes
        return upstream.sum_to(a_shape), upstream.sum_to(b_shape)


def add(a: TensorLike, b: TensorLike) -> Tensor:
    """a + b."""
    return Add()(*checks.broadcast("add", a, b))


class Sub(Op, saves="shapes"):
    def forward(self, a: Array, b: Array) -> Array:
        return a - b

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        a_shape, b_shape = self.input_shapes
        return upstream.sum_to(a_shape), -upstream.sum_to(b_shape)


def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """a - b."""
    a, b = checks.broadcast("sub", a, b)
    return Sub()(checks.numbers("sub", a) if b.dtype.kind == "b" else a, b)


class Mul(Op):
    def forward(self, a: Array, b: Array) -> Array:
        return a * b

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = self.inputs
        to_a = (upstream * b).sum_to(a.shape) if self.needs(0) else None
        to_b = (upstream * a).sum_to(b.shape) if self.needs(1) else None
        return to_a, to_b


def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """a * b, elementwise."""
    return Mul()(*checks.broadcast("mul", a, b))


class Div(Op):
    def forward(self, a: Array, b: Array) -> Array:
        return a / b

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = self.inputs
        to_a = (upstream / b).sum_to(a.shape) if self.needs(0) else None
        to_b = (-upstream * a / (b * b)).sum_to(b.shape) if self.needs(1) else None
        return to_a, to_b


def div(a: TensorLike, b: TensorLike) -> Tensor:
    """a / b, elementwise; at least one of them must hold floats."""
    a, b = checks.broadcast("div", a, b)
    return Div()(a if b.dtype.kind == "f" else checks.floats("div", a, "a"), b)


class Neg(Op, saves="shapes"):
    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, upstream: Tensor) -> Tensor:
        return -upstream


def neg(x: TensorLike) -> Tensor:
    """-x."""
    return Neg()(checks.numbers("neg", x))


class Pow(Op):
    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def forward(self, x: Array) -> Array:
        # In NumPy 1, a 0-dimensional float32 array to the power of a Python float gives float64.
        return x ** (x.dtype.type(self.exponent) if x.dtype.kind == "f" else self.exponent)

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        if self.exponent == 0:  # 0 * x**-1 would be NaN at x = 0
            return upstream * 0
        return upstream * (self.exponent * x ** (self.exponent - 1))


def pow(x: TensorLike, exponent: TensorLike) -> Tensor:
    """x to the power of ``exponent``, which is a number or, if all elements of x are positive, a tensor."""
    x = as_tensor(x, like=exponent if isinstance(exponent, Tensor) else None)
    if isinstance(exponent, Tensor):
        if not (x.data > 0).all():
            raise ArgumentError(f"pow: x ({sizes(x.shape)}) has values <= 0; it must be > 0 if exponent is a tensor.")
        return exp(exponent * log(x))
    if not checks.is_number(exponent):
        raise ArgumentError(f"pow: exponent is {exponent!r}; it must be a number or a tensor.")
    number = exponent.item() if isinstance(exponent, np.generic) else exponent
    if x.dtype.kind != "f":
        if number < 0 or not float(number).is_integer():
            raise DTypeError(f"pow: x ({sizes(x.shape)}) is {x.dtype} and exponent is {number}; convert x to floats.")
        number = int(number)
    return Pow(number)(x)


def sqrt(x: TensorLike) -> Tensor:
    """The square root."""
    return Pow(0.5)(checks.floats("sqrt", x))


class Exp(Op, saves="output"):
    def forward(self, x: Array) -> Array:
        return array_module(x).exp(x)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream * self.output


def exp(x: TensorLike) -> Tensor:
    """e to the power x."""
    return Exp()(checks.floats("exp", x))


class Log(Op):
    def forward(self, x: Array) -> Array:
        return array_module(x).log(x)

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        return upstream / x


def log(x: TensorLike) -> Tensor:
    """The natural logarithm."""
    return Log()(checks.floats("log", x))


class Abs(Op):
    def forward(self, x: Array) -> Array:
        return array_module(x).abs(x)

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        return upstream * Tensor.wrap(array_module(x.data).sign(x.data))


def abs(x: TensorLike) -> Tensor:
    """The absolute value; its gradient at 0 is 0."""
    return Abs()(checks.numbers("abs", x))


class Maximum(Op):
    def forward(self, a: Array, b: Array) -> Array:
        return array_module(a).maximum(a, b)

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.inputs
        y = self.forward(a.data, b.data)
        a_wins = (a.data == y) * (1 - 0.5 * (b.data == y))  # 1 where a wins, 0 where b wins, 0.5 for ties
        to_a = upstream * Tensor.wrap(a_wins.astype(upstream.dtype))
        return to_a.sum_to(a.shape), (upstream - to_a).sum_to(b.shape)


class Minimum(Maximum):
    def forward(self, a: Array, b: Array) -> Array:
        return array_module(a).minimum(a, b)


def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """The larger of a and b, elementwise. Where they are equal, each gets half of the gradient, as in PyTorch."""
    return Maximum()(*checks.broadcast("maximum", a, b))


def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """The smaller of a and b, elementwise. Where they are equal, each gets half of the gradient, as in PyTorch."""
    return Minimum()(*checks.broadcast("minimum", a, b))


class Where(Op, saves="shapes"):
    def __init__(self, condition: Array) -> None:
        self.condition = condition

    def forward(self, a: Array, b: Array) -> Array:
        return array_module(a).where(self.condition, a, b)

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        a_shape, b_shape = self.input_shapes
        to_a, to_b = masked_fill(upstream, ~self.condition, 0), masked_fill(upstream, self.condition, 0)
        return to_a.sum_to(a_shape), to_b.sum_to(b_shape)


def where(condition: TensorLike, a: TensorLike, b: TensorLike) -> Tensor:
    """a where ``condition`` is true, b elsewhere. Raises DTypeError unless ``condition`` holds booleans."""
    return _where("where", "condition", condition, a, b)


def _where(op: str, name: str, condition: TensorLike, a: TensorLike, b: TensorLike) -> Tensor:
    condition = as_tensor(condition)
    if condition.dtype.kind != "b":
        raise DTypeError(f"{op}: {name} is {condition.dtype}; it must hold booleans, e.g. x > 0.")
    a, b = checks.broadcast(op, a, b)
    for part in (a, b):
        checks.broadcast(op, condition, part)
    return Where(to_device(condition.data.copy(), a.device))(a, b)


def masked_fill(x: TensorLike, mask: TensorLike, value: TensorLike) -> Tensor:
    """``value``, one number, where ``mask`` is true, and x elsewhere. Raises DTypeError unless ``mask`` holds booleans.

    A backward that stops a gradient selects with this function: ``upstream * mask`` would give NaN for inf * 0.

    Examples
    --------
    >>> import minires as mr
    >>> mr.tensor([1.0, float("inf")]).masked_fill([False, True], 0)
    tensor([1., 0.])
    """
    x = as_tensor(x)
    value = as_tensor(value, like=x)
    if value.ndim > 0:
        raise ShapeError(f"masked_fill: value is {sizes(value.shape)}; it must be one number. Use where(mask, a, b).")
    return _where("masked_fill", "mask", mask, value.to(x.dtype), x)


class Clip(Op):
    def __init__(self, low: float | None, high: float | None) -> None:
        self.low, self.high = low, high

    def forward(self, x: Array) -> Array:
        return array_module(x).clip(x, self.low, self.high)

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        return where(Tensor.wrap(self.forward(x.data) == x.data), upstream, 0)


def clip(x: TensorLike, low: float | None = None, high: float | None = None) -> Tensor:
    """Limit x to [low, high]; the gradient is 0 outside this range. Raises ArgumentError unless low <= high."""
    x = as_tensor(x)
    given = [bound for bound in (low, high) if bound is not None]
    if not given or not all(map(checks.is_number, given)) or not given[0] <= given[-1]:
        raise ArgumentError(f"clip: low is {low!r} and high is {high!r}; give at least one number, with low <= high.")
    return Clip(*(bound.item() if isinstance(bound, np.generic) else bound for bound in (low, high)))(x)
