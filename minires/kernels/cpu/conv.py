"""Convolutions, their gradients, and fully connected layers, which are convolutions of images with one column."""

from __future__ import annotations

from typing import Any

from ...core.backend import Array
from ...nn.folding import Conv2dAct
from ...ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d, Window
from ...ops.linalg import Linear
from ..images import as_images
from ..threads import get_num_threads
from . import winograd, winograd_weight
from .correlate import correlate
from .gather import gather, pack
from .layout import channels_last, contiguous, is_float32
from .norm import channel_sums
from .plan import backward_plan, forward_plan
from .registry import register

ONE = Window((1, 1), (1, 1), (0, 0))  # a fully connected layer sees one pixel


def split(images: int) -> int:
    """Into how many parts each image falls, so that there is work for every thread."""
    return -(-get_num_threads() // images)


def forward(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """(N, H, W, C) -> (N, OH, OW, O), by weights (O, C, KH, KW)."""
    if winograd.fits(x, len(weight), window):
        return winograd.convolve(x, winograd.transform(weight, flipped=False), len(weight), bias, window.padding)
    plan = forward_plan(x.shape[1:3], x.shape[3], len(weight), window, split(len(x)))
    return gather(x, pack(weight, plan, channels_first=False), plan, bias)


def backward(
    dy: Array, weight: Array, bias: Array | None, window: Window, image: Any, added: Array | None = None
) -> Array:
    """The transpose: (N, OH, OW, O) -> (N, H, W, C), where ``image`` is (H, W), by the same weights."""
    if winograd.fits(dy, weight.shape[1], window) and max(window.padding) <= 2:
        padding = 2 - window.padding[0], 2 - window.padding[1]
        return winograd.convolve(dy, winograd.transform(weight, flipped=True), weight.shape[1], bias, padding, added)
    plan = backward_plan(dy.shape[1:3], dy.shape[3], tuple(image), weight.shape[1], window, split(len(dy)))
    return gather(dy, pack(weight, plan, channels_first=True), plan, bias, added)


def grad_weight(x: Array, dy: Array, window: Window) -> Array:
    """(O, C, KH, KW), from images (N, H, W, C) and the upstream (N, OH, OW, O)."""
    if winograd.fits(x, dy.shape[3], window):
        return winograd_weight.correlate(x, dy, window.padding)
    return correlate(x, dy, window)


def _fits(op: Any, *arrays: Array | None) -> bool:
    return op.groups == 1 and is_float32(*arrays)


@register(Conv2d, "forward")
def conv2d(op: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    if not _fits(op, x, weight, bias):
        return NotImplemented
    op.block = channels_last(x)  # for the gradient to the weight: images may have come in another layout
    return as_images(forward(op.block, contiguous(weight), bias, op.window))


@register(Conv2d, "backward")
def conv2d_backward(op: Any, upstream: Array) -> Any:
    x, weight, *bias = (tensor.data for tensor in op.inputs)
    if not _fits(op, x, weight, upstream):
        return NotImplemented
    dy, dx = channels_last(upstream), None
    if op.needs(0):
        # Where a shortcut branched off, its gradient is here already: it is added as the tile is stored.
        arrived = op.arrived.pop(op.edges[0], None) if op.arrived else None
        added = None if arrived is None else channels_last(arrived.data)
        dx = as_images(backward(dy, contiguous(weight), None, op.window, x.shape[2:], added))
    block = op.block if hasattr(op, "block") else channels_last(x)
    dweight = grad_weight(block, dy, op.window) if op.needs(1) else None
    return (dx, dweight, *(channel_sums(dy) for _ in bias))


@register(ConvTranspose2d, "forward")
def conv_transpose2d(op: ConvTranspose2d, x: Array, weight: Array, bias: Array | None = None) -> Array:
    if not _fits(op, x, weight, bias):
        return NotImplemented
    return as_images(backward(channels_last(x), contiguous(weight), bias, op.window, op.image))


@register(Conv2dGradWeight, "forward")
def conv2d_grad_weight(op: Conv2dGradWeight, x: Array, upstream: Array) -> Array:
    if not _fits(op, x, upstream):
        return NotImplemented
    return grad_weight(channels_last(x), channels_last(upstream), op.window)


@register(Conv2dAct, "forward")
def conv2d_act(op: Conv2dAct, x: Array, weight: Array, bias: Array, shortcut: Array | None = None) -> Array:
    if not _fits(op, x, weight, bias, shortcut):
        return NotImplemented
    block, relu = channels_last(x), op.activation == "relu"
    more = None if shortcut is None else channels_last(shortcut)
    if winograd.fits(block, len(weight), op.window):
        if "winograd" not in op.prepared:
            op.prepared["winograd"] = winograd.transform(contiguous(weight), flipped=False)
        return as_images(
            winograd.convolve(block, op.prepared["winograd"], len(weight), bias, op.window.padding, more, relu)
        )
    plan = forward_plan(block.shape[1:3], block.shape[3], len(weight), op.window, split(len(block)))
    if "gather" not in op.prepared:
        op.prepared["gather"] = pack(contiguous(weight), plan, channels_first=False)
    return as_images(gather(block, op.prepared["gather"], plan, bias, more, relu))


def _as_column(rows: Array) -> Array:
    """(..., C) -> one image (1, M, 1, C)."""
    return contiguous(rows).reshape(1, -1, 1, rows.shape[-1])


@register(Linear, "forward")
def linear(op: Linear, x: Array, weight: Array, bias: Array | None = None) -> Array:
    if not is_float32(x, weight, bias):
        return NotImplemented
    y = forward(_as_column(x), contiguous(weight)[:, :, None, None], bias, ONE)
    return y.reshape(*x.shape[:-1], len(weight))


@register(Linear, "backward")
def linear_backward(op: Linear, upstream: Array) -> Any:
    x, weight, *bias = (tensor.data for tensor in op.inputs)
    if not is_float32(x, weight, upstream):
        return NotImplemented
    dy = _as_column(upstream)
    dx = backward(dy, contiguous(weight)[:, :, None, None], None, ONE, dy.shape[1:3]) if op.needs(0) else None
    dweight = correlate(_as_column(x), dy, ONE) if op.needs(1) else None
    return (
        None if dx is None else dx.reshape(x.shape),
        None if dweight is None else dweight.reshape(weight.shape),
        *(channel_sums(dy) for _ in bias),
    )
