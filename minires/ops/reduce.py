"""Reductions and broadcasting. The backward of a sum is a broadcast, and vice versa.

``axis`` is an int, several ints, or None for all axes. The functions raise ShapeError if x does not have such an axis,
or if the reduction needs at least one element (mean, var, max, min, ...) and the axis is empty. mean, var and logsumexp
raise DTypeError if x does not hold floats.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import checks
from ..core.autograd import Op, Shape
from ..core.backend import Array, DTypeLike, array_module, at_least_float32, wide_sum
from ..core.calls import refuses
from ..core.tensor import Axis, Tensor, TensorLike, as_tensor
from ..errors import ArgumentError, ShapeError, counted, sizes


class Reduction(Op):
    """An op that reduces all elements along ``axes`` to one number."""

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, _flag(self.name, keepdims)

    def kept(self, y: Tensor) -> Tensor:
        """Reshape y, which has the output's shape, so that it broadcasts to x: each reduced axis gets size 1."""
        (x_shape,) = self.input_shapes
        return y.reshape(tuple(1 if axis in self.axes else size for axis, size in enumerate(x_shape)))


def _flag(op: str, keepdims: Any) -> bool:
    if not isinstance(keepdims, (bool, np.bool_)):
        raise ArgumentError(f"{op}: keepdims is {keepdims!r}; it must be True or False. Several axes are axis=(0, 1).")
    return bool(keepdims)


class Sum(Reduction, saves="shapes"):
    def forward(self, x: Array) -> Array:
        return wide_sum(x, self.axes, self.keepdims)

    def backward(self, upstream: Tensor) -> Tensor:
        return self.kept(upstream).broadcast_to(self.input_shapes[0])


def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike = None) -> Tensor:
    """The sum over ``axis``, computed in ``dtype``; by default that of x, and int64 for integers and booleans."""
    x = as_tensor(x) if dtype is None else as_tensor(x).astype(dtype)
    y = Sum(checks.axis_numbers("sum", axis, x), keepdims)(x)
    return y if dtype is None else y.to(x.dtype)


class BroadcastTo(Op, saves="shapes"):
    def __init__(self, target: tuple[int, ...]) -> None:
        self.target = target

    def forward(self, x: Array) -> Array:
        return array_module(x).broadcast_to(x, self.target)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream.sum_to(self.input_shapes[0])


def broadcast_to(x: TensorLike, *shape: Any) -> Tensor:
    """A view of x that repeats axes of size 1, and adds leading axes, so that it has the given shape.

    A size of -1 means that this axis of x keeps its size.
    """
    x, target = as_tensor(x), checks.shape_tuple("broadcast_to", shape, -1)
    new = len(target) - x.ndim
    target = tuple(x.shape[a - new] if size == -1 and a >= new >= 0 else size for a, size in enumerate(target))
    _check_broadcast("broadcast_to", x.shape, target)
    return x if x.shape == target else BroadcastTo(target)(x)


def sum_to(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """The sum of x over the axes along which ``shape`` would broadcast to x: the adjoint of ``broadcast_to``.

    Examples
    --------
    >>> import minires as mr
    >>> mr.ops.sum_to(mr.tensor([[1.0, 2.0], [3.0, 4.0]]), (1, 2))
    tensor([[4., 6.]])
    """
    x = as_tensor(x)
    if isinstance(shape, tuple) and x.shape == shape:  # the usual case, in every backward of an elementwise op
        return x
    target = checks.shape_tuple("sum_to", (shape,), 0)
    if x.shape == target:
        return x
    _check_broadcast("sum_to", target, x.shape)
    leading = x.ndim - len(target)  # axes that the smaller shape does not have
    stretched = (leading + axis for axis, size in enumerate(target) if size == 1)
    return sum(x, axis=(*range(leading), *stretched)).reshape(target)


def _check_broadcast(op: str, small: Shape, large: Shape) -> None:
    """Raise ShapeError unless ``small`` broadcasts to ``large``."""
    pairs = zip(small[::-1], large[::-1], strict=False)
    if len(small) > len(large) or -1 in large or any(a not in (1, b) for a, b in pairs):
        needed = "counted from the last axis, each size must be 1 or equal to the target's"
        raise ShapeError(f"{op}: {sizes(small)} does not broadcast to {sizes(large)}; {needed}.")


class Mean(Sum):
    def forward(self, x: Array) -> Array:
        return wide_sum(x, self.axes, self.keepdims, math.prod(x.shape[axis] for axis in self.axes))

    def backward(self, upstream: Tensor) -> Tensor:
        (x_shape,) = self.input_shapes
        return super().backward(upstream * (1 / math.prod(x_shape[axis] for axis in self.axes)))


def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike = None) -> Tensor:
    """The mean over ``axis``. x is first converted to ``dtype``, if given; integers must be."""
    x = checks.floats("mean", x if dtype is None else as_tensor(x).astype(dtype))
    return Mean(checks.filled_axes("mean", axis, x)[0], keepdims)(x)


class Var(Reduction):
    def __init__(self, axes: tuple[int, ...], keepdims: bool, divisor: float) -> None:
        super().__init__(axes, keepdims)
        self.divisor = divisor

    def forward(self, x: Array) -> Array:
        wide, count = at_least_float32(x), math.prod(x.shape[axis] for axis in self.axes)
        squares = array_module(x).square(wide - wide_sum(wide, self.axes, True, count))
        return wide_sum(squares, self.axes, self.keepdims, self.divisor).astype(x.dtype, copy=False)

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        deviation = x - x.mean(self.axes, keepdims=True)  # the gradient through the mean is 0, as deviations sum to 0
        return self.kept(upstream * (2 / self.divisor)) * deviation


