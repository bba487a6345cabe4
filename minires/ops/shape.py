"""Ops that only move elements: reshaping, reordering, joining, picking. Each backward moves them back.

ShapeError is raised for sizes that do not fit and for an axis that x lacks.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import backend, checks
from ..core.autograd import Op
from ..core.backend import Array, DTypeLike, array_module
from ..core.checks import Axis
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import ShapeError, sizes


class Reshape(Op, saves="shapes"):
    def __init__(self, target: tuple[int, ...]) -> None:
        self.target = target

    def forward(self, x: Array) -> Array:
        return x.reshape(self.target)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream.reshape(self.input_shapes[0])


def reshape(x: TensorLike, *shape: Any) -> Tensor:
    """The elements of x, in the same order, in another shape; one size may be -1 and is computed then."""
    x = as_tensor(x)
    target = checks.reshape(x, shape)
    return x if target == x.shape else Reshape(target)(x)


def flatten(x: TensorLike, start_axis: int = 0) -> Tensor:
    """x with all axes from ``start_axis`` on joined into one."""
    x = as_tensor(x)
    start = checks.one_axis("flatten", start_axis, x) if x.ndim else 0
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start:])))


def squeeze(x: TensorLike, axis: Axis = None) -> Tensor:
    """x without the given axes of size 1; all of them by default."""
    x = as_tensor(x)
    dropped = [a for a in checks.axis_numbers("squeeze", axis, x) if axis is not None or x.shape[a] == 1]
    for a in dropped:
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} of x ({sizes(x.shape)}) has size {x.shape[a]}; only 1 can be dropped.")
    return reshape(x, tuple(size for a, size in enumerate(x.shape) if a not in dropped))


def expand_dims(x: TensorLike, axis: int) -> Tensor:
    """x with a new axis of size 1 at position ``axis`` of the result."""
    x = as_tensor(x)
    place = checks.new_axis("expand_dims", axis, x)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


class Transpose(Op, saves="shapes"):
    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return x.transpose(self.axes)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream.transpose(sorted(range(len(self.axes)), key=self.axes.__getitem__))  # the inverse order


def transpose(x: TensorLike, *axes: Any) -> Tensor:
    """A view of x with its axes in the order ``axes`` (reversed by default): ``x.transpose(0, 2, 3, 1)``."""
    x = as_tensor(x)
    return Transpose(checks.transpose(x, axes))(x)


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
    """The tensors one after the other along ``axis``; their other axes must be equal."""
    parts = checks.tensors("concatenate", tensors)
    return Concatenate(checks.concatenate("concatenate", parts, axis))(*parts)


def stack(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    parts = checks.tensors("stack", tensors)
    for i, part in enumerate(parts):
        checks.same_shape("stack", part, parts[0], f"tensor {i}", "tensor 0")
    place = checks.new_axis("stack", axis, parts[0])
    return concatenate([expand_dims(part, place) for part in parts], place)


class Pad(Op, saves="shapes"):
    def __init__(self, widths: tuple[tuple[int, int], ...], value: float) -> None:
        self.widths, self.value = widths, value

    def forward(self, x: Array) -> Array:
        padded = tuple(before + size + after for size, (before, after) in zip(x.shape, self.widths, strict=True))
        y = array_module(x).full_like(x, self.value, shape=padded)  # in memory in the order of x
        y[tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, self.widths, strict=True))] = x
        return y

    def backward(self, upstream: Tensor) -> Tensor:
        inside = zip(self.input_shapes[0], self.widths, strict=True)
        return upstream[tuple(slice(before, before + size) for size, (before, _) in inside)]


def pad(x: TensorLike, padding: Sequence[Any], value: float = 0.0) -> Tensor:
    """x with ``value`` around it.

    ``padding`` is either pairs (before, after), one for each axis as in NumPy, or plain numbers in PyTorch's order,
    which begins with the last axis: (left, right, top, bottom) pads an image. ArgumentError is raised otherwise.
    """
    x = as_tensor(x)
    return Pad(checks.pad_widths(x, padding), checks.number("pad", value, "value"))(x)


class GetItem(Op, name="getitem", saves="shapes"):
    def __init__(self, index: Any) -> None:
        self.index = index

    def forward(self, x: Array) -> Array:
        return x[self.index]

    def backward(self, upstream: Tensor) -> Tensor:
        return PutItem(self.index, self.input_shapes[0])(upstream)


class PutItem(Op, name="putitem", saves="shapes"):
    """Zeros with ``values`` added at ``index``: the adjoint of ``getitem``."""

    def __init__(self, index: Any, target: tuple[int, ...]) -> None:
        self.index, self.target = index, target

    def forward(self, values: Array) -> Array:
        xp = array_module(values)
        y = xp.zeros_like(values, shape=self.target)  # in memory in the order of the values
        if any(map(backend.is_array, self.index if isinstance(self.index, tuple) else [self.index])):
            xp.add.at(y, self.index, values)  # an element that was picked twice receives both
        else:
            y[self.index] = values
        return y

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream[self.index]


def getitem(x: TensorLike, index: Any) -> Tensor:
    """x[index], with NumPy's rules for slices, integers, arrays and masks."""
    x = as_tensor(x)
    try:
        return GetItem(backend.index_on_device(as_index(index), x.data))(x)
    except (IndexError, TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise ShapeError(f"getitem: the index does not fit x ({sizes(x.shape)}): {reason}.") from error


def as_index(index: Any) -> Any:
    """An index with its tensors and lists replaced by arrays."""
    if isinstance(index, tuple):
        return tuple(map(as_index, index))
    if isinstance(index, (Tensor, list)) or backend.is_array(index):
        return as_tensor(index).data.copy()  # a copy: backward needs it unchanged
    return index


def flip(x: TensorLike, axis: Axis = None) -> Tensor:
    """x with the order of its elements reversed along ``axis``; along all axes by default."""
    x = as_tensor(x)
    flipped = checks.axis_numbers("flip", axis, x)
    return getitem(x, tuple(slice(None, None, -1 if a in flipped else 1) for a in range(x.ndim)))


class Convert(Op, saves="shapes"):
    """The same numbers as another dtype or on another device; the gradient is converted back."""

    def __init__(self, dtype: DTypeLike, device: str) -> None:
        self.target = dtype, device

    def forward(self, x: Array) -> Array:
        self.origin = x.dtype, backend.device_of(x)
        dtype, device = self.target
        return backend.to_device(x.astype(dtype), device)

    def backward(self, upstream: Tensor) -> Tensor:
        return Convert(*self.origin)(upstream)


def astype(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """x converted to ``dtype``. Raises DTypeError if that is no type of numbers."""
    x, target = as_tensor(x), backend.as_dtype(dtype)
    return Convert(target, x.device)(x if target.kind == "f" else x.detach())


def to_device(x: TensorLike, device: str) -> Tensor:
    """x on ``"cpu"`` or ``"cuda"``. Raises DeviceError if the device cannot be used."""
    x = as_tensor(x)
    backend.check_device(device)
    return Convert(x.dtype, device)(x)
