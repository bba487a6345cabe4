"""Softmax and cross-entropy, row by row."""

from __future__ import annotations

import math

import numpy as np

from ...core.backend import Array
from .compiler import inlined, kernel


@inlined
def _softmax(logits, n):
    """Return the largest logit of row n, and the sum of exp(logit - largest) over the row."""
    peak = logits[n, 0]
    for k in range(1, logits.shape[1]):
        if not logits[n, k] <= peak:  # NaN stays NaN
            peak = logits[n, k]
    exponentials = 0.0
    for k in range(logits.shape[1]):
        exponentials += math.exp(np.float64(logits[n, k] - peak))
    return peak, exponentials


@kernel
def _cross_entropy(logits, labels, smoothing):
    """Return the mean over rows of log(sum(exp)) - (1 - smoothing) * label's logit - smoothing * mean logit."""
    total = 0.0
    rows, classes = logits.shape
    for n in range(rows):
        peak, exponentials = _softmax(logits, n)
        loss = math.log(exponentials) - (1 - smoothing) * (logits[n, labels[n]] - peak)
        if smoothing > 0:  # skipped at 0, because 0 * -inf is NaN
            for k in range(classes):
                loss -= smoothing / classes * (logits[n, k] - peak)
        total += loss
    return total / rows


@kernel
def _cross_entropy_backward(logits, labels, smoothing, upstream, dlogits):
    rows, classes = logits.shape
    for n in range(rows):
        peak, exponentials = _softmax(logits, n)
        for k in range(classes):
            probability = math.exp(np.float64(logits[n, k] - peak)) / exponentials
            target = smoothing / classes + (1 - smoothing if k == labels[n] else 0.0)
            dlogits[n, k] = (probability - target) * upstream / rows


def cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
    """Return the mean over the rows, as a 0-d array."""
    return np.asarray(_cross_entropy(logits, labels, smoothing), np.float32)


def cross_entropy_backward(logits: Array, labels: Array, smoothing: float, upstream: Array, dlogits: Array) -> None:
    _cross_entropy_backward(logits, labels, smoothing, float(upstream), dlogits)
