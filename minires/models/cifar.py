"""The residual networks of He et al. for small pictures, and the same networks without shortcuts.

arXiv 1512.03385, section 4.2: a 3x3 convolution, three stages of n blocks with 16, 32 and 64 filters at full, half
and quarter resolution, global average pooling and a linear layer: 6n + 2 layers with weights. The pre-activation
variant is that of arXiv 1603.05027. Parameters are named as in torchvision.

::

    x ──┬── conv 3x3 ── BN ── ReLU ── conv 3x3 ── BN ──(+)── ReLU ──>
        └──────────────────── shortcut ─────────────────┘
"""

from __future__ import annotations

from typing import Any

from .. import checks, nn, ops
from ..errors import ArgumentError
from ..tensor import Tensor

WIDTHS = (16, 32, 64)
SHORTCUTS = ("A", "B", "C", None)


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


class CifarResNet(nn.Module):
    """6n + 2 layers for pictures of about 32x32 pixels, (N, in_channels, H, W) to logits (N, num_classes).

    Parameters
    ----------
    depth : int
        6n + 2: 8, 14, 20, 32, 44, 56, 110, 1202, ...
    num_classes, in_channels : int
    shortcut : {"A", "B", "C", None}
        Where the size changes: A pads with zeros, B projects with a 1x1 convolution; C projects everywhere. None
        leaves the shortcuts out: the plain twin.
    preactivation : bool
        Whether BN and ReLU come before each convolution instead of after it.
    zero_init_residual : bool
        Start the last BN of each block at gamma = 0, so that each block is the identity at first
        (Goyal et al., arXiv 1706.02677, section 5.1).

    Raises
    ------
    ArgumentError
        For a depth that is not 6n + 2, or an unknown shortcut.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        shortcut: str | None = "A",
        preactivation: bool = False,
        zero_init_residual: bool = False,
    ) -> None:
        checks.integer("CifarResNet", num_classes, "num_classes", 1)
        checks.integer("CifarResNet", in_channels, "in_channels", 1)
        if not checks.is_integer(depth, 8) or (depth - 2) % 6:
            raise ArgumentError(f"CifarResNet: depth is {depth!r}; it must be 6n + 2, such as 8, 20 or 56.")
        if shortcut not in SHORTCUTS:
            raise ArgumentError(f"CifarResNet: shortcut is {shortcut!r}; it must be 'A', 'B', 'C', or None for none.")
        if zero_init_residual and preactivation:
            raise ArgumentError(
                "CifarResNet: zero_init_residual needs blocks that end in BN; preactivation ones do not."
            )
        block = PreActivationBlock if preactivation else BasicBlock
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[-1 if preactivation else 0])
        self.layer1 = _stage(block, blocks, WIDTHS[0], WIDTHS[0], 1, shortcut)
        self.layer2 = _stage(block, blocks, WIDTHS[0], WIDTHS[1], 2, shortcut)
        self.layer3 = _stage(block, blocks, WIDTHS[1], WIDTHS[2], 2, shortcut)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        self.preactivation = preactivation
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal(module.weight, nonlinearity="relu")
            if zero_init_residual and isinstance(module, BasicBlock):
                nn.init.zeros(module.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)  # (N, 16, H, W)
        if not self.preactivation:
            x = self.bn1(x, activation="relu")
        x = self.layer1(x)  # (N, 16, H, W)
        x = self.layer2(x)  # (N, 32, H/2, W/2)
        x = self.layer3(x)  # (N, 64, H/4, W/4)
        if self.preactivation:
            x = self.bn1(x, activation="relu")
        return self.fc(ops.global_avg_pool2d(x))  # (N, 64) -> (N, num_classes)


def _stage(
    block: Any, blocks: int, in_channels: int, out_channels: int, stride: int, shortcut: str | None
) -> nn.Sequential:
    """Blocks of one resolution; the first one changes it."""
    first = block(in_channels, out_channels, stride, shortcut)
    return nn.Sequential(first, *(block(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1)))
