"""Walks over memory on the GPU; the arrays of a call lie in the same order."""

from __future__ import annotations

from ...core.backend import Array
from .launch import for_each


def relu(x: Array, y: Array) -> None:
    for_each("elementwise", "relu_forward", x.size, x, y)


def relu_backward(y: Array, dy: Array, dx: Array) -> None:
    for_each("elementwise", "relu_backward", dx.size, y, dy, dx)


def add(a: Array, b: Array, y: Array, relu: bool) -> None:
    for_each("elementwise", "add", y.size, a, b, y, relu)


def arrange(source: Array, block: Array, before: int, steps: tuple[int, int]) -> None:
    """See :meth:`minires.kernels.device.Device.arrange`."""
    strides = (stride // source.itemsize for stride in source.strides)
    sizes = *source.shape[1:], *block.shape[1:]
    for_each("elementwise", "arrange", block.size, source, block, *strides, *sizes, before, *steps)
