"""Pooling: the maximum or the mean of each window.

The textbook form uses im2col again: the windows of each channel become rows, and each row is reduced to its maximum or
mean.
"""

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module, wide_sum
from ..core.calls import refuses
from ..core.checks import Pair
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import ArgumentError, ShapeError, sizes
from .arithmetic import where
from .conv import Col2Im, Window, on_images, unfold
from .reduce import mean
from .shape import concatenate, pad


def pool_window(op: str, kernel_size: Pair, stride: Pair | None, padding: Pair, dilation: Pair = 1) -> Window:
    """Check the arguments of a pooling op and return its window. At most half of a window may lie in the padding."""
    default = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    window = Window.of(op, kernel_size, kernel_size if default else stride, padding, dilation)
    if any(2 * p > size for p, size in zip(window.padding, window.covered, strict=True)):
        raise ArgumentError(f"{op}: padding is {window.padding}; it must be at most half the kernel, {window.covered}.")
    return window


def pool2d(op: "type[Pool2d]", x: TensorLike, window: Window, ceil_mode: bool = False) -> Tensor:
    """Pool images. With ``ceil_mode``, they are padded at their end."""
    x = checks.images(op.name, x, unbatched=True, kinds=op.kinds)
    if ceil_mode and any(missing := window.missing(*x.shape[-2:])):
        x = pad(x, (0, missing[1], 0, missing[0]), value=op.fill(x.dtype))
    window.output_size(op.name, *x.shape[-2:])
    return on_images(op(window), x)


class Pool2d(Op, saves="shapes"):
    """An op that reduces each window to one number."""

    kinds = "f"  # of dtypes
    fill: ClassVar[Any] = staticmethod(lambda dtype: 0)  # what the padding consists of

    def __init__(self, window: Window) -> None:
        self.window = window

    def spread(self, windows: Tensor) -> Tensor:
        """Add the gradients of all windows' elements at their pixels: (N, OH, OW, C, KH*KW) -> (N, C, H, W)."""
        n, oh, ow, c, size = windows.shape
        return Col2Im(self.input_shapes[0], self.window)(windows.reshape(n, oh, ow, c * size))


class MaxPool2d(Pool2d):
    kinds = "fiu"
    fill = staticmethod(lambda dtype: -math.inf if dtype.kind == "f" else np.iinfo(dtype).min)

    def forward(self, x: Array) -> Array:
        size = math.prod(self.window.kernel)
        windows = unfold(x, self.window, self.fill(x.dtype))  # (N, OH, OW, C, KH, KW)
        windows = windows.reshape(*windows.shape[:4], size)  # (N, OH, OW, C, KH*KW)
        best = windows.max(axis=-1, keepdims=True)  # (N, OH, OW, C, 1)
        pixels = unfold(array_module(x).ones_like(x[:1, :1], dtype=bool), self.window)  # (1, OH, OW, 1, KH, KW)
        pixels = pixels.reshape(*pixels.shape[:4], size)  # (1, OH, OW, 1, KH*KW), False in the padding
        candidates = pixels & ((windows == best) | (windows != windows))  # NaN is the maximum
        self.winner = candidates.argmax(axis=-1)  # (N, OH, OW, C); among equal elements, the first
        return best[..., 0].transpose(0, 3, 1, 2)  # (N, C, OH, OW)

    def backward(self, upstream: Tensor) -> Tensor:
        elements = array_module(self.winner).arange(math.prod(self.window.kernel))  # (KH*KW,)
        one_hot = Tensor.wrap(elements == self.winner[..., None])  # (N, OH, OW, C, KH*KW)
        return self.spread(where(one_hot, upstream.transpose(0, 2, 3, 1).expand_dims(-1), 0))


