"""Softmax and cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...ops.loss import CrossEntropy
from .launch import THREADS, launch
from .layout import contiguous, empty, is_float32, register


def _threads(classes: int) -> int:
    """Of a block, which has a row: a power of two."""
    return min(THREADS, max(32, 1 << (classes - 1).bit_length()))


def _labels(op: CrossEntropy) -> Array:
    return contiguous(op.labels).astype(np.int64, copy=False)


@register(CrossEntropy, "forward")
def cross_entropy(op: CrossEntropy, logits: Array) -> Array:
    if not is_float32(logits):
        return NotImplemented
    rows, classes = logits.shape
    losses, mean, smoothing = empty(rows), empty(), float(op.label_smoothing)
    arguments = contiguous(logits), _labels(op), losses, smoothing, classes
    launch("loss", "cross_entropy", (rows,), _threads(classes), *arguments)
    launch("loss", "mean_loss", (1,), THREADS, losses, mean, rows)
    return mean


@register(CrossEntropy, "backward")
def cross_entropy_backward(op: CrossEntropy, upstream: Array) -> Any:
    logits = op.inputs[0].data
    if not is_float32(logits, upstream):
        return NotImplemented
    rows, classes = logits.shape
    dlogits = empty(rows, classes)
    arguments = contiguous(logits), _labels(op), contiguous(upstream), dlogits, float(op.label_smoothing), classes, rows
    launch("loss", "cross_entropy_backward", (rows,), _threads(classes), *arguments)
    return (dlogits,)
