"""Layers, which combine an op with the parameters that it needs. Constructor arguments are the same as in torch.nn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..core import checks
from ..core.checks import Pair
from ..core.tensor import Tensor
from ..errors import ArgumentError
from ..ops.conv import Window, conv_inputs, convolve, convolve_transposed, output_padding_pair
from ..ops.pool import AvgPool2d as AvgPool2dOp
from ..ops.pool import MaxPool2d as MaxPool2dOp
from ..ops.pool import pool2d, pool_window
from . import init
from .module import Buffer, Module, Parameter


def _filter_parameters(shape: tuple[int, ...], outputs: int, bias: bool) -> tuple[Parameter, Parameter | None]:
    """Create weight and bias, drawn uniformly from +-1/sqrt(fan_in), which is PyTorch's default."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    parameters = [Parameter(np.empty(size, np.float32)) for size in (shape, outputs)[: 1 + bias]]
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
    """A layer with a window. The window is built and checked only once, so its sizes are read-only."""

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
        defaults: dict[str, Any] = {"padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1}
        options = {name: getattr(self, name, default) for name, default in defaults.items()}
        shown = "".join(f", {name}={value}" for name, value in options.items() if value != defaults[name])
        bias = "" if getattr(self, "bias", None) is not None else ", bias=False"
        size = f"kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{self.in_channels}, {self.out_channels}, {size}{shown}{bias}"


class Conv2d(_Conv):
    """Two-dimensional convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see ``ops.conv2d``.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int or (int, int)
    groups : int
    bias : bool

    Raises
    ------
    ArgumentError
        If a size is invalid, or a number of channels is not divisible by ``groups``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        window = Window.of("Conv2d", kernel_size, stride, padding, dilation)
        super().__init__("Conv2d", in_channels, out_channels, window, groups)
        shape = out_channels, in_channels // groups, *self.kernel_size
        self.weight, self.bias = _filter_parameters(shape, out_channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(conv_inputs("conv2d", x, self.weight, self.bias, self.groups), self.window, self.groups)


class ConvTranspose2d(_Conv):
    """Transposed convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see ``ops.conv_transpose2d``.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, output_padding, dilation : int or (int, int)
    groups : int
    bias : bool

    Raises
    ------
    ArgumentError
        If a size is invalid, or a number of channels is not divisible by ``groups``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
    ) -> None:
        window = Window.of("ConvTranspose2d", kernel_size, stride, padding, dilation)
        super().__init__("ConvTranspose2d", in_channels, out_channels, window, groups)
        self.output_padding = output_padding_pair(output_padding, self.window)
        shape = in_channels, out_channels // groups, *self.kernel_size
        self.weight, self.bias = _filter_parameters(shape, out_channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        inputs = conv_inputs("conv_transpose2d", x, self.weight, self.bias, self.groups, transposed=True)
        return convolve_transposed(inputs, self.window, self.output_padding, self.groups)


class BatchNorm1d(Module):
    """Batch normalisation of (N, num_features); see ``ops.batch_norm``.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the variance.
    momentum : float
        The weight of the new batch statistics in the running statistics.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    ShapeError
        If x has the wrong number of axes or channels or, in training, only one value per channel.
    """

    ndim = 2
    layout = "(N, C)"

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        layer = type(self).__name__
        self.num_features = checks.integer(layer, num_features, "num_features", 1)
        self.eps = checks.positive(layer, eps, "eps")
        self.momentum = checks.fraction(layer, momentum, "momentum")
        self.weight = Parameter(np.ones(num_features, np.float32))  # gamma
        self.bias = Parameter(np.zeros(num_features, np.float32))  # beta
        self.running_mean = Buffer(np.zeros(num_features, np.float32))
        self.running_var = Buffer(np.ones(num_features, np.float32))

    def forward(self, x: Tensor, shortcut: Tensor | None = None, activation: str | None = None) -> Tensor:
        """Normalise x. ``bn(x, shortcut, activation="relu")`` is relu(bn(x) + shortcut); both extras are optional."""
        x = checks.floats(type(self).__name__, x)
        checks.axes(type(self).__name__, x, self.ndim, self.layout, "x")
        running = self.running_mean, self.running_var
        return ops.batch_norm(
            x, self.weight, self.bias, *running, self.training, self.momentum, self.eps, shortcut, activation
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm2d(BatchNorm1d):
    """Batch normalisation of images (N, num_features, H, W); see :class:`BatchNorm1d`."""

    ndim = 4
    layout = "(N, C, H, W)"


class LayerNorm(Module):
    """Layer normalisation over the trailing axes; see ``ops.layer_norm``.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The sizes of these axes.
    eps : float
        Added to the variance.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5) -> None:
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = checks.shape_tuple("LayerNorm", tuple(shape), 1)
        self.eps = checks.positive("LayerNorm", eps, "eps")
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32))
        self.bias = Parameter(np.zeros(self.normalized_shape, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class Dropout(Module):
    """Zeroes elements with probability ``p`` in training; see ``ops.dropout``.

    Raises ArgumentError unless 0 <= p < 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = checks.fraction("Dropout", p, "p", below_one=True)

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class MaxPool2d(_Windowed):
    """The maximum of each window; see ``ops.max_pool2d``. Raises ArgumentError if a size is invalid."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        self.window = pool_window(type(self).__name__, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return pool2d(MaxPool2dOp, x, self.window)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(MaxPool2d):
    """The mean of each window; see ``ops.avg_pool2d``. Raises ArgumentError if a size is invalid."""

    def forward(self, x: Tensor) -> Tensor:
        return pool2d(AvgPool2dOp, x, self.window)


class GlobalAvgPool2d(Module):
    """The mean of each channel over all pixels, (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.global_avg_pool2d(x)


class Flatten(Module):
    """Joins all axes from ``start_axis`` onwards into one: (N, C, H, W) to (N, C*H*W)."""

    def __init__(self, start_axis: int = 1) -> None:
        self.start_axis = start_axis

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x, self.start_axis)


class Identity(Module):
    """Returns x unchanged, for instance as a shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        return x
