"""Layers, which combine an op with the parameters that it needs. Constructor arguments are the same as in torch.nn.

The argument ``inplace`` has no effect, because the tape needs the values that would be overwritten.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..core import checks
from ..core.checks import Pair
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, ShapeError, sizes
from ..ops.conv import Window, conv_inputs, conv_window, convolve, output_padding_pair
from ..ops.pool import pool_window
from . import init
from .module import Buffer, Module, Parameter


def _filter_parameters(shape: tuple[int, ...], outputs: int, bias: bool) -> tuple[Parameter, Parameter | None]:
    """Create weight and bias, drawn uniformly from +-1/sqrt(fan_in), which is PyTorch's default."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    parameters = [Parameter(np.empty(size, np.float32)) for size in (shape, outputs)[: 1 + bool(bias)]]
    for parameter in parameters:
        init.uniform(parameter, -bound, bound)
    return parameters[0], parameters[1] if bias else None


class Linear(Module):
    """x @ weight.T + bias, from (..., in_features) to (..., out_features).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool

    Raises
    ------
    ArgumentError
        If a size is not an integer >= 1.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = checks.integer("Linear", in_features, "in_features", 1)
        self.out_features = checks.integer("Linear", out_features, "out_features", 1)
        self.weight, self.bias = _filter_parameters((out_features, in_features), out_features, bias)

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class _Windowed(Module):
    """A layer with a window, which is checked when the layer is built, so its sizes are read-only."""

    window: Window

    kernel_size = property(lambda self: self.window.kernel)
    stride = property(lambda self: self.window.stride)
    padding = property(lambda self: self.window.padding)
    dilation = property(lambda self: self.window.dilation)


class _Conv(_Windowed):
    """Base class of Conv2d and ConvTranspose2d, which checks their common options."""

    def __init__(self, layer: str, in_channels: int, out_channels: int, window: Window, groups: int) -> None:
        self.in_channels = checks.integer(layer, in_channels, "in_channels", 1)
        self.out_channels = checks.integer(layer, out_channels, "out_channels", 1)
        self.window = window
        self.groups = checks.integer(layer, groups, "groups", 1)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{layer}: in_channels {in_channels}, out_channels {out_channels} must be divisible by groups {groups}."
            )

    def extra_repr(self) -> str:
        defaults: dict[str, Any] = {
            "padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1, "padding_mode": "zeros",
        }  # fmt: skip
        options = {name: getattr(self, name, default) for name, default in defaults.items()}
        shown = "".join(f", {name}={value!r}" for name, value in options.items() if value != defaults[name])
        bias = "" if getattr(self, "bias", None) is not None else ", bias=False"
        size = f"kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{self.in_channels}, {self.out_channels}, {size}{shown}{bias}"


class Conv2d(_Conv):
    """Two-dimensional convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see ``ops.conv2d``.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int or (int, int)
        The padding may also be "same", which keeps the size of images with stride 1, or "valid", which is 0.
    groups : int
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding consists of; see ``ops.pad``.

    Raises
    ------
    ArgumentError
        If an argument is invalid, or a number of channels is not divisible by ``groups``.
    """

    padding = property(lambda self: self._padding)

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair | str = 0,
        dilation: Pair = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
    ) -> None:  # fmt: skip
        window = conv_window("Conv2d", kernel_size, stride, padding, dilation)
        self._padding = padding if isinstance(padding, str) else window.padding
        self.uneven = padding == "same" and any(size % 2 == 0 for size in window.covered)
        modes = ("zeros", "reflect", "replicate", "circular")
        self.padding_mode = checks.choice("Conv2d", padding_mode, "padding_mode", modes)
        super().__init__("Conv2d", in_channels, out_channels, window, groups)
        shape = out_channels, in_channels // groups, *self.kernel_size
        self.weight, self.bias = _filter_parameters(shape, out_channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.padding_mode == "zeros" and not self.uneven:  # the window has been checked already
            return convolve(conv_inputs("conv2d", x, self.weight, self.bias, self.groups), self.window, self.groups)
        padding = self.padding
        if self.padding_mode != "zeros":
            bottom, right = self.window.padding
            top, left = ((size - 1) // 2 for size in self.window.covered) if self.uneven else (bottom, right)
            x, padding = ops.pad(x, (left, right, top, bottom), self.padding_mode), 0
        return ops.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv):
    """Transposed convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see ``ops.conv_transpose2d``.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, output_padding, dilation : int or (int, int)
    groups : int
    bias : bool
    padding_mode : {"zeros"}

    Raises
    ------
    ArgumentError
        If an argument is invalid, or a number of channels is not divisible by ``groups``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0,
        output_padding: Pair = 0, groups: int = 1, bias: bool = True, dilation: Pair = 1, padding_mode: str = "zeros",
    ) -> None:  # fmt: skip
        checks.choice("ConvTranspose2d", padding_mode, "padding_mode", ("zeros",))
        window = Window.of("ConvTranspose2d", kernel_size, stride, padding, dilation)
        super().__init__("ConvTranspose2d", in_channels, out_channels, window, groups)
        self.output_padding = output_padding_pair(output_padding, self.window)
        shape = in_channels, out_channels // groups, *self.kernel_size
        self.weight, self.bias = _filter_parameters(shape, out_channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        options = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return ops.conv_transpose2d(x, self.weight, self.bias, *options)


class BatchNorm1d(Module):
    """Batch normalisation of (N, num_features) or (N, num_features, L); see ``ops.batch_norm``.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the variance.
    momentum : float or None
        The weight of the new batch statistics in the running statistics. With None, these are the average over all
        batches, which are counted in the buffer ``num_batches_tracked``.
    affine : bool
        Whether the layer has a scale and a shift for each channel.
    track_running_stats : bool
        Whether the layer has running statistics. Without them, evaluation also uses those of the batch.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    ShapeError
        If x has the wrong number of axes or channels or, in training, only one value per channel.
    """

    axes: tuple[int, ...] = (2, 3)
    layout = "(N, C) or (N, C, L)"

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:  # fmt: skip
        layer = type(self).__name__
        self.num_features = checks.integer(layer, num_features, "num_features", 1)
        self.eps = checks.positive(layer, eps, "eps")
        self.momentum = None if momentum is None else checks.fraction(layer, momentum, "momentum")
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None  # gamma
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None  # beta
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if track_running_stats else None
        if momentum is None and track_running_stats:
            self.num_batches_tracked = Buffer(np.zeros((), np.int64))

    def forward(self, x: Tensor, shortcut: Tensor | None = None, activation: str | None = None) -> Tensor:
        """Normalise x. ``bn(x, shortcut, activation="relu")`` is relu(bn(x) + shortcut); both extras are optional."""
        x = checks.floats(type(self).__name__, x)
        if x.ndim not in self.axes:
            hint = " Add a batch axis with x.expand_dims(0)." if x.ndim == self.axes[0] - 1 else ""
            raise ShapeError(
                f"{type(self).__name__}: x has {x.ndim} axes (x: {sizes(x.shape)}) but {self.layout} is needed.{hint}"
            )
        training, momentum, count = self.training or self.running_mean is None, self.momentum, None
        if momentum is None:
            count = self.num_batches_tracked if self.training and self.running_mean is not None else None
            momentum = 0.0 if count is None else 1 / (count.item() + 1)
        running = self.running_mean, self.running_var
        y = ops.batch_norm(x, self.weight, self.bias, *running, training, momentum, self.eps, shortcut, activation)
        if count is not None:
            count.data += 1
        return y

    def extra_repr(self) -> str:
        given = {"affine": self.weight is not None, "track_running_stats": self.running_mean is not None}
        options = "".join(f", {name}=False" for name, value in given.items() if not value)
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}{options}"


