"""Copy an image into a thread's own memory, with zeros around it: no loop after this has to look for borders."""

from __future__ import annotations

import numpy as np

from .compiler import inlined
from .simd import at, put

ZERO = np.float32(0)


@inlined
def copy_with_border(x, padded, g, image, first, last, to):
    """Rows ``first`` to ``last`` of a padded image, counted with its border, to ``padded[to:]``."""
    length, right = g.width * g.channels, (g.padded_width - g.left - g.width) * g.channels
    for row in range(first, last):
        source = row - g.top
        if 0 <= source < g.height:
            for i in range(g.left * g.channels):
                put(padded, to + i, ZERO)
            to += g.left * g.channels
            begin = (image * g.height + source) * length
            for i in range(length):
                put(padded, to + i, at(x, begin + i))
            to += length
            for i in range(right):
                put(padded, to + i, ZERO)
            to += right
        else:
            for i in range(g.padded_width * g.channels):
                put(padded, to + i, ZERO)
            to += g.padded_width * g.channels


@inlined
def copy_strips(x, copy, g, image, first, last, to, strip_size):
    """The same, ``g.strip`` channels after the other, ``strip_size`` apart; channels that do not exist are zeros."""
    for strip in range(g.strips):
        c0 = strip * g.strip
        channels = min(g.strip, g.channels - c0)
        here = strip * strip_size + to
        for row in range(first - g.top, last - g.top):
            for column in range(-g.left, g.padded_width - g.left):
                if 0 <= row < g.height and 0 <= column < g.width:
                    source = ((image * g.height + row) * g.width + column) * g.channels + c0
                    for c in range(channels):
                        put(copy, here + c, at(x, source + c))
                    for c in range(channels, g.strip):
                        put(copy, here + c, ZERO)
                else:
                    for c in range(g.strip):
                        put(copy, here + c, ZERO)
                here += g.strip
