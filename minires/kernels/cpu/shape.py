"""The ops of a shortcut without parameters (option A): some pixels of a picture, and new channels of zeros."""

from __future__ import annotations

from ...backend import Array
from ...ops.shape import Pad, PutItem
from ..pictures import as_pictures, pads_channels, pixel_steps
from .layout import arrange, is_float32
from .registry import register


@register(Pad, "forward")
def pad_channels(op: Pad, x: Array) -> Array:
    if not pads_channels(op) or not is_float32(x):
        return NotImplemented
    before, after = op.widths[1]
    n, c, h, w = x.shape
    return as_pictures(arrange(x.transpose(0, 2, 3, 1), (n, h, w, before + c + after), before))


@register(PutItem, "forward")
def put_pixels(op: PutItem, values: Array) -> Array:
    """For the index [:, :, ::SH, ::SW]."""
    steps = pixel_steps(op)
    if steps is None or not is_float32(values):
        return NotImplemented
    n, c, h, w = op.target
    return as_pictures(arrange(values.transpose(0, 2, 3, 1), (n, h, w, c), 0, steps))
