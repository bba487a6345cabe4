"""One loop for convolutions, their gradients with respect to the input, and fully connected layers.

A textbook convolution writes out the window of each output pixel (im2col), which takes nine times the memory of the
image for a 3x3 kernel, and multiplies that matrix by the weights. This loop reads the windows in place::

    for each unit of work (some images, or some rows of one), copied once with zeros around it, if it needs any:
        for each group of blocks of output channels:            its weights stay in the cache
            for each tile: some pixels by a block of the group: all sums in registers
                for each tap, for each number of its run:       multiply-adds of weights and broadcast numbers
                add bias and shortcut, apply the ReLU, and store the tile, once

The pixels of a tile are a list of places (see plan.py), so they need not be neighbours, and for every width, stride and
dilation, all tiles but the last one are full. The threads share the units or, if a layer has more weights than numbers
in its images, the output channels: then each thread reads all images, but only its own weights.
"""

from __future__ import annotations

import numpy as np

from ...core.backend import Array
from .compiler import inlined, kernel
from .memory import empty, scratch_rows
from .plan import ELEMENTS, FIRST_ELEMENT, FIRST_PLACE, FIRST_TAP, LAST_TAP, PER_ROW, ROWS, RUN, GatherPlan
from .simd import LINE, at, prefetch, put
from .team import LINE as INTEGERS
from .team import enter, leave, part_of, run, team_size, this_call
from .tile import add_from, gather_shape, multiply_add, places, rectify, rows_of_tile, sizes, start, store
from .units import clear, copy, copy_unit, each_unit, fetch_to_write

CACHED_WEIGHTS = 64 * 1024  # floats; the weights of a group of blocks, which should stay in the core's second cache


@inlined
def _store_part(shape, y, pixels, c, tile, width, shortcut, adds, relu, corner):
    """Store a tile that has more channels than y: the whole tile in ``corner``, and from there its channels in y."""
    store(corner, rows_of_tile(shape), 0, tile)
    for p in range(sizes(shape)[0]):
        for i in range(width):
            number = corner[p * sizes(shape)[1] + i]
            if adds:
                number += shortcut[pixels[p] + c + i]
            if relu and number < 0:
                number = np.float32(0)
            y[pixels[p] + c + i] = number


