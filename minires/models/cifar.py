"""The residual networks of He et al. for small images, and the same networks without shortcuts.

arXiv 1512.03385, section 4.2: a 3x3 convolution, three stages of n blocks with 16, 32 and 64 filters at full, half
and quarter resolution, global average pooling and a linear layer, which makes 6n + 2 layers with weights. In the
pre-activation variant (arXiv 1603.05027) the network's own BN and ReLU, ``bn1``, come after the blocks. Parameters are
named as in torchvision.
"""

from __future__ import annotations

from .. import nn, ops
from ..core import checks
from ..core.tensor import Tensor
from ..errors import ArgumentError
from .blocks import BasicBlock, PreActivationBlock, finish, make_stages
from .shortcuts import check_options

WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """A network of 6n + 2 layers for images of about 32x32 pixels, (N, in_channels, H, W) to logits (N, num_classes).

    Parameters
    ----------
    depth : int
        6n + 2: 8, 14, 20, 32, 44, 56, 110, 1202, ...
    num_classes, in_channels : int
    shortcut : {"A", "B", "C", None}
        Where the size changes, A pads with zeros and B projects with a 1x1 convolution; C projects everywhere. None
        makes the plain twin, without shortcuts.
    preactivation : bool
        Whether BN and ReLU come before each convolution instead of after it (arXiv 1603.05027).
    zero_init_residual : bool
        Whether gamma starts at 0 in the last BN of each block, so that each block is the identity at first
        (Goyal et al., arXiv 1706.02677, section 5.1).
    stochastic_depth_prob : float
        The probability of dropping the last block for an image in training. For block l of L, it is l/L times as high
        (Huang et al., arXiv 1603.09382, who use 0.5).

    Raises
    ------
    ArgumentError
        If the depth is not 6n + 2, another value is invalid, or two options exclude each other: zero_init_residual
        with preactivation, or stochastic depth without shortcuts.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        shortcut: str | None = "A",
        preactivation: bool = False,
        zero_init_residual: bool = False,
        stochastic_depth_prob: float = 0.0,
    ) -> None:
        options = num_classes, in_channels, shortcut, preactivation, zero_init_residual, stochastic_depth_prob
        check_options("CifarResNet", *options)
        if not checks.is_integer(depth, 8) or (depth - 2) % 6:
            raise ArgumentError(f"CifarResNet: depth is {depth!r}; it must be 6n + 2, such as 8, 20 or 56.")
        block = PreActivationBlock if preactivation else BasicBlock
        counts = [(depth - 2) // 6] * 3
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[-1 if preactivation else 0])
        self.layer1, self.layer2, self.layer3 = make_stages(block, counts, WIDTHS, shortcut, stochastic_depth_prob)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        self.preactivation = preactivation
        finish(self, "fan_in", zero_init_residual)

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
