"""Pooling: the maximum or the mean of each window.

The textbook form uses im2col again: the windows of each channel become rows, and each row is reduced to its maximum or
mean.
"""

import math

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module
from ..core.checks import Pair
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, ShapeError, sizes
from .conv import Col2Im, Window, unfold


def pool_window(where: str, kernel_size: Pair, stride: Pair | None, padding: Pair) -> Window:
    """Check the arguments of a pooling op and return its window. No window may lie entirely in the padding."""
    window = Window.of(where, kernel_size, kernel_size if stride is None else stride, padding)
    if any(2 * p > k for p, k in zip(window.padding, window.kernel, strict=True)):
        raise ArgumentError(
            f"{where}: padding is {window.padding}; it must be at most half the kernel size, {window.kernel}."
        )
    return window


def pool2d(op: "type[Pool2d]", x: TensorLike, window: Window) -> Tensor:
    """Pool images with a window that has already been checked."""
    x = checks.images(op.name, x)
    _, _, h, w = x.shape
    window.output_size(op.name, h, w)
    return op(window)(x)


class Pool2d(Op, saves="shapes"):
    """An op that reduces each window to one number."""

    def __init__(self, window: Window) -> None:
        self.window = window

    def spread(self, windows: Tensor) -> Tensor:
        """Add the gradients of all windows' elements at their pixels: (N, OH, OW, C, KH*KW) -> (N, C, H, W)."""
        n, oh, ow, c, size = windows.shape
        return Col2Im(self.input_shapes[0], self.window)(windows.reshape(n, oh, ow, c * size))


class MaxPool2d(Pool2d):
    def forward(self, x: Array) -> Array:
        windows = unfold(x, self.window, fill=-float("inf"))  # (N, OH, OW, C, KH, KW)
        windows = windows.reshape(*windows.shape[:4], math.prod(self.window.kernel))  # (N, OH, OW, C, KH*KW)
        self.winner = windows.argmax(axis=-1)  # (N, OH, OW, C); among equal elements, the first
        return windows.max(axis=-1).transpose(0, 3, 1, 2)  # (N, C, OH, OW)

    def backward(self, upstream: Tensor) -> Tensor:
        elements = array_module(self.winner).arange(math.prod(self.window.kernel))  # (KH*KW,)
        one_hot = Tensor.wrap(elements == self.winner[..., None])  # (N, OH, OW, C, KH*KW)
        return self.spread(upstream.transpose(0, 2, 3, 1).expand_dims(-1) * one_hot)


def max_pool2d(x: TensorLike, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The maximum of each window. Among equal elements, the first gets the gradient.

    Parameters
    ----------
    x : Tensor, (N, C, H, W)
    kernel_size, stride, padding : int or (int, int)
        An int applies to both height and width. The stride defaults to the kernel size. The padding is -inf, so it is
        never the maximum.

    Returns
    -------
    Tensor, (N, C, OH, OW)
        OH = (H + 2 PH - KH) // SH + 1, and OW likewise; leftover rows and columns are dropped.

    Raises
    ------
    ShapeError
        If x does not have four axes, or the kernel is larger than the padded images.
    ArgumentError
        If the kernel size, stride or padding is invalid, or the padding is more than half the kernel size.
    DTypeError
        If x does not hold floats.
    """
    return pool2d(MaxPool2d, x, pool_window("max_pool2d", kernel_size, stride, padding))


class AvgPool2d(Pool2d):
    def forward(self, x: Array) -> Array:
        return unfold(x, self.window).mean(axis=(4, 5)).transpose(0, 3, 1, 2)  # (N, C, OH, OW)

    def backward(self, upstream: Tensor) -> Tensor:
        size = math.prod(self.window.kernel)
        share = (upstream / size).transpose(0, 2, 3, 1).expand_dims(-1)  # (N, OH, OW, C, 1)
        return self.spread(share.broadcast_to((*share.shape[:4], size)))


def avg_pool2d(x: TensorLike, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The mean of each window, including the zeros of the padding, as in PyTorch.

    The arguments and errors are those of :func:`max_pool2d`.
    """
    return pool2d(AvgPool2d, x, pool_window("avg_pool2d", kernel_size, stride, padding))


class GlobalAvgPool2d(Op, saves="shapes"):
    def forward(self, x: Array) -> Array:
        return x.mean(axis=(2, 3))  # (N, C, H, W) -> (N, C)

    def backward(self, upstream: Tensor) -> Tensor:
        n, c, h, w = self.input_shapes[0]
        return (upstream / (h * w)).reshape(n, c, 1, 1).broadcast_to((n, c, h, w))


def global_avg_pool2d(x: TensorLike) -> Tensor:
    """The mean of each channel of each image, (N, C, H, W) -> (N, C) (Lin et al., arXiv 1312.4400).

    Raises ShapeError if x does not have four axes or the images are empty, and DTypeError if x does not hold floats.
    """
    x = checks.images("global_avg_pool2d", x)
    if 0 in x.shape[2:]:
        raise ShapeError(f"global_avg_pool2d: the images of x ({sizes(x.shape)}) have no pixels.")
    return GlobalAvgPool2d()(x)
