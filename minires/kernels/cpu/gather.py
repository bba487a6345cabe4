"""One loop for convolutions, their gradients with respect to the input, and fully connected layers.

A textbook convolution writes out the window of each output pixel (im2col), which takes nine times the memory of the
image for a 3x3 kernel, and multiplies that matrix by the weights. This loop reads the windows in place::

    for each unit of work (some images, or some rows of one), whose input is copied once, with zeros around it:
        for each block of output channels:                      its weights stay in the cache
            for each tile of pixels:                            sums for pixels * channels, all in registers
                for each tap, for each number of its run:       multiply-adds of weights and broadcast numbers
                add bias and shortcut, apply the ReLU, and store the tile, once

The pixels of a tile are a list of places (see plan.py), so they need not be neighbours, and tiles are full for every
width, stride and dilation.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...core.backend import Array
from ..threads import share, take_turns
from .compiler import inlined, kernel
from .memory import empty, scratch
from .plan import ELEMENTS, FIRST_ELEMENT, FIRST_PLACE, FIRST_TAP, LAST_TAP, PER_ROW, ROWS, RUN, GatherPlan
from .simd import LINE, at, prefetch
from .tile import add_from, multiply_add, places, rectify, rows_of_tile, shape_for, sizes, start, store
from .units import copy, copy_unit, each_unit


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


@kernel
def gather_units(
    shape, x, w, bias, shortcut, y, padded, corner, g, direct, where, into, taps, phases, n, adds, relu, turn, last
):
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
            run = phases[phase, RUN]
            for c in range(0, g.out_channels, block):
                weights = (
                    phases[phase, FIRST_ELEMENT] * ((g.out_channels + block - 1) // block * block)
                    + phases[phase, ELEMENTS] * c
                ) * g.channels
                for p in range(begin, end, pixels):
                    if len(phases) > 1:  # outputs are not consecutive: the CPU cannot predict the addresses
                        for q in range(p, min(p + pixels, end)):
                            for o in range(c, min(c + block, g.out_channels), LINE):
                                prefetch(y, target + at(into, q) + o)
                    here = places(shape, where, p, end - 1)
                    tile = start(shape, bias, c)
                    k = weights
                    for t in range(phases[phase, FIRST_TAP], phases[phase, LAST_TAP]):
                        for j in range(origin + taps[t], origin + taps[t] + run):
                            tile = multiply_add(tile, source, here, j, w, k)
                            k += block
                    out = places(shape, into, p, end - 1)
                    if g.out_channels - c >= block:
                        if adds:
                            tile = add_from(tile, shortcut, out, target + c)
                        if relu:
                            tile = rectify(tile)
                        store(y, out, target + c, tile)
                    else:
                        width = g.out_channels - c
                        _store_part(shape, y, out, target + c, tile, width, shortcut, adds, relu, corner)


@kernel
def _pack(weight, o_step, c_step, kw, packed, block, outputs, inputs, elements, phases, first, last):
    """Store the weights in the order in which the loop reads them: (phase, block, element, input channel, output)."""
    blocks = (outputs + block - 1) // block
    for phase in range(len(phases)):
        e0, count = phases[phase, FIRST_ELEMENT], phases[phase, ELEMENTS]
        for number in range(first, last):
            to = (e0 * blocks + count * number) * block * inputs
            width = min(block, outputs - number * block)
            for e in range(e0, e0 + count):
                here = elements[e, 0] * kw + elements[e, 1] + number * block * o_step
                for _ in range(inputs):
                    copy(weight, here, o_step, packed, to, width, block)
                    here += c_step
                    to += block


def pack(weight: Array, plan: GatherPlan, channels_first: bool) -> Array:
    """Reorder weights (O, C, KH, KW), or (C, O, KH, KW) if ``channels_first``, for the loop of :func:`gather`."""
    (outputs, inputs), (kh, kw) = weight.shape[:2], weight.shape[2:]
    o_step, c_step = inputs * kh * kw, kh * kw
    if channels_first:
        outputs, inputs, o_step, c_step = inputs, outputs, c_step, o_step
    shape = shape_for(outputs)
    blocks = shape.blocks(outputs)
    packed = empty((blocks * shape.block * inputs * len(plan.elements),))
    numbers = weight.reshape(-1), o_step, c_step, kw, packed, shape.block, outputs, inputs, plan.elements, plan.phases
    share(partial(_pack, *numbers), blocks, nanoseconds=weight.size * 2)
    return packed


def gather(
    x: Array, packed: Array, plan: GatherPlan, bias: Array | None = None, shortcut: Array | None = None,
    relu: bool = False,
) -> Array:  # fmt: skip
    """Convolve (N, H, W, C) -> (N, OH, OW, O), then apply bias, shortcut and ReLU, if any."""
    n, g = len(x), plan.sizes
    shape = shape_for(g.out_channels)
    padded_outputs = shape.blocks(g.out_channels) * shape.block
    y = empty((n, g.out_height, g.out_width, g.out_channels))
    padded_bias = np.zeros(padded_outputs, np.float32)
    if bias is not None:
        padded_bias[: g.out_channels] = bias
    flat, flat_y = x.reshape(-1), y.reshape(-1)
    more = flat_y if shortcut is None else shortcut.reshape(-1)
    size = 0 if plan.direct else g.padded_floats

    def work(turn: Array, last: int) -> None:
        gather_units(
            shape, flat, packed, padded_bias, more, flat_y, scratch(size, "padded"), scratch(shape.size, "corner"),
            *plan[:-1], n, shortcut is not None, relu, turn, last,
        )  # fmt: skip

    take_turns(work, g.units(n), y.size * packed.size / padded_outputs / 40)
    return y
