"""ReLU, sums of two tensors (where two paths or two gradients meet), selection by a mask, and the copies made by a
shortcut without parameters. Each takes one pass over memory, for any layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..ops.activation import ReLU, ResidualAdd
from ..ops.arithmetic import Add, Where
from ..ops.shape import Pad, PutItem
from .device import ComputeDevice, as_images, host


def _walk(device: ComputeDevice, compute: Callable[..., None], *arrays: Array, options: Iterable[Any] = ()) -> Array:
    """Apply ``compute`` elementwise to the arrays if all of them have the same memory order."""
    result = device.empty_like(arrays[-1])
    flat = device.flat(*arrays, result)
    if flat is None:
        return NotImplemented
    compute(*flat, *options)
    return result


@host("forward", ReLU)
def relu(device: ComputeDevice, op: ReLU, x: Array) -> Array:
    return _walk(device, device.elementwise.relu, x)


@host("forward", ResidualAdd, Add)
def residual_add(device: ComputeDevice, op: Any, branch: Array, shortcut: Array) -> Array:
    relu = getattr(op, "activation", None) == "relu"
    return _walk(device, device.elementwise.add, branch, shortcut, options=(relu,))


@host("backward", ReLU, ResidualAdd)
def relu_backward(device: ComputeDevice, op: Any, upstream: Array) -> Any:
    dx = upstream
    if getattr(op, "activation", "relu") == "relu":
        dx = _walk(device, device.elementwise.relu_backward, op.output.data, upstream)
    return dx if dx is NotImplemented else (dx,) * len(op.input_shapes)


@host("forward", Where)
def select(device: ComputeDevice, op: Where, a: Array, b: Array) -> Array:
    """Handle only a tensor and a number, as in ``masked_fill``. NumPy branches at each element, which is slower."""
    if b.ndim > 0 or np.broadcast_shapes(a.shape, op.condition.shape) != a.shape:
        return NotImplemented
    condition, y = op.condition, device.empty_like(a)
    if [4 * stride for stride in condition.strides] != list(a.strides):
        condition = device.xp.empty_like(a, dtype=bool)  # in the memory order of a
        condition[...] = op.condition
    flat = device.flat(a, condition, y)
    if flat is None:
        return NotImplemented
    device.elementwise.select(*flat, b.reshape(1))
    return y


# A shortcut without parameters (option A) selects some pixels of an image and adds channels of zeros.


def pads_channels(op: Pad) -> bool:
    """Whether the op adds channels of zeros to images, and nothing else."""
    return op.value == 0 and len(op.widths) == 4 and not any(any(op.widths[axis]) for axis in (0, 2, 3))


@host("forward", Pad)
def pad_channels(device: ComputeDevice, op: Pad, x: Array) -> Array:
    if not pads_channels(op):
        return NotImplemented
    before, after = op.widths[1]
    n, c, h, w = x.shape
    return as_images(device.arrange(x.transpose(0, 2, 3, 1), (n, h, w, before + c + after), before))


@host("forward", PutItem)
def put_pixels(device: ComputeDevice, op: PutItem, values: Array) -> Array:
    """Handle only images and an index [:, :, ::SH, ::SW]."""
    whole = (isinstance(part, slice) and part.start is part.stop is None for part in op.index)
    if len(op.index) != 4 or len(op.target) != 4 or not all(whole):
        return NotImplemented
    *others, sh, sw = (1 if part.step is None else part.step for part in op.index)
    if others != [1, 1] or not checks.is_integer(sh, 1) or not checks.is_integer(sw, 1):
        return NotImplemented
    n, c, h, w = op.target
    return as_images(device.arrange(values.transpose(0, 2, 3, 1), (n, h, w, c), steps=(int(sh), int(sw))))
