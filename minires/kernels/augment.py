"""Augmentation of batches: shift, mirror and normalise, each in one pass over the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.backend import Array
from ..data.transforms import Flip, Normalize, PadCrop
from .device import ComputeDevice, as_images, host


def _takes(device: ComputeDevice, batch: Array, *numbers: Array) -> bool:
    return batch.dtype == np.uint8 and batch.size > 0


@host("forward", PadCrop, takes=_takes)
def pad_crop(device: ComputeDevice, op: PadCrop, batch: Array, top: Array, left: Array) -> Any:
    moved = device.xp.empty(batch.shape, np.uint8)
    device.augment.pad_crop(device.contiguous(batch), moved, top, left, op.padding)
    return moved


@host("forward", Flip, takes=_takes)
def flip(device: ComputeDevice, op: Flip, batch: Array, mirrored: Array) -> Any:
    flipped = device.xp.empty(batch.shape, np.uint8)
    device.augment.flip(device.contiguous(batch), flipped, mirrored)
    return flipped


@host("forward", Normalize, takes=_takes)
def normalize(device: ComputeDevice, op: Normalize, batch: Array, mean: Array, std: Array) -> Any:
    n, c, h, w = batch.shape
    normal = device.xp.empty((n, h, w, c), np.float32)
    device.augment.normalize(device.contiguous(batch), normal, mean, std)
    return as_images(normal)