@inlined
def gather_units(
    shape, x, w, bias, shortcut, y, padded, corner, g, direct, where, into, taps, phases, n, adds, relu,
    first_output, last_output, turn, last,
):  # fmt: skip
    """Compute output channels ``first_output`` (a multiple of the block) to ``last_output`` of some units."""
    pixels, block = sizes(shape)
    for image, images, row0, row1 in each_unit(g, n, turn, last):
        if direct:
            source, origin = x, image * g.height * g.width * g.channels
        else:
            source, origin = padded, copy_unit(x, padded, g, image, images, row0, row1)
        target = image * g.out_height * g.out_width * g.out_channels
        for phase in range(len(phases)):
            rows, per_row = min(row1, phases[phase, ROWS]) - row0, phases[phase, PER_ROW]
            begin = phases[phase, FIRST_PLACE] + row0 * per_row
            end = begin + images * rows * per_row
            run, window = phases[phase, RUN], phases[phase, ELEMENTS] * g.channels
            weights = phases[phase, FIRST_ELEMENT] * g.channels * ((g.out_channels + block - 1) // block * block)
            group = max(1, CACHED_WEIGHTS // max(1, window * block)) * block
            for c0 in range(first_output, last_output, group):
                for p in range(begin, end, pixels):
                    here, out = places(shape, where, p, end - 1), places(shape, into, p, end - 1)
                    k = weights + c0 * window
                    for c in range(c0, min(c0 + group, last_output), block):
                        for q in range(p, min(p + pixels, end)):
                            fetch_to_write(y, target + at(into, q) + c, min(block, last_output - c))
                        tile = start(shape, bias, c)
                        for t in range(phases[phase, FIRST_TAP], phases[phase, LAST_TAP]):
                            for j0 in range(origin + taps[t], origin + taps[t] + run, LINE):
                                if direct and c == first_output:  # load the next tile's numbers meanwhile
                                    for q in range(p + pixels, min(p + 2 * pixels, end)):
                                        prefetch(x, at(where, q) + j0)
                                for j in range(j0, min(j0 + LINE, origin + taps[t] + run)):
                                    tile = multiply_add(tile, source, here, j, w, k)
                                    k += block
                        if last_output - c >= block:
                            if adds:
                                tile = add_from(tile, shortcut, out, target + c)
                            if relu:
                                tile = rectify(tile)
                            store(y, out, target + c, tile)
                        else:
                            width = last_output - c
                            _store_part(shape, y, out, target + c, tile, width, shortcut, adds, relu, corner)


@kernel
def _gather(
    shape, x, w, bias, shortcut, y, padded, corners, g, direct, where, into, taps, phases, n, adds, relu, own_turns,
    units, team, rank,
):  # fmt: skip
    """Compute some units on each thread or, if each has its ``own_turns``, some output channels of all units."""
    enter(team, rank, this_call())
    block = sizes(shape)[1]
    first, last, turn = 0, (g.out_channels + block - 1) // block, team
    if len(own_turns) > 0:
        first, last = part_of(last, team, rank)
        turn = own_turns[rank]
    gather_units(
        shape, x, w, bias, shortcut, y, padded[rank], corners[rank], g, direct, where, into, taps, phases, n, adds,
        relu, first * block, min(last * block, g.out_channels), turn, units,
    )  # fmt: skip
    leave(team, rank)


@kernel
def _pack(weight, o_step, c_step, kw, packed, block, outputs, inputs, elements, phases, team, rank):
    """Store the weights in the order in which the loop reads them: (phase, block, element, input channel, output)."""
    enter(team, rank, this_call())
    blocks = (outputs + block - 1) // block
    for phase in range(len(phases)):
        e0, count = phases[phase, FIRST_ELEMENT], phases[phase, ELEMENTS]
        for number in range(*part_of(blocks, team, rank)):
            to = (e0 * blocks + count * number) * block * inputs
            width = min(block, outputs - number * block)
            for e in range(e0, e0 + count):
                here = elements[e, 0] * kw + elements[e, 1] + number * block * o_step
                # A few input channels at a time: a cache line holds several, and is used again before it is lost.
                for c0 in range(0, inputs, LINE):
                    some = min(LINE, inputs - c0)
                    for c in range(some):
                        if o_step < c_step:
                            copy(weight, here + (c0 + c) * c_step, o_step, packed, to + c * block, width, block)
                        else:
                            clear(packed, to + c * block + width, block - width)
                    if o_step >= c_step:
                        for o in range(width):
                            for c in range(some):
                                put(packed, to + c * block + o, at(weight, here + o * o_step + (c0 + c) * c_step))
                    to += some * block
    leave(team, rank)


def pack(weight: Array, plan: GatherPlan, channels_first: bool) -> Array:
    """Reorder weights (O, C, KH, KW), or (C, O, KH, KW) if ``channels_first``, for the loop of :func:`gather`."""
    (outputs, inputs), (kh, kw) = weight.shape[:2], weight.shape[2:]
    o_step, c_step = inputs * kh * kw, kh * kw
    if channels_first:
        outputs, inputs, o_step, c_step = inputs, outputs, c_step, o_step
    shape = gather_shape(outputs)
    blocks = shape.blocks(outputs)
    packed = empty((blocks * shape.block * inputs * len(plan.elements),))
    numbers = weight.reshape(-1), o_step, c_step, kw, packed, shape.block, outputs, inputs, plan.elements, plan.phases
    run(team_size(weight.size * 2), _pack, *numbers)
    return packed


def gather(
    x: Array, packed: Array, plan: GatherPlan, bias: Array | None = None, shortcut: Array | None = None,
    relu: bool = False, by_outputs: bool = False,
) -> Array:  # fmt: skip
    """Convolve (N, H, W, C) -> (N, OH, OW, O), then apply bias, shortcut and ReLU, if any.

    The threads share the units of work or, if ``by_outputs``, the output channels.
    """
    n, g = len(x), plan.sizes
    shape = gather_shape(g.out_channels)
    blocks, block = shape.blocks(g.out_channels), shape.block
    y = empty((n, g.out_height, g.out_width, g.out_channels))
    padded_bias = np.zeros(blocks * block, np.float32)
    if bias is not None:
        padded_bias[: g.out_channels] = bias
    flat, flat_y = x.reshape(-1), y.reshape(-1)
    more = flat_y if shortcut is None else shortcut.reshape(-1)
    members = team_size(y.size * packed.size / (blocks * block) / 40)
    padded = scratch_rows(members, 0 if plan.direct else g.padded_floats, "padded")
    own_turns = np.zeros((members if by_outputs else 0, INTEGERS), np.int64)
    run(
        members, _gather, shape, flat, packed, padded_bias, more, flat_y, padded,
        scratch_rows(members, shape.size, "corner"), *plan[:-1], n, shortcut is not None, relu, own_turns, g.units(n),
    )  # fmt: skip
    return y
