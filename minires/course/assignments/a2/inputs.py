"""The inputs of A2's properties: sizes that are all different, several strides and paddings, ties, negative numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...draw import Draw
from .reference import output_size

Pair = tuple[int, int]
STRIDES: Sequence[Pair] = ((2, 1), (1, 2), (3, 2), (2, 3))  # with equal strides, a swap would go unnoticed
LARGE_STRIDES: Sequence[Pair] = ((2, 3), (3, 2))
PADDINGS: Sequence[Pair] = ((1, 2), (2, 1), (1, 3))
POOL_PADDINGS: Sequence[Pair] = ((1, 0), (0, 1), (1, 1))  # at most half of the smallest kernel


class Geometry(NamedTuple):
    """Images, and a window that slides over them."""

    n: int
    c: int
    h: int
    w: int
    kernel: Pair
    stride: Pair
    padding: Pair

    @property
    def image(self) -> tuple[int, int, int, int]:
        return self.n, self.c, self.h, self.w

    @property
    def output(self) -> Pair:
        return output_size((self.h, self.w), self.kernel, self.stride, self.padding)

    @property
    def window(self) -> dict[str, Pair]:
        """The arguments that describe the window."""
        return {"kernel_size": self.kernel, "stride": self.stride, "padding": self.padding}


def geometry(
    draw: Draw,
    strides: Sequence[Pair] = ((1, 1),),
    paddings: Sequence[Pair] = ((0, 0),),
    batch: int = 0,
    apart: bool = False,
    leftover: bool = False,
) -> Geometry:
    """Sizes that are all different.

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
    return Geometry(batch or n, c, h, w, (kh, kw), (sh, sw), (ph, pw))


def image(draw: Draw, values: str = "normal", **options: Any) -> dict[str, Any]:
    """For im2col and pooling. ``values`` names the method of ``draw`` that makes x."""
    g = geometry(draw, **options)
    return {"x": getattr(draw, values)(*g.image), **g.window}


def columns(draw: Draw, **options: Any) -> dict[str, Any]:
    """For col2im."""
    g = geometry(draw, **options)
    cols = draw.normal(g.n, *g.output, g.c * g.kernel[0] * g.kernel[1])
    return {"cols": cols, "x_shape": g.image, **g.window}


def columns_and_image(draw: Draw) -> dict[str, Any]:
    """For col2im, and an x for im2col with the same window."""
    arguments = columns(draw, strides=STRIDES, paddings=PADDINGS)
    return {**arguments, "_x": draw.normal(*arguments["x_shape"])}


def convolution(draw: Draw, backward: bool = False, bias: bool = True, **options: Any) -> dict[str, Any]:
    """For a convolution, forward or backward, with another O than C."""
    g = geometry(draw, **options)
    (o,) = draw.sizes((2, 2, 6))
    weight = draw.normal(o + (o == g.c), g.c, *g.kernel)
    if backward:
        first, last = {"dy": draw.normal(g.n, len(weight), *g.output)}, {}
    else:
        first, last = {}, {"bias": draw.normal(len(weight)) if bias else draw.zeros(len(weight))}
    x = draw.normal(*g.image)
    return {**first, "x": x, "weight": weight, **last, "stride": g.stride, "padding": g.padding}


def upstream_and_image(draw: Draw, values: Sequence[str] = ("normal",), **options: Any) -> dict[str, Any]:
    """For the backward pass of max pooling."""
    g = geometry(draw, **options)
    x = getattr(draw, draw.one_of(values))(*g.image)
    return {"dy": draw.normal(g.n, g.c, *g.output), "x": x, **g.window}


def upstream_and_shape(draw: Draw, **options: Any) -> dict[str, Any]:
    """For the backward pass of average pooling."""
    g = geometry(draw, **options)
    return {"dy": draw.normal(g.n, g.c, *g.output), "x_shape": g.image, **g.window}


def whole_image(draw: Draw, values: str = "normal") -> dict[str, Any]:
    """For global average pooling."""
    return {"x": getattr(draw, values)(*geometry(draw).image)}


def global_upstream(draw: Draw) -> dict[str, Any]:
    """For the backward pass of global average pooling."""
    g = geometry(draw)
    return {"dy": draw.normal(g.n, g.c), "x_shape": g.image}


def weight_shape(draw: Draw) -> dict[str, Any]:
    """For initial weights."""
    return {"weight_shape": draw.sizes((100, 100, 150), (3, 3, 7), (2, 2, 4), (3, 3, 5)), "seed": draw.number()}
