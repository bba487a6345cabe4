"""Shift, mirror and normalise batches of bytes."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...core.backend import Array
from ..threads import share
from .compiler import kernel


@kernel
def _crop(batch, moved, top, left, padding, first, last):
    _, channels, height, width = batch.shape
    for n in range(first, last):
        down, right = top[n] - padding, left[n] - padding
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    inside = 0 <= row + down < height and 0 <= column + right < width
                    moved[n, c, row, column] = batch[n, c, row + down, column + right] if inside else 0


@kernel
def _flip(batch, flipped, mirrored, first, last):
    _, channels, height, width = batch.shape
    for n in range(first, last):
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    source = width - 1 - column if mirrored[n] else column
                    flipped[n, c, row, column] = batch[n, c, row, source]


@kernel
def _normalize(batch, values, normal, first, last):
    """Look up the float of each byte in ``values`` (C, 256), and store the result channels last."""
    _, channels, height, width = batch.shape
    for n in range(first, last):
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    normal[n, row, column, c] = values[c, batch[n, c, row, column]]


def pad_crop(batch: Array, moved: Array, top: Array, left: Array, padding: int) -> None:
    share(partial(_crop, batch, moved, top, left, padding), len(batch), batch.size)


def flip(batch: Array, flipped: Array, mirrored: Array) -> None:
    share(partial(_flip, batch, flipped, mirrored), len(batch), batch.size)


def normalize(batch: Array, normal: Array, mean: Array, std: Array) -> None:
    values = ((np.arange(256, dtype=np.float32) / 255)[None] - mean.reshape(-1, 1)) / std.reshape(-1, 1)  # (C, 256)
    share(partial(_normalize, batch, values, normal), len(batch), batch.size)
