"""Batches on their way into the network: shifted, mirrored and normalised, each in one walk over the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...data.transforms import Flip, Normalize, PadCrop
from ..images import as_images
from ..threads import share
from .compiler import kernel
from .layout import contiguous
from .registry import register


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
    """A byte has 256 values: each channel's floats are looked up, and go channels last."""
    _, channels, height, width = batch.shape
    for n in range(first, last):
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    normal[n, row, column, c] = values[c, batch[n, c, row, column]]


@register(PadCrop, "forward")
def pad_crop(op: PadCrop, batch: Array, top: Array, left: Array) -> Any:
    if batch.dtype != np.uint8:
        return NotImplemented
    batch, moved = contiguous(batch), np.empty(batch.shape, np.uint8)
    share(lambda a, b: _crop(batch, moved, top, left, op.padding, a, b), len(batch), batch.size)
    return moved


@register(Flip, "forward")
def flip(op: Flip, batch: Array, mirrored: Array) -> Any:
    if batch.dtype != np.uint8:
        return NotImplemented
    batch, flipped = contiguous(batch), np.empty(batch.shape, np.uint8)
    share(lambda a, b: _flip(batch, flipped, mirrored, a, b), len(batch), batch.size)
    return flipped


@register(Normalize, "forward")
def normalize(op: Normalize, batch: Array, mean: Array, std: Array) -> Any:
    if batch.dtype != np.uint8:
        return NotImplemented
    n, c, h, w = batch.shape
    batch, normal = contiguous(batch), np.empty((n, h, w, c), np.float32)
    values = ((np.arange(256, dtype=np.float32) / 255)[None] - mean.reshape(-1, 1)) / std.reshape(-1, 1)  # (C, 256)
    share(lambda a, b: _normalize(batch, values, normal, a, b), n, batch.size)
    return as_images(normal)
