"""Softmax and cross-entropy: the probabilities are never written down."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.backend import Array
from ...ops.loss import CrossEntropy
from .compiler import inlined, kernel
from .layout import contiguous, is_float32
from .registry import register


@inlined
def _peak(logits, n):
    peak = logits[n, 0]
    for k in range(1, logits.shape[1]):
        if not logits[n, k] <= peak:  # so a NaN is kept
            peak = logits[n, k]
    return peak


@kernel
def _cross_entropy(logits, labels, smoothing):
    """The mean over rows of log(sum(exp)) - (1 - smoothing) * logit of the label - smoothing * mean of the logits."""
    total = 0.0
    rows, classes = logits.shape
    for n in range(rows):
        peak = _peak(logits, n)
        exponentials = others = 0.0
        for k in range(classes):
            exponentials += math.exp(np.float64(logits[n, k] - peak))
            others += logits[n, k] - peak
        loss = math.log(exponentials) - (1 - smoothing) * (logits[n, labels[n]] - peak)
        if smoothing > 0:  # a logit of -inf costs nothing otherwise
            loss -= smoothing / classes * others
        total += loss
    return total / rows


@kernel
def _cross_entropy_backward(logits, labels, smoothing, upstream, dlogits):
    rows, classes = logits.shape
    for n in range(rows):
        peak = _peak(logits, n)
        exponentials = 0.0
        for k in range(classes):
            exponentials += math.exp(np.float64(logits[n, k] - peak))
        for k in range(classes):
            probability = math.exp(np.float64(logits[n, k] - peak)) / exponentials
            target = smoothing / classes + (1 - smoothing if k == labels[n] else 0.0)
            dlogits[n, k] = (probability - target) * upstream / rows


@register(CrossEntropy, "forward")
def cross_entropy(op: CrossEntropy, logits: Array) -> Array:
    if not is_float32(logits):
        return NotImplemented
    labels = contiguous(op.labels).astype(np.int64, copy=False)
    return np.asarray(_cross_entropy(contiguous(logits), labels, float(op.label_smoothing)), np.float32)


@register(CrossEntropy, "backward")
def cross_entropy_backward(op: CrossEntropy, upstream: Array) -> Any:
    logits = op.inputs[0].data
    if not is_float32(logits, upstream):
        return NotImplemented
    dlogits = np.empty(logits.shape, np.float32)
    labels = contiguous(op.labels).astype(np.int64, copy=False)
    _cross_entropy_backward(contiguous(logits), labels, float(op.label_smoothing), float(upstream), dlogits)
    return (dlogits,)
