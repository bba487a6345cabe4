"""Pooling of blocks (N, H, W, C). The innermost loops run over the channels, and so compute a vector at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from .compiler import inlined, kernel
from .memory import scratch_rows
from .simd import at, put
from .team import enter, leave, part_of, run, team_size, this_call

WINNER = np.uint8
LARGE = 64  # windows with more pixels are summed in float64
ZERO = np.float32(0)


@kernel
def _max_pool(x, y, winner, best_rows, who_rows, sizes, window, images, team, rank):
    """Pool images, and store in ``winner`` the index of the first largest element of each window.

    The innermost loop has no branches, and all its numbers are floats, so that it is vectorised.
    """
    enter(team, rank, this_call())
    best, who = best_rows[rank], who_rows[rank]
    height, width, oh, ow, channels = sizes
    kernel, stride, padding = window
    first, last = part_of(images, team, rank)
    to = first * oh * ow * channels
    for n in range(first, last):
        for p in range(oh):
            for q in range(ow):
                top, left = p * stride[0] - padding[0], q * stride[1] - padding[1]
                number = np.float32(max(0, -top) * kernel[1] + max(0, -left))  # the first pixel, even if it is -inf
                for c in range(channels):
                    put(best, c, np.float32(-np.inf))
                    put(who, c, number)
                for i in range(max(0, -top), min(kernel[0], height - top)):
                    for j in range(max(0, -left), min(kernel[1], width - left)):
                        here = ((n * height + top + i) * width + left + j) * channels
                        number = np.float32(i * kernel[1] + j)
                        for c in range(channels):
                            value, most = at(x, here + c), at(best, c)
                            # The first NaN wins against all other values.
                            wins = (value > most) | ((value != value) & (most == most))
                            put(best, c, value if wins else most)
                            put(who, c, number if wins else at(who, c))
                for c in range(channels):
                    put(y, to + c, at(best, c))
                    put(winner, to + c, np.uint8(at(who, c)))
                to += channels
    leave(team, rank)


@inlined
def _larger(a, b):
    return a if (a >= b) | (a != a) else b  # NaN is larger than any number


@inlined
def _is(value, best):
    return (value == best) | (value != value)


@kernel
def _max_of_2x2(x, y, winner, sizes, images, team, rank):
    """Pool with the most common window, 2x2 with stride 2, comparing its four numbers in registers.

    There are two loops because the compiler checks only a limited number of pairs of rows for overlap: a single loop,
    which reads four rows and writes two, would not be vectorised.
    """
    enter(team, rank, this_call())
    height, width, oh, ow, channels = sizes
    for n in range(*part_of(images, team, rank)):
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
    leave(team, rank)


@kernel
def _avg_pool(x, y, totals, part, sizes, window, images, team, rank):
    """Pool images: the sum of each window, computed in a row of ``totals``, times ``part``."""
    enter(team, rank, this_call())
    total = totals[rank]
    height, width, oh, ow, channels = sizes
    kernel, stride, padding = window
    first, last = part_of(images, team, rank)
    to = first * oh * ow * channels
    for n in range(first, last):
        for p in range(oh):
            for q in range(ow):
                for c in range(channels):
                    put(total, c, 0)
                top, left = p * stride[0] - padding[0], q * stride[1] - padding[1]
                for i in range(max(0, -top), min(kernel[0], height - top)):
                    for j in range(max(0, -left), min(kernel[1], width - left)):
                        here = ((n * height + top + i) * width + left + j) * channels
                        for c in range(channels):
                            put(total, c, at(total, c) + at(x, here + c))
                for c in range(channels):
                    put(y, to + c, np.float32(at(total, c) * part))
                to += channels
    leave(team, rank)


@inlined
def _gradient(dy, winner, k, number, part):
    if winner is None:  # average pooling: each element has the same part
        return at(dy, k) * part
    return at(dy, k) if np.float32(at(winner, k)) == number else ZERO


@kernel
def _backward(dy, winner, dx, part, sizes, window, overlap, images, team, rank):
    """Compute the gradients of images, added up if windows ``overlap``, else stored directly."""
    enter(team, rank, this_call())
    height, width, oh, ow, channels = sizes
    kernel, stride, padding = window
    first, last = part_of(images, team, rank)
    if overlap or oh * kernel[0] < height or ow * kernel[1] < width:  # some pixels may be in no window
        for k in range(first * height * width * channels, last * height * width * channels):
            put(dx, k, ZERO)
    for n in range(first, last):
        for p in range(oh):
            for q in range(ow):
                source = ((n * oh + p) * ow + q) * channels
                top, left = p * stride[0] - padding[0], q * stride[1] - padding[1]
                for i in range(max(0, -top), min(kernel[0], height - top)):
                    for j in range(max(0, -left), min(kernel[1], width - left)):
                        to = ((n * height + top + i) * width + left + j) * channels
                        number = np.float32(i * kernel[1] + j)
                        if overlap:
                            for c in range(channels):
                                grad = _gradient(dy, winner, source + c, number, part)
                                put(dx, to + c, at(dx, to + c) + grad)
                        else:
                            for c in range(channels):
                                put(dx, to + c, _gradient(dy, winner, source + c, number, part))
    leave(team, rank)


def _geometry(x: Array, y: Array, window: Window) -> tuple[Any, Any]:
    """Return the arguments ``sizes`` and ``window`` of the kernels."""
    return (*x.shape[1:3], *y.shape[1:]), (window.kernel, window.stride, window.padding)


def max_pool(x: Array, y: Array, winner: Array, window: Window) -> None:
    flat = x.reshape(-1), y.reshape(-1), winner.reshape(-1)
    sizes, steps = _geometry(x, y, window)
    members = team_size(x.size)
    if steps == ((2, 2), (2, 2), (0, 0)):
        run(members, _max_of_2x2, *flat, sizes, len(x))
    else:
        rows = (scratch_rows(members, x.shape[3], purpose) for purpose in ("best", "who"))
        run(members, _max_pool, *flat, *rows, sizes, steps, len(x))


def avg_pool(x: Array, y: Array, window: Window) -> None:
    """Fill y with the mean of each window."""
    dtype = np.float64 if math.prod(window.kernel) > LARGE else np.float32  # of the sums
    numbers = dtype(1 / math.prod(window.kernel)), *_geometry(x, y, window)
    members = team_size(x.size / 2)
    totals = np.empty((members, x.shape[3]), dtype)
    run(members, _avg_pool, x.reshape(-1), y.reshape(-1), totals, *numbers, len(x))


def global_avg_pool(x: Array, y: Array) -> None:
    avg_pool(x, y[:, None, None], _whole(x))


def backward(dy: Array, winner: Array | None, dx: Array, window: Window) -> None:
    """Fill ``dx`` with the gradient of max pooling, or of average pooling if ``winner`` is None."""
    flat = dy.reshape(-1), None if winner is None else winner.reshape(-1), dx.reshape(-1)
    numbers = np.float32(1 / math.prod(window.kernel)), *_geometry(dx, dy, window)
    overlap = any(s < k or p > 0 for k, s, p in zip(window.kernel, window.stride, window.padding, strict=True))
    run(team_size(dx.size), _backward, *flat, *numbers, overlap, len(dx))


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    backward(dy[:, None, None], None, dx, _whole(dx))


def _whole(images: Array) -> Window:
    """Return the window that covers a whole image."""
    size = images.shape[1], images.shape[2]
    return Window(size, size, (0, 0))