class BatchNorm2d(BatchNorm1d):
    """Batch normalisation of images (N, num_features, H, W); see :class:`BatchNorm1d`."""

    axes = (4,)
    layout = "(N, C, H, W)"


class LayerNorm(Module):
    """Layer normalisation over the trailing axes; see ``ops.layer_norm``.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The sizes of these axes.
    eps : float
        Added to the variance.
    elementwise_affine, bias : bool
        Whether the layer has a scale and a shift for each element; with ``bias=False``, it has no shift.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:  # fmt: skip
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = checks.shape_tuple("LayerNorm", tuple(shape), 1)
        self.eps = checks.positive("LayerNorm", eps, "eps")
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, np.float32)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = ", elementwise_affine=False" if self.weight is None else ", bias=False" if self.bias is None else ""
        return f"{self.normalized_shape}, eps={self.eps}{affine}"


class GroupNorm(Module):
    """Normalisation of groups of channels, (N, num_channels, ...); see ``ops.group_norm``.

    Parameters
    ----------
    num_groups, num_channels : int
    eps : float
        Added to the variance.
    affine : bool
        Whether there is a scale and a shift for each channel.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or ``num_channels`` is not divisible by ``num_groups``.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        self.num_groups = checks.integer("GroupNorm", num_groups, "num_groups", 1)
        self.num_channels = checks.integer("GroupNorm", num_channels, "num_channels", 1)
        if num_channels % num_groups:
            raise ArgumentError(f"GroupNorm: num_channels {num_channels} must be divisible by num_groups {num_groups}.")
        self.eps = checks.positive("GroupNorm", eps, "eps")
        self.weight = Parameter(np.ones(num_channels, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, np.float32)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = "" if self.weight is not None else ", affine=False"
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}{affine}"


