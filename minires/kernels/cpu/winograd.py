"""3x3 convolutions with 2.25 times fewer multiplications: Winograd's F(2x2, 3x3).

Two neighbouring outputs of a filter (g0, g1, g2) over four inputs (d0, d1, d2, d3) take six multiplications, or four::

    m0 = (d0 - d2) * g0                      y0 = d0 g0 + d1 g1 + d2 g2 = m0 + m1 + m2
    m1 = (d1 + d2) * (g0 + g1 + g2) / 2      y1 = d1 g0 + d2 g1 + d3 g2 = m1 - m2 - m3
    m2 = (d2 - d1) * (g0 - g1 + g2) / 2
    m3 = (d1 - d3) * g2

Applied to rows and then to columns, 2x2 outputs of a picture come from 4x4 inputs by 16 multiplications instead of
36. All channels take part in each of them, so there are 16 matrix products, (patches, C) by (C, O), and they run
through the same tile as every other convolution::

    picture --4x4 patches, transformed--> [16] (patches, C) @ (C, O) --> [16] (patches, O) --transformed--> 2x2 outputs

The transforms only add and subtract. What they cost is saved many times over where there are enough channels, and their
rounding errors stay below the 1e-5 that the tests allow (larger patches would save more, and lose digits). A few
patches are transformed, multiplied and transformed back at a time, so that nothing of this leaves the core's own cache.
(Lavin and Gray, arXiv 1509.09308, section 4.1.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...backend import Array
from ...ops.conv import Window
from ...threads import aligned, get_num_threads, scratch, share
from .border import copy_with_border
from .compiler import inlined, kernel
from .memory import empty
from .plan import units
from .simd import BLOCK, LANES, PIXELS, at, at_least, load, multiply_add, places, save, start, store

PATCHES = 48  # at a time: a multiple of every PIXELS
MOST_CHANNELS = 256  # beyond, sixteen matrices of weights do not stay in the cache


class Geometry(NamedTuple):
    """The sizes that the loop needs."""

    channels: int
    height: int
    width: int
    top: int
    left: int
    padded_height: int
    padded_width: int
    pictures: int  # in a unit of work
    bands: int  # or: units in a picture
    band_rows: int  # rows of patches in a band
    patch_rows: int
    patch_columns: int
    out_height: int
    out_width: int
    out_channels: int


def fits(x: Array, out_channels: int, window: Window) -> bool:
    """Whether a convolution of (N, H, W, C) can be done like this, and is faster so."""
    channels = x.shape[3]
    return (
        window.kernel == (3, 3)
        and window.stride == window.dilation == (1, 1)
        and channels % LANES == 0
        and out_channels % BLOCK == 0
        and 16 <= channels <= MOST_CHANNELS
        and out_channels <= MOST_CHANNELS
        and x.size >= 8192
    )


@lru_cache(maxsize=1024)
def _plan(
    picture: tuple[int, int], channels: int, outputs: int, padding: tuple[int, int], split: int
) -> tuple[Geometry, Array, Array, Array, Array]:
    """The sizes; of each patch of a unit, its offset in the padded pictures, that of its outputs, and whether both of
    its output rows, and columns, are in the picture.
    """
    oh, ow = (size + 2 * p - 2 for size, p in zip(picture, padding, strict=True))
    rows, columns = -(-oh // 2), -(-ow // 2)
    height, width = (
        max(2 * patches + 2, p + size) for patches, p, size in zip((rows, columns), padding, picture, strict=True)
    )
    if split > 1 or rows * columns > PATCHES:
        pictures, band_rows = 1, -(-rows // split)
    else:
        pictures, band_rows = PATCHES // (rows * columns), rows
    geometry = Geometry(
        channels, *picture, *padding, height, width, pictures, -(-rows // band_rows), band_rows, rows, columns, oh,
        ow, outputs
    )  # fmt: skip
    n, i, j = np.ogrid[:pictures, :rows, :columns]
    where = ((n * height + 2 * i) * width + 2 * j) * channels  # (pictures, rows, columns)
    into = ((n * oh + 2 * i) * ow + 2 * j) * outputs
    whole_rows, whole_columns = (2 * i + 1 < oh) & (where >= 0), (2 * j + 1 < ow) & (where >= 0)
    return geometry, where.ravel(), into.ravel(), whole_rows.ravel(), whole_columns.ravel()


@inlined
def _spread(d0, d1, d2, d3):
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


@inlined
def _gather(m0, m1, m2, m3):
    return m0 + m1 + m2, m1 - m2 - m3


@inlined
def _row_of_patch(picture, i, channels):
    """Four neighbouring pixels of LANES channels, transformed along the row."""
    return _spread(
        load(picture, i), load(picture, i + channels), load(picture, i + 2 * channels), load(picture, i + 3 * channels)
    )


@inlined
def _column_of_patch(patches, k, d0, d1, d2, d3):
    """Transform four numbers along the column, and save them four places apart."""
    m0, m1, m2, m3 = _spread(d0, d1, d2, d3)
    save(patches, k, m0)
    save(patches, k + 4 * LANES, m1)
    save(patches, k + 8 * LANES, m2)
    save(patches, k + 12 * LANES, m3)


@inlined
def _transform_patch(picture, i, row, channels, patches, k):
    """A patch of LANES channels: its 16 numbers lie side by side, from ``patches[k]`` on."""
    r0 = _row_of_patch(picture, i, channels)
    r1 = _row_of_patch(picture, i + row, channels)
    r2 = _row_of_patch(picture, i + 2 * row, channels)
    r3 = _row_of_patch(picture, i + 3 * row, channels)
    _column_of_patch(patches, k, r0[0], r1[0], r2[0], r3[0])
    _column_of_patch(patches, k + LANES, r0[1], r1[1], r2[1], r3[1])
    _column_of_patch(patches, k + 2 * LANES, r0[2], r1[2], r2[2], r3[2])
    _column_of_patch(patches, k + 3 * LANES, r0[3], r1[3], r2[3], r3[3])


@inlined
def _column_of_product(product, k):
    d = PIXELS * BLOCK
    return _gather(load(product, k), load(product, k + 4 * d), load(product, k + 8 * d), load(product, k + 12 * d))


@inlined
def _outputs_of_patch(product, k):
    """2x2 outputs of LANES channels from the 16 products, which lie PIXELS * BLOCK apart."""
    s0 = _column_of_product(product, k)
    s1 = _column_of_product(product, k + PIXELS * BLOCK)
    s2 = _column_of_product(product, k + 2 * PIXELS * BLOCK)
    s3 = _column_of_product(product, k + 3 * PIXELS * BLOCK)
    return _gather(s0[0], s1[0], s2[0], s3[0]), _gather(s0[1], s1[1], s2[1], s3[1])


@kernel
def _convolve(
    x,
    w,
    bias,
    shortcut,
    y,
    padded,
    patches,
    product,
    zeros,
    g,
    where,
    into,
    whole_rows,
    whole_columns,
    rows,
    n,
    adds,
    relu,
    first,
    last,
):
    size = g.padded_height * g.padded_width * g.channels
    row, out_row = g.padded_width * g.channels, g.out_width * g.out_channels
    floor = np.float32(0 if relu else -np.inf)
    for unit in range(first, last):
        picture = unit // g.bands if g.bands > 1 else unit * g.pictures
        row0 = unit % g.bands * g.band_rows
        row1 = min(row0 + g.band_rows, g.patch_rows)
        pictures = min(g.pictures, n - picture)
        for i in range(pictures):
            copy_with_border(x, padded, g, picture + i, 2 * row0, 2 * row1 + 2, i * size)
        origin, target = -2 * row0 * row, picture * g.out_height * out_row
        begin = row0 * g.patch_columns
        end = row1 * g.patch_columns if g.bands > 1 else pictures * g.patch_rows * g.patch_columns
        for chunk in range(begin, end, PATCHES):
            count = min(PATCHES, end - chunk)
            for p in range(count):
                corner = origin + at(where, chunk + p)
                for c in range(0, g.channels, LANES):
                    _transform_patch(padded, corner + c, row, g.channels, patches, 16 * (p * g.channels + c))
            for c in range(0, g.out_channels, BLOCK):
                for p in range(0, count, PIXELS):
                    here = places(rows, p, count - 1)
                    k = c * 16 * g.channels
                    for e in range(16):
                        tile = start(zeros, 0)
                        for j in range(e * LANES, 16 * g.channels, 16 * LANES):
                            for lane in range(LANES):
                                tile = multiply_add(tile, patches, here, j + lane, w, k + lane * BLOCK)
                            k += LANES * BLOCK
                        store(product, places(_ROWS_OF_TILE, 0, PIXELS - 1), e * PIXELS * BLOCK, tile)
                    for q in range(min(PIXELS, count - p)):
                        to = target + at(into, chunk + p + q) + c
                        two_rows, two_columns = whole_rows[chunk + p + q], whole_columns[chunk + p + q]
                        for v in range(0, BLOCK, LANES):
                            shift = load(bias, c + v)
                            upper, lower = _outputs_of_patch(product, q * BLOCK + v)
                            i = to + v
                            number = upper[0] + shift
                            if adds:
                                number = number + load(shortcut, i)
                            save(y, i, at_least(number, floor))
                            if two_columns:
                                number = upper[1] + shift
                                if adds:
                                    number = number + load(shortcut, i + g.out_channels)
                                save(y, i + g.out_channels, at_least(number, floor))
                            if two_rows:
                                i += out_row
                                number = lower[0] + shift
                                if adds:
                                    number = number + load(shortcut, i)
                                save(y, i, at_least(number, floor))
                                if two_columns:
                                    number = lower[1] + shift
                                    if adds:
                                        number = number + load(shortcut, i + g.out_channels)
                                    save(y, i + g.out_channels, at_least(number, floor))


_ROWS_OF_TILE = np.arange(PIXELS) * BLOCK


@kernel
def _transform_weights(weight, packed, flipped, first, last):
    """(block, 16, C, BLOCK), the blocks from first to last."""
    outputs, inputs = weight.shape[0], weight.shape[1]
    if flipped:
        outputs, inputs = inputs, outputs
    half = np.float32(0.5)
    g, t = np.empty((3, 3), np.float32), np.empty((4, 3), np.float32)
    for block in range(first, last):
        for c in range(inputs):
            for o in range(BLOCK):
                for i in range(3):
                    for j in range(3):
                        if flipped:
                            g[i, j] = weight[c, block * BLOCK + o, 2 - i, 2 - j]
                        else:
                            g[i, j] = weight[block * BLOCK + o, c, i, j]
                for j in range(3):
                    t[0, j] = g[0, j]
                    t[1, j] = (g[0, j] + g[1, j] + g[2, j]) * half
                    t[2, j] = (g[0, j] - g[1, j] + g[2, j]) * half
                    t[3, j] = g[2, j]
                for i in range(4):
                    to = ((block * 16 + 4 * i) * inputs + c) * BLOCK + o
                    step = inputs * BLOCK
                    packed[to] = t[i, 0]
                    packed[to + step] = (t[i, 0] + t[i, 1] + t[i, 2]) * half
                    packed[to + 2 * step] = (t[i, 0] - t[i, 1] + t[i, 2]) * half
                    packed[to + 3 * step] = t[i, 2]


def transform(weight: Array, flipped: bool) -> Array:
    """The sixteen matrices of weights (O, C, 3, 3); ``flipped``: of the transposed convolution, from O to C."""
    packed = aligned(weight.size // 9 * 16)
    blocks = weight.shape[1 if flipped else 0] // BLOCK
    share(lambda first, last: _transform_weights(weight, packed, flipped, first, last), blocks, weight.size * 3)
    return packed


def convolve(
    x: Array,
    transformed: Array,
    bias: Array | None,
    padding: tuple[int, int],
    shortcut: Array | None = None,
    relu: bool = False,
) -> Array:
    """(N, H, W, C) -> (N, OH, OW, O), with what follows the convolution in inference."""
    n, h, w, channels = x.shape
    outputs = transformed.size // (16 * channels)
    split = -(-get_num_threads() // n)
    g, *tables = _plan((h, w), channels, outputs, padding, split)
    y = empty((n, g.out_height, g.out_width, outputs))
    flat, flat_y = x.reshape(-1), y.reshape(-1)
    more = flat_y if shortcut is None else shortcut.reshape(-1)
    shift = np.zeros(outputs, np.float32) if bias is None else bias
    zeros, rows = np.zeros(BLOCK, np.float32), np.arange(PATCHES) * 16 * channels

    def work(first: int, last: int) -> None:
        _convolve(
            flat, transformed, shift, more, flat_y,
            scratch(g.pictures * g.padded_height * g.padded_width * channels, "padded"),
            scratch(16 * PATCHES * channels, "patches"), scratch(16 * PIXELS * BLOCK, "product"), zeros, g, *tables,
            rows, n, shortcut is not None, relu, first, last,
        )  # fmt: skip

    share(work, units(g, n), y.size * channels / 10)
    return y
