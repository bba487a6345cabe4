"""3x3 convolutions with four times fewer multiplications: Winograd's F(4x4, 3x3).

Four neighbouring outputs of a filter of three numbers take twelve multiplications, or only six if the filter and the
outputs are treated as polynomials. The product of two polynomials is determined by its values at six points, which take
one multiplication each. Additions and multiplications by constants turn coefficients into values and back. Here the
points are 0, A, -A, B, -B and infinity. The transposed form of this is a convolution::

    six inputs d  --spread-->  6 numbers     * 6 numbers of the filter     --collect-->  four outputs y

Applied to rows and then to columns, it computes 4x4 outputs of an image from 6x6 inputs, a *patch*, with 36
multiplications instead of 144. For many patches and channels, each of these becomes a matrix product, (patches, C) by
(C, O), which uses the same tile as every other convolution::

    image --6x6 patches, spread--> [36] (patches, C) @ (C, O) --> [36] (patches, O) --collected--> 4x4 outputs

A chunk of patches is spread, multiplied and collected before the next one, so that all of it stays in the core's cache.
The threads share the units or, if a layer has many weights, the output channels.

The usual points 0, 1, -1, 2, -2 lose one decimal digit or more. With 3/4 and 3/2 the numbers have similar sizes, and
the error is four times smaller: up to 3e-6 of the largest output, as benchmarks/winograd_error.py shows.

A patch is computed as a whole, so a NaN would become NaN in all of its outputs, and a number of 1e7 would disturb its
neighbours by 1. So the outputs at the corners of each patch, which together see all of its inputs, are measured. If one
is not finite, or far larger than the others, the gathering loop computes the images again.

(Lavin and Gray, arXiv 1509.09308, section 4.1; points: Barabasz et al., arXiv 1803.10986.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from ..threads import get_num_threads
from .compiler import inlined, kernel
from .memory import empty, scratch_rows
from .simd import LANES, LINE, at, at_least, load, load3, load6, measure, prefetch_to_write, save, save_all
from .team import LINE as INTEGERS
from .team import enter, leave, part_of, run, team_size, this_call
from .tile import WIDE, Shape, multiply_add, places, rows_of_tile, shape_for, sizes, store, zeros
from .units import ConvSizes, clear, copy, copy_unit, each_unit

EXTREME = 1000  # how many times larger than the others an output may be
PATCHES = 48  # patches spread at a time: a multiple of every tile's pixels, and few enough for the core's cache
LARGE_WEIGHTS = 1 << 20  # floats; with more, each thread computes some output channels, to read each weight only once

_a, _b = 0.75, 1.5  # the points; the constants below are for the maps
A, A2, A3 = np.float32(_a), np.float32(_a**2), np.float32(_a**3)
B, B2, B3 = np.float32(_b), np.float32(_b**2), np.float32(_b**3)
A2B2, A2_B2 = np.float32(_a**2 * _b**2), np.float32(_a**2 + _b**2)
# Factors of the filter's values: 1 / the product of the differences between a point and each of the others.
AT_0 = np.float32(1 / (_a**2 * _b**2))
AT_A = np.float32(1 / (2 * _a**2 * (_a**2 - _b**2)))
AT_B = np.float32(1 / (2 * _b**2 * (_b**2 - _a**2)))


class PatchPlan(NamedTuple):
    """The sizes, and tables with one number for each patch. The places of :class:`ConvSizes` are patches here."""

    sizes: ConvSizes
    where: Array  # the offset of the patch in the padded images
    into: Array  # the offset of its outputs
    some_rows: Array  # how many of its four rows of outputs lie in the image; some_columns likewise
    some_columns: Array
    of_patch: Array  # the offset of each spread patch of a chunk


def fits(shape: tuple[int, ...], out_channels: int, window: Window) -> bool:
    """Whether this algorithm can convolve images of this shape, (N, H, W, C), and is faster than the gathering loop."""
    n, height, width, channels = shape
    return (
        window.kernel == (3, 3)
        and window.stride == window.dilation == (1, 1)
        and channels % LANES == out_channels % LANES == 0
        and min(channels, out_channels) >= 16
        and n * height * width * channels >= 8192
        and n * -(-height // 4) * -(-width // 4) >= len(WIDE.pixels)  # fewer patches do not fill a tile
    )


@lru_cache(maxsize=1024)
def patch_plan(
    image: tuple[int, int], channels: int, outputs: int, padding: tuple[int, int], split: int, patches: int
) -> PatchPlan:
    """Return the plan of a convolution. An image should be cut into at least ``split`` units; a chunk has ``patches``
    patches.
    """
    oh, ow = (size + 2 * p - 2 for size, p in zip(image, padding, strict=True))
    rows, columns = -(-oh // 4), -(-ow // 4)
    height, width = (
        max(4 * count + 2, p + size) for count, p, size in zip((rows, columns), padding, image, strict=True)
    )
    if split > 1 or rows * columns > patches:
        images, band_rows = 1, -(-rows // split)
    else:
        images, band_rows = patches // (rows * columns), rows
    sizes = ConvSizes(
        channels, *image, *padding, height, width, 4, 6, rows, images, -(-rows // band_rows), band_rows, oh, ow, outputs
    )
    n, i, j = np.ogrid[:images, :rows, :columns]
    where = ((n * height + 4 * i) * width + 4 * j) * channels  # (images, rows, columns)
    into = ((n * oh + 4 * i) * ow + 4 * j) * outputs
    some_rows, some_columns = np.minimum(4, oh - 4 * i) + 0 * where, np.minimum(4, ow - 4 * j) + 0 * where
    of_patch = np.arange(patches) * channels
    return PatchPlan(sizes, where.ravel(), into.ravel(), some_rows.ravel(), some_columns.ravel(), of_patch)


def patches_at_once(channels: int) -> int:
    """Return the number of patches that are spread before they are multiplied."""
    # With 64 channels, half of them took 2 to 3 % less time (AVX-512).
    return PATCHES // 2 if 32 < channels <= 128 else PATCHES


def scratch_floats(plan: PatchPlan, shape: Shape) -> dict[str, int]:
    """Return how many floats a thread needs for padded images, patches, their products and intermediate results."""
    patches = len(plan.of_patch)
    return {
        "padded": plan.sizes.padded_floats,
        "patches": 36 * (patches * plan.sizes.channels + LANES),
        "products": 36 * ((patches + len(shape.pixels)) * shape.block + LANES),
        "table": 38 * LANES,
    }


@inlined
def _spread(d):
    """Map six inputs to six numbers: the transpose of the map from values at the points to coefficients."""
    even_a, odd_a = d[4] - B2 * d[2], d[3] - B2 * d[1]
    even_b, odd_b = d[4] - A2 * d[2], d[3] - A2 * d[1]
    return (
        A2B2 * d[0] - A2_B2 * d[2] + d[4],
        even_a + A * odd_a, even_a - A * odd_a,
        even_b + B * odd_b, even_b - B * odd_b,
        A2B2 * d[1] - A2_B2 * d[3] + d[5],
    )  # fmt: skip


@inlined
def _collect(m):
    """Map six products to four outputs: the transpose of the map from coefficients to values."""
    even_a, odd_a, even_b, odd_b = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return m[0] + even_a + even_b, A * odd_a + B * odd_b, A2 * even_a + B2 * even_b, A3 * odd_a + B3 * odd_b + m[5]


@inlined
def _values(g):
    """Return a filter's values at the six points, with the factors that ``_spread`` leaves out."""
    even_a, odd_a, even_b, odd_b = g[0] + A2 * g[2], A * g[1], g[0] + B2 * g[2], B * g[1]
    return (
        AT_0 * g[0],
        AT_A * (even_a + odd_a), AT_A * (even_a - odd_a),
        AT_B * (even_b + odd_b), AT_B * (even_b - odd_b),
        g[2],
    )  # fmt: skip


