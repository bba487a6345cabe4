"""Shifting, mirroring and normalising batches that are on the GPU already."""

from __future__ import annotations

from ...core.backend import Array
from .launch import for_each


def pad_crop(batch: Array, moved: Array, top: Array, left: Array, padding: int) -> None:
    for_each("augment", "pad_crop", batch.size, batch, moved, top, left, padding, *batch.shape[1:])


def flip(batch: Array, flipped: Array, mirrored: Array) -> None:
    for_each("augment", "flip", batch.size, batch, flipped, mirrored, batch[0].size, batch.shape[3])


def normalize(batch: Array, normal: Array, mean: Array, std: Array) -> None:
    _, c, h, w = batch.shape
    for_each("augment", "normalize", normal.size, batch, normal, mean, std, c, h * w)
