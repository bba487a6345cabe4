"""Batch normalisation, with the shortcut and the ReLU after it, in as few passes over memory as possible.

Memory bandwidth is the limit here: an activation of ResNet-20's first stage takes 8 MB for 128 images, and each number
is used only once or twice. So each pass does as much as it can::

    forward    1. read x: mean and variance       2. read x (and the shortcut), write relu(scale * (x - mean) + beta)
    backward   1. read x, dy: both sums           2. read x, dy, write dx

With a shortcut, the first backward pass also reads y, and writes dy, masked by the ReLU. This is the gradient to the
shortcut, and the second pass reads it instead of dy.

To keep up with memory, the innermost loop must not load and store anything else, so its sums and factors stay in
registers. Pixels are (M, C) in memory. They are cut into *rows* of one or more pixels, and these into *spans* of four
vectors, so that a span has the same channels in every row. The innermost loop goes over one span of a few rows, a
*piece*. With AVX-512::

    row 0    span 0   span 1   ...         64 channels: a row is one pixel, and has one span
    row 1    span 0   span 1   ...         16 channels: a row is four pixels, whose sums are added at the end
      ...                                  24 channels: a row is eight pixels, and has three spans

Pixels after the last row are processed number by number. Sums over a block of up to 32 rows are in float32, and those
for the variance are relative to its first row, to avoid cancellation. Blocks are merged in float64, in order (Chan,
Golub and LeVeque 1979).

Both passes are one call. In each of them, a thread processes the same rows, in the second one backwards, because the
last rows are still in its cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.backend import Array
from ..norm import Statistics
from .compiler import inlined, kernel
from .memory import scratch_rows
from .simd import SPAN, at, at_least, load_like, prefetch_span, save, where_above, zero_span
from .team import MEMBERS, enter, leave, meet, part_of, run, team_size, this_call

ROWS = 32  # the most rows in a block
LONG = 512  # numbers; the sums and factors of longer rows do not fit into the fastest cache, beside what is read
ZERO, NAN = np.float32(0), np.float32(np.nan)
CENTRE, SCALE, SHIFT, SLOPE, OFFSET = range(5)  # rows of factors: one for each number of a row of pixels
SUM, SUM2 = SLOPE, OFFSET  # rows of sums, which are used up before the factors are known
AREAS = 5

# The innermost loops go over one span of a piece: down in the first pass, up in the second one. ``i`` is the index of
# the span in its first row, and ``j`` its place in a row. ``ahead`` is the distance to the piece that comes next, which
# is loaded into the cache in the meantime. ``like`` is a span of zeros or, after the last row, a zero.


@inlined
def _factors(area, j, like):
    return load_like(area[CENTRE], j, like), load_like(area[SCALE], j, like), load_like(area[SHIFT], j, like)


@inlined
def _add_deviations(x, i, rows, j, ahead, area, like):
    """Add up x - centre and its square."""
    length, centre = area.shape[1], load_like(area[CENTRE], j, like)
    total, squares = load_like(area[SUM], j, like), load_like(area[SUM2], j, like)
    for k in range(i, i + rows * length, length):
        prefetch_span(x, k + ahead)
        d = load_like(x, k, like) - centre
        total, squares = total + d, squares + d * d
    save(area[SUM], j, total)
    save(area[SUM2], j, squares)


@inlined
def _merge(count, lanes, area, total):
    """Merge a block of ``count`` rows into ``total``, (3, length): count, mean and sum of squared deviations."""
    for j in range(lanes):
        before = total[0, j]
        both = before + count
        old, new = before / both, count / both
        distance = np.float64(area[SUM, j]) / count
        squares = area[SUM2, j] - area[SUM, j] * distance
        mean = area[CENTRE, j] + distance
        step = mean - total[1, j]
        total[0, j] = both
        total[1, j] = old * total[1, j] + new * mean  # remains infinite
        total[2, j] += (squares if not squares < 0 else 0.0) + step * step * (old * count)


@inlined
def _start_block(x, i, lanes, area):
    """Set the sums to 0, and the centre to the numbers of the first row."""
    for j in range(lanes):
        number = at(x, i + j)
        area[CENTRE, j] = number if number - number == 0 else ZERO  # infinity - infinity would be NaN
        area[SUM, j] = area[SUM2, j] = ZERO


@inlined
def _moments(x, first, last, tail, height, area, total):
    """Fill ``total`` for the rows from ``first`` to ``last`` and the ``tail`` numbers after the last row."""
    length = area.shape[1]
    total[:] = 0.0
    for row in range(first, last, ROWS):
        behind = min(row + ROWS, last)
        _start_block(x, row * length, length, area)
        for piece in range(row, behind, height):
            rows = min(height, behind - piece)
            for j in range(0, length, SPAN):
                _add_deviations(x, piece * length + j, rows, j, height * length, area, zero_span())
        _merge(behind - row, length, area, total)
    if tail > 0:
        i = len(x) - tail
        _start_block(x, i, tail, area)
        for j in range(tail):
            _add_deviations(x, i + j, 1, j, 0, area, ZERO)
        _merge(1, tail, area, total)


@inlined
def _merge_channel(c, channels, totals):
    """Return the mean and the biased variance of a channel, over all threads and all pixels of a row."""
    members, _, length = totals.shape
    count, mean, squares = 0.0, 0.0, 0.0
    for thread in range(members):
        for j in range(c, length, channels):
            count += totals[thread, 0, j]
            mean += totals[thread, 0, j] * totals[thread, 1, j]
    mean /= count
    for thread in range(members):
        for j in range(c, length, channels):
            step = totals[thread, 1, j] - mean
            squares += totals[thread, 2, j] + totals[thread, 0, j] * step * step
    return mean, squares / count


@inlined
def _repeat(values, row):
    for j in range(0, len(row), len(values)):
        for c in range(len(values)):
            row[j + c] = np.float32(values[c])


@inlined
def _normalise(x, shortcut, y, adds, floor, i, rows, j, ahead, area, like):
    length, (centre, scale, shift) = area.shape[1], _factors(area, j, like)
    for k in range(i + (rows - 1) * length, i - 1, -length):
        prefetch_span(x, k - ahead)
        v = (load_like(x, k, like) - centre) * scale + shift
        if adds:
            prefetch_span(shortcut, k - ahead)
            v = v + load_like(shortcut, k, like)
        save(y, k, at_least(v, floor))


@kernel
def _forward(
    x, gamma, beta, eps, shortcut, y, learns, adds, floor, mean, var, scale, height, totals, areas, team, rank
):  # fmt: skip
    """Normalise x and store the result in y, unless its length is 0.

    If ``learns``, mean, var and scale are computed first; otherwise, they are given. A ``floor`` of 0 is a ReLU, and a
    floor of NaN changes nothing.
    """
    enter(team, rank, this_call())
    area, channels, length = areas[rank], len(mean), areas.shape[2]
    first, last = part_of(len(x) // length, team, rank)
    tail = len(x) % length if rank == team[MEMBERS] - 1 else 0
    if learns:
        _moments(x, first, last, tail, height, area, totals[rank])
        meet(team)
        for c in range(*part_of(channels, team, rank)):
            centre, spread = _merge_channel(c, channels, totals)
            # As in the textbook, what is subtracted is a float32, and the variance may be too large for one.
            mean[c], var[c] = np.float32(centre), np.inf if np.float32(spread) == np.inf else spread
            scale[c] = gamma[c] / np.sqrt(var[c] + eps)
        meet(team)
    if len(y) > 0:
        _repeat(mean, area[CENTRE])
        _repeat(scale, area[SCALE])
        _repeat(beta, area[SHIFT])
        for j in range(tail):
            _normalise(x, shortcut, y, adds, floor, len(x) - tail + j, 1, j, 0, area, ZERO)
        for behind in range(last, first, -height):
            rows = min(height, behind - first)
            for j in range(length - SPAN, -1, -SPAN):
                i = (behind - rows) * length + j
                _normalise(x, shortcut, y, adds, floor, i, rows, j, height * length, area, zero_span())
    leave(team, rank)


@inlined
def _add_gradients(x, dy, y, masked, floor, i, rows, j, ahead, area, like):
    """Add up g and g * (x - centre), where g is dy masked by the ReLU."""
    length, (centre, scale, shift) = area.shape[1], _factors(area, j, like)
    total, products = load_like(area[SUM], j, like), load_like(area[SUM2], j, like)
    for k in range(i, i + rows * length, length):
        prefetch_span(x, k + ahead)
        prefetch_span(dy, k + ahead)
        d, g = load_like(x, k, like) - centre, load_like(dy, k, like)
        if len(y) > 0:
            prefetch_span(y, k + ahead)
            g = where_above(load_like(y, k, like), floor, g)
            save(masked, k, g)
        else:
            g = where_above(d * scale + shift, floor, g)
        total, products = total + g, products + g * d
    save(area[SUM], j, total)
    save(area[SUM2], j, products)


@inlined
def _sums(x, dy, y, masked, floor, first, last, tail, height, area, total):
    """Fill ``total``, (2, length), with the sums over the rows from ``first`` to ``last`` and the tail."""
    length = area.shape[1]
    total[:] = 0.0
    for row in range(first, last, ROWS):
        behind = min(row + ROWS, last)
        area[SUM], area[SUM2] = ZERO, ZERO
        for piece in range(row, behind, height):
            rows = min(height, behind - piece)
            for j in range(0, length, SPAN):
                i = piece * length + j
                _add_gradients(x, dy, y, masked, floor, i, rows, j, height * length, area, zero_span())
        for j in range(length):
            total[0, j] += area[SUM, j]
            total[1, j] += area[SUM2, j]
    for j in range(tail):
        area[SUM, j] = area[SUM2, j] = ZERO
        _add_gradients(x, dy, y, masked, floor, len(x) - tail + j, 1, j, 0, area, ZERO)
        total[0, j] += area[SUM, j]
        total[1, j] += area[SUM2, j]


@inlined
def _gradient(x, dy, dx, floor, i, rows, j, ahead, area, like):
    """Compute dx = scale * g + slope * (x - centre) + offset, where g is dy masked by the ReLU."""
    length, (centre, scale, shift) = area.shape[1], _factors(area, j, like)
    slope, offset = load_like(area[SLOPE], j, like), load_like(area[OFFSET], j, like)
    for k in range(i + (rows - 1) * length, i - 1, -length):
        prefetch_span(x, k - ahead)
        prefetch_span(dy, k - ahead)
        d, g = load_like(x, k, like) - centre, load_like(dy, k, like)
        g = where_above(d * scale + shift, floor, g)
        save(dx, k, scale * g + (slope * d + offset))


@kernel
def _backward(
    x, dy, y, masked, dx, beta, eps, floor, mean, var, scale, dgamma, dbeta, factors, height, totals, areas, team, rank
):  # fmt: skip
    """Compute all gradients.

    The ReLU passed the elements above ``floor`` of y or, if the length of y is 0, of the normalised x. If y is given,
    the masked dy is stored in ``masked``; otherwise, this must be dy.
    """
    enter(team, rank, this_call())
    area, channels, length = areas[rank], len(mean), areas.shape[2]
    first, last = part_of(len(x) // length, team, rank)
    tail = len(x) % length if rank == team[MEMBERS] - 1 else 0
    _repeat(mean, area[CENTRE])
    _repeat(scale, area[SCALE])
    _repeat(beta, area[SHIFT])
    _sums(x, dy, y, masked, floor, first, last, tail, height, area, totals[rank])
    meet(team)
    count = len(x) // channels
    for c in range(*part_of(channels, team, rank)):
        total, products = 0.0, 0.0
        for thread in range(len(totals)):
            for j in range(c, length, channels):
                total += totals[thread, 0, j]
                products += totals[thread, 1, j]
        inverse_std = 1 / np.sqrt(var[c] + eps)
        dgamma[c], dbeta[c] = products * inverse_std, total
        factors[0, c] = -scale[c] * inverse_std * inverse_std * products / count
        factors[1, c] = -scale[c] * total / count
    meet(team)
    _repeat(factors[0], area[SLOPE])
    _repeat(factors[1], area[OFFSET])
    level = NAN if len(y) > 0 else floor
    for j in range(tail):
        _gradient(x, masked, dx, level, len(x) - tail + j, 1, j, 0, area, ZERO)
    for behind in range(last, first, -height):
        rows = min(height, behind - first)
        for j in range(length - SPAN, -1, -SPAN):
            i = (behind - rows) * length + j
            _gradient(x, masked, dx, level, i, rows, j, height * length, area, zero_span())
    leave(team, rank)


def _height(length: int) -> int:
    """Return the number of rows in a piece.

    If each row is a single span, or if a piece has only one row, memory is read in order. This is fastest, because
    the CPU then loads in advance what comes next, although the sums and factors of each span must be loaded for every
    row. Those of long rows do not fit into the fastest cache, and should be loaded less often.
    """
    if length == SPAN:
        return ROWS
    return 1 if length <= LONG else 4


def _memory(x: Array, sums: int) -> tuple[int, int, Array, Array]:
    """Return the number of threads, the height of a piece, and memory for the sums and the factors of each thread."""
    length = math.lcm(x.shape[-1], SPAN)
    members = team_size(x.size / 4)
    areas = scratch_rows(members * AREAS, length, "norm").reshape(members, AREAS, length)
    return members, _height(length), np.empty((members, sums, length)), areas


def _run_forward(
    x: Array, gamma: Array, beta: Array, eps: float, shortcut: Array | None, y: Array, relu: bool, learns: bool,
    statistics: Statistics,
) -> None:  # fmt: skip
    members, *memory = _memory(x, 3)
    more = (y if shortcut is None else shortcut).reshape(-1)
    options = learns, shortcut is not None, ZERO if relu else NAN
    run(members, _forward, x.reshape(-1), gamma, beta, eps, more, y.reshape(-1), *options, *statistics, *memory)


def train(x: Array, gamma: Array, beta: Array, eps: float, shortcut: Array | None, y: Array, relu: bool) -> Statistics:
    """Normalise x with its own statistics, which are returned in float64."""
    mean, var, scale = np.empty((3, x.shape[-1]))
    _run_forward(x, gamma, beta, eps, shortcut, y, relu, True, (mean, var, scale))
    return mean, var, scale


def normalise(x: Array, mean: Array, scale: Array, beta: Array, shortcut: Array | None, y: Array, relu: bool) -> None:
    mean, scale = mean.astype(np.float64), scale.astype(np.float64)
    _run_forward(x, beta, beta, 0.0, shortcut, y, relu, False, (mean, scale, scale))


def gradients(
    x: Array, dy: Array, y: Array | None, statistics: Statistics, beta: Array | None, eps: float, masked: Array,
    dx: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Fill ``dx``, and ``masked`` if y is given; return the gradients with respect to gamma and beta.

    If y or beta is given, there was a ReLU. It passed the positive elements of y or, without y, of the normalised x.
    """
    channels = x.shape[-1]
    members, *memory = _memory(x, 2)
    dgamma, dbeta, zeros = np.zeros((3, channels), np.float32)
    floor = NAN if y is None and beta is None else ZERO
    arrays: Any = (array.reshape(-1) for array in (x, dy, zeros[:0] if y is None else y, masked, dx))
    run(
        members, _backward, *arrays, zeros if beta is None else beta, eps, floor, *statistics, dgamma, dbeta,
        np.empty((2, channels)), *memory,
    )  # fmt: skip
    return dgamma, dbeta


def channel_sums(block: Array) -> Array:
    """Return the sum of each channel of a block (..., C)."""
    channels = block.shape[-1]
    mean, var, scale = np.empty((3, channels))
    one = np.ones(channels, np.float32)
    _run_forward(block, one, one, 0.0, None, one[:0], False, True, (mean, var, scale))
    return (mean * (block.size // channels)).astype(block.dtype)
