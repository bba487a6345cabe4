"""What the kernels of every device know about images in memory, and about the ops that move their pixels.

Shapes are (N, C, H, W); in memory the channels come last, (N, H, W, C): see :mod:`minires.kernels.cpu.layout`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.backend import Array
from ..core.dispatch import Kernel
from ..ops.shape import Pad, PutItem

ALL = slice(None)


def as_images(block: Array) -> Array:
    """(N, H, W, C) -> the view (N, C, H, W); (N, C) and (N, L, C) likewise."""
    return block.transpose(0, block.ndim - 1, *range(1, block.ndim - 1))


def alike(*arrays: Array) -> list[Array] | None:
    """Flat views of arrays of one shape that all lie in the same order without gaps; None if they do not."""
    if any(array.shape != arrays[0].shape for array in arrays):
        return None
    if all(array.flags.c_contiguous for array in arrays):
        return [array.reshape(-1) for array in arrays]
    if arrays[0].ndim < 3:
        return None
    blocks = [array.transpose(0, *range(2, array.ndim), 1) for array in arrays]
    return [block.reshape(-1) for block in blocks] if all(block.flags.c_contiguous for block in blocks) else None


def pads_channels(op: Pad) -> bool:
    """Whether images get channels of zeros, and nothing else."""
    return op.value == 0 and len(op.widths) == 4 and not any(any(op.widths[axis]) for axis in (0, 2, 3))


def pixel_steps(op: PutItem) -> tuple[int, int] | None:
    """(SH, SW) for the index [:, :, ::SH, ::SW] of images; None for another one."""
    index = op.index if isinstance(op.index, tuple) else ()
    if len(index) != 4 or len(op.target) != 4 or index[:2] != (ALL, ALL):
        return None
    if not all(isinstance(part, slice) and part.start is part.stop is None for part in index):
        return None
    steps = [1 if part.step is None else part.step for part in index[2:]]
    if any(not isinstance(step, (int, np.integer)) or step < 1 for step in steps):
        return None
    return int(steps[0]), int(steps[1])


def register_moves(
    register: Callable[[type, str], Callable[[Kernel], Kernel]],
    arrange: Callable[..., Array],
    is_float32: Callable[..., bool],
) -> None:
    """Kernels for a shortcut without parameters (option A): some pixels of an image, and new channels of zeros.

    Both are one call of the device's ``arrange``: see :func:`minires.kernels.cpu.layout.arrange`.
    """

    @register(Pad, "forward")
    def pad_channels(op: Pad, x: Array) -> Array:
        if not pads_channels(op) or not is_float32(x):
            return NotImplemented
        before, after = op.widths[1]
        n, c, h, w = x.shape
        return as_images(arrange(x.transpose(0, 2, 3, 1), (n, h, w, before + c + after), before))

    @register(PutItem, "forward")
    def put_pixels(op: PutItem, values: Array) -> Array:
        steps = pixel_steps(op)
        if steps is None or not is_float32(values):
            return NotImplemented
        n, c, h, w = op.target
        return as_images(arrange(values.transpose(0, 2, 3, 1), (n, h, w, c), 0, steps))
