"""Units of work of a convolution: a few small images, or some rows of a large one.

Each loop of this folder over the pixels of a convolution takes one unit after another. If a unit needs zeros around it,
its input is first copied to the thread's scratch memory, so that later loops need not check for borders. The copy costs
little, as it stays in the core's cache. Then the loop goes over the unit's *places*: output pixels, or patches of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .compiler import inlined
from .simd import LANES, LINE, at, load, prefetch, prefetch_to_write, put, save
from .team import turns

ZERO = np.float32(0)
SCRATCH_FLOATS = 48 * 1024  # limit for the padded images of a unit, which should stay in the core's cache
ENOUGH_PIXELS = 96  # small images are grouped up to this many, because the last tile of a unit is rarely full


class ConvSizes(NamedTuple):
    """The sizes of a convolution, and how its images are cut into units."""

    channels: int
    height: int
    width: int
    top: int  # rows of zeros above the image
    left: int  # columns of zeros to the left of the image
    padded_height: int
    padded_width: int
    row_step: int  # input rows from one row of places to the next
    row_reach: int  # input rows that a row of places sees
    rows: int  # rows of places in an image
    images: int  # images in a unit
    bands: int  # units in an image
    band_rows: int  # rows of places in a unit
    out_height: int
    out_width: int
    out_channels: int

    @property
    def padded_floats(self) -> int:
        """The number of floats in the copied input of a unit."""
        return self.images * self.padded_height * self.padded_width * self.channels

    def units(self, n: int) -> int:
        """Return the number of units that ``n`` images are cut into."""
        return n * self.bands if self.bands > 1 else -(-n // self.images)


def cut(
    image: int, row: int, out: tuple[int, int], rows: int, row_step: int, split: int, most: int = SCRATCH_FLOATS
) -> tuple[int, int, int]:
    """Cut images into units: return (images in a unit, units in an image, rows of places in a unit).

    ``image`` and ``row`` are the numbers of floats in a padded image and in one of its rows; a unit may copy ``most``
    floats. An image should be cut into at least ``split`` units.
    """
    if split > 1 or image > most:
        fitting = max(1, most // max(1, row * row_step))
        bands = -(-max(split, -(-rows // fitting)) // split) * split  # as many for each of the ``split`` threads
        band_rows = max(1, -(-rows // bands))
        return 1, -(-rows // band_rows), band_rows
    together = min(-(-ENOUGH_PIXELS // max(1, out[0] * out[1])), most // max(1, image))
    return max(1, together), 1, rows


@inlined
def each_unit(g, n, turn, last):
    """Yield the units of ``n`` images from ``turn[0]`` to ``last``: first image, number of images, first row of places,
    row after the last. Threads with the same ``turn`` share the units.
    """
    for unit in turns(turn, last):
        image = unit // g.bands if g.bands > 1 else unit * g.images
        row0 = unit % g.bands * g.band_rows
        yield image, min(g.images, n - image), row0, min(row0 + g.band_rows, g.rows)


@inlined
def clear(target, to, count):
    for k in range(to, to + count):
        put(target, k, ZERO)


@inlined
def fetch(array, begin, count):
    """Start to load ``count`` numbers into the core's cache, for reading."""
    for k in range(begin, begin + count, LINE):
        prefetch(array, k)


@inlined
def fetch_to_write(array, begin, count):
    """Start to load ``count`` numbers that this core will change."""
    for k in range(begin, begin + count, LINE):
        prefetch_to_write(array, k)


@inlined
def copy(source, begin, step, target, to, count, width):
    """Copy ``count`` numbers that are ``step`` apart, and fill up to ``width`` with zeros."""
    for k in range(count):
        put(target, to + k, at(source, begin + k * step))
    clear(target, to + count, width - count)


@inlined
def copy_row(source, begin, target, to, count, width):
    """Copy ``count`` neighbouring numbers, in vectors as far as possible, and fill up to ``width`` with zeros."""
    vectors = count // LANES * LANES
    for k in range(0, vectors, LANES):
        save(target, to + k, load(source, begin + k))
    copy(source, begin + vectors, 1, target, to + vectors, count - vectors, width - vectors)


@inlined
def copy_unit(x, padded, g, image, images, row0, row1):
    """Copy the input of a unit, with its border of zeros, and return the offset of the places in the copy."""
    top, bottom = row0 * g.row_step, min((row1 - 1) * g.row_step + g.row_reach, g.padded_height)
    left, length, width = g.left * g.channels, g.width * g.channels, g.padded_width * g.channels
    for i in range(images):
        to = i * g.padded_height * width
        for row in range(top - g.top, bottom - g.top):
            if 0 <= row < g.height:
                clear(padded, to, left)
                copy_row(x, ((image + i) * g.height + row) * length, padded, to + left, length, width - left)
            else:
                clear(padded, to, width)
            to += width
    return -top * width


@inlined
def copy_strips(x, strips, g, steps, image, images, row0, row1, strip):
    """Copy the input of a unit in strips of ``strip`` channels; the last strip is filled up with zeros."""
    top, bottom = row0 * g.row_step, min((row1 - 1) * g.row_step + g.row_reach, g.padded_height)
    size = g.images * g.padded_height * g.padded_width * strip
    for i in range(images):
        here = i * g.padded_height * g.padded_width * strip
        for row in range(top - g.top, bottom - g.top):
            for column in range(-g.left, g.padded_width - g.left):
                inside = 0 <= row < g.height and 0 <= column < g.width
                source = (image + i) * steps[0] + row * steps[1] + column * steps[2]
                for c in range(0, g.channels, strip):
                    channels = min(strip, g.channels - c) if inside else 0
                    copy_row(x, source + c, strips, here + c // strip * size, channels, strip)
                here += strip
