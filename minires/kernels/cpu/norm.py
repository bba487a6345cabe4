"""Batch normalisation, with what follows it (shortcut, ReLU), in as few walks over memory as there can be.

Memory is the limit here: an activation of ResNet-20's first stage is 8 MB for 128 images, and each number is used
once or twice. So each walk does all that it can::

    forward    1. read x: mean and variance       2. read x (and the shortcut), write relu(scale * x + shift + shortcut)
    backward   1. read x, dy (and y): both sums   2. read x, dy (or its masked copy), write dx

Pixels are (M, C) in memory. For a loop long enough for vectors, some pixels are taken together as one row of ROW or
more numbers, and values of a channel are repeated along it. Sums of a block of rows are in float32, relative to the
block's own mean, so nothing cancels; blocks are added up in float64, in order (Chan, Golub and LeVeque 1979).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...ops.norm import BatchNorm, BatchNormAct
from ..images import as_images
from ..threads import scratch, share, slices, take_turns
from .compiler import inlined, kernel
from .layout import channels_last, contiguous, empty_like, is_float32
from .registry import register
from .simd import at, put
from .team import next_turn

ROW = 512
ROWS = 32  # of a block: 64 KB
ZERO = np.float32(0)
NO_MASK, MASK_OF_X, MASK_OF_Y = range(3)


def _row_length(channels: int) -> int:
    return channels * max(1, ROW // channels)


def _repeated(values: Array, length: int) -> Array:
    """(C,) -> (length,), the channels again and again."""
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

    def work(first: int, last: int) -> None:
        for piece in range(first, last):
            rows = (scratch(length, purpose)[:length] for purpose in ("sums", "squares", "centre"))
            _moments(flat, channels, *rows, np.empty(channels), totals[piece], *pieces[piece])

    share(work, len(pieces), x.size / 2)
    count, mean, squares = totals[0]
    for other_count, other_mean, other_squares in totals[1:]:
        step, both = other_mean - mean, count + other_count
        mean = mean + step * other_count / both
        squares = squares + other_squares + step * step * count * other_count / both
        count = both
    return mean, squares / count


@inlined
def _normalise_row(x, scale, shift, shortcut, y, adds, relu, i, count):
    if adds and relu:
        for j in range(count):
            v = at(x, i + j) * scale[j] + shift[j] + at(shortcut, i + j)
            put(y, i + j, v if not v <= 0 else ZERO)  # NaN stays NaN
    elif adds:
        for j in range(count):
            put(y, i + j, at(x, i + j) * scale[j] + shift[j] + at(shortcut, i + j))
    elif relu:
        for j in range(count):
            v = at(x, i + j) * scale[j] + shift[j]
            put(y, i + j, v if not v <= 0 else ZERO)
    else:
        for j in range(count):
            put(y, i + j, at(x, i + j) * scale[j] + shift[j])


@kernel
def _normalise(x, scale, shift, shortcut, y, adds, relu, turn, blocks):
    length = len(scale)
    block = next_turn(turn)
    while block < blocks:
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for i in range(begin, end, length):
            _normalise_row(x, scale, shift, shortcut, y, adds, relu, i, min(length, end - i))
        block = next_turn(turn)


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
                for j in range(count):
                    g = at(dy, i + j)
                    sums[j] += g
                    sums2[j] += g * (at(x, i + j) - centre[j])
            elif mask == MASK_OF_X:
                for j in range(count):
                    g = at(dy, i + j) if at(x, i + j) * scale[j] + shift[j] > 0 else ZERO
                    sums[j] += g
                    sums2[j] += g * (at(x, i + j) - centre[j])
            else:
                for j in range(count):
                    g = at(dy, i + j) if at(y, i + j) > 0 else ZERO
                    sums[j] += g
                    sums2[j] += g * (at(x, i + j) - centre[j])
                    put(masked, i + j, g)
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
    block = next_turn(turn)
    while block < blocks:
        begin, end = block * ROWS * length, min((block + 1) * ROWS * length, len(x))
        for i in range(begin, end, length):
            _gradient_row(x, dy, centre, scale, shift, a, b, d, dx, mask, i, min(length, end - i))
        block = next_turn(turn)


def _scale_and_shift(op: BatchNorm, gamma: Array, beta: Array, mean: Array, var: Array) -> tuple[Array, Array]:
    scale = gamma / np.sqrt(var + op.eps)  # (C,), float64 as the statistics are
    return scale, beta - mean * scale


@register(BatchNorm, "forward")
@register(BatchNormAct, "forward")
def batch_norm(op: Any, x: Array, gamma: Array, beta: Array, shortcut: Array | None = None) -> Array:
    if not is_float32(x, gamma, beta, shortcut):
        return NotImplemented
    block = channels_last(x)
    if op.running is None:
        mean, var = op.statistics = moments(block)
        op.batch = mean.astype(x.dtype), var.astype(x.dtype)
    else:
        mean, var = op.running
    length, relu = _row_length(x.shape[1]), getattr(op, "activation", None) == "relu"
    scale, shift = (_repeated(v, length) for v in _scale_and_shift(op, gamma, beta, mean, var))
    y = empty_like(x)
    flat, flat_y = block.reshape(-1), y.reshape(-1)
    more = flat_y if shortcut is None else channels_last(shortcut).reshape(-1)
    take_turns(
        lambda turn, blocks: _normalise(flat, scale, shift, more, flat_y, shortcut is not None, relu, turn, blocks),
        _blocks(block),
        x.size / 2,
    )
    return as_images(y)


@register(BatchNorm, "backward")
@register(BatchNormAct, "backward")
def batch_norm_backward(op: Any, upstream: Array) -> Any:
    x, gamma, beta, *shortcut = (tensor.data for tensor in op.inputs)
    if op.running is not None or not hasattr(op, "statistics") or not is_float32(x, gamma, upstream):
        return NotImplemented
    block, dy = channels_last(x), channels_last(upstream)
    channels, count = x.shape[1], x.size // x.shape[1]
    length = _row_length(channels)
    mean, var = op.statistics
    scale64, shift64 = _scale_and_shift(op, gamma, beta, mean, var)
    centre, scale, shift = (_repeated(v, length) for v in (mean, scale64, shift64))
    flat, flat_dy, dx = block.reshape(-1), dy.reshape(-1), empty_like(x)
    relu = getattr(op, "activation", None) == "relu"
    mask = (MASK_OF_Y if shortcut else MASK_OF_X) if relu else NO_MASK
    masked = empty_like(x) if mask == MASK_OF_Y else dy
    flat_y = channels_last(op.output.data).reshape(-1) if mask == MASK_OF_Y else flat_dy
    flat_masked, flat_dx = masked.reshape(-1), dx.reshape(-1)
    pieces = slices(_blocks(block))
    totals = np.empty((len(pieces), 2, channels))

    def work(first: int, last: int) -> None:
        for piece in range(first, last):
            rows = (scratch(length, purpose)[:length] for purpose in ("sums", "squares"))
            _sums(
                flat, flat_dy, flat_y, centre, scale, shift, flat_masked, *rows, np.empty(channels),
                totals[piece], mask, *pieces[piece],
            )  # fmt: skip

    share(work, len(pieces), x.size / 2)
    dbeta, about_mean = totals.sum(axis=0)
    inverse_std = 1 / np.sqrt(var + op.eps)
    dgamma = about_mean * inverse_std
    a, b, d = (
        _repeated(v, length) for v in (scale64, -scale64 * inverse_std * dgamma / count, -scale64 * dbeta / count)
    )
    remaining = MASK_OF_X if mask == MASK_OF_X else NO_MASK  # MASK_OF_Y is applied already
    take_turns(
        lambda turn, blocks: _gradient(
            flat, flat_masked, centre, scale, shift, a, b, d, flat_dx, remaining, turn, blocks
        ),
        _blocks(block),
        x.size / 2,
    )
    grads = as_images(dx), dgamma.astype(gamma.dtype), dbeta.astype(beta.dtype)
    return (*grads, *(as_images(masked) for _ in shortcut))


def channel_sums(block: Array) -> Array:
    """The sum of each channel of a block (..., C)."""
    mean, _ = moments(contiguous(block))
    return (mean * (block.size // block.shape[-1])).astype(block.dtype)
