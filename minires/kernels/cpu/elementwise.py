"""Elementwise ops in one pass over memory. All arrays of a call have the same memory order."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...core.backend import Array
from .compiler import kernel
from .simd import at, put
from .team import enter, leave, run, team_size, this_call, turns
from .units import ZERO, clear, copy

PART = 16384  # elements that a thread takes at a time


@kernel
def _relu(x, y, parts, team, rank):
    enter(team, rank, this_call())
    for part in turns(team, parts):
        for i in range(part * PART, min(part * PART + PART, len(x))):
            put(y, i, at(x, i) if not at(x, i) <= 0 else ZERO)  # NaN stays NaN
    leave(team, rank)


@kernel
def _relu_backward(y, dy, dx, parts, team, rank):
    enter(team, rank, this_call())
    for part in turns(team, parts):
        for i in range(part * PART, min(part * PART + PART, len(dx))):
            put(dx, i, at(dy, i) if not at(y, i) <= 0 else ZERO)  # dy at NaN
    leave(team, rank)


@kernel
def _add(a, b, y, relu, parts, team, rank):
    enter(team, rank, this_call())
    floor = np.float32(0 if relu else -np.inf)
    for part in turns(team, parts):
        for i in range(part * PART, min(part * PART + PART, len(y))):
            total = at(a, i) + at(b, i)
            put(y, i, total if not total <= floor else floor)
    leave(team, rank)


@kernel
def _select(a, condition, y, number, parts, team, rank):
    enter(team, rank, this_call())
    b = at(number, 0)
    for part in turns(team, parts):
        for i in range(part * PART, min(part * PART + PART, len(y))):
            value = at(a, i)  # read in any case, so that the loop has no jumps
            put(y, i, value if at(condition, i) != 0 else b)
    leave(team, rank)


def _in_parts(kernel: Any, *arguments: Any) -> None:
    size = arguments[0].size
    run(team_size(size / 2), kernel, *arguments, -(-size // PART))


relu, relu_backward, add = (partial(_in_parts, kernel) for kernel in (_relu, _relu_backward, _add))


def select(a: Array, condition: Array, y: Array, number: Array) -> None:
    _in_parts(_select, a, condition.view("uint8"), y, number)


@kernel
def _arrange(source, strides, sizes, block, block_sizes, before, row_step, column_step, images, team, rank):
    enter(team, rank, this_call())
    height, width, channels = sizes
    rows, columns, block_channels = block_sizes
    for n in turns(team, images):
        to = n * rows * columns * block_channels
        for i in range(rows):
            for j in range(columns):
                if i % row_step == 0 and j % column_step == 0 and i // row_step < height and j // column_step < width:
                    here = n * strides[0] + i // row_step * strides[1] + j // column_step * strides[2]
                    clear(block, to, before)
                    copy(source, here, strides[3], block, to + before, channels, block_channels - before)
                else:
                    clear(block, to, block_channels)
                to += block_channels
    leave(team, rank)


def arrange(source: Array, block: Array, before: int, steps: tuple[int, int]) -> None:
    """See :meth:`minires.kernels.device.ComputeDevice.arrange`."""
    if not source.flags.writeable:  # for a read-only array, Numba would compile another kernel
        source = source.copy()
    n, h, w, c = source.strides  # in bytes
    strides = n // 4, h // 4, w // 4, c // 4
    first = source[:1, 0, 0, 0]  # a single element is contiguous, so one compiled kernel serves all strides
    numbers = first, strides, source.shape[1:], block.reshape(-1), block.shape[1:], before, *steps
    run(team_size(block.size), _arrange, *numbers, len(block))
