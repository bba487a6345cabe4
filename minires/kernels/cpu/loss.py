"""Softmax and cross-entropy, row by row."""

from __future__ import annotations

import math

import numpy as np

from ...core.backend import Array
from .compiler import inlined, kernel
from .team import enter, leave, part_of, run, team_size, this_call

NANOSECONDS = 7  # for the exponential of a number, on one core


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
def _cross_entropy(logits, labels, smoothing, losses, team, rank):
    """Compute log(sum(exp)) - (1 - smoothing) * label's logit - smoothing * mean logit of each row."""
    enter(team, rank, this_call())
    rows, classes = logits.shape
    for n in range(*part_of(rows, team, rank)):
        peak, exponentials = _softmax(logits, n)
        loss = math.log(exponentials) - (1 - smoothing) * (logits[n, labels[n]] - peak)
        if smoothing > 0:  # skipped at 0, because 0 * -inf is NaN
            for k in range(classes):
                loss -= smoothing / classes * (logits[n, k] - peak)
        losses[n] = loss
    leave(team, rank)


@kernel
def _cross_entropy_backward(logits, labels, smoothing, upstream, dlogits, team, rank):
    enter(team, rank, this_call())
    rows, classes = logits.shape
    for n in range(*part_of(rows, team, rank)):
        peak, exponentials = _softmax(logits, n)
        for k in range(classes):
            probability = math.exp(np.float64(logits[n, k] - peak)) / exponentials
            target = smoothing / classes + (1 - smoothing if k == labels[n] else 0.0)
            dlogits[n, k] = (probability - target) * upstream / rows
    leave(team, rank)


def cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
    """Return the mean over the rows, as a 0-d array."""
    losses = np.empty(len(logits))
    run(team_size(logits.size * NANOSECONDS), _cross_entropy, logits, labels, smoothing, losses)
    return np.asarray(losses.mean(), np.float32)


def cross_entropy_backward(logits: Array, labels: Array, smoothing: float, upstream: Array, dlogits: Array) -> None:
    members = team_size(logits.size * 2 * NANOSECONDS)
    run(members, _cross_entropy_backward, logits, labels, smoothing, float(upstream), dlogits)
