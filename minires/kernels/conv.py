"""Convolutions, their gradients, and fully connected layers, which are convolutions of images with one column."""

from __future__ import annotations

import math
from typing import Any

from ..core.backend import Array
from ..nn.folding import Conv2dAct
from ..ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d, Window
from ..ops.linalg import Linear
from .device import ComputeDevice, as_images, host

ONE_PIXEL = Window((1, 1), (1, 1), (0, 0))  # the window of a fully connected layer
# NumPy multiplies a few rows by 50,000 weights on several threads, and by 30,000 on one (measured, OpenBLAS 0.3.31).
# Its threads stay busy for milliseconds after that, waiting for the next product, on cores that the kernels need:
# ResNet-18 took 26 ms instead of 16 ms for one image.
MANY_WEIGHTS = 1 << 15


def _takes(device: ComputeDevice, op: Any, channels: int, image: tuple[int, ...]) -> bool:
    """Whether the kernels handle this case: no groups, and not too many elements in the windows of one image (H, W)."""
    (h, w), (ph, pw) = image, op.window.padding
    numbers = channels * (h + 2 * ph) * (w + 2 * pw) * math.prod(op.window.kernel)
    return op.groups == 1 and numbers < device.most


def _contiguous(device: ComputeDevice, bias: Array | None) -> Array | None:
    """Return the bias as a contiguous array, which kernels need; it may be a column of a matrix."""
    return None if bias is None else device.contiguous(bias)


@host("forward", Conv2d, Conv2dAct)
def conv2d(
    device: ComputeDevice, op: Any, x: Array, weight: Array, bias: Array | None = None, shortcut: Array | None = None
) -> Array:
    if not _takes(device, op, x.shape[1], x.shape[2:]):
        return NotImplemented
    op.block = device.channels_last(x)  # kept to compute dweight, as x may have another layout
    more = None if shortcut is None else device.channels_last(shortcut)
    options = getattr(op, "activation", None) == "relu", getattr(op, "prepared", None)
    weights, bias = device.contiguous(weight), _contiguous(device, bias)
    return as_images(device.conv.forward(op.block, weights, bias, op.window, more, *options))


@host("backward", Conv2d, accumulates=(0,))
def conv2d_backward(device: ComputeDevice, op: Any, upstream: Array, arrived: Any) -> Any:
    x, weight, *bias = (tensor.data for tensor in op.inputs)
    if not _takes(device, op, x.shape[1], x.shape[2:]):
        return NotImplemented
    dy, dx = device.channels_last(upstream), None
    if op.needs(0):
        # If a shortcut starts at this input, its gradient has already arrived, and is added when dx is stored.
        added = None if arrived[0] is None else device.channels_last(arrived[0])
        weights = device.contiguous(weight)
        dx = as_images(device.conv.backward(dy, weights, None, op.window, x.shape[2:], added))
    block = op.block if hasattr(op, "block") else device.channels_last(x)
    dweight = device.conv.grad_weight(block, dy, op.window) if op.needs(1) else None
    return (dx, dweight, *(device.norm.channel_sums(dy) for _ in bias))


@host("forward", ConvTranspose2d)
def conv_transpose2d(
    device: ComputeDevice, op: ConvTranspose2d, x: Array, weight: Array, bias: Array | None = None
) -> Array:
    if not _takes(device, op, weight.shape[1], op.image):
        return NotImplemented
    weights, bias = device.contiguous(weight), _contiguous(device, bias)
    return as_images(device.conv.backward(device.channels_last(x), weights, bias, op.window, op.image))


@host("forward", Conv2dGradWeight)
def conv2d_grad_weight(device: ComputeDevice, op: Conv2dGradWeight, x: Array, upstream: Array) -> Array:
    if not _takes(device, op, x.shape[1], x.shape[2:]):
        return NotImplemented
    return device.conv.grad_weight(device.channels_last(x), device.channels_last(upstream), op.window)


def _small(device: ComputeDevice, weight: Array, *rows: Array) -> bool:
    """Whether NumPy is faster, as there are few rows and few weights."""
    return weight.size < MANY_WEIGHTS and max(array.size for array in rows) < device.smallest


def _as_column(device: ComputeDevice, rows: Array) -> Array:
    """Reshape rows (..., C) to one image (1, M, 1, C)."""
    return device.contiguous(rows).reshape(1, -1, 1, rows.shape[-1])


@host("forward", Linear, smallest=1)
def linear(device: ComputeDevice, op: Linear, x: Array, weight: Array, bias: Array | None = None) -> Array:
    if _small(device, weight, x):
        return NotImplemented
    weights, bias = device.contiguous(weight)[:, :, None, None], _contiguous(device, bias)
    return device.conv.forward(_as_column(device, x), weights, bias, ONE_PIXEL).reshape(*x.shape[:-1], len(weight))


@host("backward", Linear, smallest=1)
def linear_backward(device: ComputeDevice, op: Linear, upstream: Array) -> Any:
    x, weight, *bias = (tensor.data for tensor in op.inputs)
    if _small(device, weight, x, upstream):
        return NotImplemented
    dy, dx, dweight = _as_column(device, upstream), None, None
    if op.needs(0):
        weights = device.contiguous(weight)[:, :, None, None]
        dx = device.conv.backward(dy, weights, None, ONE_PIXEL, dy.shape[1:3]).reshape(x.shape)
    if op.needs(1):
        dweight = device.conv.grad_weight(_as_column(device, x), dy, ONE_PIXEL).reshape(weight.shape)
    return (dx, dweight, *(device.norm.channel_sums(dy) for _ in bias))
