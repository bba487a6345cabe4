"""Resizing of images, on the CPU only."""

from __future__ import annotations

import numpy as np

from ..core.backend import Array
from ..ops.resize import Resize, Taps
from .device import ComputeDevice, as_images


def resize(device: ComputeDevice, op: Resize, x: Array) -> Array:
    """The host code of the forward pass."""
    if x.ndim != 4 or not device.takes(x):
        return NotImplemented
    y = device.empty((len(x), *(len(places) for places, _ in op.taps), x.shape[1]))  # (N, OH, OW, C)
    device.resize.resize(device.channels_last(x), y, *map(_pairs, op.taps))
    return as_images(y)


def resize_backward(device: ComputeDevice, op: Resize, upstream: Array) -> tuple[Array, ...]:
    """The host code of the backward pass."""
    if upstream.ndim != 4 or not device.takes(upstream):
        return NotImplemented
    n, c, h, w = op.input_shapes[0]
    dx = device.empty((n, h, w, c))
    device.resize.backward(device.channels_last(upstream), dx, *map(_pairs, op.taps))
    return (as_images(dx),)


def _pairs(taps: Taps) -> tuple[Array, Array, Array]:
    """Return two places and the weight of the second, each (OH,); that of the first is 1 minus it.

    If only one of the places counts, it is the first.
    """
    places, weights = taps[0], taps[1].reshape(taps[0].shape)
    first, last = places[:, 0], places[:, -1]
    weight = weights[:, 1] if places.shape[1] == 2 else np.zeros(len(places), np.float32)
    only_last = weight == 1
    return np.where(only_last, last, first), last.copy(), np.where(only_last, np.float32(0), weight)
