"""ResNet-9, a short and wide residual network that learns small images in few epochs.

David Page, "How to Train Your ResNet" (2018, myrtle.ai), trained it to 94 % on CIFAR-10 in 24 epochs. Most of its
multiply-adds are on small images with many channels, where convolutions are fastest.
"""

from __future__ import annotations

from .. import nn, ops
from ..core import checks
from ..core.tensor import Tensor
from .blocks import BasicBlock, finish


class PooledConv(nn.Module):
    """relu(BN(pool(conv(x)))), with a 3x3 convolution and 2x2 maximum pooling.

    Pooling comes before BN and ReLU, so they read only a quarter of the numbers. In Page's network, it comes last.
    Apart from the batch statistics, the result is the same, because BN with a positive gamma and ReLU do not change
    which pixel is largest.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = ops.max_pool2d(self.conv(x), kernel_size=2)  # (N, O, H/2, W/2)
        return self.bn(x, activation="relu")


class ResNet9(nn.Module):
    """A network of nine layers for images of about 32x32 pixels, (N, in_channels, H, W) to logits (N, num_classes).

    The first and the last stage have a residual block; the second does not. The last ReLU of a block follows the
    addition (:class:`BasicBlock`); in Page's network, it precedes the addition. At the end, the maximum over all pixels
    is taken.

    Parameters
    ----------
    num_classes, in_channels : int
    width : int
        The number of filters of the first convolution, 64 in Page's network. The stages have 2, 4 and 8 times as many.

    Raises
    ------
    ArgumentError
        If a number is not an integer >= 1.
    ShapeError
        If ``forward`` is given images smaller than 8x8 pixels.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> None:
        for name, value in (("num_classes", num_classes), ("in_channels", in_channels), ("width", width)):
            checks.integer("ResNet9", value, name, 1)
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(PooledConv(width, 2 * width), BasicBlock(2 * width, 2 * width, 1, "A"))
        self.layer2 = nn.Sequential(PooledConv(2 * width, 4 * width))
        self.layer3 = nn.Sequential(PooledConv(4 * width, 8 * width), BasicBlock(8 * width, 8 * width, 1, "A"))
        self.fc = nn.Linear(8 * width, num_classes)
        finish(self, "fan_in", zero_init_residual=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x), activation="relu")  # (N, width, H, W)
        x = self.layer1(x)  # (N, 2 width, H/2, W/2)
        x = self.layer2(x)  # (N, 4 width, H/4, W/4)
        x = self.layer3(x)  # (N, 8 width, H/8, W/8)
        return self.fc(x.max(axis=(2, 3)))  # (N, 8 width) -> (N, num_classes)
