"""Images channels last on the GPU, as :mod:`minires.kernels.cpu.layout` has them on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import cupy
import numpy as np

from ...core.backend import Array
from ...core.dispatch import Kernel, register_kernel
from ..images import as_images
from .launch import MOST, for_each

copies = 0  # of images that came in another layout; tests see that a training step makes none


def register(op: type, phase: str) -> Callable[[Kernel], Kernel]:
    """``register_kernel`` for the GPU."""
    return register_kernel(op, phase, "cuda")


def channels_last(x: Array) -> Array:
    """(N, C, H, W) -> the contiguous (N, H, W, C); (N, C) and (N, C, L) likewise. A view if it lies like that."""
    global copies
    block = x.transpose(0, *range(2, x.ndim), 1)
    if block.flags.c_contiguous:
        return block
    copies += 1
    if block.ndim == 4 and block.dtype == np.float32 and block.size > 0:
        return arrange(block, block.shape)
    return cupy.ascontiguousarray(block)


def empty(*shape: int) -> Array:
    """A contiguous float32 array, not filled."""
    return cupy.empty(shape, np.float32)


def empty_like(x: Array) -> Array:
    """A contiguous float32 block (N, H, W, C) for images of the shape (N, C, H, W) of x."""
    return empty(x.shape[0], *x.shape[2:], x.shape[1])


def contiguous(array: Array) -> Array:
    """``array`` in C order; itself if it is."""
    return cupy.ascontiguousarray(array)


def is_float32(*arrays: Array | None) -> bool:
    """Whether all of them (None aside) are float32, hold something, and not too much: what kernels are written for."""
    return all(array is None or (array.dtype == np.float32 and 0 < array.size < MOST) for array in arrays)


def arrange(source: Array, shape: tuple[int, ...], before: int = 0, steps: tuple[int, int] = (1, 1)) -> Array:
    """A contiguous block (N, H, W, C) of zeros, in which the float32 numbers of ``source`` lie behind ``before``
    channels, in every ``steps``-th row and column. ``source`` is (N, H, W, C) with any strides.
    """
    block = empty(*shape)
    strides = (stride // source.itemsize for stride in source.strides)
    sizes = *source.shape[1:], *shape[1:]
    for_each("elementwise", "arrange", block.size, source, block, *strides, *sizes, before, *steps)
    return block


def same_as(x: Array) -> Array:
    """An empty float32 array of the shape of x that lies in memory in the same order."""
    if x.flags.c_contiguous or x.ndim < 3:
        return empty(*x.shape)
    return as_images(empty_like(x))
