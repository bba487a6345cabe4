"""Pooling on the GPU, between blocks (N, H, W, C)."""

from __future__ import annotations

import math

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from .launch import for_each

WINNER = np.int32


def _sizes(x: Array, y: Array, window: Window) -> tuple[int, ...]:
    """(H, W, C) of the images, (OH, OW), and the window."""
    return *x.shape[1:], *y.shape[1:3], *window.kernel, *window.stride, *window.padding


def max_pool(x: Array, y: Array, winner: Array, window: Window) -> None:
    for_each("pool", "max_pool", y.size, x, y, winner, *_sizes(x, y, window))


def max_pool_backward(dy: Array, winner: Array | None, dx: Array, window: Window, share: float = 1.0) -> None:
    for_each("pool", "pool_backward", dx.size, dy, winner, dx, share, *_sizes(dx, dy, window))


def avg_pool(x: Array, y: Array, window: Window) -> None:
    for_each("pool", "avg_pool", y.size, x, y, *_sizes(x, y, window))


def avg_pool_backward(dy: Array, dx: Array, window: Window) -> None:
    max_pool_backward(dy, None, dx, window, 1 / math.prod(window.kernel))


def global_avg_pool(x: Array, y: Array) -> None:
    _, h, w, c = x.shape
    for_each("pool", "global_avg_pool", y.size, x, y, h * w, c)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    _, h, w, c = dx.shape
    for_each("pool", "global_avg_pool_backward", dx.size, dy, dx, h * w, c)
