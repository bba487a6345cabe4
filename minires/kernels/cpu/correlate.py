"""The gradient with respect to the weights: each element of a pixel's window times the upstream gradient at that pixel,
summed over all pixels.

It is computed by the loop of gather.py, turned inside out. There, a tile holds the sums for some pixels, and the loop
runs over the window. Here, a tile holds the sums for some window elements and a block of output channels, and the
loop runs over the pixels::

                               upstream[pixel, 0:8]   upstream[pixel, 8:16]
    window[pixel, element 0]       sum                    sum
    window[pixel, element 1]       sum                    sum           one multiply-add each, for every pixel
           ...                     ...                    ...

First, the images are copied into strips of STRIP channels, with zeros around them, and the upstream gradient is copied
into blocks of a tile's channels. The values that a tile reads for consecutive pixels are then close together in memory,
and a few hundred pixels of a strip stay in the fastest cache. Each thread has its own sums, which are added up in a
fixed order at the end.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from ..threads import share, share_sums
from .compiler import inlined, kernel
from .memory import scratch
from .simd import at
from .tile import Shape, add_from, outer_add, rows_of_tile, shape_for, sizes, store, zeros
from .units import ConvSizes, copy, copy_strips, copy_unit, cut, each_unit

STRIP = 16  # channels in a strip; fewer if the image has fewer
PIXELS_AT_ONCE = 128
MOST_FLOATS = 96 * 1024  # limit for a unit's padded images; the more pixels, the less often sums are loaded and stored


class CorrelationPlan(NamedTuple):
    """The sizes and tables needed to compute the gradient with respect to the weights, for one image size."""

    sizes: ConvSizes
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
    strip = min(STRIP, channels)
    strips = -(-channels // strip)
    row = width * strip * strips
    images, bands, band_rows = cut(height * row, row, out, out[0], sh, 1, MOST_FLOATS)
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
        sizes, strip, strips, run, -(-run // len(shape.pixels)), where.ravel().astype(np.int64),
        np.array(taps, np.int64),
    )  # fmt: skip


@inlined
def _copy_blocks(dy, blocks, first, pixels, channels, block):
    """Copy some pixels of the upstream gradient, block after block of channels; the last is filled up with zeros."""
    for c0 in range(0, channels, block):
        width = min(block, channels - c0)
        for p in range(pixels):
            to, source = (c0 // block * pixels + p) * block, (first + p) * channels + c0
            copy(dy, source, 1, blocks, to, width, block)


@kernel
def _correlate(shape, x, dy, panel, x_copy, dy_copy, plan, n, turn, last):
    g, where, (rows, channels) = plan.sizes, plan.where, sizes(shape)
    panel[:] = 0.0
    strip_size = g.images * g.padded_height * g.padded_width * plan.strip
    for image, images, row0, row1 in each_unit(g, n, turn, last):
        if plan.strips == 1:
            copy_unit(x, x_copy, g, image, images, row0, row1)
        else:
            copy_strips(x, x_copy, g, image, images, row0, row1, plan.strip)
        first_pixel = (image * g.out_height + row0) * g.out_width
        pixels = images * (row1 - row0) * g.out_width
        if g.out_channels == channels:
            blocks, upstream = dy, first_pixel * channels
        else:
            _copy_blocks(dy, dy_copy, first_pixel, pixels, g.out_channels, channels)
            blocks, upstream = dy_copy, 0
        for p in range(0, pixels, PIXELS_AT_ONCE):
            chunk = min(pixels, p + PIXELS_AT_ONCE)
            here = 0
            for block in range((g.out_channels + channels - 1) // channels):
                for strip in range(plan.strips):
                    for t in range(len(plan.taps)):
                        for number in range(0, plan.run, rows):
                            origin = strip * strip_size + plan.taps[t] + number
                            tile = zeros(shape)
                            k = upstream + (block * pixels + p) * channels
                            for pixel in range(p, chunk):
                                tile = outer_add(shape, tile, x_copy, origin + at(where, pixel), blocks, k)
                                k += channels
                            tile = add_from(tile, panel, rows_of_tile(shape), here)
                            store(panel, rows_of_tile(shape), here, tile)
                            here += rows * channels


@kernel
def _unpack(panels, dweight, plan, pixels, channels, kw, first, last):
    """Add up the sums of all threads, and store them in the order (O, C, KH, KW)."""
    g, taps = plan.sizes, len(plan.taps)
    joined = plan.run // plan.strip  # kernel columns in a run
    for block in range(first, last):
        width = min(channels, g.out_channels - block * channels)
        for strip in range(plan.strips):
            for t in range(taps):
                for number in range(plan.run):
                    c, tap = strip * plan.strip + number % plan.strip, t * joined + number // plan.strip
                    if c < g.channels:
                        here = (((block * plan.strips + strip) * taps + t) * plan.tiles * pixels + number) * channels
                        for o in range(width):
                            total = panels[0, here + o]
                            for thread in range(1, len(panels)):
                                total += panels[thread, here + o]
                            dweight[block * channels + o, c, tap // kw, tap % kw] = total


def correlate(x: Array, dy: Array, window: Window) -> Array:
    """Compute the gradient with respect to the weights, (O, C, KH, KW), from images (N, H, W, C) and the upstream
    gradient (N, OH, OW, O).
    """
    n, height, width, channels = x.shape
    _, oh, ow, outputs = dy.shape
    shape = shape_for(outputs)
    plan = correlation_plan((height, width), channels, (oh, ow), outputs, window, shape)
    g, blocks = plan.sizes, shape.blocks(outputs)
    cost = dy.size * channels * window.kernel[0] * window.kernel[1] / 40
    sums = blocks * plan.strips * len(plan.taps) * plan.tiles * shape.size
    x_floats = g.images * g.padded_height * g.padded_width * plan.strip * plan.strips + len(shape.pixels)
    dy_floats = g.images * g.band_rows * ow * blocks * shape.block
    flat_x, flat_dy = x.reshape(-1), dy.reshape(-1)

    def work(panel: Array, first: int, last: int) -> None:
        copies = scratch(x_floats, "windows"), scratch(dy_floats, "upstream")
        _correlate(shape, flat_x, flat_dy, panel, *copies, plan, n, np.array([first]), last)

    panels = share_sums(work, g.units(n), lambda slices: np.empty((slices, sums), np.float32), cost)
    dweight = np.empty((outputs, channels, *window.kernel), np.float32)
    numbers = panels, dweight, plan, len(shape.pixels), shape.block, window.kernel[1]
    share(partial(_unpack, *numbers), blocks, dweight.size * 2)
    return dweight
