"""Softmax and cross-entropy on the GPU: a block of threads computes one row."""

from __future__ import annotations

import cupy
import numpy as np

from ...core.backend import Array
from .launch import THREADS, launch


def _threads(classes: int) -> int:
    """Of a block: a power of two."""
    return min(THREADS, max(32, 1 << (classes - 1).bit_length()))


def cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
    """The mean over the rows, an array without axes."""
    rows, classes = logits.shape
    losses, mean = cupy.empty(rows, np.float32), cupy.empty((), np.float32)
    launch("loss", "cross_entropy", (rows,), _threads(classes), logits, labels, losses, smoothing, classes)
    launch("loss", "mean_loss", (1,), THREADS, losses, mean, rows)
    return mean


def cross_entropy_backward(logits: Array, labels: Array, smoothing: float, upstream: Array, dlogits: Array) -> None:
    rows, classes = logits.shape
    arguments = logits, labels, upstream, dlogits, smoothing, classes, rows
    launch("loss", "cross_entropy_backward", (rows,), _threads(classes), *arguments)