# The gradient with respect to the weights uses the transposes of these maps.


@inlined
def spread_upstream(y):
    """Apply the transpose of ``_collect``, from four numbers of the upstream gradient to six numbers."""
    even_a, odd_a, even_b, odd_b = y[0] + A2 * y[2], A * y[1] + A3 * y[3], y[0] + B2 * y[2], B * y[1] + B3 * y[3]
    return y[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y[3]


@inlined
def filter_gradient(m):
    """Apply the transpose of ``_values``, from six sums to three numbers of the filter's gradient."""
    even_a, odd_a = AT_A * (m[1] + m[2]), AT_A * (m[1] - m[2])
    even_b, odd_b = AT_B * (m[3] + m[4]), AT_B * (m[3] - m[4])
    return AT_0 * m[0] + even_a + even_b, A * odd_a + B * odd_b, A2 * even_a + B2 * even_b + m[5]


@inlined
def spread_patch(image, i, row, channels, table, patches, k, step):
    """Spread a patch of LANES channels, and store its 36 vectors ``step`` numbers apart, starting at ``patches[k]``."""
    for r in range(6):
        save_all(table, 6 * r * LANES, LANES, _spread(load6(image, i + r * row, channels)))
    for c in range(6):
        save_all(patches, k + c * step, 6 * step, _spread(load6(table, c * LANES, 6 * LANES)))


@inlined
def _is_extreme(table, count):
    """Whether the largest output is more than EXTREME times the mean of ``count`` small ones, or one is not finite."""
    largest, total = 0.0, 0.0
    for k in range(36 * LANES, 37 * LANES):
        largest = max(largest, np.float64(table[k]))
        total += table[k + LANES]
    return not (largest * LANES * count <= EXTREME * total < np.inf)


@inlined
def convolve_units(
    shape, x, w, bias, shortcut, y, padded, patches, products, table, extreme, plan, n, adds, relu, first_output,
    last_output, turn, last,
):  # fmt: skip
    """Compute some output channels of each unit: spread, multiply and collect one chunk of patches after another.

    ``extreme[i]`` becomes True if image i must be computed in another way.
    """
    g, (pixels, block) = plan.sizes, sizes(shape)
    row, out_row = g.padded_width * g.channels, g.out_width * g.out_channels
    floor = np.float32(0 if relu else -np.inf)
    at_once, columns = len(plan.of_patch), (g.out_width + 3) // 4
    step, product_step = at_once * g.channels + LANES, at_once * block + LANES
    for image, images, row0, row1 in each_unit(g, n, turn, last):
        origin, target = copy_unit(x, padded, g, image, images, row0, row1), image * g.out_height * out_row
        clear(table, 36 * LANES, 2 * LANES)
        begin = row0 * columns
        end = begin + images * (row1 - row0) * columns
        for chunk in range(begin, end, at_once):
            count = min(at_once, end - chunk)
            for p in range(count):
                corner = origin + at(plan.where, chunk + p)
                for q in range(16):  # the places where the outputs will be stored
                    pixel = target + at(plan.into, chunk + p) + q // 4 * out_row + q % 4 * g.out_channels
                    for o in range(first_output, last_output, LINE):
                        prefetch_to_write(y, pixel + o)
                for c in range(0, g.channels, LANES):
                    spread_patch(padded, corner + c, row, g.channels, table, patches, p * g.channels + c, step)
            k = first_output // block * 36 * (g.channels * block + LANES)
            for o0 in range(first_output, last_output, block):
                for e in range(36):
                    for p in range(0, count, pixels):
                        here = places(shape, plan.of_patch, p, count - 1)
                        tile = zeros(shape)
                        for j in range(g.channels):
                            tile = multiply_add(tile, patches, here, e * step + j, w, k + j * block)
                        store(products, rows_of_tile(shape), e * product_step + p * block, tile)
                    k += g.channels * block + LANES
                for p in range(count):
                    for v in range(0, min(block, g.out_channels - o0), LANES):
                        for c in range(6):
                            column = load6(products, p * block + v + c * product_step, 6 * product_step)
                            save_all(table, c * LANES, 6 * LANES, _collect(column))
                        shift, to = load(bias, o0 + v), target + at(plan.into, chunk + p) + o0 + v
                        some_rows, some_columns = at(plan.some_rows, chunk + p), at(plan.some_columns, chunk + p)
                        for r in range(some_rows):
                            save_all(table, 24 * LANES, LANES, _collect(load6(table, 6 * r * LANES, LANES)))
                            if o0 == first_output and v == 0 and (r == 0 or r == some_rows - 1):
                                left, right = load(table, 24 * LANES), load(table, (23 + some_columns) * LANES)
                                measure(table, 36 * LANES, left, right)
                            for q in range(some_columns):
                                i = to + q * g.out_channels
                                number = load(table, (24 + q) * LANES) + shift
                                if adds:
                                    number = number + load(shortcut, i)
                                save(y, i, at_least(number, floor))
                            to += out_row
        if _is_extreme(table, 2 * (end - begin)):
            for i in range(image, image + images):
                extreme[i] = True


@kernel
def _convolve(
    shape, x, w, bias, shortcut, y, padded, patches, products, table, extreme, plan, n, adds, relu, own_turns, units,
    team, rank,
):  # fmt: skip
    """Compute some units on each thread or, if each has its ``own_turns``, some output channels of all units."""
    enter(team, rank, this_call())
    outputs, block = plan.sizes.out_channels, sizes(shape)[1]
    first, last, turn = 0, (outputs + block - 1) // block, team
    if len(own_turns) > 0:
        first, last = part_of(last, team, rank)
        turn = own_turns[rank]
    convolve_units(
        shape, x, w, bias, shortcut, y, padded[rank], patches[rank], products[rank], table[rank], extreme, plan, n,
        adds, relu, first * block, min(last * block, outputs), turn, units,
    )  # fmt: skip
    leave(team, rank)


@kernel
def _transform_weights(
    weight, o_step, c_step, flipped, packed, block, filters, tables, outputs, inputs, finite, team, rank
):  # fmt: skip
    """Fill an array (blocks, 36, C * block + gap). Without the gap, matrices would share cache sets."""
    enter(team, rank, this_call())
    g, table = filters[rank], tables[rank]
    step = inputs * block + LANES
    clear(table, 0, LANES)
    check = load(table, 0)  # the sum of all weights, which is not finite if one of them is not
    for number in range((outputs + block - 1) // block):
        for c in range(*part_of(inputs, team, rank)):
            for e in range(9):
                begin = number * block * o_step + c * c_step + (8 - e if flipped else e)
                copy(weight, begin, o_step, g, e * block, min(block, outputs - number * block), block)
            for v in range(0, block, LANES):
                for j in range(3):
                    column = load3(g, j * block + v, 3 * block)
                    check = check + (column[0] + column[1] + column[2])
                    save_all(table, j * LANES, 3 * LANES, _values(column))
                for i in range(6):
                    k = (number * 36 + 6 * i) * step + c * block + v
                    save_all(packed, k, step, _values(load3(table, 3 * i * LANES, LANES)))
    save(table, 0, check)
    for i in range(LANES):
        if not abs(table[i]) < np.inf:
            finite[0] = False
    leave(team, rank)


def transform(weight: Array, flipped: bool) -> Array | None:
    """Return the 36 matrices of weights (O, C, 3, 3) or, if ``flipped``, of the transposed convolution, from O to C.

    Returns None if a weight is infinite or NaN, or if their sum overflows.
    """
    (outputs, inputs), o_step, c_step = weight.shape[:2], weight[0].size, 9
    if flipped:
        outputs, inputs, o_step, c_step = inputs, outputs, c_step, o_step
    shape = shape_for(outputs)
    blocks, block = shape.blocks(outputs), shape.block
    packed, finite = empty((blocks * 36 * (inputs * block + LANES),)), np.ones(1, np.bool_)
    members = team_size(weight.size * 2)
    areas = scratch_rows(members, 9 * block, "filters"), scratch_rows(members, 36 * LANES, "table")
    numbers = weight.reshape(-1), o_step, c_step, flipped, packed, block, *areas, outputs, inputs, finite
    run(members, _transform_weights, *numbers)
    return packed if finite[0] else None


def convolve(
    x: Array, transformed: Array, outputs: int, bias: Array | None, padding: tuple[int, int],
    shortcut: Array | None = None, relu: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Convolve (N, H, W, C) -> (N, OH, OW, O), then apply bias, shortcut and ReLU, if any.

    Also returns booleans (N,): for which images this must be done in another way, as some of their numbers are extreme.
    """
    n, h, w, channels = x.shape
    extreme = np.zeros(n, np.bool_)
    by_outputs = transformed.size > LARGE_WEIGHTS
    split = 1 if by_outputs else -(-get_num_threads() // n)
    plan = patch_plan((h, w), channels, outputs, padding, split, patches_at_once(channels))
    g, shape = plan.sizes, shape_for(outputs)
    y = empty((n, g.out_height, g.out_width, outputs))
    members = team_size(y.size * channels / 10)
    flat, flat_y = x.reshape(-1), y.reshape(-1)
    more = flat_y if shortcut is None else shortcut.reshape(-1)
    shift = np.zeros(outputs, np.float32) if bias is None else bias
    areas = (scratch_rows(members, floats, name) for name, floats in scratch_floats(plan, shape).items())
    own_turns = np.zeros((members if by_outputs else 0, INTEGERS), np.int64)
    run(
        members, _convolve, shape, flat, transformed, shift, more, flat_y, *areas, extreme, plan, n,
        shortcut is not None, relu, own_turns, g.units(n),
    )  # fmt: skip
    return y, extreme
