"""The one file that knows how pictures lie in memory.

Shapes are (N, C, H, W), as in the papers. In memory the channels come last: all numbers of one pixel lie side by side,
where a vector finds them, whatever H and W are. An array of shape (N, C, H, W) is therefore a transposed view of a
contiguous block (N, H, W, C); here one is made from the other, and nothing is copied as long as every op keeps to it.
"""

from __future__ import annotations

import numpy as np

from ...backend import Array
from .memory import empty

copies = 0  # of pictures that came in another layout; tests see that a training step makes none


def channels_last(x: Array) -> Array:
    """(N, C, H, W) -> the contiguous (N, H, W, C); (N, C) and (N, C, L) likewise. A view if it lies like that."""
    global copies
    block = x.transpose(0, *range(2, x.ndim), 1)
    if block.flags.c_contiguous and block.flags.writeable:  # Numba would compile anew for a read-only array
        return block
    copies += 1
    return np.ascontiguousarray(block) if not block.flags.c_contiguous else block.copy()


def as_pictures(block: Array) -> Array:
    """(N, H, W, C) -> the view (N, C, H, W); (N, C) and (N, L, C) likewise."""
    return block.transpose(0, block.ndim - 1, *range(1, block.ndim - 1))


def empty_like(x: Array) -> Array:
    """A contiguous float32 block (N, H, W, C) for pictures of the shape (N, C, H, W) of x."""
    return empty((x.shape[0], *x.shape[2:], x.shape[1]))


def contiguous(array: Array) -> Array:
    """A parameter or a gradient in C order, writeable; itself if it is."""
    return np.require(array, requirements=("C", "W"))


def is_float32(*arrays: Array | None) -> bool:
    """Whether all of them (None aside) are float32 and hold something: what kernels are written for."""
    return all(array is None or (array.dtype == np.float32 and array.size > 0) for array in arrays)


def alike(*arrays: Array) -> list[Array] | None:
    """Flat views of arrays of one shape that all lie in the same order without gaps; None if they do not."""
    if any(array.shape != arrays[0].shape or not array.flags.writeable for array in arrays):
        return None
    if all(array.flags.c_contiguous for array in arrays):
        return [array.reshape(-1) for array in arrays]
    if arrays[0].ndim < 3:
        return None
    blocks = [array.transpose(0, *range(2, array.ndim), 1) for array in arrays]
    return [block.reshape(-1) for block in blocks] if all(block.flags.c_contiguous for block in blocks) else None


def same_as(x: Array) -> Array:
    """An empty float32 array of the shape of x that lies in memory in the same order."""
    if x.flags.c_contiguous or x.ndim < 3:
        return empty(x.shape)
    return as_pictures(empty_like(x))