@refuses(return_indices="the indices within the windows are im2col(x, ...).reshape(n, oh, ow, c, -1).argmax(axis=-1)")
def max_pool2d(
    x: TensorLike, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The maximum of each window. Among equal elements, the first gets the gradient.

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, dilation : int or (int, int)
        An int applies to both height and width. The stride defaults to the kernel size. The padding is -inf, or for
        integers their smallest number, so it is never the maximum.
    ceil_mode : bool
        Whether the pixels that are left over at the end are pooled as well.

    Returns
    -------
    Tensor, (N, C, OH, OW) or (C, OH, OW)
        OH = (H + 2 PH - DH (KH - 1) - 1) // SH + 1, rounded up with ``ceil_mode``, and OW likewise.

    Raises
    ------
    ShapeError
        If x does not have three or four axes, or the kernel is larger than the padded images.
    ArgumentError
        If an argument is invalid, or the padding is more than half the kernel size.
    DTypeError
        If x holds booleans.
    """
    window = pool_window("max_pool2d", kernel_size, stride, padding, dilation)
    return pool2d(MaxPool2d, x, window, ceil_mode)


class AvgPool2d(Pool2d):
    def forward(self, x: Array) -> Array:
        windows = unfold(x, self.window)  # (N, OH, OW, C, KH, KW)
        return wide_sum(windows, (4, 5), divisor=math.prod(self.window.kernel)).transpose(0, 3, 1, 2)  # (N, C, OH, OW)

    def backward(self, upstream: Tensor) -> Tensor:
        size = math.prod(self.window.kernel)
        share = (upstream / size).transpose(0, 2, 3, 1).expand_dims(-1)  # (N, OH, OW, C, 1)
        return self.spread(share.broadcast_to((*share.shape[:4], size)))


def avg_pool2d(
    x: TensorLike, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window, including the zeros of the padding, as in PyTorch.

    Without ``count_include_pad``, it is the mean of the pixels only. ``divisor_override`` is the number that sums are
    divided by. The other arguments and the errors are those of :func:`max_pool2d`.
    """
    x, window = checks.images("avg_pool2d", x, unbatched=True), pool_window("avg_pool2d", kernel_size, stride, padding)
    y = pool2d(AvgPool2d, x, window, ceil_mode)
    if divisor_override is not None:
        divisor = checks.number("avg_pool2d", divisor_override, "divisor_override", bool, "be a number other than 0")
        return y * (math.prod(window.kernel) / divisor)
    if not ceil_mode and (count_include_pad or window.padding == (0, 0)):
        return y
    (h, w), (oh, ow), (ph, pw) = x.shape[-2:], y.shape[-2:], window.padding
    counted = pad(as_tensor(1.0, like=y).broadcast_to((1, h, w)), (pw, pw, ph, ph), value=float(count_include_pad))
    shares = pool2d(AvgPool2d, counted, replace(window, padding=(0, 0)), ceil_mode)  # (1, OH, OW), or more
    return y / shares[:, :oh, :ow]  # the windows that begin in the padding are no windows of x


def adaptive_avg_pool2d(x: TensorLike, output_size: Any) -> Tensor:
    """The mean of each of OH x OW areas, which cover the image evenly: (N, C, H, W) -> (N, C, OH, OW).

    ``output_size`` is an int, or (OH, OW), where None stands for the size of x. Where it does not divide H and W,
    neighbouring areas overlap by a row or column. Raises ShapeError if x does not have three or four axes or its images
    are empty, ArgumentError if ``output_size`` is invalid, and DTypeError if x does not hold floats.
    """
    x = checks.images("adaptive_avg_pool2d", x, unbatched=True)
    h, w = x.shape[-2:]
    if 0 in (h, w):
        raise ShapeError(f"adaptive_avg_pool2d: the images of x ({sizes(x.shape)}) have no pixels.")
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    given = [own if size is None else size for own, size in zip((h, w), given, strict=False)] + list(given[2:])
    oh, ow = checks.pair("adaptive_avg_pool2d", given, "output_size", 1)
    if h % oh == 0 and w % ow == 0:
        return pool2d(AvgPool2d, x, Window((h // oh, w // ow), (h // oh, w // ow), (0, 0)))
    return _means(_means(x, x.ndim - 2, oh), x.ndim - 1, ow)


def _means(x: Tensor, axis: int, count: int) -> Tensor:
    """Cut ``axis`` into ``count`` parts of nearly equal size, and return the mean of each."""
    size, before = x.shape[axis], (slice(None),) * axis
    parts = [x[before + (slice(i * size // count, -(-(i + 1) * size // count)),)] for i in range(count)]
    return concatenate([mean(part, axis, keepdims=True) for part in parts], axis)


class GlobalAvgPool2d(Op, saves="shapes"):
    def forward(self, x: Array) -> Array:
        return wide_sum(x, (2, 3), divisor=math.prod(x.shape[2:]))  # (N, C, H, W) -> (N, C)

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
