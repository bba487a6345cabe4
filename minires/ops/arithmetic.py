"""Elementwise arithmetic, with NumPy's broadcasting.

When an op broadcasts an input, its backward must sum the gradients of all copies of that input; ``sum_to`` does this.
Functions of two operands raise ShapeError if the shapes do not broadcast. exp, log and sqrt raise DTypeError if x does
not hold floats. ``/`` and powers that need floats convert integers to float32. Quotients that are
rounded, and remainders, raise ArgumentError where integers are divided by 0.
"""

import math

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
        to_b = (-upstream * (a / b / b)).sum_to(b.shape) if self.needs(1) else None  # b * b could overflow
        return to_a, to_b


class RoundedDiv(Op, saves="shapes"):
    def __init__(self, rounding_mode: str) -> None:
        self.rounding_mode = rounding_mode

    def forward(self, a: Array, b: Array) -> Array:
        xp = array_module(a)
        if self.rounding_mode == "floor":
            return xp.floor_divide(a, b)
        return xp.trunc(a / b) if a.dtype.kind == "f" else (a - xp.fmod(a, b)) // b  # exact for large integers, too

    def backward(self, upstream: Tensor) -> tuple[Tensor, ...]:
        return tuple(upstream.masked_fill(True, 0).sum_to(shape) for shape in self.input_shapes)


def div(a: TensorLike, b: TensorLike, *, rounding_mode: str | None = None) -> Tensor:
    """a / b, elementwise; "floor" rounds the quotient down and "trunc" towards 0, with gradient 0.

    Integers give float32, or integers if ``rounding_mode`` is given.
    """
    if rounding_mode is not None:
        checks.choice("div", rounding_mode, "rounding_mode", ("floor", "trunc"))
        return _rounded("div", RoundedDiv(rounding_mode), a, b)
    a, b = checks.broadcast("div", a, b)
    return Div()(a, b) if "f" in a.dtype.kind + b.dtype.kind else Div()(a.to("float32"), b.to("float32"))


def _rounded(op: str, division: Op, a: TensorLike, b: TensorLike) -> Tensor:
    """Run a division that rounds, which keeps integers as they are."""
    a, b = checks.broadcast(op, a, b)
    if a.dtype.kind != "f" and not b.data.all():
        raise ArgumentError(f"{op}: b ({sizes(b.shape)}) holds a 0, and integers cannot be divided by 0.")
    return division(a, b)


def floor_divide(a: TensorLike, b: TensorLike) -> Tensor:
    """a // b, elementwise: the quotient, rounded down. Its gradient is 0."""
    return _rounded("floor_divide", RoundedDiv("floor"), a, b)


class Remainder(Op):
    def forward(self, a: Array, b: Array) -> Array:
        return array_module(a).remainder(a, b)

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.inputs
        return upstream.sum_to(a.shape), (-upstream * floor_divide(a, b)).sum_to(b.shape)


def remainder(a: TensorLike, b: TensorLike) -> Tensor:
    """a % b, elementwise: a - b * floor(a / b), which has the sign of b, as in Python."""
    return _rounded("remainder", Remainder(), a, b)


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
            return upstream.masked_fill(True, 0)
        return upstream * (self.exponent * x ** (self.exponent - 1))


class PowTensor(Op, name="pow", saves="both"):
    def forward(self, x: Array, exponent: Array) -> Array:
        return x**exponent

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (x, exponent), to_x, to_exponent = self.inputs, None, None
        if self.needs(0):
            dead = (exponent == 0) & ~(abs(x) > 0)  # 0 * 0**-1 would be NaN
            slope = exponent * x.masked_fill(dead, 1) ** (exponent - 1)
            to_x = (upstream * slope).masked_fill(dead, 0).sum_to(x.shape)
        if self.needs(1):
            dead = (x == 0) & (exponent >= 0)  # 0 * log(0) would be NaN
            slope = self.output * log(x.masked_fill(dead, 1))
            to_exponent = (upstream * slope).masked_fill(dead, 0).sum_to(exponent.shape)
        return to_x, to_exponent


