"""Convolution as lists of places: which input pixels each output pixel sees, computed once for each size.

One loop computes all convolutions. Each output pixel has a *place* in the input and a few *taps*, offsets from that
place; at each tap, a run of numbers is multiplied by weights. In memory (N, H, W, C), a row of the kernel is one run::

    place of the output pixel --+
                                v
    input row r     . . . . . [ c c c c c c c c c ] . . .    tap 0: KW neighbouring pixels of C channels
    input row r+1   . . . . . [ c c c c c c c c c ] . . .    tap 1: one padded row below
    input row r+2   . . . . . [ c c c c c c c c c ] . . .    tap 2

The stride is the distance between places, the dilation the distance between taps. The gradient with respect to the
input (and the transposed convolution) works in the same way: an input pixel collects from the output pixels whose
windows contain it. With a stride of 2, pixels at even and at odd positions meet different elements of the kernel. So
each of the 2 x 2 kinds of pixels, called a *phase*, has its own taps, and zeros need not be inserted between the output
pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from .units import ConvSizes, cut

COPIED_FLOATS = 64 * 1024  # limit for the padded images of a unit
PIXELS_IN_PLACE = 128  # pixels of a unit that is not copied, so that its weights are read often enough


class GatherPlan(NamedTuple):
    """The sizes and tables of a convolution, for one image size."""

    sizes: ConvSizes
    direct: bool  # whether no tap leaves the image, so that it need not be copied
    where: Array  # (places,): the offset of each place in the padded input
    into: Array  # (places,): the offset of each output pixel
    taps: Array  # (taps,): offsets from a place
    phases: Array  # (phases, PHASE_FIELDS)
    elements: Array  # (KH*KW, 2): the kernel element (i, j) at each tap, in the order of packed weights


# The columns of ``GatherPlan.phases``.
PHASE_FIELDS = 8
FIRST_PLACE, ROWS, PER_ROW, FIRST_TAP, LAST_TAP, RUN, FIRST_ELEMENT, ELEMENTS = range(PHASE_FIELDS)


class _Axis(NamedTuple):
    """One axis of a phase: the output positions first, first + step, ..., and (tap offset, element) of each tap."""

    first: int
    step: int
    length: int
    taps: list[tuple[int, int]]


def _forward_axis(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[_Axis]:
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return [_Axis(0, 1, count, [(i * dilation - padding, i) for i in range(kernel)])]


def _backward_axis(image: int, kernel: int, stride: int, padding: int, dilation: int) -> list[_Axis]:
    """Return one axis for each phase.

    Element i of window r + (phase + padding - i * dilation) / stride saw position phase + stride * r of the image.
    """
    phases = []
    for phase in range(min(stride, image)):
        taps = [(phase + padding - i * dilation, i) for i in range(kernel)]
        seen = sorted((offset // stride, i) for offset, i in taps if offset % stride == 0)
        phases.append(_Axis(phase, stride, -(-(image - phase) // stride), seen))
    return phases


@lru_cache(maxsize=1024)
def forward_plan(image: tuple[int, int], channels: int, out_channels: int, window: Window, split: int) -> GatherPlan:
    """Return the plan of a convolution. An image should be cut into at least ``split`` units of work."""
    options = window.kernel, window.stride, window.padding, window.dilation
    rows, columns = [_forward_axis(*axis) for axis in zip(image, *options, strict=True)]
    out = rows[0].length, columns[0].length
    return _plan(image, channels, out, out_channels, rows, columns, window.stride, split)


@lru_cache(maxsize=1024)
def backward_plan(
    seen: tuple[int, int], channels: int, image: tuple[int, int], out_channels: int, window: Window, split: int
) -> GatherPlan:
    """Return the plan of the gradient with respect to an input of size ``image``, from an upstream of size ``seen``."""
    options = window.kernel, window.stride, window.padding, window.dilation
    rows, columns = [_backward_axis(*axis) for axis in zip(image, *options, strict=True)]
    return _plan(seen, channels, image, out_channels, rows, columns, (1, 1), split)


def _plan(
    image: tuple[int, int], channels: int, out: tuple[int, int], out_channels: int, rows: list[_Axis],
    columns: list[_Axis], step: tuple[int, int], split: int,
) -> GatherPlan:  # fmt: skip
    (top, height, direct_rows), (left, width, direct_columns) = (
        _padded(size, phases, s) for size, phases, s in zip(image, (rows, columns), step, strict=True)
    )
    base_rows = max(axis.length for axis in rows)
    reach = max((max(axis.taps)[0] for axis in rows if axis.taps), default=0) + top + 1
    direct = direct_rows and direct_columns
    most = PIXELS_IN_PLACE * channels if direct else 0  # what is not copied may be larger
    images, bands, band_rows = cut(
        height * width * channels, width * channels, out, base_rows, step[0], split, max(most, COPIED_FLOATS)
    )
    sizes = ConvSizes(
        channels, *image, top, left, height, width, step[0], reach, base_rows, images, bands, band_rows, *out,
        out_channels,
    )  # fmt: skip
    where, into, phases = [], [], []
    taps: list[int] = []
    elements: list[tuple[int, int]] = []
    places = 0
    for r in rows:
        for c in columns:
            g, i, j = np.ogrid[:images, : r.length, : c.length]
            where.append(((g * height + i * step[0]) * width + j * step[1]) * channels)  # (images, rows, columns)
            into.append(((g * out[0] + r.first + r.step * i) * out[1] + c.first + c.step * j) * out_channels)
            joined = [b == a + 1 for (a, _), (b, _) in zip(c.taps, c.taps[1:], strict=False)]
            pixels = len(c.taps) if all(joined) else 1  # pixels of one run
            first_tap, first_element = len(taps), len(elements)
            taps += [((y + top) * width + x + left) * channels for y, _ in r.taps for x, _ in c.taps[:: pixels or 1]]
            elements += [(ki, kj) for _, ki in r.taps for _, kj in c.taps]
            run = first_tap, len(taps), pixels * channels
            phases.append((places, r.length, c.length, *run, first_element, len(elements) - first_element))
            places += where[-1].size
    joined_tables = (np.concatenate([part.ravel() for part in parts]) for parts in (where, into))
    tables = *joined_tables, taps, phases, np.reshape(elements, (-1, 2))
    return GatherPlan(sizes, direct, *(np.array(table, np.int64) for table in tables))


def _padded(size: int, phases: list[_Axis], step: int) -> tuple[int, int, bool]:
    """Return (zeros before the image, the padded size, whether no zeros are needed at all)."""
    offsets = [offset for axis in phases for offset, _ in axis.taps]
    before = max(0, -min(offsets, default=0))
    last = max((step * (axis.length - 1) + max(axis.taps)[0] for axis in phases if axis.taps), default=0)
    direct = before == 0 and last < size
    return before, size if direct else before + max(size, last + 1), direct
