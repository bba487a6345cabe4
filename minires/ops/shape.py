"""Ops that only move elements: reshaping, reordering, joining, selecting. Each backward moves the gradients back.

The functions raise ShapeError if sizes do not fit, or x does not have the given axis.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import backend, checks
from ..core.autograd import Op
from ..core.backend import Array, DTypeLike, array_module
from ..core.tensor import Axis, Tensor, TensorLike, as_index, as_tensor
from ..errors import ArgumentError, OutOfRangeError, ShapeError, listed, sizes


class Reshape(Op, saves="shapes"):
    def __init__(self, target: tuple[int, ...]) -> None:
        self.target = target

    def forward(self, x: Array) -> Array:
        return x.reshape(self.target)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream.reshape(self.input_shapes[0])


def reshape(x: TensorLike, *shape: Any) -> Tensor:
    """The elements of x, in the same order, in another shape. One size may be -1, which means that it is computed."""
    x = as_tensor(x)
    target = checks.shape_tuple("reshape", shape, -1)
    known = math.prod(size for size in target if size != -1)
    if target.count(-1) == 1 and known > 0 and x.size % known == 0:
        target = tuple(x.size // known if size == -1 else size for size in target)
    if -1 in target or math.prod(target) != x.size:
        raise ShapeError(f"reshape: x ({sizes(x.shape)}) has {x.size} elements, which do not fit into {target!r}.")
    return x if target == x.shape else Reshape(target)(x)


def flatten(x: TensorLike, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """Merge the axes from ``start_axis`` to ``end_axis``, by default all axes, into one."""
    x = as_tensor(x)
    start, end = (checks.one_axis("flatten", axis, x) for axis in (start_axis, end_axis))
    if start > end:
        raise ArgumentError(f"flatten: start_axis {start} comes after end_axis {end} (x: {sizes(x.shape)}).")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def squeeze(x: TensorLike, axis: Axis = None) -> Tensor:
    """Remove the given axes, by default all axes, where their size is 1; others stay, as in PyTorch."""
    x = as_tensor(x)
    dropped = checks.axis_numbers("squeeze", axis, x)
    return reshape(x, tuple(size for a, size in enumerate(x.shape) if size != 1 or a not in dropped))


def expand_dims(x: TensorLike, axis: int) -> Tensor:
    """Add an axis of size 1, at position ``axis`` of the result."""
    x = as_tensor(x)
    place = _new_axis("expand_dims", axis, x)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


def _new_axis(op: str, axis: Any, x: Tensor) -> int:
    """Return the position, as a number >= 0, of an axis that is to be added to x, counted in the result."""
    if not checks.is_integer(axis) or not -x.ndim - 1 <= axis <= x.ndim:
        raise ShapeError(f"{op}: axis is {axis!r}, but must be from {-x.ndim - 1} to {x.ndim} (x: {sizes(x.shape)}).")
    return int(axis) % (x.ndim + 1)


class Transpose(Op, saves="shapes"):
    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return x.transpose(self.axes)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream.transpose(sorted(range(len(self.axes)), key=self.axes.__getitem__))  # the inverse permutation


def transpose(x: TensorLike, *axes: Any) -> Tensor:
    """A view of x with its axes in another order.

    Two integers swap these two axes, as in PyTorch. More integers, or a tuple, are the new order of all axes, as in
    NumPy: ``x.transpose(0, 2, 3, 1)``. Without arguments, the order is reversed.
    """
    x = as_tensor(x)
    if len(axes) == 2:
        a, b = (checks.one_axis("transpose", axis, x) for axis in axes)
        return Transpose(tuple({a: b, b: a}.get(axis, axis) for axis in range(x.ndim)))(x)
    order = axes[0] or () if len(axes) == 1 and isinstance(axes[0], (tuple, list, type(None))) else axes  # numpy: None
    return _permute("transpose", x, tuple(order or reversed(range(x.ndim))))


def permute(x: TensorLike, *axes: Any) -> Tensor:
    """A view of x with all its axes in the order ``axes``: ``x.permute(0, 2, 3, 1)``, or one tuple."""
    order = tuple(axes[0]) if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
    return _permute("permute", as_tensor(x), order)


def _permute(op: str, x: Tensor, order: tuple[Any, ...]) -> Tensor:
    if len(order) != x.ndim or checks.axis_numbers(op, order, x) != tuple(range(x.ndim)):
        raise ShapeError(f"{op}: axes {order!r} must name each of the {x.ndim} axes of x ({sizes(x.shape)}) once.")
    return Transpose(tuple(int(axis) % x.ndim for axis in order))(x)


class Concatenate(Op, saves="shapes"):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *arrays: Array) -> Array:
        return array_module(arrays[0]).concatenate(arrays, axis=self.axis)

    def backward(self, upstream: Tensor) -> tuple[Tensor, ...]:
        ends = np.cumsum([shape[self.axis] for shape in self.input_shapes]).tolist()
        before = (slice(None),) * self.axis
        return tuple(upstream[before + (slice(start, end),)] for start, end in zip([0, *ends[:-1]], ends, strict=True))


def concatenate(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Join tensors along ``axis``; their other axes must have equal sizes. As in PyTorch, [] joins with any tensor."""
    parts = _tensors("concatenate", tensors)
    kinds = [part.dtype for part in parts if part.dtype.kind == "f"] or [part.dtype for part in parts]
    common = np.result_type(*kinds)  # as in PyTorch: the floats decide; NumPy would make float64 of int64 and float32
    parts = [part.to(common) for part in parts]
    parts = [part for part in parts if part.shape != (0,)] or parts
    number = checks.one_axis("concatenate", axis, parts[0])
    try:
        return Concatenate(number)(*parts)
    except ValueError as error:
        given, hint = listed([sizes(part.shape) for part in parts]), "" if parts[0].ndim else " Write mr.ops.stack."
        raise ShapeError(f"concatenate: {given} must have axis {number} and equal sizes along others.{hint}") from error


