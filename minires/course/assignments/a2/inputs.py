"""The inputs of A2's properties: sizes that are all different, several strides and paddings, ties, negative numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...draw import Array, Draw
from .reference import output_size

Pair = tuple[int, int]
NONE: Sequence[Pair] = ((0, 0),)
ONE: Sequence[Pair] = ((1, 1),)
STRIDES: Sequence[Pair] = ((2, 1), (1, 2), (3, 2), (2, 3))  # the two are different, or a swap would not be seen
PADDINGS: Sequence[Pair] = ((1, 2), (2, 1), (1, 3))
POOL_PADDINGS: Sequence[Pair] = ((1, 0), (0, 1), (1, 1))  # at most half of the smallest kernel


class Geometry(NamedTuple):
    """Images and a window that slides over them."""

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
        """As the functions call it."""
        return {"kernel_size": self.kernel, "stride": self.stride, "padding": self.padding}


def geometry(
    draw: Draw,
    strides: Sequence[Pair] = ONE,
    paddings: Sequence[Pair] = NONE,
    batch: int = 0,
    apart: bool = False,
    leftover: bool = False,
) -> Geometry:
    """Sizes that are all different.

    ``batch`` fixes N, ``apart`` makes the stride the kernel's size, and ``leftover`` makes rows and columns remain at
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


def im2col(draw: Draw, **options: Any) -> dict[str, Any]:
    g = geometry(draw, **options)
    return {"x": draw.normal(*g.image), **g.window}


def col2im(draw: Draw, **options: Any) -> dict[str, Any]:
    g = geometry(draw, **options)
    cols = draw.normal(g.n, *g.output, g.c * g.kernel[0] * g.kernel[1])
    return {"cols": cols, "x_shape": g.image, **g.window}


def adjoint_pair(draw: Draw) -> dict[str, Any]:
    """Arguments of col2im, and an x for im2col with the same window."""
    g = geometry(draw, STRIDES, PADDINGS)
    cols = draw.normal(g.n, *g.output, g.c * g.kernel[0] * g.kernel[1])
    return {"cols": cols, "x_shape": g.image, **g.window, "_x": draw.normal(*g.image)}


def filters(draw: Draw, g: Geometry) -> Array:
    """Weights (O, C, KH, KW) for images of C channels, with another O than C."""
    (o,) = draw.sizes((2, 2, 6))
    return draw.normal(o + (o == g.c), g.c, *g.kernel)


def conv_forward(draw: Draw, bias: bool = True, **options: Any) -> dict[str, Any]:
    g = geometry(draw, **options)
    weight = filters(draw, g)
    offset = draw.normal(len(weight)) if bias else draw.zeros(len(weight))
    return {"x": draw.normal(*g.image), "weight": weight, "bias": offset, "stride": g.stride, "padding": g.padding}


def conv_backward(draw: Draw, **options: Any) -> dict[str, Any]:
    g = geometry(draw, **options)
    weight = filters(draw, g)
    dy = draw.normal(g.n, len(weight), *g.output)
    return {"dy": dy, "x": draw.normal(*g.image), "weight": weight, "stride": g.stride, "padding": g.padding}


def pool_forward(draw: Draw, **options: Any) -> dict[str, Any]:
    g = geometry(draw, **options)
    return {"x": draw.normal(*g.image), **g.window}


def below_zero(draw: Draw) -> dict[str, Any]:
    g = geometry(draw, paddings=POOL_PADDINGS)
    return {"x": draw.negative(*g.image), **g.window}


def max_pool_backward(draw: Draw, **options: Any) -> dict[str, Any]:
    g = geometry(draw, **options)
    return {"dy": draw.normal(g.n, g.c, *g.output), "x": draw.normal(*g.image), **g.window}


def below_zero_backward(draw: Draw) -> dict[str, Any]:
    g = geometry(draw, paddings=POOL_PADDINGS)
    return {"dy": draw.normal(g.n, g.c, *g.output), "x": draw.negative(*g.image), **g.window}


def ties(draw: Draw) -> dict[str, Any]:
    g = geometry(draw, STRIDES)
    x = draw.one_of([draw.ties, draw.constant])(*g.image)
    return {"dy": draw.normal(g.n, g.c, *g.output), "x": x, **g.window}


def avg_pool_backward(draw: Draw, **options: Any) -> dict[str, Any]:
    g = geometry(draw, **options)
    return {"dy": draw.normal(g.n, g.c, *g.output), "x_shape": g.image, **g.window}


def image(draw: Draw) -> dict[str, Any]:
    return {"x": draw.normal(*geometry(draw).image)}


def constant_image(draw: Draw) -> dict[str, Any]:
    return {"x": draw.constant(*geometry(draw).image)}


def global_upstream(draw: Draw) -> dict[str, Any]:
    g = geometry(draw)
    return {"dy": draw.normal(g.n, g.c), "x_shape": g.image}


def weight_shape(draw: Draw) -> dict[str, Any]:
    sizes = draw.sizes((100, 100, 150), (3, 3, 7), (2, 2, 4), (3, 3, 5))
    return {"weight_shape": sizes, "seed": draw.number()}
