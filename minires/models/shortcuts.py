"""The shortcuts of residual blocks, and stochastic depth."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..core import backend, checks
from ..core.tensor import Tensor
from ..errors import ArgumentError


class SubsampleAndPad(nn.Module):
    """The shortcut of option A, without parameters: every ``stride``-th pixel, with channels of zeros added."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.stride = stride
        new = out_channels - in_channels
        self.channels = (new // 2, new - new // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # (N, C, OH, OW)
        return ops.pad(x, ((0, 0), self.channels, (0, 0), (0, 0)))  # (N, O, OH, OW)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, channels={self.channels}"


class HalvingAvgPool(nn.Module):
    """The mean of each square of 2x2 pixels, (N, C, H, W) to (N, C, ceil(H/2), ceil(W/2)).

    If a size is odd, the last row or column is averaged with itself, as in PyTorch's ``AvgPool2d(2, 2, ceil_mode=True,
    count_include_pad=False)``. The output then has the same size as after a convolution with stride 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2:
            x = ops.concatenate([x, x[:, :, -1:]], axis=2)  # (N, C, H + 1, W)
        if x.shape[3] % 2:
            x = ops.concatenate([x, x[:, :, :, -1:]], axis=3)  # (N, C, H, W + 1)
        return ops.avg_pool2d(x, kernel_size=2)


class StochasticDepth(nn.Module):
    """In training, zeroes the branch of each image with probability ``p``, which leaves only the shortcut of its block.

    Huang et al., arXiv 1603.09382. As in torchvision (``StochasticDepth(p, mode="row")``), each image is drawn
    separately, and a branch that is kept is scaled by 1 / (1 - p), so that evaluation can use the branch unscaled. The
    paper draws once per batch, and scales in evaluation instead.

    Parameters
    ----------
    p : float
        The probability, in [0, 1).

    Raises
    ------
    ArgumentError
        If ``p`` is not in [0, 1).
    """

    def __init__(self, p: float) -> None:
        self.p = checks.fraction("StochasticDepth", p, "p", below_one=True)

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return branch
        kept = backend.generator().random((len(branch), *(1,) * (branch.ndim - 1))) >= self.p  # (N, 1, 1, 1)
        return ops.where(kept, branch, 0) / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:.3g}"


def make_shortcut(
    option: str | None, in_channels: int, out_channels: int, stride: int, avg_down: bool = False, norm: bool = True
) -> nn.Module | None:
    """Build the shortcut of a block: the identity if shapes allow it, but with option C always a projection.

    A projection is a Sequential. With ``avg_down``, it averages 2x2 pixels before its 1x1 convolution, which would
    otherwise skip three of every four (ResNet-D, arXiv 1812.01187, figure 2c). Its parameters are named as in timm.
    """
    if option is None:
        return None
    if option != "C" and in_channels == out_channels and stride == 1:
        return nn.Identity()
    if option == "A":
        return SubsampleAndPad(in_channels, out_channels, stride)
    layers: list[nn.Module] = []
    if avg_down:
        layers.append(nn.Identity() if stride == 1 else HalvingAvgPool())
        stride = 1
    layers.append(nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False))
    if norm:
        layers.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*layers)


def check_options(
    network: str,
    num_classes: Any,
    in_channels: Any,
    shortcut: Any,
    preactivation: bool,
    zero_init_residual: bool,
    stochastic_depth_prob: Any,
) -> None:
    """Check the options that all networks share. Raises ArgumentError if one of them is invalid."""
    checks.integer(network, num_classes, "num_classes", 1)
    checks.integer(network, in_channels, "in_channels", 1)
    if shortcut not in ("A", "B", "C", None):
        raise ArgumentError(f"{network}: shortcut is {shortcut!r}; it must be 'A', 'B', 'C' or None (plain).")
    if zero_init_residual and preactivation:
        raise ArgumentError(f"{network}: zero_init_residual needs blocks that end in BN, unlike pre-activation blocks.")
    if checks.fraction(network, stochastic_depth_prob, "stochastic_depth_prob", below_one=True) and shortcut is None:
        raise ArgumentError(f"{network}: stochastic_depth_prob needs shortcuts: only they remain of dropped blocks.")
