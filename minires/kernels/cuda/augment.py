"""Batches that are on the GPU already: shifted, mirrored and normalised there."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from ...core.backend import Array
from ...data.transforms import Flip, Normalize, PadCrop
from ..images import as_images
from .launch import for_each
from .layout import contiguous, empty, register


def _fits(batch: Array) -> bool:
    return batch.dtype == np.uint8 and batch.size > 0


@register(PadCrop, "forward")
def pad_crop(op: PadCrop, batch: Array, top: Array, left: Array) -> Any:
    if not _fits(batch):
        return NotImplemented
    batch, moved = contiguous(batch), cupy.empty(batch.shape, np.uint8)
    for_each("augment", "pad_crop", batch.size, batch, moved, top, left, op.padding, *batch.shape[1:])
    return moved


@register(Flip, "forward")
def flip(op: Flip, batch: Array, mirrored: Array) -> Any:
    if not _fits(batch):
        return NotImplemented
    batch, flipped = contiguous(batch), cupy.empty(batch.shape, np.uint8)
    pixels, width = batch[0].size, batch.shape[3]
    for_each("augment", "flip", batch.size, batch, flipped, mirrored, pixels, width)
    return flipped


@register(Normalize, "forward")
def normalize(op: Normalize, batch: Array, mean: Array, std: Array) -> Any:
    if not _fits(batch):
        return NotImplemented
    n, c, h, w = batch.shape
    normal = empty(n, h, w, c)
    for_each("augment", "normalize", normal.size, contiguous(batch), normal, mean, std, c, h * w)
    return as_images(normal)
