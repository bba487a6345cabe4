"""Ops that need only one or two launches: augmentation, elementwise ops, the loss, pooling."""

from __future__ import annotations

import math

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from .launch import THREADS, empty, for_each, launch

# Augmentation of batches of bytes (N, C, H, W)


def pad_crop(batch: Array, moved: Array, top: Array, left: Array, padding: int) -> None:
    for_each("augment", "pad_crop", batch.size, batch, moved, top, left, padding, *batch.shape[1:])


def flip(batch: Array, flipped: Array, mirrored: Array) -> None:
    for_each("augment", "flip", batch.size, batch, flipped, mirrored, batch[0].size, batch.shape[3])


def normalize(batch: Array, normal: Array, mean: Array, std: Array) -> None:
    _, c, h, w = batch.shape
    for_each("augment", "normalize", normal.size, batch, normal, mean, std, c, h * w)


# Elementwise ops on arrays with the same memory order, and ``arrange``


def relu(x: Array, y: Array) -> None:
    for_each("elementwise", "relu_forward", x.size, x, y)


def relu_backward(y: Array, dy: Array, dx: Array) -> None:
    for_each("elementwise", "relu_backward", dx.size, y, dy, dx)


def add(a: Array, b: Array, y: Array, relu: bool) -> None:
    for_each("elementwise", "add", y.size, a, b, y, relu)


def select(a: Array, condition: Array, y: Array, number: Array) -> None:
    for_each("elementwise", "choose", y.size, a, condition, y, number)


def arrange(source: Array, block: Array, before: int, steps: tuple[int, int]) -> None:
    """See :meth:`minires.kernels.device.ComputeDevice.arrange`."""
    strides = (stride // source.itemsize for stride in source.strides)
    sizes = *source.shape[1:], *block.shape[1:]
    for_each("elementwise", "arrange", block.size, source, block, *strides, *sizes, before, *steps)


# Cross-entropy: a block of threads computes one row


def _threads(classes: int) -> int:
    """Return the number of threads in a block, which is a power of two."""
    return min(THREADS, max(32, 1 << (classes - 1).bit_length()))


def cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
    """Return the mean over the rows, as a 0-d array."""
    rows, classes = logits.shape
    losses, mean = empty(rows), empty()
    launch("loss", "cross_entropy", (rows,), _threads(classes), logits, labels, losses, smoothing, classes)
    launch("loss", "mean_loss", (1,), THREADS, losses, mean, rows)
    return mean


def cross_entropy_backward(logits: Array, labels: Array, smoothing: float, upstream: Array, dlogits: Array) -> None:
    rows, classes = logits.shape
    arguments = logits, labels, upstream, dlogits, smoothing, classes, rows
    launch("loss", "cross_entropy_backward", (rows,), _threads(classes), *arguments)


# Pooling of blocks (N, H, W, C)

WINNER = np.int32


def _sizes(x: Array, y: Array, window: Window) -> tuple[int, ...]:
    """Return (H, W, C) of the images, (OH, OW), and the window."""
    return *x.shape[1:], *y.shape[1:3], *window.kernel, *window.stride, *window.padding


def max_pool(x: Array, y: Array, winner: Array, window: Window) -> None:
    for_each("pool", "max_pool", y.size, x, y, winner, *_sizes(x, y, window))


def avg_pool(x: Array, y: Array, window: Window) -> None:
    for_each("pool", "avg_pool", y.size, x, y, *_sizes(x, y, window))


def backward(dy: Array, winner: Array | None, dx: Array, window: Window) -> None:
    """Fill ``dx`` with the gradient of max pooling, or of average pooling if ``winner`` is None."""
    share = 1 / math.prod(window.kernel) if winner is None else 1.0
    for_each("pool", "pool_backward", dx.size, dy, winner, dx, share, *_sizes(dx, dy, window))


def global_avg_pool(x: Array, y: Array) -> None:
    _, h, w, c = x.shape
    for_each("pool", "global_avg_pool", y.size, x, y, h * w, c)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    _, h, w, c = dx.shape
    for_each("pool", "global_avg_pool_backward", dx.size, dy, dx, h * w, c)
