"""Batch normalisation, with the shortcut and the ReLU after it, in as few walks over memory as possible.

Memory is the limit here: an activation of ResNet-20's first stage is 8 MB for 128 images, and each number is used once
or twice. So each walk does as much as it can::

    forward    1. read x: mean and variance       2. read x (and the shortcut), write relu(scale * x + shift + shortcut)
    backward   1. read x, dy (and y): both sums   2. read x, dy (or its masked copy), write dx

Pixels are (M, C) in memory. To make loops long enough for vectors, several pixels form one row of about ROW numbers,
and the values of a channel are repeated along it. Sums over a block of rows are in float32, relative to the block's own
mean, so that nothing cancels; blocks are added up in float64, in order (Chan, Golub and LeVeque 1979).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...core.backend import Array
from ..norm import MASK_OF_X, MASK_OF_Y, NO_MASK
from ..threads import share_pieces, slices, take_turns
from .compiler import inlined, kernel
from .memory import scratch
from .simd import at, put
from .team import turns

ROW = 512
ROWS = 32  # of a block: 64 KB
ZERO = np.float32(0)

Statistics = tuple[Array, Array, Array]  # (C,) each, float64: mean, biased variance, gamma / sqrt(variance + eps)


def _row_length(channels: int) -> int:
    return channels * max(1, ROW // channels)


def _repeated(values: Array, length: int) -> Array:
    """(C,) -> (length,): the channels, repeated."""
    repeated = np.empty((length // len(values), len(values)), np.float32)
    repeated[:] = values
    return repeated.reshape(length)


def _blocks(x: Array) -> int:
    return -(-x.size // (_row_length(x.shape[-1]) * ROWS))


@inlined
def _fold(row, channels, sums):
    for c in range(channels):
        sums[c] = 0.0
    for i in range(0, len(row), channels):
        for c in range(channels):
            sums[c] += row[i + c]


@kernel
def _moments(x, channels, row, row2, centre, folded, total, first, last):
    """``total``: (count, mean of each channel, sum of squares about it), float64 (3, C), of blocks first to last."""
    length = len(row)
    total[:] = 0.0
    for block in range(first, last):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for j in range(length):
            row[j] = 0.0
            row2[j] = 0.0
        for i in range(begin, end, length):
            for j in range(min(length, end - i)):
                row[j] += at(x, i + j)
        _fold(row, channels, folded)
        count = (end - begin) // channels
        for j in range(length):
            centre[j] = folded[j % channels] / count
        for i in range(begin, end, length):
            for j in range(min(length, end - i)):
                d = at(x, i + j) - centre[j]
                row2[j] += d * d
        _fold(row2, channels, folded)
        for c in range(channels):
            # the block's mean as it was subtracted, in float32
            before, mean = total[0, c], np.float64(centre[c])
            both = before + count
            step = mean - total[1, c]
            total[1, c] += step * count / both
            total[2, c] += folded[c] + step * step * before * count / both
            total[0, c] = both


def moments(x: Array) -> tuple[Array, Array]:
    """The mean and the biased variance of each channel of a block (..., C), in float64."""
    channels = x.shape[-1]
    length, flat, pieces = _row_length(channels), x.reshape(-1), slices(_blocks(x))
    totals = np.empty((len(pieces), 3, channels))

    def work(piece: int, first: int, last: int) -> None:
        rows = (scratch(length, purpose)[:length] for purpose in ("sums", "squares", "centre"))
        _moments(flat, channels, *rows, np.empty(channels), totals[piece], first, last)

    share_pieces(work, pieces, x.size / 2)
    count, mean, squares = totals[0]
    for other_count, other_mean, other_squares in totals[1:]:
        step, both = other_mean - mean, count + other_count
        mean = mean + step * other_count / both
        squares = squares + other_squares + step * step * count * other_count / both
        count = both
    return mean, squares / count


@inlined
def _normalise_row(x, scale, shift, shortcut, y, i, count, adds, relu):
    for j in range(count):
        v = at(x, i + j) * scale[j] + shift[j]
        if adds:
            v += at(shortcut, i + j)
        if relu:
            v = v if not v <= 0 else ZERO  # NaN stays NaN
        put(y, i + j, v)


@kernel
def _normalise(x, scale, shift, shortcut, y, adds, relu, turn, blocks):
    length = len(scale)
    for block in turns(turn, blocks):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for i in range(begin, end, length):
            count = min(length, end - i)
            if adds and relu:  # a loop for each case: nothing branches in it, and it is compiled to vectors
                _normalise_row(x, scale, shift, shortcut, y, i, count, True, True)
            elif adds:
                _normalise_row(x, scale, shift, shortcut, y, i, count, True, False)
            else:
                _normalise_row(x, scale, shift, shortcut, y, i, count, False, relu)


@inlined
def _sum_row(x, dy, y, centre, scale, shift, masked, sums, sums2, i, count, mask):
    for j in range(count):
        g = at(dy, i + j)
        if mask == MASK_OF_X:
            g = g if at(x, i + j) * scale[j] + shift[j] > 0 else ZERO
        elif mask == MASK_OF_Y:
            g = g if at(y, i + j) > 0 else ZERO
            put(masked, i + j, g)
        sums[j] += g
        sums2[j] += g * (at(x, i + j) - centre[j])


@kernel
def _sums(x, dy, y, centre, scale, shift, masked, sums, sums2, folded, total, mask, first, last):
    """``total``: the sums of g and of g * (x - centre); g is dy where the ReLU let through, and kept in ``masked``."""
    length, channels = len(centre), total.shape[1]
    total[:] = 0.0
    for block in range(first, last):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for j in range(length):
            sums[j] = 0.0
            sums2[j] = 0.0
        for i in range(begin, end, length):
            count = min(length, end - i)
            if mask == NO_MASK:
                _sum_row(x, dy, y, centre, scale, shift, masked, sums, sums2, i, count, NO_MASK)
            elif mask == MASK_OF_X:
                _sum_row(x, dy, y, centre, scale, shift, masked, sums, sums2, i, count, MASK_OF_X)
            else:
                _sum_row(x, dy, y, centre, scale, shift, masked, sums, sums2, i, count, MASK_OF_Y)
        _fold(sums, channels, folded)
        for c in range(channels):
            total[0, c] += folded[c]
        _fold(sums2, channels, folded)
        for c in range(channels):
            total[1, c] += folded[c]


@inlined
def _gradient_row(x, dy, centre, scale, shift, a, b, d, dx, mask, i, count):
    if mask == MASK_OF_X:
        for j in range(count):
            g = at(dy, i + j) if at(x, i + j) * scale[j] + shift[j] > 0 else ZERO
            put(dx, i + j, a[j] * g + b[j] * (at(x, i + j) - centre[j]) + d[j])
    else:
        for j in range(count):
            put(dx, i + j, a[j] * at(dy, i + j) + b[j] * (at(x, i + j) - centre[j]) + d[j])


@kernel
def _gradient(x, dy, centre, scale, shift, a, b, d, dx, mask, turn, blocks):
    """dx = a * g + b * (x - centre) + d, row by row."""
    length = len(a)
    for block in turns(turn, blocks):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for i in range(begin, end, length):
            _gradient_row(x, dy, centre, scale, shift, a, b, d, dx, mask, i, min(length, end - i))


def statistics(x: Array, gamma: Array, eps: float) -> Statistics:
    mean, var = moments(x)
    return mean, var, gamma / np.sqrt(var + eps)


def normalise(x: Array, mean: Array, scale: Array, beta: Array, shortcut: Array | None, y: Array, relu: bool) -> None:
    length = _row_length(x.shape[-1])
    scales, shifts = _repeated(scale, length), _repeated(beta - mean * scale, length)
    flat_y = y.reshape(-1)
    numbers = x.reshape(-1), scales, shifts, flat_y if shortcut is None else shortcut.reshape(-1), flat_y
    adds = shortcut is not None
    take_turns(partial(_normalise, *numbers, adds, relu), _blocks(x), x.size / 2)


def gradients(
    x: Array, dy: Array, y: Array | None, statistics: Statistics, beta: Array, eps: float, mask: int, masked: Array,
    dx: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Fill ``masked`` (with MASK_OF_Y) and ``dx``; the gradients to gamma and beta."""
    mean, var, scale = statistics
    channels, count = x.shape[-1], x.size // x.shape[-1]
    length = _row_length(channels)
    rows = [_repeated(v, length) for v in (mean, scale, beta - mean * scale)]
    flat, flat_dy, flat_masked = x.reshape(-1), dy.reshape(-1), masked.reshape(-1)
    flat_y = flat_dy if y is None else y.reshape(-1)
    pieces = slices(_blocks(x))
    totals = np.empty((len(pieces), 2, channels))

    def work(piece: int, first: int, last: int) -> None:
        sums = (scratch(length, purpose)[:length] for purpose in ("sums", "squares"))
        _sums(flat, flat_dy, flat_y, *rows, flat_masked, *sums, np.empty(channels), totals[piece], mask, first, last)

    share_pieces(work, pieces, x.size / 2)
    dbeta, about_mean = totals.sum(axis=0)
    inverse_std = 1 / np.sqrt(var + eps)
    dgamma = about_mean * inverse_std
    factors = scale, -scale * inverse_std * dgamma / count, -scale * dbeta / count
    numbers = flat, flat_masked, *rows, *(_repeated(v, length) for v in factors), dx.reshape(-1)
    remaining = MASK_OF_X if mask == MASK_OF_X else NO_MASK  # MASK_OF_Y is applied already
    take_turns(partial(_gradient, *numbers, remaining), _blocks(x), x.size / 2)
    return dgamma.astype(np.float32), dbeta.astype(np.float32)


def channel_sums(block: Array) -> Array:
    """The sum of each channel of a block (..., C)."""
    mean, _ = moments(block)
    return (mean * (block.size // block.shape[-1])).astype(block.dtype)
