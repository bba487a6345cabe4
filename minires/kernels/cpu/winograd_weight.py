"""The gradient of a 3x3 convolution with respect to the weights, by Winograd's algorithm in reverse.

In the forward pass, a patch d and a filter g give y = collect(spread(d) * values(g)), where the three maps are linear
(see winograd.py). So y is linear in g, and the gradient consists of the transposed maps in reverse order::

    dg = values^T( sum over all patches of   spread(d) * collect^T(dy) )

Again there are 36 matrix products, now (C, patches) @ (patches, O). They use the loop of correlate.py: a tile holds the
sums of some input channels by a block of output channels, and the loop runs over the patches. values^T is applied once,
at the end, to the sums of all threads, added up in a fixed order. If there are many sums, the threads share them: each
computes those of some output channels, from all patches.
"""

from __future__ import annotations

import numpy as np

from ...core.backend import Array
from .compiler import inlined, kernel
from .memory import empty, scratch_rows
from .simd import LANES, at, load, load4, load6, prefetch, save, save_all
from .team import LINE as INTEGERS
from .team import enter, leave, part_of, run, team_size, this_call
from .tile import add_from, outer_add, rows_of_tile, shape_for, sizes, store, zeros
from .units import clear, copy_unit, each_unit
from .winograd import PATCHES, filter_gradient, patch_plan, spread_patch, spread_upstream

LARGE_SUMS = 1 << 20  # floats; with more, each thread computes some output channels, so that nobody adds up their sums

# The 36 sums of a gradient are far apart, so the core does not guess what it will read next. Asking for the sums of the
# input channel after the next one took 45 % less time.
AHEAD = 2


def _pitch(channels: int) -> int:
    """Return the distance between two spread patches. Without the gap, their lines would share a few cache sets."""
    return channels + (LANES if channels > 64 else 0)


@inlined
def _spread_upstream_patch(dy, i, row, channels, table, upstreams, k, step):
    """Spread 4x4 pixels of LANES channels to 36 vectors, and store them ``step`` numbers apart."""
    for r in range(4):
        save_all(table, 6 * r * LANES, LANES, spread_upstream(load4(dy, i + r * row, channels)))
    for c in range(6):
        save_all(upstreams, k + c * step, 6 * step, spread_upstream(load4(table, c * LANES, 6 * LANES)))


@inlined
def _sum_up(
    shape, x, dy, panel, padded, patches, upstreams, table, plan, pitch, out_pitch, n, first_output, last_output, turn,
    last,
):  # fmt: skip
    """Fill ``panel`` with the sums over some units, for some output channels."""
    g, at_once, columns = plan.sizes, len(plan.of_patch), (plan.sizes.out_width + 3) // 4
    row, out_row = g.padded_width * g.channels, g.out_width * g.out_channels
    step, out_step = at_once * pitch + LANES, at_once * out_pitch + LANES
    rows, block = sizes(shape)
    tiles, outputs = (g.channels + rows - 1) // rows, (g.out_channels + block - 1) // block * block
    starts = True
    for image, images, row0, row1 in each_unit(g, n, turn, last):
        origin, target = copy_unit(x, padded, g, image, images, row0, row1), image * g.out_height * out_row
        begin = row0 * columns
        end = begin + images * (row1 - row0) * columns
        for chunk in range(begin, end, at_once):
            count = min(at_once, end - chunk)
            for p in range(count):
                corner = origin + at(plan.where, chunk + p)
                for c in range(0, g.channels, LANES):
                    spread_patch(padded, corner + c, row, g.channels, table, patches, p * pitch + c, step)
                some_rows, some_columns = at(plan.some_rows, chunk + p), at(plan.some_columns, chunk + p)
                for c in range(first_output, min(last_output, g.out_channels), LANES):
                    source, to = target + at(plan.into, chunk + p) + c, p * out_pitch + c
                    if some_rows == 4 and some_columns == 4:
                        _spread_upstream_patch(dy, source, out_row, g.out_channels, table, upstreams, to, out_step)
                    else:  # outside the image, the upstream gradient is zero
                        clear(table, 36 * LANES, 16 * LANES)
                        for r in range(some_rows):
                            for q in range(some_columns):
                                number = load(dy, source + r * out_row + q * g.out_channels)
                                save(table, (36 + 4 * r + q) * LANES, number)
                        _spread_upstream_patch(table, 36 * LANES, 4 * LANES, LANES, table, upstreams, to, out_step)
            for e in range(36):
                for o0 in range(first_output, last_output, block):
                    here = (e * outputs + o0) * tiles * rows
                    for c in range(0, g.channels, rows):
                        tile = zeros(shape)
                        j, k = e * step + c, e * out_step + o0
                        for _ in range(count):
                            tile = outer_add(shape, tile, patches, j, upstreams, k)
                            j += pitch
                            k += out_pitch
                        if not starts:
                            tile = add_from(tile, panel, rows_of_tile(shape), here)
                        store(panel, rows_of_tile(shape), here, tile)
                        here += rows * block
            starts = False


