"""Argument checks that many functions share, with their error messages.

A check returns its argument in the form that the caller works with: an array or a number as a tensor, a single size as
(height, width), axes as sorted numbers. Checks that only one op needs are in that op's file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError, closest, sizes
from .autograd import Shape
from .tensor import Axis, Tensor, TensorLike, as_tensor

Pair = int | tuple[int, int]


def is_integer(value: object, minimum: float = -math.inf) -> bool:
    """Whether ``value`` is an integer (not a boolean) >= ``minimum``."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= minimum)


def is_number(value: object) -> bool:
    """Whether ``value`` is a number that a float can hold (not a boolean)."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < 1024
    return isinstance(value, (float, np.integer, np.floating))


def number(
    where: str, value: Any, name: str, fits: Callable[[float], bool] = lambda value: True, needed: str = "be a number"
) -> float:
    """Check that ``value`` is a number that ``fits``, and return it as a Python float.

    A NumPy float64 would turn float32 arrays into float64.
    """
    if not is_number(value) or not fits(value):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must {needed}.")
    return float(value)


def integer(where: str, value: Any, name: str, minimum: int) -> int:
    """Check that ``value`` is an integer >= ``minimum``."""
    if not is_integer(value, minimum):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be an integer >= {minimum}.")
    return int(value)


def pair(where: str, value: Any, name: str, minimum: int) -> tuple[int, int]:
    """Return two ints >= ``minimum`` for height and width; a single int stands for both."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    both = both * 2 if len(both) == 1 else both
    if len(both) != 2 or not is_integer(both[0], minimum) or not is_integer(both[1], minimum):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be one or two integers >= {minimum}.")
    return int(both[0]), int(both[1])


def positive(where: str, value: Any, name: str) -> float:
    """Check that ``value`` is a finite number > 0."""
    return number(where, value, name, lambda value: 0 < value < math.inf, "be a number > 0")


def not_negative(where: str, value: Any, name: str) -> float:
    """Check that ``value`` is a finite number >= 0."""
    return number(where, value, name, lambda value: 0 <= value < math.inf, "be a number >= 0")


def fraction(where: str, value: Any, name: str, below_one: bool = False) -> float:
    """Check that ``value`` is a number in [0, 1], or in [0, 1) if ``below_one``."""
    if below_one:
        return number(where, value, name, lambda value: 0 <= value < 1, "lie in [0, 1)")
    return number(where, value, name, lambda value: 0 <= value <= 1, "lie in [0, 1]")


def choice(where: str, value: Any, what: str, choices: Collection[str]) -> str:
    """Check that ``value`` is one of ``choices``; ``what`` names the kind of choice."""
    if not isinstance(value, str) or value not in choices:
        meant = closest(str(value), choices)
        hint = f"did you mean {meant}? Choose" if meant else "choose"
        raise ArgumentError(f"{where}: there is no {what} {value!r}; {hint} one of {', '.join(choices)}.")
    return value


def floats(op: str, value: TensorLike, name: str = "x", like: Tensor | None = None, like_name: str = "x") -> Tensor:
    """Convert ``value`` to a tensor. Raises DTypeError unless it holds floats, of the same dtype as ``like``."""
    x = as_tensor(value, like)
    if (dtype := x.dtype).kind != "f":
        given = f"{op}: {name} ({sizes(x.shape)}) is {x.dtype}, but floats are needed"
        raise DTypeError(f"{given}; use {name}.astype('float32').")
    if like is not None and dtype != like.dtype and like.dtype.kind == "f":
        given = f"{op}: {like_name} is {like.dtype} but {name} is {x.dtype}; convert "
        if not isinstance(value, Tensor):
            raise DTypeError(f"{given}{name} with {name}.astype('{like.dtype}').")
        model = f", or the model with model.to('{like.dtype}')" if like_name == "x" else ""
        raise DTypeError(f"{given}{like_name} with {like_name}.astype('{x.dtype}'){model}.")
    return x


def numbers(op: str, value: TensorLike) -> Tensor:
    """Convert ``value`` to a tensor, which must hold numbers, not booleans."""
    x = as_tensor(value)
    if x.dtype.kind == "b":
        raise DTypeError(f"{op}: x ({sizes(x.shape)}) is bool, but numbers are needed; convert it, or use x == False.")
    return x


def images(op: str, value: TensorLike, unbatched: bool = False, kinds: str = "f") -> Tensor:
    """Convert ``value`` to a tensor, which must be a batch of images (or one image): floats, (N, C, H, W).

    ``kinds`` lists the kinds of dtypes that are also taken, such as "iu" for integers.
    """
    x = as_tensor(value)
    x = x if x.dtype.kind in kinds else floats(op, x)
    if not unbatched or x.ndim != 3:
        axes(op, x, 4, "(N, C, H, W)", "x")
    return x