def pow(x: TensorLike, exponent: TensorLike) -> Tensor:
    """x to the power of ``exponent``, a number or a tensor. 0**0 is 1, and its gradients are 0, as in PyTorch.

    Raises DTypeError if x and ``exponent`` hold integers and an exponent is negative.
    """
    x, power = checks.broadcast("pow", x, exponent)
    if power.dtype.kind != "f" and (power.data < 0).any():
        raise DTypeError(f"pow: x ({sizes(x.shape)}) is {x.dtype}, but exponent is negative; use x.astype('float32').")
    if not checks.is_number(exponent):
        return PowTensor()(x, power.to(x.dtype) if power.dtype.kind == "b" else power)
    return sqrt(x) if exponent == 0.5 else Pow(exponent.item() if isinstance(exponent, np.generic) else exponent)(x)


class Sqrt(Op, saves="output"):
    def forward(self, x: Array) -> Array:
        return array_module(x).sqrt(x)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream / (2 * self.output)


def sqrt(x: TensorLike) -> Tensor:
    """The square root."""
    return Sqrt()(checks.floats("sqrt", x))


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
        return upstream * ((x > 0).to(x.dtype) - (x < 0).to(x.dtype))


def abs(x: TensorLike) -> Tensor:
    """The absolute value; its gradient at 0 and at NaN is 0."""
    return Abs()(checks.numbers("abs", x))


class Maximum(Op, saves="both"):
    def forward(self, a: Array, b: Array) -> Array:
        return array_module(a).maximum(a, b)

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        (a, b), y = self.inputs, self.output
        share, known = where(a == b, upstream / 2, upstream), y == y  # where y is NaN, both get the whole gradient
        to_a, to_b = share.masked_fill((a != y) & known, 0), share.masked_fill((b != y) & known, 0)
        return to_a.sum_to(a.shape), to_b.sum_to(b.shape)


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

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (a_shape, b_shape), zero = self.input_shapes, as_tensor(0, like=upstream)
        to_a = Where(self.condition)(upstream, zero).sum_to(a_shape) if self.needs(0) else None
        to_b = Where(~self.condition)(upstream, zero).sum_to(b_shape) if self.needs(1) else None
        return to_a, to_b


def where(condition: TensorLike, a: TensorLike, b: TensorLike) -> Tensor:
    """a where ``condition`` is true, b elsewhere. Raises DTypeError unless ``condition`` holds booleans."""
    a, b = checks.broadcast("where", a, b)
    return Where(_booleans("where", condition, "condition", a, b).copy(order="K"))(a, b)


def _booleans(op: str, value: TensorLike, name: str, *parts: Tensor) -> Array:
    """Return the array of a condition, which must hold booleans and broadcast with what is selected from."""
    condition = as_tensor(value)
    if condition.dtype.kind != "b":
        raise DTypeError(f"{op}: {name} is {condition.dtype}; it must hold booleans, e.g. x > 0.")
    for part in parts:
        checks.broadcast(op, condition, part)
    return to_device(condition.data, parts[0].device)


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
    kept = ~_booleans("masked_fill", mask, "mask", x)
    return Where(kept)(x, value if value.dtype == x.dtype else value.astype(x.dtype))


class Clip(Op):
    def forward(self, x: Array, low: Array, high: Array) -> Array:
        return array_module(x).clip(x, low, high)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, low, high = self.inputs
        passed = ((x >= low) & (x <= high), (x < low) & (low < high), (x > high) | (high < low))  # what y equals
        return tuple(
            upstream.masked_fill(~mask, 0).sum_to(part.shape) if self.needs(i) else None
            for i, (mask, part) in enumerate(zip(passed, self.inputs, strict=True))
        )


def clip(x: TensorLike, low: TensorLike = None, high: TensorLike = None) -> Tensor:
    """Limit x to [low, high]. The bounds are numbers or tensors, and one may be None. Outside, x gets no gradient.

    Raises ArgumentError if both are None, or are numbers with low > high.
    """
    given = [bound for bound in (low, high) if bound is not None]
    if not given or (all(map(checks.is_number, given)) and not given[0] <= given[-1]):
        raise ArgumentError(f"clip: low is {low!r} and high is {high!r}; give at least one of them, with low <= high.")
    for bound in given:
        x, _ = checks.broadcast("clip", x, bound)  # integers become floats if a bound holds floats
    ends = (-math.inf, math.inf) if x.dtype.kind == "f" else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    bounds = [as_tensor(b if b is not None else end, like=x) for b, end in zip((low, high), ends, strict=True)]
    checks.broadcast("clip", *bounds)
    return Clip()(x, *(bound.to(x.dtype) for bound in bounds))