class ReLU(Module):
    """max(x, 0)."""

    def __init__(self, inplace: bool = False) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class LeakyReLU(Module):
    """x where x is positive, ``negative_slope * x`` elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = checks.number("LeakyReLU", negative_slope, "negative_slope")

    def forward(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """x times the probability that a standard normal variable is below x; see ``ops.gelu``."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = checks.choice("GELU", approximate, "value of approximate", ("none", "tanh"))

    def forward(self, x: Tensor) -> Tensor:
        return ops.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x * sigmoid(x)."""

    def __init__(self, inplace: bool = False) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return ops.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along ``axis``; see ``ops.softmax``."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """log(softmax(x)) along ``axis``; see ``ops.log_softmax``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.log_softmax(x, self.axis)


class Dropout(Module):
    """Zeroes elements with probability ``p`` in training; see ``ops.dropout``.

    Raises ArgumentError unless 0 <= p <= 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        self.p = checks.fraction("Dropout", p, "p")

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class MaxPool2d(_Windowed):
    """The maximum of each window; see ``ops.max_pool2d``. Raises ArgumentError if an argument is invalid."""

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        if return_indices:
            places = "ops.im2col(x, ...).reshape(n, oh, ow, c, -1).argmax(axis=-1)"
            raise ArgumentError(
                f"MaxPool2d: return_indices=True is not offered; the indices within the windows are {places}."
            )
        self.window = pool_window("MaxPool2d", kernel_size, stride, padding, dilation)
        self.ceil_mode = bool(ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        dilation = "" if self.dilation == (1, 1) else f", dilation={self.dilation}"
        ceil_mode = ", ceil_mode=True" if self.ceil_mode else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{dilation}{ceil_mode}"


class AvgPool2d(_Windowed):
    """The mean of each window; see ``ops.avg_pool2d``. Raises ArgumentError if an argument is invalid."""

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        self.window = pool_window("AvgPool2d", kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = bool(ceil_mode), bool(count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        options = self.ceil_mode, self.count_include_pad, self.divisor_override
        return ops.avg_pool2d(x, self.kernel_size, self.stride, self.padding, *options)

    def extra_repr(self) -> str:
        defaults = {"ceil_mode": False, "count_include_pad": True, "divisor_override": None}
        given = {name: getattr(self, name) for name in defaults}
        options = "".join(f", {name}={value}" for name, value in given.items() if value != defaults[name])
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{options}"


class AdaptiveAvgPool2d(Module):
    """The mean of each of OH x OW areas of the images; see ``ops.adaptive_avg_pool2d``."""

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class GlobalAvgPool2d(Module):
    """The mean of each channel over all pixels, (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.global_avg_pool2d(x)


class Upsample(Module):
    """Resizes images; see ``ops.interpolate``."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:  # fmt: skip
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        options = self.mode, self.align_corners, self.recompute_scale_factor
        return ops.interpolate(x, self.size, self.scale_factor, *options)

    def extra_repr(self) -> str:
        target = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{target}, mode={self.mode!r}"


class Flatten(Module):
    """Merges the axes from ``start_axis`` to ``end_axis`` into one, by default (N, C, H, W) -> (N, C*H*W)."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis, self.end_axis = start_axis, end_axis

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x, self.start_axis, self.end_axis)


class Identity(Module):
    """Returns x unchanged, for instance as a shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class CrossEntropyLoss(Module):
    """The cross-entropy of logits (N, K) and labels (N,); see ``ops.cross_entropy``."""

    def __init__(
        self, weight: TensorLike | None = None, *, ignore_index: int = -100, reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, logits: Tensor, labels: TensorLike) -> Tensor:
        options = self.ignore_index, self.reduction, self.label_smoothing
        return ops.cross_entropy(logits, labels, self.weight, *options)


class MSELoss(Module):
    """The mean of (x - target)**2; see ``ops.mse_loss``."""

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, x: Tensor, target: TensorLike) -> Tensor:
        return ops.mse_loss(x, target, reduction=self.reduction)


class BCEWithLogitsLoss(Module):
    """The binary cross-entropy of logits and targets in [0, 1]; see ``ops.binary_cross_entropy_with_logits``."""

    def __init__(
        self, weight: TensorLike | None = None, *, reduction: str = "mean", pos_weight: TensorLike | None = None
    ) -> None:
        self.weight = None if weight is None else Buffer(weight)
        self.pos_weight = None if pos_weight is None else Buffer(pos_weight)
        self.reduction = reduction

    def forward(self, logits: Tensor, target: TensorLike) -> Tensor:
        options: dict[str, Any] = {"pos_weight": self.pos_weight, "reduction": self.reduction}
        return ops.binary_cross_entropy_with_logits(logits, target, self.weight, **options)
