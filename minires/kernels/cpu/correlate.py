"""The gradient with respect to the weights: each element of a pixel's window times the upstream gradient at that pixel,
summed over all pixels.

It is computed by the loop of gather.py, turned inside out. There, a tile holds the sums for some pixels, and the loop
runs over the window. Here, the rows of a tile are some elements of the window, its columns a block of output channels,
and the loop runs over the pixels::

                               upstream[pixel, 0:8]   upstream[pixel, 8:16]
    window[pixel, element 0]       sum                    sum
    window[pixel, element 1]       sum                    sum           one multiply-add each, for every pixel
           ...                     ...                    ...

First, the images of a unit are copied into *strips* of 32 channels, with zeros around them, and the upstream gradient,
if it has several blocks, is copied block by block. The values that a tile reads for consecutive pixels are then close
together in memory, and a hundred pixels of a strip and a block stay in the fastest cache. While a unit is computed, the
next one is loaded into the cache.

The sums of all tiles are in a *panel*. Each thread has its own panel for its own units; the panels are added up in a
fixed order at the end. If a panel is large, all threads share one: each computes the sums of some output channels, from
all units.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from .compiler import inlined, kernel
from .memory import empty, scratch_rows
from .simd import LANES, LINE, at, load, put, save
from .team import LINE as INTEGERS
from .team import enter, leave, meet, part_of, run, team_size, this_call
from .tile import Shape, add_from, outer_add, rows_of_tile, shape_for, sizes, store, zeros
from .units import ConvSizes, copy_row, copy_strips, copy_unit, cut, each_unit, fetch, fetch_to_write

STRIP = 32  # channels in a strip; fewer if the image has fewer
PIXELS_AT_ONCE = 128
LARGE_SUMS = 1 << 17  # floats; with more, each thread computes some output channels, so that nobody adds up their sums
MOST_FLOATS = 96 * 1024  # limit for the copies of a unit, which should stay in the core's second cache


class CorrelationPlan(NamedTuple):
    """The sizes and tables needed to compute the gradient with respect to the weights, for one image size."""

    sizes: ConvSizes
    steps: tuple[int, int, int]  # in the images, from an image, a row and a column to the next that is copied
    strip: int  # channels in a strip
    strips: int
    run: int  # window elements that are adjacent in memory
    tiles: int  # tiles in a run
    where: Array  # the offset of each window in a strip
    taps: Array  # the offset of each run within the window


@lru_cache(maxsize=1024)
def correlation_plan(
    image: tuple[int, int], channels: int, out: tuple[int, int], outputs: int, window: Window, shape: Shape
) -> CorrelationPlan:
    """Return the plan for images of size ``image`` and an upstream gradient of size ``out``."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    height, width = (
        max((o - 1) * s + (k - 1) * d + 1, p + size)  # room for all windows and for the image itself
        for size, o, k, s, p, d in zip(
            image, out, window.kernel, window.stride, window.padding, window.dilation, strict=True
        )
    )
    steps = math.prod(image) * channels, image[1] * channels, channels
    if window.kernel == (1, 1) and window.padding == (0, 0):  # copy only the pixels that are seen
        steps = steps[0], sh * steps[1], sw * steps[2]
        (height, width), image, (sh, sw) = out, out, (1, 1)
    strip = min(STRIP, channels)
    strips = -(-channels // strip)
    row = width * strip * strips
    upstream_row = out[1] * outputs
    images, bands, band_rows = cut(
        height * row + out[0] * upstream_row, row + upstream_row // sh, out, out[0], sh, 1, MOST_FLOATS
    )
    together = dw == 1  # the kernel's columns are adjacent
    run = kw * strip if together else strip
    taps = [(i * dh * width + j * dw) * strip for i in range(kh) for j in range(1 if together else kw)]
    n, i, j = np.ogrid[:images, : out[0], : out[1]]
    where = ((n * height + i * sh) * width + j * sw) * strip  # (images, OH, OW)
    sizes = ConvSizes(
        channels, *image, *window.padding, height, width, sh, (kh - 1) * dh + 1, out[0], images, bands, band_rows,
        *out, outputs,
    )  # fmt: skip
    return CorrelationPlan(
        sizes, steps, strip, strips, run, -(-run // len(shape.pixels)), where.ravel().astype(np.int64),
        np.array(taps, np.int64),
    )  # fmt: skip


@inlined
def _copy_blocks(dy, blocks, first, pixels, channels, block, first_output, last_output):
    """Copy some pixels of the upstream gradient, block after block of channels; the last is filled up with zeros."""
    for p in range(pixels):
        to, source = p * block, (first + p) * channels
        for c in range(first_output, last_output, block):
            copy_row(dy, source + c, blocks, to, min(block, last_output - c), block)
            to += pixels * block


@inlined
def _sum_up(shape, x, dy, panel, x_copy, dy_copy, plan, n, first_output, last_output, turn, last):
    """Fill ``panel`` with the sums over some units, for some output channels (from a multiple of the block on)."""
    g, where, (rows, block) = plan.sizes, plan.where, sizes(shape)
    strip_size = g.images * g.padded_height * g.padded_width * plan.strip
    block_size = plan.strips * len(plan.taps) * plan.tiles * rows * block
    if turn[0] == last:  # this thread has no units
        panel[:] = 0.0
    starts = True
    for image, images, row0, row1 in each_unit(g, n, turn, last):
        if plan.strips == 1 and plan.steps[1] == g.width * g.channels:
            copy_unit(x, x_copy, g, image, images, row0, row1)
        else:
            copy_strips(x, x_copy, g, plan.steps, image, images, row0, row1, plan.strip)
        first_pixel = (image * g.out_height + row0) * g.out_width
        pixels = images * (row1 - row0) * g.out_width
        if g.out_channels == block:
            blocks, upstream = dy, first_pixel * block
        else:
            _copy_blocks(dy, dy_copy, first_pixel, pixels, g.out_channels, block, first_output, last_output)
            blocks, upstream = dy_copy, 0
        chunks = (pixels + PIXELS_AT_ONCE - 1) // PIXELS_AT_ONCE
        # Meanwhile, load what the next unit will copy: some of it every few steps.
        tiles = ((last_output - first_output + block - 1) // block) * block_size // (rows * block)
        next_dy, dy_step = (first_pixel + pixels) * g.out_channels, g.out_channels * LINE // tiles
        next_x, x_step = next_dy * len(x) // len(dy), dy_step * len(x) // len(dy)
        for chunk in range(chunks):
            begin, end = pixels * chunk // chunks, pixels * (chunk + 1) // chunks
            here = first_output // block * block_size
            for o0 in range(first_output, last_output, block):
                for strip in range(plan.strips):
                    for t in range(len(plan.taps)):
                        for number in range(0, plan.run, rows):
                            if not starts:
                                fetch_to_write(panel, here, rows * block)
                            origin = strip * strip_size + plan.taps[t] + number
                            tile = zeros(shape)
                            k = upstream + (o0 - first_output) * pixels + begin * block
                            for some in range(begin, end, LINE):
                                fetch(dy, next_dy, dy_step)
                                fetch(x, next_x, x_step)
                                next_dy, next_x = next_dy + dy_step, next_x + x_step
                                for pixel in range(some, min(some + LINE, end)):
                                    tile = outer_add(shape, tile, x_copy, origin + at(where, pixel), blocks, k)
                                    k += block
                            if not starts:
                                tile = add_from(tile, panel, rows_of_tile(shape), here)
                            store(panel, rows_of_tile(shape), here, tile)
                            here += rows * block
            starts = False


@inlined
def _unpack(panels, dweight, plan, rows, block, first, last):
    """Add up the sums of all threads, and store them in the order (O, C, KH, KW), for some strips of some blocks."""
    g, taps, joined = plan.sizes, len(plan.taps), plan.run // plan.strip
    length, total = taps * plan.tiles * rows * block, panels[0]
    for part in range(first, last):
        for thread in range(1, len(panels)):
            panel = panels[thread]
            for k in range(part * length, (part + 1) * length, LANES):
                save(total, k, load(total, k) + load(panel, k))
        o0, c0 = part // plan.strips * block, part % plan.strips * plan.strip
        for o in range(min(block, g.out_channels - o0)):
            for tap in range(taps * joined):
                k = part * length + (tap // joined * plan.tiles * rows + tap % joined * plan.strip) * block + o
                to = ((o0 + o) * g.channels + c0) * taps * joined + tap
                for _ in range(min(plan.strip, g.channels - c0)):
                    put(dweight, to, at(total, k))
                    k += block
                    to += taps * joined


@kernel
def _correlate(shape, x, dy, panels, x_copies, dy_copies, plan, n, turns, units, dweight, team, rank):
    """Sum up some units on each thread or, if there is one panel for all threads, some output channels."""
    enter(team, rank, this_call())
    (rows, block), turn = sizes(shape), turns[rank]
    blocks = (plan.sizes.out_channels + block - 1) // block
    if len(panels) == len(turns):
        panel, first, last, (turn[0], behind) = panels[rank], 0, blocks, part_of(units, team, rank)
    else:
        panel, (first, last), behind = panels[0], part_of(blocks, team, rank), units
    first_output, last_output = first * block, min(last * block, plan.sizes.out_channels)
    if first < last:
        _sum_up(shape, x, dy, panel, x_copies[rank], dy_copies[rank], plan, n, first_output, last_output, turn, behind)
    meet(team)
    _unpack(panels, dweight, plan, rows, block, *part_of(blocks * plan.strips, team, rank))
    leave(team, rank)


def correlate(x: Array, dy: Array, window: Window) -> Array:
    """Compute the gradient with respect to the weights, (O, C, KH, KW), from images (N, H, W, C) and the upstream
    gradient (N, OH, OW, O).
    """
    n, height, width, channels = x.shape
    _, oh, ow, outputs = dy.shape
    shape = shape_for(outputs)
    plan = correlation_plan((height, width), channels, (oh, ow), outputs, window, shape)
    g, blocks = plan.sizes, shape.blocks(outputs)
    sums = blocks * plan.strips * len(plan.taps) * plan.tiles * shape.size
    members = team_size(dy.size * channels * window.kernel[0] * window.kernel[1] / 40)
    # The last tile of a strip reads a few numbers more than the window has.
    x_floats = g.images * g.padded_height * g.padded_width * plan.strip * plan.strips + len(shape.pixels)
    dy_floats = g.images * g.band_rows * ow * blocks * shape.block
    panels = empty((1 if sums > LARGE_SUMS and blocks >= members else members, sums))
    dweight = np.empty((outputs, channels, *window.kernel), np.float32)  # owns its memory: the tape need not copy it
    run(
        members, _correlate, shape, x.reshape(-1), dy.reshape(-1), panels,
        scratch_rows(members, x_floats, "windows"), scratch_rows(members, dy_floats, "upstream"), plan, n,
        np.zeros((members, INTEGERS), np.int64), g.units(n), dweight.reshape(-1),
    )  # fmt: skip
    return dweight