class Std(Var, saves="both"):
    """The square root of the variance. Where it is 0, its gradient is defined as 0."""

    def forward(self, x: Array) -> Array:
        wide = x.astype("float64")  # the variance may be out of the range of x's dtype
        return array_module(x).sqrt(super().forward(wide)).astype(x.dtype, copy=False)

    def backward(self, upstream: Tensor) -> Tensor:
        zero = self.output.data == 0
        return super().backward((upstream / (2 * self.output.masked_fill(zero, 1))).masked_fill(zero, 0))


def var(x: TensorLike, axis: Axis = None, correction: float | None = 1, keepdims: bool = False) -> Tensor:
    """The variance over ``axis``: the sum of squared deviations from the mean, divided by (count - correction).

    ``correction=1``, PyTorch's default, gives the unbiased variance; batch norm normalises with ``correction=0``. True
    and False, for PyTorch's ``unbiased``, mean 1 and 0.
    """
    return _spread(Var, x, axis, correction, keepdims)


def std(x: TensorLike, axis: Axis = None, correction: float | None = 1, keepdims: bool = False) -> Tensor:
    """The standard deviation over ``axis``: the square root of :func:`var`."""
    return _spread(Std, x, axis, correction, keepdims)


def _spread(op: type[Var], x: TensorLike, axis: Axis, correction: float | None, keepdims: bool) -> Tensor:
    if isinstance(axis, bool):  # PyTorch's var(x, unbiased)
        axis, correction = None, axis
    x = checks.floats(op.name, x)
    axes, count = checks.filled_axes(op.name, axis, x)
    given = 1 if correction is None else int(correction) if isinstance(correction, bool) else correction
    divisor = count - checks.number(op.name, given, "correction")
    if not divisor > 0:
        few = f"x ({sizes(x.shape)}) has {counted(count, 'element')} along axes {axes}"
        raise ShapeError(f"{op.name}: {few}, too few for correction {given:g}; pass correction=0.")
    return op(axes, keepdims, divisor)(x)


class Max(Reduction, saves="both"):
    """The largest element. Among equal elements, only the first gets the gradient."""

    def forward(self, x: Array) -> Array:
        return x.max(axis=self.axes, keepdims=self.keepdims)

    def backward(self, upstream: Tensor) -> Tensor:
        x, y = self.inputs[0].data, self.kept(self.output).data
        places = array_module(x).arange(x.size).reshape(x.shape)
        equal = (x == y) | (x != x)  # NaN, which is the largest and the smallest, does not equal itself
        first = array_module(x).where(equal, places, x.size).min(axis=self.axes, keepdims=True)
        return self.kept(upstream).masked_fill(places != first, 0)


class Min(Max):
    def forward(self, x: Array) -> Array:
        return x.min(axis=self.axes, keepdims=self.keepdims)


_pairs = refuses(dim="PyTorch's {0}(dim=) returns values and indices; write x.{0}(axis=...) and x.arg{0}(axis=...)")


@_pairs
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element along ``axis``. Among equal elements, the first gets the gradient.

    This is the gradient of PyTorch's ``max(dim)``; its ``max()`` and ``amax`` divide the gradient among equal elements.
    """
    return _extreme(Max, x, axis, keepdims)


@_pairs
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element along ``axis``. Among equal elements, the first gets the gradient."""
    return _extreme(Min, x, axis, keepdims)


def _extreme(op: type[Max], x: TensorLike, axis: Axis, keepdims: bool) -> Tensor:
    if isinstance(axis, Tensor):
        raise ArgumentError(f"{op.name}: axis is a tensor; to compare two tensors, write mr.ops.{op.name}imum(a, b).")
    x = as_tensor(x)
    return op(checks.filled_axes(op.name, axis, x)[0], keepdims)(x)


def argmax(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest element along ``axis``, or of the first of equal elements.

    If ``axis`` is None, this is an index into the flattened x. The result is int64 and does not have a gradient.
    """
    return _place("argmax", x, axis, keepdims)


def argmin(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest element along ``axis``, or of the first of equal elements; see :func:`argmax`."""
    return _place("argmin", x, axis, keepdims)


def _place(op: str, x: TensorLike, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    checks.filled_axes(op, axis if axis is None else checks.one_axis(op, axis, x), x)
    return Tensor.wrap(getattr(x.data, op)(axis=axis, keepdims=_flag(op, keepdims)))


class LogSumExp(Reduction, name="logsumexp", saves="both"):
    def forward(self, x: Array) -> Array:
        xp, wide = array_module(x), at_least_float32(x)
        largest = (wide.max if x.size else wide.sum)(axis=self.axes, keepdims=True)  # without elements, y is log(0)
        shift = xp.where(xp.isfinite(largest), largest, 0)
        with np.errstate(divide="ignore"):  # where all elements are -inf, log(0) = -inf is right
            y = (xp.log(wide_sum(xp.exp(wide - shift), self.axes, True)) + shift).astype(x.dtype, copy=False)
        return y if self.keepdims else y.squeeze(self.axes)

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        return self.kept(upstream) * (x - self.kept(self.output)).exp()


def logsumexp(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))), without overflow: the largest element is subtracted first. It is -inf for no elements."""
    x = checks.floats("logsumexp", x)
    return LogSumExp(checks.axis_numbers("logsumexp", axis, x), keepdims)(x)
