"""The residual networks of He et al. for small pictures, and the same networks without shortcuts.

arXiv 1512.03385, section 4.2: a 3x3 convolution, three stages of n blocks with 16, 32 and 64 filters at full, half
and quarter resolution, global average pooling and a linear layer: 6n + 2 layers with weights. The pre-activation
variant is that of arXiv 1603.05027. Parameters are named as in torchvision.
"""

from __future__ import annotations

from .. import checks, nn, ops
from ..errors import ArgumentError
from ..tensor import Tensor
from .blocks import BasicBlock, PreActivationBlock, stage

WIDTHS = (16, 32, 64)
SHORTCUTS = ("A", "B", "C", None)


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
        self.layer1 = stage(block, blocks, WIDTHS[0], WIDTHS[0], 1, shortcut)
        self.layer2 = stage(block, blocks, WIDTHS[0], WIDTHS[1], 2, shortcut)
        self.layer3 = stage(block, blocks, WIDTHS[1], WIDTHS[2], 2, shortcut)
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
