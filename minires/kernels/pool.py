"""Max, average and global average pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.backend import Array
from ..ops.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .device import ComputeDevice, as_images, host


def _pooled(device: ComputeDevice, op: Any, x: Array) -> Array:
    """Return an uninitialised block (N, OH, OW, C) for the output."""
    return device.empty((len(x), *op.window.output_size(op.name, *x.shape[2:]), x.shape[1]))


def _pixels(device: ComputeDevice, op: Any) -> Array:
    """Return an uninitialised block (N, H, W, C) for the gradient with respect to the input."""
    n, c, h, w = op.input_shapes[0]
    return device.empty((n, h, w, c))


@host("forward", MaxPool2d)
def max_pool2d(device: ComputeDevice, op: MaxPool2d, x: Array) -> Array:
    numbers = device.pool.WINNER  # the integer type for the index of the largest element in a window
    if math.prod(op.window.kernel) > np.iinfo(numbers).max + 1 or op.window.dilation != (1, 1):
        return NotImplemented
    y = _pooled(device, op, x)
    op.winner = device.xp.empty(y.shape, numbers)  # (N, OH, OW, C), as the textbook keeps it
    device.pool.max_pool(device.channels_last(x), y, op.winner, op.window)
    return as_images(y)


@host("forward", AvgPool2d)
def avg_pool2d(device: ComputeDevice, op: AvgPool2d, x: Array) -> Array:
    y = _pooled(device, op, x)
    device.pool.avg_pool(device.channels_last(x), y, op.window)
    return as_images(y)


@host("backward", MaxPool2d, AvgPool2d)
def pool2d_backward(device: ComputeDevice, op: Any, upstream: Array) -> Any:
    winner = getattr(op, "winner", None)  # for max pooling only
    if winner is not None and winner.dtype != device.pool.WINNER:
        return NotImplemented
    dx = _pixels(device, op)
    device.pool.backward(device.channels_last(upstream), winner, dx, op.window)
    return (as_images(dx),)


@host("forward", GlobalAvgPool2d)
def global_avg_pool2d(device: ComputeDevice, op: GlobalAvgPool2d, x: Array) -> Array:
    y = device.empty(x.shape[:2])
    device.pool.global_avg_pool(device.channels_last(x), y)
    return y


@host("backward", GlobalAvgPool2d)
def global_avg_pool2d_backward(device: ComputeDevice, op: GlobalAvgPool2d, upstream: Array) -> Any:
    dx = _pixels(device, op)
    device.pool.global_avg_pool_backward(device.contiguous(upstream), dx)
    return (as_images(dx),)
