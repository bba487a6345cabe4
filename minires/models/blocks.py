"""The units that residual networks are built of; their forward reads like the figures of the papers.

::

    x ──┬── conv 3x3 ── BN ── ReLU ── conv 3x3 ── BN ──(+)── ReLU ──>        BasicBlock
        └──────────────────── shortcut ─────────────────┘

Parameters are named as in torchvision. ``bn(x, shortcut, activation="relu")`` is ``relu(bn(x) + shortcut)``, in one
walk over memory (see ``minires.ops.batch_norm``).
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import nn, ops
from ..tensor import Tensor


class SubsampleAndPad(nn.Module):
    """Shortcut of option A, without parameters: every ``stride``-th pixel, and new channels of zeros on both sides."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.stride = stride
        new = out_channels - in_channels
        self.channels = (new // 2, new - new // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # (N, C, OH, OW)
        return ops.pad(x, ((0, 0), self.channels, (0, 0), (0, 0)))  # (N, O, OH, OW)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, channels={self.channels}"


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The path beside a block: the identity wherever it fits, unless option C projects everywhere."""
    if option != "C" and in_channels == out_channels and stride == 1:
        return nn.Identity()
    if option == "A":
        return SubsampleAndPad(in_channels, out_channels, stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class BasicBlock(nn.Module):
    """relu(F(x) + shortcut(x)), where F is conv-BN-ReLU-conv-BN. Without a shortcut: relu(F(x))."""

    expansion: ClassVar[int] = 1  # output channels for each of the inner ones

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str | None) -> None:
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None if shortcut is None else make_shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x), activation="relu")
        shortcut = None if self.downsample is None else self.downsample(x)
        return self.bn2(self.conv2(branch), shortcut, activation="relu")  # relu(F(x) + shortcut(x))


class Bottleneck(nn.Module):
    """relu(F(x) + shortcut(x)), where F narrows by a 1x1 convolution, looks around by a 3x3 one, and widens again.

    He et al., arXiv 1512.03385, figure 5. The stride is on the 3x3 convolution, as torchvision has it.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str | None) -> None:
        width = out_channels // self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None if shortcut is None else make_shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x), activation="relu")
        branch = self.bn2(self.conv2(branch), activation="relu")
        shortcut = None if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv3(branch), shortcut, activation="relu")  # relu(F(x) + shortcut(x))


class PreActivationBlock(nn.Module):
    """F(x) + shortcut(x), where F is BN-ReLU-conv-BN-ReLU-conv: nothing stands in the way of the identity."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str | None) -> None:
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.downsample = None if shortcut is None else make_shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv1(self.bn1(x, activation="relu"))
        branch = self.conv2(self.bn2(branch, activation="relu"))
        if self.downsample is None:
            return branch
        return ops.residual_add(branch, self.downsample(x), activation=None)


def stage(
    block: Any, blocks: int, in_channels: int, out_channels: int, stride: int, shortcut: str | None
) -> nn.Sequential:
    """Blocks of one resolution; the first one changes it."""
    first = block(in_channels, out_channels, stride, shortcut)
    return nn.Sequential(first, *(block(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1)))
