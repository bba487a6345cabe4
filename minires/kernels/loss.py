"""Softmax and cross-entropy. The probabilities are never written to memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.backend import Array
from ..ops.loss import CrossEntropy
from .device import ComputeDevice, host


def _problem(device: ComputeDevice, op: CrossEntropy, logits: Array) -> tuple[Array, Array, float]:
    """Return the logits, labels and label smoothing in the form that the kernels expect."""
    labels = device.contiguous(op.labels).astype(np.int64, copy=False)
    return device.contiguous(logits), labels, float(op.label_smoothing)


@host("forward", CrossEntropy, smallest=1)
def cross_entropy(device: ComputeDevice, op: CrossEntropy, logits: Array) -> Array:
    return device.loss.cross_entropy(*_problem(device, op, logits))


@host("backward", CrossEntropy, smallest=1)
def cross_entropy_backward(device: ComputeDevice, op: CrossEntropy, upstream: Array) -> Any:
    logits = op.inputs[0].data
    dlogits = device.empty(logits.shape)
    device.loss.cross_entropy_backward(*_problem(device, op, logits), device.contiguous(upstream), dlogits)
    return (dlogits,)
