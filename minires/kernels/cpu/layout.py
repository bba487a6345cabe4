"""The one file that knows how images lie in memory.

Shapes are (N, C, H, W), as in the papers. In memory the channels come last: all numbers of one pixel lie side by side,
where a vector finds them, whatever H and W are. An array of shape (N, C, H, W) is therefore a transposed view of a
contiguous block (N, H, W, C); here one is made from the other, and nothing is copied as long as every op keeps to it.
"""

from __future__ import annotations

import numpy as np

from ...core.backend import Array
from .. import images
from ..images import as_images
from ..threads import take_turns
from .compiler import kernel
from .memory import empty
from .simd import at, put
from .team import next_turn

ZERO = np.float32(0)
copies = 0  # of images that came in another layout; tests see that a training step makes none


def channels_last(x: Array) -> Array:
    """(N, C, H, W) -> the contiguous (N, H, W, C); (N, C) and (N, C, L) likewise. A view if it lies like that."""
    global copies
    block = x.transpose(0, *range(2, x.ndim), 1)
    if block.flags.c_contiguous and block.flags.writeable:  # Numba would compile anew for a read-only array
        return block
    copies += 1
    if block.ndim == 4 and block.dtype == np.float32 and block.size > 0 and not block.flags.c_contiguous:
        return arrange(block, block.shape)
    return np.array(block, order="C")


@kernel
def _arrange(source, strides, sizes, block, block_sizes, before, row_step, column_step, turn, images):
    height, width, channels = sizes
    rows, columns, block_channels = block_sizes
    n = next_turn(turn)
    while n < images:
        to = n * rows * columns * block_channels
        for i in range(rows):
            for j in range(columns):
                for c in range(block_channels):
                    put(block, to + c, ZERO)
                if i % row_step == 0 and j % column_step == 0 and i // row_step < height and j // column_step < width:
                    here = n * strides[0] + i // row_step * strides[1] + j // column_step * strides[2]
                    for c in range(channels):
                        put(block, to + before + c, at(source, here + c * strides[3]))
                to += block_channels
        n = next_turn(turn)


def arrange(source: Array, shape: tuple[int, ...], before: int = 0, steps: tuple[int, int] = (1, 1)) -> Array:
    """A contiguous block (N, H, W, C) of zeros, in which the float32 numbers of ``source`` lie behind ``before``
    channels, in every ``steps``-th row and column. ``source`` is (N, H, W, C) with any strides.
    """
    if not source.flags.writeable:  # Numba would compile anew
        source = source.copy()
    strides = tuple(stride // source.itemsize for stride in source.strides)
    first = np.lib.stride_tricks.as_strided(source, (1,), (source.itemsize,))  # one type for all strides
    block = empty(shape)
    flat, sizes = block.reshape(-1), source.shape[1:]
    take_turns(
        lambda turn, n: _arrange(first, strides, sizes, flat, shape[1:], before, *steps, turn, n),
        len(block),
        block.size,
    )
    return block


def empty_like(x: Array) -> Array:
    """A contiguous float32 block (N, H, W, C) for images of the shape (N, C, H, W) of x."""
    return empty((x.shape[0], *x.shape[2:], x.shape[1]))


def contiguous(array: Array) -> Array:
    """A parameter or a gradient in C order, writeable; itself if it is."""
    return np.require(array, requirements=("C", "W"))


def is_float32(*arrays: Array | None) -> bool:
    """Whether all of them (None aside) are float32 and hold something: what kernels are written for."""
    return all(array is None or (array.dtype == np.float32 and array.size > 0) for array in arrays)


def alike(*arrays: Array) -> list[Array] | None:
    """Flat views of arrays of one shape that lie in the same order without gaps, and that Numba has compiled for."""
    return images.alike(*arrays) if all(array.flags.writeable for array in arrays) else None


def same_as(x: Array) -> Array:
    """An empty float32 array of the shape of x that lies in memory in the same order."""
    if x.flags.c_contiguous or x.ndim < 3:
        return empty(x.shape)
    return as_images(empty_like(x))
