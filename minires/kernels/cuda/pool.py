"""Pooling."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from ...ops.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from ..images import as_images
from .launch import for_each
from .layout import channels_last, contiguous, empty, is_float32, register


def _geometry(window: Window, x_shape: tuple[int, ...]) -> tuple[int, ...]:
    """(H, W, C) of the images (N, C, H, W), (OH, OW), and the window."""
    _, c, h, w = x_shape
    return h, w, c, *window.output_size("pool", h, w), *window.kernel, *window.stride, *window.padding


def _pooled(window: Window, x: Array) -> Array:
    return empty(len(x), *window.output_size("pool", *x.shape[2:]), x.shape[1])


def _backward(window: Window, x_shape: tuple[int, ...], upstream: Array, winner: Array | None, share: float) -> Any:
    n, c, h, w = x_shape
    dy, dx = channels_last(upstream), empty(n, h, w, c)
    for_each("pool", "pool_backward", dx.size, dy, winner, dx, share, *_geometry(window, x_shape))
    return (as_images(dx),)


@register(MaxPool2d, "forward")
def max_pool2d(op: Any, x: Array) -> Array:
    if not is_float32(x):
        return NotImplemented
    y = _pooled(op.window, x)
    op.winner = cupy.empty(y.shape, np.int32)  # (N, OH, OW, C), as the textbook keeps it
    for_each("pool", "max_pool", y.size, channels_last(x), y, op.winner, *_geometry(op.window, x.shape))
    return as_images(y)


@register(MaxPool2d, "backward")
def max_pool2d_backward(op: Any, upstream: Array) -> Any:
    if not is_float32(upstream) or op.winner.dtype != np.int32:
        return NotImplemented
    return _backward(op.window, op.input_shapes[0], upstream, op.winner, 1.0)


@register(AvgPool2d, "forward")
def avg_pool2d(op: AvgPool2d, x: Array) -> Array:
    if not is_float32(x):
        return NotImplemented
    y = _pooled(op.window, x)
    for_each("pool", "avg_pool", y.size, channels_last(x), y, *_geometry(op.window, x.shape))
    return as_images(y)


@register(AvgPool2d, "backward")
def avg_pool2d_backward(op: AvgPool2d, upstream: Array) -> Any:
    if not is_float32(upstream):
        return NotImplemented
    kh, kw = op.window.kernel
    return _backward(op.window, op.input_shapes[0], upstream, None, 1 / (kh * kw))


@register(GlobalAvgPool2d, "forward")
def global_avg_pool2d(op: GlobalAvgPool2d, x: Array) -> Array:
    if not is_float32(x):
        return NotImplemented
    n, c, h, w = x.shape
    y = empty(n, c)
    for_each("pool", "global_avg_pool", y.size, channels_last(x), y, h * w, c)
    return y


@register(GlobalAvgPool2d, "backward")
def global_avg_pool2d_backward(op: GlobalAvgPool2d, upstream: Array) -> Any:
    if not is_float32(upstream):
        return NotImplemented
    n, c, h, w = op.input_shapes[0]
    dx = empty(n, h, w, c)
    for_each("pool", "global_avg_pool_backward", dx.size, contiguous(upstream), dx, h * w, c)
    return (as_images(dx),)
