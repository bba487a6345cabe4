"""Run the steps of a network, recorded by program.py, in one compiled function."""

from __future__ import annotations

import numpy as np

from .compiler import inlined, kernel
from .gather import gather_units
from .plan import PHASE_FIELDS
from .simd import LANES, at, put
from .team import enter, leave, meet, part_of, this_call
from .tile import NARROW, SEVENS, WIDE, sizes
from .units import ConvSizes, clear, copy
from .winograd import PatchPlan, convolve_units

LOAD, GATHER, WINOGRAD, PAD, AVERAGE = range(5)  # the kinds of steps
TABLES = ("where", "into", "taps", "phases", "some_rows", "some_columns", "of_patch")
STEP = np.dtype(
    [
        (name, np.int64)
        for name in ("kind", "source", "target", "shortcut", "weights", "bias", "adds", "relu", "by_outputs")
    ]
    + [(name, np.int64) for name in ("size", "row", "column", "before")]  # for PAD: strides in the source, new channels
    + [(name + end, np.int64) for name in TABLES for end in ("", "_end")]  # offsets in the joined tables
    + [(name, np.int64) for name in (*ConvSizes._fields, "direct")]
)


@inlined
def _part(units, rank, members):
    return units * rank // members, units * (rank + 1) // members


@inlined
def _arrange(source, begin, strides, memory, step, n, rank, members):
    """Copy images with any ``strides`` (N, C, H, W) to memory, channels last, with channels of zeros around theirs."""
    first, last = _part(step.out_height, rank, members)
    for i in range(n):
        for row in range(first, last):
            to = step.target + ((i * step.out_height + row) * step.out_width) * step.out_channels
            for column in range(step.out_width):
                here = begin + i * strides[0] + row * strides[2] + column * strides[3]
                clear(memory, to, step.before)
                copy(source, here, strides[1], memory, to + step.before, step.channels, step.out_channels - step.before)
                to += step.out_channels


@inlined
def _average(memory, step, n, rank, members):
    first, last = _part(step.channels, rank, members)
    pixels = step.height * step.width
    for i in range(n):
        for c in range(first, last):
            total = 0.0
            for p in range(pixels):
                total += at(memory, step.source + (i * pixels + p) * step.channels + c)
            put(memory, step.target + i * step.channels + c, np.float32(total / pixels))


@inlined
def _sizes(s):
    return ConvSizes(
        s.channels, s.height, s.width, s.top, s.left, s.padded_height, s.padded_width, s.row_step, s.row_reach, s.rows,
        s.images, s.bands, s.band_rows, s.out_height, s.out_width, s.out_channels,
    )  # fmt: skip


@inlined
def _convolve(shape, gather_shape, step, tables, weights, memory, areas, extreme, n, turn, rank, members):
    padded, _, products, _ = areas
    source, target = memory[step.source :], memory[step.target :]
    shortcut, w, bias = memory[step.shortcut :], weights[step.weights :], weights[step.bias :]
    g, adds, relu = _sizes(step), step.adds != 0, step.relu != 0
    units = n * step.bands if step.bands > 1 else (n + step.images - 1) // step.images
    where, into = tables[step.where : step.where_end], tables[step.into : step.into_end]
    turn[0], behind = _part(units, rank, members)
    begin, end, block = 0, step.out_channels, sizes(shape)[1]
    if step.by_outputs != 0:  # threads read different weights
        begin, end = _part((step.out_channels + block - 1) // block, rank, members)
        begin, end, turn[0], behind = begin * block, min(end * block, step.out_channels), 0, units
    if step.kind == WINOGRAD:
        plan = PatchPlan(
            g, where, into, tables[step.some_rows : step.some_rows_end],
            tables[step.some_columns : step.some_columns_end], tables[step.of_patch : step.of_patch_end],
        )  # fmt: skip
        convolve_units(
            shape, source, w, bias, shortcut, target, *areas, extreme, plan, n, adds, relu, begin, end, turn, behind
        )
    else:
        gather_units(
            gather_shape, source, w, bias, shortcut, target, padded, products, g, step.direct != 0, where, into,
            tables[step.taps : step.taps_end], tables[step.phases : step.phases_end].reshape((-1, PHASE_FIELDS)),
            n, adds, relu, begin, end, turn, behind,
        )  # fmt: skip


@kernel
def run_steps(
    steps, tables, weights, memories, padded, patches, products, table, x, strides, y, outputs, together, extreme,
    turns, images, team, rank,
):  # fmt: skip
    """Run all steps for some images, ``together`` at a time, and store the logits in ``y``.

    ``extreme`` becomes True where numbers are too large for Winograd's algorithm; its length is ``together``.

    If each thread has its own row of ``memories``, it runs all steps for its own images. If there is only one row, the
    threads share the work: each does its part of a step and then waits for the others. Each has its own ``turns``.
    """
    enter(team, rank, this_call())
    areas = padded[rank], patches[rank], products[rank], table[rank]
    shared = len(memories) < len(turns)
    if shared:
        first, last, part, parts, memory = 0, images, rank, len(turns), memories[0]
    else:
        first, last = part_of(images, team, rank)
        part, parts, memory = 0, 1, memories[rank]
    turn = turns[rank]
    for image in range(first, last, together):
        n = min(together, last - image)
        for s in range(len(steps)):
            step = steps[s]
            if shared:  # the others have finished the last step
                meet(team)
            if step.kind == LOAD:
                _arrange(x, image * strides[0], strides, memory, step, n, part, parts)
            elif step.kind == PAD:
                inner = step.size, 1, step.row, step.column
                _arrange(memory, step.source, inner, memory, step, n, part, parts)
            elif step.kind == AVERAGE:
                _average(memory, step, n, part, parts)
            elif step.out_channels <= LANES:
                _convolve(NARROW, NARROW, step, tables, weights, memory, areas, extreme, n, turn, part, parts)
            else:
                _convolve(WIDE, SEVENS, step, tables, weights, memory, areas, extreme, n, turn, part, parts)
        if shared:
            meet(team)
        if part == 0:
            logits = steps[len(steps) - 1].target
            for i in range(n * outputs):
                put(y, image * outputs + i, at(memory, logits + i))
    leave(team, rank)
