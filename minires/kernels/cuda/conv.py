"""Convolutions, their gradients, and fully connected layers: im2col, a matrix product, col2im."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...core.backend import Array
from ...nn.folding import Conv2dAct
from ...ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d, Window
from ...ops.linalg import Linear
from ..images import as_images
from .launch import MOST, for_each
from .layout import channels_last, contiguous, empty, is_float32, register
from .product import product

WORKSPACE = 1 << 26  # numbers that im2col may make at once, 256 MB: images are taken some at a time


def _pixelwise(window: Window) -> bool:
    """Whether each output pixel sees one input pixel, its own: the rows of im2col are the images then."""
    return window == Window((1, 1), (1, 1), (0, 0), window.dilation)


def _parts(images: int, pixels: int, row: int) -> Iterator[slice]:
    """Slices of the batch, each with no more windows than the workspace holds: ``pixels`` an image, a ``row`` each."""
    at_once = max(1, WORKSPACE // (pixels * row))
    return (slice(start, start + at_once) for start in range(0, images, at_once))


def _geometry(window: Window, x: Array, size: tuple[int, ...]) -> tuple[int, ...]:
    """What kernels are told: (H, W, C) of the image, (OH, OW), and the window."""
    return (*x.shape[1:], *size, *window.kernel, *window.stride, *window.padding, *window.dilation)


def _rows(x: Array, window: Window, size: tuple[int, ...]) -> Array:
    """im2col: (N, H, W, C) -> (N*OH*OW, KH*KW*C)."""
    if _pixelwise(window):
        return x.reshape(-1, x.shape[3])
    kh, kw = window.kernel
    rows = empty(len(x) * size[0] * size[1], kh * kw * x.shape[3])
    for_each("conv", "im2col", rows.size, x, rows, *_geometry(window, x, size))
    return rows


def forward(
    x: Array, weight: Array, bias: Array | None, window: Window, shortcut: Array | None = None, relu: bool = False
) -> Array:
    """(N, H, W, C) -> (N, OH, OW, O), by weights (O, C, KH, KW); then bias, shortcut and ReLU if they are wanted."""
    size, o = window.output_size("conv2d", *x.shape[1:3]), len(weight)
    filters = contiguous(weight.transpose(2, 3, 1, 0)).reshape(-1, o)  # (KH*KW*C, O)
    y = empty(len(x), *size, o)
    for part in _parts(len(x), size[0] * size[1], len(filters)):
        product(_rows(x[part], window, size), filters, out=y[part].reshape(-1, o))
    if bias is not None or shortcut is not None or relu:
        for_each("elementwise", "add_bias", y.size, y, bias, shortcut, relu, o)
    return y


def backward(
    dy: Array, weight: Array, bias: Array | None, window: Window, image: Any, added: Array | None = None
) -> Array:
    """The transpose: (N, OH, OW, O) -> (N, H, W, C), where ``image`` is (H, W), by the same weights."""
    o, c = weight.shape[:2]
    filters = contiguous(weight.transpose(0, 2, 3, 1)).reshape(o, -1)  # (O, KH*KW*C)
    x = empty(len(dy), *image, c)
    for part in _parts(len(dy), dy.shape[1] * dy.shape[2], filters.shape[1]):
        rows = product(dy[part].reshape(-1, o), filters)  # (N*OH*OW, KH*KW*C)
        more = None if added is None else added[part]
        for_each("conv", "col2im", x[part].size, rows, more, x[part], *_geometry(window, x, dy.shape[1:3]))
    if bias is not None:
        for_each("elementwise", "add_bias", x.size, x, bias, None, False, c)
    return x


def grad_weight(x: Array, dy: Array, window: Window) -> Array:
    """(O, C, KH, KW), from images (N, H, W, C) and the upstream (N, OH, OW, O)."""
    c, o, size, dweight = x.shape[3], dy.shape[3], dy.shape[1:3], None
    kh, kw = window.kernel
    for part in _parts(len(x), size[0] * size[1], kh * kw * c):
        more = product(dy[part].reshape(-1, o).T, _rows(x[part], window, size))  # (O, KH*KW*C)
        dweight = more if dweight is None else dweight + more
    return contiguous(dweight.reshape(o, kh, kw, c).transpose(0, 3, 1, 2))  # type: ignore[union-attr]


def _fits(op: Any, channels: int, size: tuple[int, ...], *arrays: Array | None) -> bool:
    """Whether the kernels are made for it: no groups, float32, and not too many windows (OH, OW) of one image."""
    return op.groups == 1 and is_float32(*arrays) and channels * math.prod((*size, *op.window.kernel)) < MOST


@register(Conv2d, "forward")
def conv2d(op: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    if not _fits(op, x.shape[1], op.window.output_size("conv2d", *x.shape[2:]), x, weight, bias):
        return NotImplemented
    op.block = channels_last(x)  # for the gradient to the weight: images may have come in another layout
    return as_images(forward(op.block, weight, bias, op.window))


@register(Conv2d, "backward")
def conv2d_backward(op: Any, upstream: Array) -> Any:
    x, weight, *bias = (tensor.data for tensor in op.inputs)
    if not _fits(op, x.shape[1], upstream.shape[2:], x, weight, upstream):
        return NotImplemented
    dy, dx = channels_last(upstream), None
    if op.needs(0):
        # Where a shortcut branched off, its gradient is here already: col2im adds it.
        arrived = op.arrived.pop(op.edges[0], None) if op.arrived else None
        added = None if arrived is None else channels_last(arrived.data)
        dx = as_images(backward(dy, weight, None, op.window, x.shape[2:], added))
    block = op.block if hasattr(op, "block") else channels_last(x)
    dweight = grad_weight(block, dy, op.window) if op.needs(1) else None
    return (dx, dweight, *(dy.sum(axis=(0, 1, 2)) for _ in bias))


@register(ConvTranspose2d, "forward")
def conv_transpose2d(op: ConvTranspose2d, x: Array, weight: Array, bias: Array | None = None) -> Array:
    if not _fits(op, weight.shape[1], x.shape[2:], x, weight, bias):
        return NotImplemented
    return as_images(backward(channels_last(x), weight, bias, op.window, op.image))


@register(Conv2dGradWeight, "forward")
def conv2d_grad_weight(op: Conv2dGradWeight, x: Array, upstream: Array) -> Array:
    if not _fits(op, x.shape[1], upstream.shape[2:], x, upstream):
        return NotImplemented
    return grad_weight(channels_last(x), channels_last(upstream), op.window)


@register(Conv2dAct, "forward")
def conv2d_act(op: Conv2dAct, x: Array, weight: Array, bias: Array, shortcut: Array | None = None) -> Array:
    size = op.window.output_size("conv2d", *x.shape[2:])
    if not _fits(op, x.shape[1], size, x, weight, bias, shortcut):
        return NotImplemented
    more = None if shortcut is None else channels_last(shortcut)
    return as_images(forward(channels_last(x), weight, bias, op.window, more, op.activation == "relu"))


@register(Linear, "forward")
def linear(op: Linear, x: Array, weight: Array, bias: Array | None = None) -> Array:
    if not is_float32(x, weight, bias):
        return NotImplemented
    y = product(contiguous(x).reshape(-1, x.shape[-1]), weight.T)  # (M, O)
    if bias is not None:
        for_each("elementwise", "add_bias", y.size, y, bias, None, False, len(weight))
    return y.reshape(*x.shape[:-1], len(weight))


@register(Linear, "backward")
def linear_backward(op: Linear, upstream: Array) -> Any:
    x, weight, *bias = (tensor.data for tensor in op.inputs)
    if not is_float32(x, weight, upstream):
        return NotImplemented
    dy = contiguous(upstream).reshape(-1, len(weight))  # (M, O)
    dx = product(dy, weight).reshape(x.shape) if op.needs(0) else None
    dweight = product(dy.T, contiguous(x).reshape(-1, weight.shape[1])) if op.needs(1) else None
    return (dx, dweight, *(dy.sum(axis=0) for _ in bias))
