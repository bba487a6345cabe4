"""Choose the algorithm of a convolution: Winograd's if it applies, the gathering loop otherwise.

With a dilation of D, a kernel meets only every D-th row and column of an image. They are one of D*D interleaved images,
in which the kernel is not dilated, so Winograd's algorithm applies to them::

    a b a b a b
    c d c d c d       dilation 2: each pixel of the result depends on pixels with its own letter
    a b a b a b
    c d c d c d
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.backend import Array
from ...ops.conv import Window
from ..conv import ONE_PIXEL
from ..threads import get_num_threads
from . import winograd, winograd_weight
from .correlate import correlate
from .gather import gather, pack
from .memory import empty
from .plan import backward_plan, forward_plan
from .tile import WIDE


def _parts(x: Array, weight: Array, outputs: int) -> tuple[int, bool]:
    """Return how the threads share a direct convolution: (the number of parts of each image, whether they share the
    output channels instead, as there are more weights than numbers in x).
    """
    threads = get_num_threads()
    if weight.size > x.size and outputs >= threads * WIDE.block:
        return 1, True
    return -(-threads // len(x)), False


def _undilated(shape: tuple[int, ...], outputs: int, window: Window) -> Window | None:
    """Return the window for the interleaved images if it is faster to convolve those, or None."""
    n, height, width, channels = shape
    d = window.dilation[0]
    if d == 1 or window.dilation != (d, d) or window.padding != (d, d):
        return None
    rows, columns = -(-height // d), -(-width // d)
    # Small images use only some of the 16 outputs of a patch. With fewer than 8, this was not faster (AVX-512).
    patches = d * d * -(-rows // 4) * -(-columns // 4)
    inside = replace(window, padding=(1, 1), dilation=(1, 1))
    fits = 8 * patches <= height * width and winograd.fits((d * d * n, rows, columns, channels), outputs, inside)
    return inside if fits else None


def split(x: Array, d: int) -> Array:
    """Return the interleaved images of images (N, H, W, C) as a block (D*D*N, H/D, W/D, C).

    If D does not divide H or W, some of them end with a row or column of zeros.
    """
    n, height, width, channels = x.shape
    parts = np.zeros((d, d, n, -(-height // d), -(-width // d), channels), np.float32)
    for i in range(d):
        for j in range(d):
            some = x[:, i::d, j::d]
            parts[i, j, :, : some.shape[1], : some.shape[2]] = some
    return parts.reshape(-1, *parts.shape[3:])


def join(parts: Array, shape: tuple[int, ...], d: int) -> Array:
    """Return the images (N, H, W, C) that these interleaved images are parts of; the inverse of ``split``."""
    x, parts = empty(shape), parts.reshape(d, d, -1, *parts.shape[1:])
    for i in range(d):
        for j in range(d):
            some = x[:, i::d, j::d]
            some[...] = parts[i, j, :, : some.shape[1], : some.shape[2]]
    return x


def forward(
    x: Array, weight: Array, bias: Array | None, window: Window, shortcut: Array | None = None, relu: bool = False,
    prepared: dict[Any, Any] | None = None,
) -> Array:  # fmt: skip
    """Convolve (N, H, W, C) -> (N, OH, OW, O) with weights (O, C, KH, KW), then apply bias, shortcut and ReLU, if any.

    ``prepared`` stores the weights for the next call, in the order in which the kernel reads them.
    """
    pixels, channels, outputs = x.size // x.shape[3], x.shape[3], len(weight)
    plain = prepared is None and shortcut is None and not relu
    if plain and pixels <= WIDE.block < outputs and window == ONE_PIXEL:
        # Packing the weights would take longer than the product: pack the pixels, and exchange the two.
        rows, columns = weight.reshape(1, outputs, 1, channels), x.reshape(pixels, channels, 1, 1)
        product = forward(rows, columns, None, window, prepared={})
        y = np.ascontiguousarray(product.reshape(outputs, pixels).T)
        return (y if bias is None else y + bias).reshape(*x.shape[:3], outputs)
    prepared = {} if prepared is None else prepared
    if (inside := _undilated(x.shape, outputs, window)) is not None:
        d, more = window.dilation[0], prepared.setdefault("undilated", {})
        parts = forward(split(x, d), weight, bias, inside, None if shortcut is None else split(shortcut, d), relu, more)
        return join(parts, (*x.shape[:3], outputs), d)

    def directly(x: Array, shortcut: Array | None) -> Array:
        split, by_outputs = _parts(x, weight, len(weight))
        plan = forward_plan(x.shape[1:3], x.shape[3], len(weight), window, split)
        if "gather" not in prepared:
            prepared["gather"] = pack(weight, plan, channels_first=False)
        return gather(x, prepared["gather"], plan, bias, shortcut, relu, by_outputs)

    if winograd.fits(x.shape, len(weight), window):
        if "winograd" not in prepared:
            prepared["winograd"] = winograd.transform(weight, flipped=False)
        numbers = prepared["winograd"], len(weight), bias, window.padding, shortcut, relu
        return _unless_extreme(directly, x, *numbers)
    return directly(x, shortcut)


def backward(
    dy: Array, weight: Array, bias: Array | None, window: Window, image: Any, added: Array | None = None
) -> Array:
    """Compute the transposed convolution (N, OH, OW, O) -> (N, H, W, C) with the same weights; ``image`` is (H, W).

    A bias (C,) and an array ``added`` (N, H, W, C) are added to the result if given.
    """
    if (inside := _undilated(dy.shape, weight.shape[1], window)) is not None:
        d = window.dilation[0]
        parts, more = split(dy, d), None if added is None else split(added, d)
        dx = backward(parts, weight, bias, inside, parts.shape[1:3], more)
        return join(dx, (*dy.shape[:3], weight.shape[1]), d)

    def directly(dy: Array, added: Array | None) -> Array:
        split, by_outputs = _parts(dy, weight, weight.shape[1])
        plan = backward_plan(dy.shape[1:3], dy.shape[3], tuple(image), weight.shape[1], window, split)
        return gather(dy, pack(weight, plan, channels_first=True), plan, bias, added, by_outputs=by_outputs)

    if winograd.fits(dy.shape, weight.shape[1], window) and max(window.padding) <= 2:
        padding = 2 - window.padding[0], 2 - window.padding[1]
        numbers = winograd.transform(weight, flipped=True), weight.shape[1], bias, padding, added
        return _unless_extreme(directly, dy, *numbers)
    return directly(dy, added)


def _unless_extreme(
    directly: Callable[[Array, Array | None], Array], x: Array, transformed: Array | None, outputs: int,
    bias: Array | None, padding: tuple[int, int], shortcut: Array | None, relu: bool = False,
) -> Array:  # fmt: skip
    """Convolve by Winograd's algorithm, and directly where numbers are infinite, NaN or far larger than the others."""
    if transformed is None:
        return directly(x, shortcut)
    y, extreme = winograd.convolve(x, transformed, outputs, bias, padding, shortcut, relu)
    if np.count_nonzero(extreme):
        y[extreme] = directly(x[extreme], None if shortcut is None else shortcut[extreme])
    return y


def grad_weight(x: Array, dy: Array, window: Window) -> Array:
    """Compute the gradient with respect to the weights, (O, C, KH, KW), from images (N, H, W, C) and the upstream
    gradient (N, OH, OW, O).
    """
    if (inside := _undilated(x.shape, dy.shape[3], window)) is not None:
        return grad_weight(split(x, window.dilation[0]), split(dy, window.dilation[0]), inside)
    if winograd.fits(x.shape, dy.shape[3], window):
        dweight = winograd_weight.correlate(x, dy, window.padding)
        if dweight is not None:
            return dweight
    return correlate(x, dy, window)
