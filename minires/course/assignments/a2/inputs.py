"""The inputs of A2's properties: sizes that are all different, several strides and paddings, ties, negative numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...draw import Draw
from .reference import output_size

Pair = tuple[int, int]
STRIDES: Sequence[Pair] = ((2, 1), (1, 2), (3, 2), (2, 3))  # with equal strides, a swap would go unnoticed
LARGE_STRIDES: Sequence[Pair] = ((2, 3), (3, 2))
PADDINGS: Sequence[Pair] = ((1, 2), (2, 1), (1, 3))
POOL_PADDINGS: Sequence[Pair] = ((1, 0), (0, 1), (1, 1))  # at most half of the smallest kernel


def geometry(
    draw: Draw,
    strides: Sequence[Pair] = ((1, 1),),
    paddings: Sequence[Pair] = ((0, 0),),
    batch: int = 0,
    apart: bool = False,
    leftover: bool = False,
) -> tuple[tuple[int, ...], dict[str, Pair], tuple[int, ...]]:
    """Draw the shape of images and the arguments that describe a window; also return how often the window fits.

    ``batch`` fixes N, ``apart`` sets the stride to the size of the kernel, and ``leftover`` leaves rows and columns at
    the end that no window reaches.
    """
    n, c, kh, kw, h, w = draw.sizes((1, 2, 5), (1, 2, 5), (2, 2, 3), (2, 2, 4), (4, 5, 9), (4, 5, 10))
    sh, sw = (kh, kw) if apart else draw.one_of(strides)
    ph, pw = draw.one_of(paddings)
    if leftover:
        h += (h + 2 * ph - kh) % sh == 0
        w += (w + 2 * pw - kw) % sw == 0
    elif apart:  # whole windows only
        h, w = kh * max(h // kh, 2), kw * max(w // kw, 2)
    window = {"kernel_size": (kh, kw), "stride": (sh, sw), "padding": (ph, pw)}
    return (batch or n, c, h, w), window, output_size((h, w), **window)


def image(draw: Draw, values: str = "normal", **options: Any) -> dict[str, Any]:
    """Draw inputs of im2col or pooling. ``values`` is the name of the method of ``draw`` that draws x."""
    shape, window, _ = geometry(draw, **options)
    return {"x": getattr(draw, values)(*shape), **window}


def columns(draw: Draw, image: bool = False, **options: Any) -> dict[str, Any]:
    """Draw inputs of col2im and, if ``image`` is true, ``_x`` for im2col with the same window."""
    shape, window, output = geometry(draw, **options)
    n, c = shape[:2]
    cols = draw.normal(n, *output, c * math.prod(window["kernel_size"]))
    also = {"_x": draw.normal(*shape)} if image else {}
    return {"cols": cols, "x_shape": shape, **window, **also}


def convolution(draw: Draw, backward: bool = False, bias: bool = True, **options: Any) -> dict[str, Any]:
    """Draw inputs of a convolution, forward or backward, in which O and C differ."""
    shape, window, output = geometry(draw, **options)
    n, c = shape[:2]
    (o,) = draw.sizes((2, 2, 6))
    o += o == c
    weight = draw.normal(o, c, *window.pop("kernel_size"))
    if backward:
        return {"dy": draw.normal(n, o, *output), "x": draw.normal(*shape), "weight": weight, **window}
    b = draw.normal(o) if bias else draw.zeros(o)
    return {"x": draw.normal(*shape), "weight": weight, "bias": b, **window}


def upstream_and_image(draw: Draw, values: Sequence[str] = ("normal",), **options: Any) -> dict[str, Any]:
    """Draw inputs of the backward pass of max pooling."""
    shape, window, output = geometry(draw, **options)
    x = getattr(draw, draw.one_of(values))(*shape)
    return {"dy": draw.normal(*shape[:2], *output), "x": x, **window}


def upstream_and_shape(draw: Draw, **options: Any) -> dict[str, Any]:
    """Draw inputs of the backward pass of average pooling."""
    shape, window, output = geometry(draw, **options)
    return {"dy": draw.normal(*shape[:2], *output), "x_shape": shape, **window}


def whole_image(draw: Draw, values: str = "normal") -> dict[str, Any]:
    """Draw inputs of global average pooling."""
    return {"x": getattr(draw, values)(*geometry(draw)[0])}


def global_upstream(draw: Draw) -> dict[str, Any]:
    """Draw inputs of the backward pass of global average pooling."""
    shape, _, _ = geometry(draw)
    return {"dy": draw.normal(*shape[:2]), "x_shape": shape}


def weight_shape(draw: Draw) -> dict[str, Any]:
    """Draw the shape and the seed of initial weights."""
    return {"weight_shape": draw.sizes((100, 100, 150), (3, 3, 7), (2, 2, 4), (3, 3, 5)), "seed": draw.number()}