def axes(op: str, x: Tensor, ndim: int, layout: str, name: str) -> None:
    """Raise ShapeError unless x has ``ndim`` axes; ``layout`` names them."""
    if x.ndim != ndim:
        hint = " Add a batch axis with x.expand_dims(0)." if name == "x" and x.ndim == ndim - 1 else ""
        given = f"{name} has {x.ndim} axes ({name}: {sizes(x.shape)})"
        raise ShapeError(f"{op}: {given} but {ndim} are needed, {layout}.{hint}")


def axis_numbers(op: str, axis: Axis, x: Tensor) -> tuple[int, ...]:
    """Return ``axis`` as sorted numbers >= 0; None means all axes."""
    if axis is None:
        return tuple(range(x.ndim))
    given = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    ndim = max(x.ndim, 1)  # a scalar also takes axis 0 and -1, as in PyTorch
    for a in given:
        if not is_integer(a) or not -ndim <= a < ndim:
            raise ShapeError(f"{op}: axis {a!r} does not exist in x ({sizes(x.shape)}), which has {x.ndim} axes.")
    found = sorted({int(a) % ndim for a in given})
    if len(found) < len(given):
        raise ArgumentError(f"{op}: axis {axis!r} names an axis twice.")
    return tuple(found) if x.ndim else ()


def one_axis(op: str, axis: Any, x: Tensor) -> int:
    """Return a single axis as a number >= 0."""
    if isinstance(axis, (tuple, list)) or axis is None:
        raise ArgumentError(f"{op}: axis is {axis!r}; it must be one integer.")
    return (*axis_numbers(op, axis, x), 0)[0]  # 0 for a scalar


def filled_axes(op: str, axis: Axis, x: Tensor) -> tuple[tuple[int, ...], int]:
    """Return the axes of a reduction and the number of elements along them, which must not be 0."""
    numbers = axis_numbers(op, axis, x)
    count = math.prod(x.shape[a] for a in numbers)
    if count == 0:
        raise ShapeError(f"{op}: x ({sizes(x.shape)}) has no elements along axes {numbers}.")
    return numbers, count


def broadcast(op: str, a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    """Convert a and b to tensors, whose shapes must broadcast.

    If one holds floats and the other integers, the integers are converted to the float dtype. If both hold floats and
    one is a scalar, it gets the other's dtype, as in PyTorch: a float64 scale does not turn a float32 batch into
    float64.
    """
    a = as_tensor(a, like=b if isinstance(b, Tensor) else None)
    b = as_tensor(b, like=a)
    for back, (p, q) in enumerate(zip(a.shape[::-1], b.shape[::-1], strict=False), start=1):
        if p != q and 1 not in (p, q):
            given = f"{sizes(a.shape)} and {sizes(b.shape)} do not broadcast: axis {-back} has sizes {p} and {q}"
            raise ShapeError(f"{op}: {given}; counted from the last axis, sizes must be equal or 1.")
    if a.dtype != b.dtype:
        kinds = a.dtype.kind + b.dtype.kind
        if kinds in ("if", "uf") or (kinds == "ff" and a.ndim == 0 < b.ndim):
            a = a.astype(b.dtype)
        elif kinds in ("fi", "fu") or (kinds == "ff" and b.ndim == 0 < a.ndim):
            b = b.astype(a.dtype)
    return a, b


def same_shape(op: str, a: Shape, b: Shape, name_a: str, name_b: str, hint: str = "") -> None:
    """Raise ShapeError unless the shapes are equal; nothing is broadcast."""
    if a != b:
        raise ShapeError(f"{op}: {name_a} is {sizes(a)} but {name_b} is {sizes(b)}; they must be equal.{hint}")


def shape_tuple(op: str, shape: tuple[Any, ...], minimum: int) -> tuple[int, ...]:
    """Return the shape passed to ``f(2, 3)`` or ``f((2, 3))`` as a tuple of ints >= ``minimum``."""
    target = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
    if not all(is_integer(size, minimum) for size in target):
        raise ArgumentError(f"{op}: shape is {target!r}; it must be integers >= {minimum}.")
    return tuple(map(int, target))


def bias(op: str, bias: TensorLike | None, outputs: int, x: Tensor) -> list[Tensor]:
    """Return [bias], which must have one element for each output, or [] if ``bias`` is None."""
    if bias is None:
        return []
    bias = floats(op, bias, "bias", like=x)
    if bias.shape != (outputs,):
        raise ShapeError(f"{op}: bias is {sizes(bias.shape)} but the weight has {outputs} outputs.")
    return [bias]
