"""Batch normalisation, with the shortcut and the ReLU after it, in as few passes over memory as possible.

Memory bandwidth is the limit here: an activation of ResNet-20's first stage takes 8 MB for 128 images, and each number
is used only once or twice. So each pass does as much as it can::

    forward    1. read x: mean and variance       2. read x (and the shortcut), write relu(scale * x + shift + shortcut)
    backward   1. read x, dy (and y): both sums   2. read x, dy (or its masked copy), write dx

Pixels are (M, C) in memory. To make loops long enough for vectors, several pixels form one row of about ROW elements,
and the values for the channels are repeated along it. Sums over a block of rows are in float32, and deviations are
relative to the block's mean, to avoid cancellation; blocks are merged in float64, in order (Chan, Golub and LeVeque
1979).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...core.backend import Array
from ..norm import Statistics
from ..threads import share_sums, take_turns
from .compiler import inlined, kernel
from .memory import scratch
from .simd import at, put
from .team import turns

ROW = 512
ROWS = 32  # rows in a block, which takes 64 KB
ZERO = np.float32(0)


def _row_length(channels: int) -> int:
    return channels * max(1, ROW // channels)


def _repeated(values: Array, length: int) -> Array:
    """Repeat the values for the channels: (C,) -> (length,)."""
    repeated = np.empty((length // len(values), len(values)), np.float32)
    repeated[:] = values
    return repeated.reshape(length)


def _blocks(x: Array) -> int:
    return -(-x.size // (_row_length(x.shape[-1]) * ROWS))


@inlined
def _fold(row, channels, sums):
    """Add the numbers of each channel to ``sums``."""
    for i in range(0, len(row), channels):
        for c in range(channels):
            sums[c] += row[i + c]


@kernel
def _moments(x, channels, row, row2, centre, folded, total, first, last):
    """Fill ``total``, float64 (3, C), for some blocks: count, mean and sum of squared deviations of each channel."""
    length = len(row)
    total[:] = 0.0
    for block in range(first, last):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        row[:] = 0.0
        row2[:] = 0.0
        for i in range(begin, end, length):
            for j in range(min(length, end - i)):
                row[j] += at(x, i + j)
        folded[:] = 0.0
        _fold(row, channels, folded)
        count = (end - begin) // channels
        for j in range(length):
            centre[j] = folded[j % channels] / count
        for i in range(begin, end, length):
            for j in range(min(length, end - i)):
                d = at(x, i + j) - centre[j]
                row2[j] += d * d
        folded[:] = 0.0
        _fold(row2, channels, folded)
        for c in range(channels):
            # the mean of the block, in float32 because this is what was subtracted
            before, mean = total[0, c], np.float64(centre[c])
            both = before + count
            step = mean - total[1, c]
            total[1, c] += step * count / both
            total[2, c] += folded[c] + step * step * before * count / both
            total[0, c] = both


def moments(x: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each channel of a block (..., C), in float64."""
    channels = x.shape[-1]
    length, flat = _row_length(channels), x.reshape(-1)

    def work(total: Array, first: int, last: int) -> None:
        rows = (scratch(length, purpose)[:length] for purpose in ("sums", "squares", "centre"))
        _moments(flat, channels, *rows, np.empty(channels), total, first, last)

    totals = share_sums(work, _blocks(x), lambda slices: np.empty((slices, 3, channels)), x.size / 2)
    count, mean, squares = totals[0]
    for other_count, other_mean, other_squares in totals[1:]:
        step, both = other_mean - mean, count + other_count
        mean = mean + step * other_count / both
        squares = squares + other_squares + step * step * count * other_count / both
        count = both
    return mean, squares / count


# When a kernel below is compiled, it is known which arguments are None, so the loops do not branch.


@kernel
def _normalise(x, scale, shift, shortcut, y, relu, turn, blocks):
    length = len(scale)
    for block in turns(turn, blocks):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for i in range(begin, end, length):
            for j in range(min(length, end - i)):
                v = at(x, i + j) * scale[j] + shift[j]
                if shortcut is not None:
                    v += at(shortcut, i + j)
                if relu is not None:
                    v = v if not v <= 0 else ZERO  # NaN stays NaN
                put(y, i + j, v)


