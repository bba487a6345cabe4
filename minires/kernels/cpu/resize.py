"""Resizing of blocks (N, H, W, C): first rows are joined to a strip (W, C), then pixels of the strip, or vice versa.

``rows`` and ``columns`` are three arrays each, with an element for each row or column of the resized images: two
places, and the weight of the second. If the weight is 0, only the first place is read or written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from .compiler import kernel
from .memory import scratch_rows
from .simd import at, put
from .team import enter, leave, part_of, run, team_size, this_call

ZERO, ONE = np.float32(0), np.float32(1)
NANOSECONDS = 0.5  # for an element of the larger images, on one core


@kernel
def _resize(x, y, strips, rows, columns, sizes, lines, team, rank):
    """Compute ``lines`` rows of all resized images."""
    enter(team, rank, this_call())
    height, width, oh, ow, channels = sizes
    length = width * channels
    for line in range(*part_of(lines, team, rank)):
        n, p = line // oh, line % oh
        source, begin, weight = x, (n * height + rows[0][p]) * length, rows[2][p]
        if weight != ZERO:
            upper, lower, other = begin, (n * height + rows[1][p]) * length, ONE - weight
            source, begin = strips[rank], 0
            for k in range(length):
                put(source, k, at(x, upper + k) * other + at(x, lower + k) * weight)
        to = line * ow * channels
        for q in range(ow):
            left, right, weight = begin + columns[0][q] * channels, begin + columns[1][q] * channels, columns[2][q]
            if weight == ZERO:
                for c in range(channels):
                    put(y, to + c, at(source, left + c))
            else:
                other = ONE - weight
                for c in range(channels):
                    put(y, to + c, at(source, left + c) * other + at(source, right + c) * weight)
            to += channels
    leave(team, rank)


@kernel
def _backward(dy, dx, strips, rows, columns, sizes, images, team, rank):
    """Add up the gradients of whole images, as rows of different lines meet."""
    enter(team, rank, this_call())
    height, width, oh, ow, channels = sizes
    length = width * channels
    first, last = part_of(images, team, rank)
    for k in range(first * height * length, last * height * length):
        put(dx, k, ZERO)
    for line in range(first * oh, last * oh):
        n, p = line // oh, line % oh
        target, begin, share = dx, (n * height + rows[0][p]) * length, rows[2][p]
        if share != ZERO:
            target, begin = strips[rank], 0
            for k in range(length):
                put(target, k, ZERO)
        source = line * ow * channels
        for q in range(ow):
            left, right, weight = begin + columns[0][q] * channels, begin + columns[1][q] * channels, columns[2][q]
            if weight == ZERO:
                for c in range(channels):
                    put(target, left + c, at(target, left + c) + at(dy, source + c))
            else:
                other = ONE - weight
                for c in range(channels):
                    put(target, left + c, at(target, left + c) + at(dy, source + c) * other)
                for c in range(channels):
                    put(target, right + c, at(target, right + c) + at(dy, source + c) * weight)
            source += channels
        if share != ZERO:
            upper, lower = (n * height + rows[0][p]) * length, (n * height + rows[1][p]) * length
            for k in range(length):
                put(dx, upper + k, at(dx, upper + k) + at(target, k) * (ONE - share))
            for k in range(length):
                put(dx, lower + k, at(dx, lower + k) + at(target, k) * share)
    leave(team, rank)


def resize(x: Array, y: Array, rows: Any, columns: Any) -> None:
    """Fill y (N, OH, OW, C) with the resized images of x (N, H, W, C)."""
    members = team_size(max(x.size, y.size) * NANOSECONDS)
    strips = scratch_rows(members, x[0, 0].size, "strip")
    sizes = (*x.shape[1:3], *y.shape[1:])
    run(members, _resize, x.reshape(-1), y.reshape(-1), strips, rows, columns, sizes, len(y) * y.shape[1])


def backward(dy: Array, dx: Array, rows: Any, columns: Any) -> None:
    """Fill dx (N, H, W, C) with the gradient, given dy (N, OH, OW, C)."""
    members = team_size(max(dx.size, dy.size) * NANOSECONDS)
    strips = scratch_rows(members, dx[0, 0].size, "strip")
    sizes = (*dx.shape[1:3], *dy.shape[1:])
    run(members, _backward, dy.reshape(-1), dx.reshape(-1), strips, rows, columns, sizes, len(dx))
