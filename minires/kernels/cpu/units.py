"""Units of work of a convolution: a few small images, or some rows of a large one.

Each loop of this folder over the pixels of a convolution takes one unit after the other. It first copies the input of
the unit to memory of the thread, with zeros around it, so that no loop after this has to look for borders. The copy
costs little, as it stays in the core's own cache. Then the loop computes what depends on the unit's *places*: output
pixels, or patches of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .compiler import inlined
from .simd import at, put
from .team import turns

ZERO = np.float32(0)
SCRATCH_FLOATS = 48 * 1024  # of the padded images of a unit: they should stay in the core's own cache
ENOUGH_PIXELS = 96  # small images go together until there are so many: the last tile is never full


class ConvSizes(NamedTuple):
    """The sizes of a convolution, and how its images are cut into units."""

    channels: int
    height: int
    width: int
    top: int  # rows of zeros above, and columns of zeros to the left, that places count from
    left: int
    padded_height: int
    padded_width: int
    row_step: int  # input rows from one row of places to the next
    row_reach: int  # input rows that a row of places sees
    rows: int  # of places, in an image
    images: int  # in a unit
    bands: int  # units in an image
    band_rows: int  # rows of places in a unit
    out_height: int
    out_width: int
    out_channels: int

    @property
    def padded_floats(self) -> int:
        """The floats of the copied input of a unit."""
        return self.images * self.padded_height * self.padded_width * self.channels

    def units(self, n: int) -> int:
        """How many units ``n`` images are."""
        return n * self.bands if self.bands > 1 else -(-n // self.images)


def cut(
    image: int, row: int, out: tuple[int, int], rows: int, row_step: int, split: int, most: int = SCRATCH_FLOATS
) -> tuple[int, int, int]:
    """(images of a unit, units of an image, rows of places of a unit).

    ``image`` and ``row`` are the floats of a padded image and of one of its rows; a unit may copy ``most`` floats.
    ``split``: into how many units an image should fall at least.
    """
    if split > 1 or image > most:
        fitting = max(1, most // max(1, row * row_step))
        bands = max(split, -(-rows // fitting))
        band_rows = max(1, -(-rows // bands))
        return 1, -(-rows // band_rows), band_rows
    together = min(-(-ENOUGH_PIXELS // max(1, out[0] * out[1])), most // max(1, image))
    return max(1, together), 1, rows


@inlined
def each_unit(g, n, turn, last):
    """The units of ``n`` images from ``turn[0]`` to ``last``: first image, images, first row of places, row after the
    last. Threads with the same ``turn`` share the units.
    """
    for unit in turns(turn, last):
        image = unit // g.bands if g.bands > 1 else unit * g.images
        row0 = unit % g.bands * g.band_rows
        yield image, min(g.images, n - image), row0, min(row0 + g.band_rows, g.rows)


@inlined
def copy_unit(x, padded, g, image, images, row0, row1):
    """Copy the input of a unit, with its border; the offset of the places in the copy."""
    top, bottom = row0 * g.row_step, min((row1 - 1) * g.row_step + g.row_reach, g.padded_height)
    length, right = g.width * g.channels, (g.padded_width - g.left - g.width) * g.channels
    for i in range(images):
        to = i * g.padded_height * g.padded_width * g.channels
        for row in range(top - g.top, bottom - g.top):
            if 0 <= row < g.height:
                for k in range(g.left * g.channels):
                    put(padded, to + k, ZERO)
                to += g.left * g.channels
                begin = ((image + i) * g.height + row) * length
                for k in range(length):
                    put(padded, to + k, at(x, begin + k))
                to += length
                for k in range(right):
                    put(padded, to + k, ZERO)
                to += right
            else:
                for k in range(g.padded_width * g.channels):
                    put(padded, to + k, ZERO)
                to += g.padded_width * g.channels
    return -top * g.padded_width * g.channels


@inlined
def copy_strips(x, copy, g, image, images, row0, row1, strip):
    """The same, ``strip`` channels after the other; channels that do not exist are zeros."""
    top, bottom = row0 * g.row_step, min((row1 - 1) * g.row_step + g.row_reach, g.padded_height)
    size = g.padded_height * g.padded_width * strip
    for i in range(images):
        for c0 in range(0, g.channels, strip):
            channels = min(strip, g.channels - c0)
            here = (c0 // strip * g.images + i) * size
            for row in range(top - g.top, bottom - g.top):
                for column in range(-g.left, g.padded_width - g.left):
                    if 0 <= row < g.height and 0 <= column < g.width:
                        source = (((image + i) * g.height + row) * g.width + column) * g.channels + c0
                        for c in range(channels):
                            put(copy, here + c, at(x, source + c))
                        for c in range(channels, strip):
                            put(copy, here + c, ZERO)
                    else:
                        for c in range(strip):
                            put(copy, here + c, ZERO)
                    here += strip
