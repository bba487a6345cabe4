"""Pooling of blocks (N, H, W, C): the loop over the channels is innermost, so a vector of them is compared at once."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from ..threads import share
from .compiler import inlined, kernel
from .memory import scratch
from .simd import at, put

WINNER = np.uint8


@kernel
def _max_pool(x, y, winner, best, who, sizes, kernel, stride, padding, first, last):
    """Images ``first`` to ``last``; ``winner`` gets the number of the largest element, the first of equal ones.

    The innermost loop has no branches, and all its numbers are floats, so it is compiled to vectors.
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
    """The most common window, 2x2 with stride 2: its four numbers are compared in registers.

    There are two loops because the compiler only checks a limited number of pairs of rows for overlap: a single loop,
    which reads four rows and writes two, would stay scalar.
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
    """The gradient for windows that share no pixel: each pixel is written once."""
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


def max_pool(x: Array, y: Array, winner: Array, window: Window) -> None:
    flat, sizes = (x.reshape(-1), y.reshape(-1), winner.reshape(-1)), (*x.shape[1:3], *y.shape[1:])
    steps = window.kernel, window.stride, window.padding

    def work(first: int, last: int) -> None:
        if steps == ((2, 2), (2, 2), (0, 0)):
            _max_of_2x2(*flat, sizes, first, last)
        else:
            rows = scratch(x.shape[3], "best"), scratch(x.shape[3], "who")
            _max_pool(*flat, *rows, sizes, *steps, first, last)

    share(work, len(x), x.size)


def max_pool_backward(dy: Array, winner: Array, dx: Array, window: Window) -> None:
    kernel, stride, padding = window.kernel, window.stride, window.padding
    side_by_side = stride[0] >= kernel[0] and stride[1] >= kernel[1] and padding == (0, 0)

    def work(first: int, last: int) -> None:
        if side_by_side:
            flat, sizes = (dy.reshape(-1), winner.reshape(-1), dx.reshape(-1)), (*dx.shape[1:3], *dy.shape[1:])
            _side_by_side_backward(*flat, sizes, kernel, stride, first, last)
        else:
            _max_pool_backward(dy, winner, dx, kernel, stride, padding, first, last)

    share(work, len(dx), dy.size * 2)


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


def avg_pool(x: Array, y: Array, window: Window) -> None:
    steps = window.kernel, window.stride, window.padding
    share(partial(_avg_pool, x, y, *steps), len(x), x.size)


def avg_pool_backward(dy: Array, dx: Array, window: Window) -> None:
    steps = window.kernel, window.stride, window.padding
    share(partial(_avg_pool_backward, dy, dx, *steps), len(dx), dx.size)


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


def global_avg_pool(x: Array, y: Array) -> None:
    # sums in float64: the images may be large
    share(lambda first, last: _global_avg(x, y, np.empty(x.shape[3]), first, last), len(x), x.size / 2)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    share(partial(_global_avg_backward, dy, dx), len(dx), dx.size / 2)