@kernel
def _sums(x, dy, y, centre, scale, shift, masked, sums, sums2, total, first, last):
    """Fill ``total`` with the sums of g and of g * (x - centre), where g is dy masked by the ReLU.

    The ReLU passed the positive elements of ``y`` or, without y, of x * scale + shift. If neither y nor scale is given,
    there was no ReLU. If y is given, g is stored in ``masked``.
    """
    length, channels = len(centre), total.shape[1]
    total[:] = 0.0
    for block in range(first, last):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        sums[:] = 0.0
        sums2[:] = 0.0
        for i in range(begin, end, length):
            for j in range(min(length, end - i)):
                g = at(dy, i + j)
                if y is not None:
                    g = ZERO if at(y, i + j) <= 0 else g
                    put(masked, i + j, g)
                elif scale is not None:
                    g = ZERO if at(x, i + j) * scale[j] + shift[j] <= 0 else g
                sums[j] += g
                sums2[j] += g * (at(x, i + j) - centre[j])
        _fold(sums, channels, total[0])
        _fold(sums2, channels, total[1])


@kernel
def _gradient(x, dy, centre, scale, shift, a, b, d, dx, turn, blocks):
    """Compute dx = a * g + b * (x - centre) + d, where g is dy, masked as in ``_sums`` if ``scale`` is given."""
    length = len(a)
    for block in turns(turn, blocks):
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for i in range(begin, end, length):
            for j in range(min(length, end - i)):
                g = at(dy, i + j)
                if scale is not None:
                    g = ZERO if at(x, i + j) * scale[j] + shift[j] <= 0 else g
                put(dx, i + j, a[j] * g + (b[j] * (at(x, i + j) - centre[j]) + d[j]))


def statistics(x: Array, gamma: Array, eps: float) -> Statistics:
    mean, var = moments(x)
    return mean, var, gamma / np.sqrt(var + eps)


def normalise(x: Array, mean: Array, scale: Array, beta: Array, shortcut: Array | None, y: Array, relu: bool) -> None:
    length = _row_length(x.shape[-1])
    scales, shifts = _repeated(scale, length), _repeated(beta - mean * scale, length)
    more = None if shortcut is None else shortcut.reshape(-1)
    numbers = x.reshape(-1), scales, shifts, more, y.reshape(-1), True if relu else None
    take_turns(partial(_normalise, *numbers), _blocks(x), x.size / 2)


def gradients(
    x: Array, dy: Array, y: Array | None, statistics: Statistics, beta: Array | None, eps: float, masked: Array,
    dx: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Fill ``dx``, and ``masked`` if y is given; return the gradients with respect to gamma and beta.

    If y or beta is given, there was a ReLU. It passed the positive elements of y or, without y, of the normalised x.
    """
    mean, var, scale = statistics
    channels, count = x.shape[-1], x.size // x.shape[-1]
    length = _row_length(channels)
    centre, scales, shifts = _repeated(mean, length), None, None
    if beta is not None:
        scales, shifts = _repeated(scale, length), _repeated(beta - mean * scale, length)
    flat, flat_dy, flat_masked = x.reshape(-1), dy.reshape(-1), masked.reshape(-1)
    flat_y = None if y is None else y.reshape(-1)

    def work(total: Array, first: int, last: int) -> None:
        sums = (scratch(length, purpose)[:length] for purpose in ("sums", "squares"))
        numbers = flat, flat_dy, flat_y, centre, scales, shifts, flat_masked, *sums, total
        _sums(*numbers, first, last)

    totals = share_sums(work, _blocks(x), lambda slices: np.empty((slices, 2, channels)), x.size / 2)
    dbeta, about_mean = totals.sum(axis=0)
    inverse_std = 1 / np.sqrt(var + eps)
    dgamma = about_mean * inverse_std
    factors = scale, -scale * inverse_std * dgamma / count, -scale * dbeta / count
    rows = centre, scales, shifts, *(_repeated(v, length) for v in factors)
    take_turns(partial(_gradient, flat, flat_masked, *rows, dx.reshape(-1)), _blocks(x), x.size / 2)
    return dgamma.astype(np.float32), dbeta.astype(np.float32)


def channel_sums(block: Array) -> Array:
    """Return the sum of each channel of a block (..., C)."""
    mean, _ = moments(block)
    return (mean * (block.size // block.shape[-1])).astype(block.dtype)