def _tensors(op: str, values: Any) -> list[Tensor]:
    if not isinstance(values, (list, tuple)) or not values:
        raise ArgumentError(f"{op}: tensors must be a list of at least one tensor, not {type(values).__name__}.")
    return [as_tensor(value) for value in values]


def stack(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Join tensors of equal shape along a new axis."""
    parts = _tensors("stack", tensors)
    for i, part in enumerate(parts):
        checks.same_shape("stack", part.shape, parts[0].shape, f"tensor {i}", "tensor 0")
    place = _new_axis("stack", axis, parts[0])
    return concatenate([expand_dims(part, place) for part in parts], place)


class Pad(Op, saves="shapes"):
    def __init__(self, widths: tuple[tuple[int, int], ...], value: float) -> None:
        self.widths, self.value = widths, value
        self.inside = tuple(slice(before, -after or None) for before, after in widths)

    def forward(self, x: Array) -> Array:
        padded = tuple(before + size + after for size, (before, after) in zip(x.shape, self.widths, strict=True))
        y = array_module(x).full_like(x, self.value, shape=padded)  # with the memory order of x
        y[self.inside] = x
        return y

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream[self.inside]


_PLACES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # PyTorch's mode: NumPy's


def pad(x: TensorLike, padding: Sequence[Any], mode: str = "constant", value: float | None = None) -> Tensor:
    """Surround x with ``value`` (by default 0), or with elements of x: the mode is reflect, replicate or circular.

    ``padding`` is either pairs (before, after), one for each axis as in NumPy, or plain numbers in PyTorch's order,
    which starts with the last axis: (left, right, top, bottom) pads an image. Negative numbers crop. Raises
    ArgumentError if an argument is invalid, and ShapeError if the padding does not fit x.
    """
    x = as_tensor(x)
    given = tuple(padding) if isinstance(padding, (tuple, list)) else (None,)
    if all(checks.is_integer(p) for p in given) and len(given) % 2 == 0:
        given = tuple(zip(given[::2], given[1::2], strict=True))[::-1]
        given = ((0, 0),) * (x.ndim - len(given)) + given
    widths = [tuple(map(int, p)) for p in given if isinstance(p, (tuple, list)) and all(map(checks.is_integer, p))]
    if not len(widths) == len(given) == x.ndim or not all(len(p) == 2 for p in widths):
        raise ArgumentError(
            f"pad: padding is {padding!r}; for x ({sizes(x.shape)}) it must be {x.ndim} pairs (before, after), "
            "or numbers in pairs from the last axis on, e.g. (left, right, top, bottom)."
        )
    checks.choice("pad", mode, "mode", ("constant", *_PLACES))
    fill = checks.number("pad", 0 if value is None else value, "value")
    if mode != "constant" and fill:
        raise ArgumentError(f"pad: value is {value!r}, but mode {mode!r} repeats elements of x; leave value out.")
    if any(size + min(before, 0) + min(after, 0) < 0 for size, (before, after) in zip(x.shape, widths, strict=True)):
        raise ShapeError(f"pad: padding is {padding!r}, which crops more elements than x ({sizes(x.shape)}) has.")
    added = tuple((max(before, 0), max(after, 0)) for before, after in widths)
    kept = tuple(slice(max(-before, 0), min(after, 0) or None) for before, after in widths)
    if mode in ("constant", "circular") and any(min(pair) < 0 for pair in widths):  # these two crop before they add
        x, kept = getitem(x, kept), (slice(None),) * x.ndim
    if mode == "constant":
        return Pad(added, fill)(x)
    for axis, (size, pair) in enumerate(zip(x.shape, added, strict=True)):
        width = max(pair)
        if width > {"reflect": max(size - 1, 0), "circular": size}.get(mode, width if size else 0):
            raise ShapeError(f"pad: mode {mode!r} cannot add {width} elements to axis {axis} of x, which has {size}.")
        if widths[axis] != (0, 0):
            places = np.pad(np.arange(size), pair, _PLACES[mode])[kept[axis]]
            x = getitem(x, (slice(None),) * axis + (places,))
    return x


class GetItem(Op, name="getitem", saves="shapes"):
    def __init__(self, index: tuple[Any, ...]) -> None:
        self.index = index

    def forward(self, x: Array) -> Array:
        return x[self.index]

    def backward(self, upstream: Tensor) -> Tensor:
        return PutItem(self.index, self.input_shapes[0])(upstream)


class PutItem(Op, name="putitem", saves="shapes"):
    """Zeros with ``values`` added at ``index``: the adjoint of ``getitem``."""

    def __init__(self, index: tuple[Any, ...], target: tuple[int, ...]) -> None:
        self.index, self.target = index, target

    def forward(self, values: Array) -> Array:
        xp = array_module(values)
        if not any(backend.is_array(part) and part.dtype.kind != "b" for part in self.index):  # no element twice
            y = xp.zeros_like(values, shape=self.target)  # with the memory order of ``values``
            y[self.index] = values
            return y
        wide = np.result_type(values, np.float64) if values.dtype.kind == "f" else values.dtype
        y = xp.zeros(self.target, wide)
        xp.add.at(y, self.index, values.astype(wide))  # an element selected several times gets the sum of their values
        return y.astype(values.dtype)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream[self.index]


def getitem(x: TensorLike, index: Any) -> Tensor:
    """x[index], with NumPy's rules for slices, integers, arrays and masks."""
    x = as_tensor(x)
    try:
        return GetItem(as_index(index, x))(x)
    except (IndexError, TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        kind = OutOfRangeError if isinstance(error, IndexError) else ShapeError
        raise kind(f"getitem: the index does not fit x ({sizes(x.shape)}): {reason}.") from error


def flip(x: TensorLike, axis: Any = None, *more: int) -> Tensor:
    """Reverse the order of the elements along ``axis``; along all axes by default. ``flip(x, 0, 1)`` names several."""
    x = as_tensor(x)
    flipped = checks.axis_numbers("flip", (axis, *more) if more else axis, x)
    return getitem(x, tuple(slice(None, None, -1 if a in flipped else 1) for a in range(x.ndim)))


class Convert(Op, saves="shapes"):
    """The same values with another dtype or on another device; the gradient is converted back."""

    def __init__(self, dtype: DTypeLike, device: str) -> None:
        self.target = dtype, device

    def forward(self, x: Array) -> Array:
        self.origin = x.dtype, backend.device_of(x)
        dtype, device = self.target
        return backend.to_device(x.astype(dtype), device)

    def backward(self, upstream: Tensor) -> Tensor:
        return Convert(*self.origin)(upstream)


def astype(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """Convert x to ``dtype``. Raises DTypeError unless this is a numeric or boolean type."""
    x, target = as_tensor(x), backend.as_dtype(dtype)
    return Convert(target, x.device)(x if target.kind == "f" else x.detach())


def to_device(x: TensorLike, device: str) -> Tensor:
    """Copy x to ``"cpu"`` or ``"cuda"``. Raises DeviceError if the device cannot be used."""
    x = as_tensor(x)
    return Convert(x.dtype, device)(x)
