"""The residual networks of He et al. for large images, and the same networks without shortcuts.

arXiv 1512.03385, table 1: a 7x7 convolution and maximum pooling, which each halve the image, four stages of blocks with
64, 128, 256 and 512 channels (four times as many after bottlenecks), global average pooling and a linear layer. Options
make the pre-activation variant (arXiv 1603.05027) and ResNet-D (``deep_stem`` and ``avg_down``, arXiv 1812.01187).
Parameters are named as in torchvision, those of ResNet-D as in timm.
"""

from __future__ import annotations

from .. import nn, ops
from ..core import checks
from ..core.tensor import Tensor
from ..errors import ArgumentError
from .blocks import BasicBlock, Bottleneck, PreActivationBlock, PreActivationBottleneck, finish, make_stages
from .shortcuts import check_options

WIDTHS = (64, 128, 256, 512)
COUNTS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ImageNetResNet(nn.Module):
    """A network of 18 to 152 layers for images of about 224x224 pixels.

    It takes images (N, in_channels, H, W) and returns logits (N, num_classes).

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
        Networks of 50 layers and more have bottlenecks.
    num_classes, in_channels : int
    shortcut : {"A", "B", "C", None}
        Where the size changes, A pads with zeros and B projects with a 1x1 convolution; C projects everywhere. None
        makes the plain twin, without shortcuts.
    preactivation : bool
        Whether BN and ReLU come before each convolution instead of after it (arXiv 1603.05027). In the first block,
        they come after the maximum pooling, as in timm's ``resnetv2_50``.
    zero_init_residual : bool
        Whether gamma starts at 0 in the last BN of each block, so that each block is the identity at first
        (Goyal et al., arXiv 1706.02677, section 5.1).
    stochastic_depth_prob : float
        The probability of dropping the last block for an image in training. For block l of L, it is l/L times as high
        (Huang et al., arXiv 1603.09382).
    deep_stem : bool
        Whether three 3x3 convolutions of 32, 32 and 64 filters replace the 7x7 one (arXiv 1812.01187, figure 2b).
    avg_down : bool
        Whether projections average 2x2 pixels instead of skipping three of every four (arXiv 1812.01187, figure 2c).
        Together with ``deep_stem``, this is ResNet-D.

    Raises
    ------
    ArgumentError
        If the depth is unknown, another value is invalid, or two options exclude each other: zero_init_residual with
        preactivation, stochastic depth without shortcuts, or avg_down without projections.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        shortcut: str | None = "B",
        preactivation: bool = False,
        zero_init_residual: bool = False,
        stochastic_depth_prob: float = 0.0,
        deep_stem: bool = False,
        avg_down: bool = False,
    ) -> None:
        options = num_classes, in_channels, shortcut, preactivation, zero_init_residual, stochastic_depth_prob
        check_options("ImageNetResNet", *options)
        if not checks.is_integer(depth, 1) or depth not in COUNTS:
            raise ArgumentError(f"ImageNetResNet: depth is {depth!r}; it must be one of {', '.join(map(str, COUNTS))}.")
        if avg_down and shortcut not in ("B", "C"):
            raise ArgumentError(
                f"ImageNetResNet: avg_down needs projections, 'B' or 'C', but shortcut is {shortcut!r}."
            )
        blocks, bottlenecks = (BasicBlock, PreActivationBlock), (Bottleneck, PreActivationBottleneck)
        block = (blocks if depth < 50 else bottlenecks)[preactivation]
        outputs = WIDTHS[-1] * block.expansion
        self.conv1 = three_convolutions(in_channels) if deep_stem else nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs if preactivation else WIDTHS[0])
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = make_stages(
            block, COUNTS[depth], WIDTHS, shortcut, stochastic_depth_prob, avg_down
        )
        self.fc = nn.Linear(outputs, num_classes)
        self.preactivation = preactivation
        finish(self, "fan_out", zero_init_residual)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)  # (N, 64, H/2, W/2)
        if not self.preactivation:
            x = self.bn1(x, activation="relu")
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)  # (N, 64, H/4, W/4), or 256 channels
        x = self.layer2(x)  # (N, 128, H/8, W/8), or 512
        x = self.layer3(x)  # (N, 256, H/16, W/16), or 1024
        x = self.layer4(x)  # (N, 512, H/32, W/32), or 2048
        if self.preactivation:
            x = self.bn1(x, activation="relu")
        return self.fc(ops.global_avg_pool2d(x))  # (N, 512) or (N, 2048) -> (N, num_classes)


def three_convolutions(in_channels: int) -> nn.Sequential:
    """Build the stem of ResNet-C and ResNet-D: (N, in_channels, H, W) to (N, 64, H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=3, padding=1, bias=False),
    )
