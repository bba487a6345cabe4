"""Shift, mirror and normalise batches of bytes."""

from __future__ import annotations

import numpy as np

from ...core.backend import Array
from .compiler import kernel
from .team import enter, leave, part_of, run, team_size, this_call


@kernel
def _crop(batch, moved, top, left, padding, team, rank):
    enter(team, rank, this_call())
    images, channels, height, width = batch.shape
    for n in range(*part_of(images, team, rank)):
        down, right = top[n] - padding, left[n] - padding
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    inside = 0 <= row + down < height and 0 <= column + right < width
                    moved[n, c, row, column] = batch[n, c, row + down, column + right] if inside else 0
    leave(team, rank)


@kernel
def _flip(batch, flipped, mirrored, team, rank):
    enter(team, rank, this_call())
    images, channels, height, width = batch.shape
    for n in range(*part_of(images, team, rank)):
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    source = width - 1 - column if mirrored[n] else column
                    flipped[n, c, row, column] = batch[n, c, row, source]
    leave(team, rank)


@kernel
def _normalize(batch, values, normal, team, rank):
    """Look up the float of each byte in ``values`` (C, 256), and store the result channels last."""
    enter(team, rank, this_call())
    images, channels, height, width = batch.shape
    for n in range(*part_of(images, team, rank)):
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    normal[n, row, column, c] = values[c, batch[n, c, row, column]]
    leave(team, rank)


def pad_crop(batch: Array, moved: Array, top: Array, left: Array, padding: int) -> None:
    run(team_size(batch.size), _crop, batch, moved, top, left, padding)


def flip(batch: Array, flipped: Array, mirrored: Array) -> None:
    run(team_size(batch.size), _flip, batch, flipped, mirrored)


def normalize(batch: Array, normal: Array, mean: Array, std: Array) -> None:
    values = ((np.arange(256, dtype=np.float32) / 255)[None] - mean.reshape(-1, 1)) / std.reshape(-1, 1)  # (C, 256)
    run(team_size(batch.size), _normalize, batch, values, normal)
