"""Convolutions and their gradients on the GPU: im2col, a matrix product, col2im."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cupy

from ...core.backend import Array
from ...core.state import state
from ...ops.conv import Window
from .launch import empty, for_each, launch

WORKSPACE = 1 << 26  # elements that im2col may write at a time (256 MB); larger batches are cut into parts
TILE = 64  # rows and columns of a tile in our own matrix product
WANTED = 512  # blocks of threads for our own product, enough to keep every multiprocessor busy


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """Compute a (M, K) @ b (K, N), in C order; either may be a transposed view.

    cuBLAS does this or, inside a CUDA graph, where CuPy refuses to call cuBLAS, our own kernel.
    """
    out = empty(a.shape[0], b.shape[1]) if out is None else out
    if state.capture is None:
        a.dot(b, out=out)
    else:
        own_product(a, b, out)
    return out


def own_product(a: Array, b: Array, out: Array) -> None:
    """Compute the product with our own kernel. A long inner axis, as in dweight, is cut to get more blocks."""
    (m, k), n = a.shape, b.shape[1]
    tiles = -(-m // TILE), -(-n // TILE)
    parts = max(1, min(WANTED // (tiles[0] * tiles[1]), k // TILE, 65535))
    depth = -(-k // parts)
    parts = -(-k // depth)
    c = out if parts == 1 else empty(parts, m, n)
    strides = (stride // a.itemsize for stride in (*a.strides, *b.strides))
    launch("product", "product", (*tiles, parts), 256, a, b, c, m, n, k, depth, *strides)
    if parts > 1:
        for_each("product", "add_parts", out.size, c, out, parts)


def _pixelwise(window: Window, image: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Whether each output pixel sees only its own input pixel, so that the images themselves are the rows of im2col."""
    return window == Window((1, 1), (1, 1), (0, 0), window.dilation) and image == size


def _parts(images: int, pixels: int, row: int) -> Iterator[slice]:
    """Cut the batch into slices whose windows fit into the workspace.

    Each image has ``pixels`` windows of ``row`` numbers.
    """
    at_once = max(1, WORKSPACE // (pixels * row))
    return (slice(start, start + at_once) for start in range(0, images, at_once))


def _sizes(window: Window, x: Array, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the arguments of im2col and col2im: (H, W, C) of the image, (OH, OW), and the window."""
    return (*x.shape[1:], *size, *window.kernel, *window.stride, *window.padding, *window.dilation)


def _rows(x: Array, window: Window, size: tuple[int, ...]) -> Array:
    """Compute im2col: (N, H, W, C) -> (N*OH*OW, KH*KW*C)."""
    if _pixelwise(window, x.shape[1:3], size):
        return x.reshape(-1, x.shape[3])
    kh, kw = window.kernel
    rows = empty(len(x) * size[0] * size[1], kh * kw * x.shape[3])
    for_each("conv", "im2col", rows.size, x, rows, *_sizes(window, x, size))
    return rows


def forward(
    x: Array, weight: Array, bias: Array | None, window: Window, shortcut: Array | None = None, relu: bool = False,
    prepared: dict[Any, Any] | None = None,
) -> Array:  # fmt: skip
    """Convolve (N, H, W, C) -> (N, OH, OW, O) with weights (O, C, KH, KW), then apply bias, shortcut and ReLU, if any.

    ``prepared`` is not used.
    """
    size, o = window.output_size("conv2d", *x.shape[1:3]), len(weight)
    filters = weight.reshape(o, -1).T  # (C, O)
    if not _pixelwise(window, x.shape[1:3], size):
        filters = cupy.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, o)  # (KH*KW*C, O)
    y = empty(len(x), *size, o)
    for part in _parts(len(x), size[0] * size[1], len(filters)):
        product(_rows(x[part], window, size), filters, out=y[part].reshape(-1, o))
    if bias is not None or shortcut is not None or relu:
        for_each("elementwise", "add_bias", y.size, y, bias, shortcut, relu, o)
    return y


def backward(
    dy: Array, weight: Array, bias: Array | None, window: Window, image: Any, added: Array | None = None
) -> Array:
    """Compute the transposed convolution (N, OH, OW, O) -> (N, H, W, C) with the same weights; ``image`` is (H, W).

    A bias (C,) and an array ``added`` (N, H, W, C) are added to the result if given.
    """
    o, c = weight.shape[:2]
    filters = cupy.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(o, -1)  # (O, KH*KW*C)
    x = empty(len(dy), *image, c)
    for part in _parts(len(dy), dy.shape[1] * dy.shape[2], filters.shape[1]):
        if added is None and _pixelwise(window, x.shape[1:3], dy.shape[1:3]):
            product(dy[part].reshape(-1, o), filters, out=x[part].reshape(-1, c))
            continue
        rows = product(dy[part].reshape(-1, o), filters)  # (N*OH*OW, KH*KW*C)
        more = None if added is None else added[part]
        for_each("conv", "col2im", x[part].size, rows, more, x[part], *_sizes(window, x, dy.shape[1:3]))
    if bias is not None:
        for_each("elementwise", "add_bias", x.size, x, bias, None, False, c)
    return x


def grad_weight(x: Array, dy: Array, window: Window) -> Array:
    """Compute the gradient with respect to the weights, (O, C, KH, KW), from images (N, H, W, C) and the upstream
    gradient (N, OH, OW, O).
    """
    c, o, size, dweight = x.shape[3], dy.shape[3], dy.shape[1:3], None
    kh, kw = window.kernel
    for part in _parts(len(x), size[0] * size[1], kh * kw * c):
        more = product(dy[part].reshape(-1, o).T, _rows(x[part], window, size))  # (O, KH*KW*C)
        dweight = more if dweight is None else dweight + more
    return cupy.ascontiguousarray(dweight.reshape(o, kh, kw, c).transpose(0, 3, 1, 2))  # type: ignore[union-attr]
