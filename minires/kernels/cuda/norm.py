"""Batch normalisation, with what follows it (shortcut, ReLU): norm.cu says how."""

from __future__ import annotations

from typing import Any

import cupy

from ...core.backend import Array
from ...ops.norm import BatchNorm, BatchNormAct
from ..images import as_images
from .launch import THREADS, for_each, launch
from .layout import channels_last, contiguous, empty, empty_like, is_float32, register

SLICES = 256  # of the pixels, at most: blocks for every multiprocessor, and little to merge
PIXELS = 8  # that a thread should read at least
NO_MASK, MASK_OF_X, MASK_OF_Y = range(3)


def _grid(pixels: int, channels: int) -> tuple[int, int, int]:
    """(slices, groups of channels, lanes): a block has that many channels side by side."""
    lanes = min(32, 1 << (channels - 1).bit_length())
    rows = THREADS // lanes
    return max(1, min(SLICES, pixels // (rows * PIXELS))), -(-channels // lanes), lanes


@register(BatchNorm, "forward")
@register(BatchNormAct, "forward")
def batch_norm(op: Any, x: Array, gamma: Array, beta: Array, shortcut: Array | None = None) -> Array:
    if not is_float32(x, gamma, beta, shortcut):
        return NotImplemented
    block, channels = channels_last(x), x.shape[1]
    pixels = x.size // channels
    if op.running is None:
        slices, groups, lanes = _grid(pixels, channels)
        partial, mean, var, scale = empty(slices, 3, channels), empty(channels), empty(channels), empty(channels)
        launch("norm", "moments", (slices, groups), THREADS, block, partial, pixels, channels, lanes)
        results = partial, contiguous(gamma), mean, var, scale
        launch("norm", "finish_moments", (1, groups), THREADS, *results, op.eps, slices, channels, lanes)
        op.batch, op.scale = (mean, var), scale
    else:
        mean, var = map(contiguous, op.running)
        scale = gamma / cupy.sqrt(var + op.eps)
    y = empty_like(x)
    more = None if shortcut is None else channels_last(shortcut)
    relu = getattr(op, "activation", None) == "relu"
    for_each("norm", "normalise", y.size, block, mean, scale, contiguous(beta), more, y, relu, channels)
    return as_images(y)


@register(BatchNorm, "backward")
@register(BatchNormAct, "backward")
def batch_norm_backward(op: Any, upstream: Array) -> Any:
    x, gamma, beta, *shortcut = (tensor.data for tensor in op.inputs)
    if op.running is not None or not hasattr(op, "scale") or not is_float32(x, gamma, upstream):
        return NotImplemented
    block, dy, dx, channels = channels_last(x), channels_last(upstream), empty_like(x), x.shape[1]
    pixels = x.size // channels
    mean, var = op.batch
    normal = mean, op.scale, contiguous(beta)
    relu = getattr(op, "activation", None) == "relu"
    mask = (MASK_OF_Y if shortcut else MASK_OF_X) if relu else NO_MASK
    y = channels_last(op.output.data) if mask == MASK_OF_Y else None
    masked = empty_like(x) if mask == MASK_OF_Y else dy
    slices, groups, lanes = _grid(pixels, channels)
    partial = empty(slices, 2, channels)
    arguments = block, dy, y, *normal, masked, partial, mask, pixels, channels, lanes
    launch("norm", "gradient_sums", (slices, groups), THREADS, *arguments)
    dgamma, dbeta, slope, offset = (empty(channels) for _ in range(4))
    sums = partial, var, op.scale, dgamma, dbeta, slope, offset
    launch("norm", "finish_sums", (1, groups), THREADS, *sums, op.eps, slices, pixels, channels, lanes)
    remaining = MASK_OF_X if mask == MASK_OF_X else NO_MASK  # MASK_OF_Y is applied already
    for_each("norm", "gradient", dx.size, block, masked, *normal, slope, offset, dx, remaining, channels)
    return (as_images(dx), dgamma, dbeta, *(as_images(masked) for _ in shortcut))