@kernel
def _finish(panels, dweight, rows, block, tables, finite, team, rank):
    """Add up the sums of all threads, and apply values^T to columns and rows."""
    enter(team, rank, this_call())
    (outputs, channels), table = dweight.shape[:2], tables[rank]
    tiles = (channels + rows - 1) // rows
    step = (outputs + block - 1) // block * tiles * rows * block
    clear(table, 0, LANES)
    check = load(table, 0)  # the sum of everything, which is not finite if one number is not
    for number in range((outputs + block - 1) // block):
        for c in range(*part_of(channels, team, rank)):
            for v in range(0, min(block, outputs - number * block), LANES):
                k = (number * tiles * rows + c) * block + v
                for e in range(36):
                    prefetch(panels[0], k + e * step + AHEAD * block)
                    total = load(panels[0], k + e * step)
                    for thread in range(1, len(panels)):
                        total = total + load(panels[thread], k + e * step)
                    save(table, e * LANES, total)
                for j in range(6):
                    save_all(table, (36 + j) * LANES, 6 * LANES, filter_gradient(load6(table, j * LANES, 6 * LANES)))
                for i in range(3):
                    row = filter_gradient(load6(table, (36 + 6 * i) * LANES, LANES))
                    save_all(table, 3 * i * LANES, LANES, row)
                    check = check + (row[0] + row[1] + row[2])
                for lane in range(LANES):
                    for i in range(3):
                        for j in range(3):
                            dweight[number * block + v + lane, c, i, j] = table[(3 * i + j) * LANES + lane]
    save(table, 0, check)
    for i in range(LANES):
        if not abs(table[i]) < np.inf:
            finite[0] = False
    leave(team, rank)


@kernel
def _correlate(
    shape, x, dy, panels, padded, patches, upstreams, tables, plan, pitch, out_pitch, n, turns, units, team, rank
):  # fmt: skip
    """Sum up some units on each thread or, if there is one panel for all threads, some output channels."""
    enter(team, rank, this_call())
    outputs, block, turn = plan.sizes.out_channels, sizes(shape)[1], turns[rank]
    if len(panels) == len(turns):
        panel, first, last, (turn[0], behind) = panels[rank], 0, outputs, part_of(units, team, rank)
        if turn[0] == behind:  # this thread has no units
            panel[:] = 0.0
    else:
        first, last = part_of((outputs + block - 1) // block, team, rank)
        panel, first, last, behind = panels[0], first * block, last * block, units if first < last else 0
    areas = padded[rank], patches[rank], upstreams[rank], tables[rank]
    _sum_up(shape, x, dy, panel, *areas, plan, pitch, out_pitch, n, first, last, turn, behind)
    leave(team, rank)


def correlate(x: Array, dy: Array, padding: tuple[int, int]) -> Array | None:
    """Compute the gradient with respect to the weights, (O, C, 3, 3), from images (N, H, W, C) and the upstream
    gradient (N, OH, OW, O).

    Returns None if it is not finite: an infinity or a NaN may have spread to elements that do not depend on it.
    """
    n, h, w, channels = x.shape
    outputs = dy.shape[3]
    shape = shape_for(outputs)
    blocks, rows = shape.blocks(outputs), len(shape.pixels)
    sums = 36 * blocks * -(-channels // rows) * shape.size
    by_outputs = sums > LARGE_SUMS
    plan = patch_plan((h, w), channels, outputs, padding, 1, 2 * PATCHES if by_outputs else PATCHES)
    units, patches = plan.sizes.units(n), len(plan.of_patch)
    pitch, out_pitch = _pitch(channels), _pitch(outputs)
    floats = {  # the last tile reads a few numbers more than a patch has
        "padded": plan.sizes.padded_floats, "patches": 36 * (patches * pitch + LANES) + rows,
        "products": 36 * (patches * out_pitch + LANES) + shape.block, "table": 54 * LANES,
    }  # fmt: skip
    members = team_size()
    panels = empty((1 if by_outputs else members, sums))
    areas = [scratch_rows(members, number, name) for name, number in floats.items()]
    turns = np.zeros((members, INTEGERS), np.int64)
    numbers = shape, x.reshape(-1), dy.reshape(-1), panels, *areas, plan, pitch, out_pitch, n, turns, units
    run(members, _correlate, *numbers)
    dweight, finite = np.empty((outputs, channels, 3, 3), np.float32), np.ones(1, np.bool_)
    run(min(members, team_size(dweight.size * 8)), _finish, panels, dweight, rows, shape.block, areas[-1], finite)
    return dweight if finite[0] else None
