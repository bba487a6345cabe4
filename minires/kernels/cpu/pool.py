"""Pooling, channels last: the loop over the channels is innermost, so a vector of them is compared at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...ops.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from ..images import as_images
from ..threads import scratch, share
from .compiler import inlined, kernel
from .layout import channels_last, contiguous, is_float32
from .memory import empty
from .registry import register
from .simd import at, put


@kernel
def _max_pool(x, y, winner, best, who, sizes, kernel, stride, padding, first, last):
    """Images ``first`` to ``last``; ``winner`` is the number of the window's element, of equal ones the first.

    Nothing branches in the innermost loop, and all its numbers are floats: so it is compiled to vectors.
    """
    height, width, oh, ow, channels = sizes
    to = first * oh * ow * channels
    for n in range(first, last):
        for p in range(oh):
            for q in range(ow):
                for c in range(channels):
                    put(best, c, np.float32(-np.inf))
                    put(who, c, np.float32(0))
                for i in range(kernel[0]):
                    row = p * stride[0] + i - padding[0]
                    if 0 <= row < height:
                        for j in range(kernel[1]):
                            column = q * stride[1] + j - padding[1]
                            if 0 <= column < width:
                                here = ((n * height + row) * width + column) * channels
                                number = np.float32(i * kernel[1] + j)
                                for c in range(channels):
                                    value, top = at(x, here + c), at(best, c)
                                    # a NaN wins against numbers, and keeps its place
                                    wins = (value > top) | ((value != value) & (top == top))
                                    put(best, c, value if wins else top)
                                    put(who, c, number if wins else at(who, c))
                for c in range(channels):
                    put(y, to + c, at(best, c))
                    put(winner, to + c, np.uint8(at(who, c)))
                to += channels


@inlined
def _larger(a, b):
    return a if (a >= b) | (a != a) else b  # NaN is larger than any number


@inlined
def _is(value, best):
    return (value == best) | (value != value)


@kernel
def _max_of_2x2(x, y, winner, sizes, first, last):
    """The commonest window, side by side with the next: its four numbers are compared in registers.

    In two loops, because a loop that reads four rows and writes two has more pairs of rows than the compiler is ready
    to check for overlaps, and stays scalar.
    """
    height, width, oh, ow, channels = sizes
    for n in range(first, last):
        for p in range(oh):
            for q in range(ow):
                a = ((n * height + 2 * p) * width + 2 * q) * channels
                b, c, d = a + channels, a + width * channels, a + (width + 1) * channels
                to = ((n * oh + p) * ow + q) * channels
                for i in range(channels):
                    upper, lower = _larger(at(x, a + i), at(x, b + i)), _larger(at(x, c + i), at(x, d + i))
                    put(y, to + i, _larger(upper, lower))
                for i in range(channels):
                    best = at(y, to + i)
                    who = np.float32(2) if _is(at(x, c + i), best) else np.float32(3)
                    who = np.float32(1) if _is(at(x, b + i), best) else who
                    put(winner, to + i, np.uint8(np.float32(0) if _is(at(x, a + i), best) else who))


@kernel
def _side_by_side_backward(dy, winner, dx, sizes, kernel, stride, first, last):
    """Of windows that share no pixel: each pixel is written once."""
    height, width, oh, ow, channels = sizes
    size = height * width * channels
    for n in range(first, last):
        if oh * kernel[0] < height or ow * kernel[1] < width:  # some are in no window
            for k in range(n * size, n * size + size):
                put(dx, k, np.float32(0))
        for p in range(oh):
            for q in range(ow):
                at_window = ((n * oh + p) * ow + q) * channels
                for i in range(kernel[0]):
                    for j in range(kernel[1]):
                        to = ((n * height + p * stride[0] + i) * width + q * stride[1] + j) * channels
                        number = np.float32(i * kernel[1] + j)
                        for c in range(channels):
                            won = np.float32(at(winner, at_window + c)) == number
                            put(dx, to + c, at(dy, at_window + c) if won else np.float32(0))


@kernel
def _max_pool_backward(dy, winner, dx, kernel, stride, padding, first, last):
    _, oh, ow, channels = dy.shape
    for n in range(first, last):
        dx[n] = 0.0
        for p in range(oh):
            for q in range(ow):
                for c in range(channels):
                    i, j = divmod(np.int64(winner[n, p, q, c]), kernel[1])
                    row, column = p * stride[0] + i - padding[0], q * stride[1] + j - padding[1]
                    if row >= 0 and column >= 0:  # among numbers that are all -inf, padding can be the first
                        dx[n, row, column, c] += dy[n, p, q, c]


@register(MaxPool2d, "forward")
def max_pool2d(op: MaxPool2d, x: Array) -> Array:
    window = op.window
    if not is_float32(x) or window.kernel[0] * window.kernel[1] > 256:
        return NotImplemented
    block = channels_last(x)
    y = empty((len(x), *window.output_size("max_pool2d", *x.shape[2:]), x.shape[1]))
    op.winner = np.empty(y.shape, np.uint8)
    flat = block.reshape(-1), y.reshape(-1), op.winner.reshape(-1)
    sizes = *x.shape[2:], *y.shape[1:]
    window_sizes = window.kernel, window.stride, window.padding

    def work(first: int, last: int) -> None:
        if window_sizes == ((2, 2), (2, 2), (0, 0)):
            _max_of_2x2(*flat, sizes, first, last)
        else:
            rows = scratch(x.shape[1], "best"), scratch(x.shape[1], "who")
            _max_pool(*flat, *rows, sizes, *window_sizes, first, last)

    share(work, len(x), x.size)
    return as_images(y)


@register(MaxPool2d, "backward")
def max_pool2d_backward(op: MaxPool2d, upstream: Array) -> Any:
    if not is_float32(upstream) or op.winner.dtype != np.uint8:
        return NotImplemented
    n, c, h, w = op.input_shapes[0]
    dy, dx = channels_last(upstream), empty((n, h, w, c))
    kernel, stride, padding = op.window.kernel, op.window.stride, op.window.padding
    side_by_side = stride[0] >= kernel[0] and stride[1] >= kernel[1] and padding == (0, 0)

    def work(first: int, last: int) -> None:
        if side_by_side:
            flat, sizes = (dy.reshape(-1), op.winner.reshape(-1), dx.reshape(-1)), (h, w, *dy.shape[1:])
            _side_by_side_backward(*flat, sizes, kernel, stride, first, last)
        else:
            _max_pool_backward(dy, op.winner, dx, kernel, stride, padding, first, last)

    share(work, n, dy.size * 2)
    return (as_images(dx),)


@kernel
def _avg_pool(x, y, kernel, stride, padding, first, last):
    _, height, width, channels = x.shape
    _, oh, ow, _ = y.shape
    share_of_each = np.float32(1 / (kernel[0] * kernel[1]))
    for n in range(first, last):
        for p in range(oh):
            for q in range(ow):
                mean = y[n, p, q]
                mean[:] = 0.0
                for i in range(kernel[0]):
                    row = p * stride[0] + i - padding[0]
                    if 0 <= row < height:
                        for j in range(kernel[1]):
                            column = q * stride[1] + j - padding[1]
                            if 0 <= column < width:
                                for c in range(channels):
                                    mean[c] += x[n, row, column, c]
                for c in range(channels):
                    mean[c] *= share_of_each


@kernel
def _avg_pool_backward(dy, dx, kernel, stride, padding, first, last):
    _, height, width, channels = dx.shape
    _, oh, ow, _ = dy.shape
    share_of_each = np.float32(1 / (kernel[0] * kernel[1]))
    for n in range(first, last):
        dx[n] = 0.0
        for p in range(oh):
            for q in range(ow):
                for i in range(kernel[0]):
                    row = p * stride[0] + i - padding[0]
                    if 0 <= row < height:
                        for j in range(kernel[1]):
                            column = q * stride[1] + j - padding[1]
                            if 0 <= column < width:
                                for c in range(channels):
                                    dx[n, row, column, c] += dy[n, p, q, c] * share_of_each


@register(AvgPool2d, "forward")
def avg_pool2d(op: AvgPool2d, x: Array) -> Array:
    if not is_float32(x):
        return NotImplemented
    block, window = channels_last(x), op.window
    y = empty((len(x), *window.output_size("avg_pool2d", *x.shape[2:]), x.shape[1]))
    sizes = window.kernel, window.stride, window.padding
    share(lambda first, last: _avg_pool(block, y, *sizes, first, last), len(x), x.size)
    return as_images(y)


@register(AvgPool2d, "backward")
def avg_pool2d_backward(op: AvgPool2d, upstream: Array) -> Any:
    if not is_float32(upstream):
        return NotImplemented
    n, c, h, w = op.input_shapes[0]
    dy, dx = channels_last(upstream), empty((n, h, w, c))
    sizes = op.window.kernel, op.window.stride, op.window.padding
    share(lambda first, last: _avg_pool_backward(dy, dx, *sizes, first, last), n, dx.size)
    return (as_images(dx),)


@kernel
def _global_avg(x, y, total, first, last):
    _, height, width, channels = x.shape
    for n in range(first, last):
        total[:] = 0.0
        for p in range(height):
            for q in range(width):
                for c in range(channels):
                    total[c] += x[n, p, q, c]
        for c in range(channels):
            y[n, c] = total[c] / (height * width)


@kernel
def _global_avg_backward(dy, dx, first, last):
    _, height, width, channels = dx.shape
    part = np.float32(1 / (height * width))
    for n in range(first, last):
        for p in range(height):
            for q in range(width):
                for c in range(channels):
                    dx[n, p, q, c] = dy[n, c] * part


@register(GlobalAvgPool2d, "forward")
def global_avg_pool2d(op: GlobalAvgPool2d, x: Array) -> Array:
    if not is_float32(x):
        return NotImplemented
    block, y = channels_last(x), np.empty(x.shape[:2], np.float32)
    # sums in float64: the images may be large
    share(lambda first, last: _global_avg(block, y, np.empty(x.shape[1]), first, last), len(x), x.size / 2)
    return y


@register(GlobalAvgPool2d, "backward")
def global_avg_pool2d_backward(op: GlobalAvgPool2d, upstream: Array) -> Any:
    if not is_float32(upstream):
        return NotImplemented
    n, c, h, w = op.input_shapes[0]
    dy, dx = contiguous(upstream), empty((n, h, w, c))
    share(lambda first, last: _global_avg_backward(dy, dx, first, last), n, dx.size / 2)
    return (as_images(dx),)
