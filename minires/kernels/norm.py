"""Batch normalisation, together with the shortcut and the ReLU that follow it; group normalisation on the CPU."""

from __future__ import annotations

from typing import Any

from ..core.backend import Array
from ..ops.norm import BatchNorm, BatchNormAct
from .device import ComputeDevice, as_images, host

Statistics = tuple[Array, Array, Array]  # (C,) each: mean, biased variance, gamma / sqrt(variance + eps)


def _has_relu(op: Any) -> bool:
    return getattr(op, "activation", None) == "relu"


@host("forward", BatchNorm, BatchNormAct)
def batch_norm(
    device: ComputeDevice, op: Any, x: Array, gamma: Array, beta: Array, shortcut: Array | None = None
) -> Array:
    block, y = device.channels_last(x), device.block_like(x)
    gamma, beta = device.contiguous(gamma), device.contiguous(beta)
    more = None if shortcut is None else device.channels_last(shortcut)
    if op.running is None:
        op.statistics = mean, var, _ = device.norm.train(block, gamma, beta, op.eps, more, y, _has_relu(op))
        op.batch = mean.astype(x.dtype, copy=False), var.astype(x.dtype, copy=False)
    else:
        mean, var = map(device.contiguous, op.running)
        device.norm.normalise(block, mean, gamma / device.xp.sqrt(var + op.eps), beta, more, y, _has_relu(op))
    return as_images(y)


@host("backward", BatchNorm, BatchNormAct)
def batch_norm_backward(device: ComputeDevice, op: Any, upstream: Array) -> Any:
    x, _, beta, *shortcut = (tensor.data for tensor in op.inputs)
    if op.running is not None or not hasattr(op, "statistics"):
        return NotImplemented
    block, dy, dx = device.channels_last(x), device.channels_last(upstream), device.block_like(x)
    # The ReLU masks the gradient where its output is 0. With a shortcut, the mask is read from y, otherwise it is
    # computed from x.
    y = device.channels_last(op.output.data) if _has_relu(op) and shortcut else None
    shift = device.contiguous(beta) if _has_relu(op) and not shortcut else None
    masked = dy if y is None else device.block_like(x)  # dy masked by y, which is also the shortcut's gradient
    dgamma, dbeta = device.norm.gradients(block, dy, y, op.statistics, shift, op.eps, masked, dx)
    return (as_images(dx), dgamma, dbeta, *(as_images(masked) for _ in shortcut))


def group_norm(device: ComputeDevice, op: Any, x: Array, gamma: Array, beta: Array) -> Array:
    """The host code of the forward pass of group normalisation, for the CPU only."""
    if not device.takes(x, gamma, beta) or x.ndim > 4:
        return NotImplemented
    block, y = device.channels_last(x), device.block_like(x)
    vectors = device.contiguous(gamma), device.contiguous(beta)
    op.statistics = device.group_norm.normalise(block, *vectors, op.groups, op.eps, y)
    return as_images(y)


def group_norm_backward(device: ComputeDevice, op: Any, upstream: Array) -> Any:
    """The host code of the backward pass of group normalisation, for the CPU only."""
    x, gamma, _ = (tensor.data for tensor in op.inputs)
    if not hasattr(op, "statistics") or not device.takes(upstream):
        return NotImplemented
    block, dy, dx = device.channels_last(x), device.channels_last(upstream), device.block_like(x)
    dgamma, dbeta = device.group_norm.gradients(block, dy, device.contiguous(gamma), op.groups, op.statistics, dx)
    return as_images(dx), dgamma, dbeta
