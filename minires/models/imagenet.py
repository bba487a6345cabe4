"""The residual networks of He et al. for large pictures, and the same networks without shortcuts.

arXiv 1512.03385, table 1: a 7x7 convolution and a maximum pooling, each halving the picture, four stages of blocks with
64, 128, 256 and 512 channels (four times as many behind a bottleneck), global average pooling and a linear layer.
"""

from __future__ import annotations

from .. import checks, nn, ops
from ..errors import ArgumentError
from ..tensor import Tensor
from .blocks import BasicBlock, Bottleneck, stage

WIDTHS = (64, 128, 256, 512)
BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ImageNetResNet(nn.Module):
    """18 to 152 layers for pictures of about 224x224 pixels, (N, in_channels, H, W) to logits (N, num_classes).

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
    num_classes, in_channels : int
    shortcut : {"A", "B", "C", None}
        Where the size changes: A pads with zeros, B projects with a 1x1 convolution; C projects everywhere. None
        leaves the shortcuts out: the plain twin.
    zero_init_residual : bool
        Start the last BN of each block at gamma = 0, so that each block is the identity at first
        (Goyal et al., arXiv 1706.02677, section 5.1).

    Raises
    ------
    ArgumentError
        For another depth, or an unknown shortcut.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        shortcut: str | None = "B",
        zero_init_residual: bool = False,
    ) -> None:
        checks.integer("ImageNetResNet", num_classes, "num_classes", 1)
        checks.integer("ImageNetResNet", in_channels, "in_channels", 1)
        if not checks.is_integer(depth, 1) or depth not in BLOCKS:
            raise ArgumentError(f"ImageNetResNet: depth is {depth!r}; it must be one of {', '.join(map(str, BLOCKS))}.")
        if shortcut not in ("A", "B", "C", None):
            raise ArgumentError(
                f"ImageNetResNet: shortcut is {shortcut!r}; it must be 'A', 'B', 'C', or None for none."
            )
        block, counts = BLOCKS[depth]
        outputs = [width * block.expansion for width in WIDTHS]
        self.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = stage(block, counts[0], 64, outputs[0], 1, shortcut)
        self.layer2 = stage(block, counts[1], outputs[0], outputs[1], 2, shortcut)
        self.layer3 = stage(block, counts[2], outputs[1], outputs[2], 2, shortcut)
        self.layer4 = stage(block, counts[3], outputs[2], outputs[3], 2, shortcut)
        self.fc = nn.Linear(outputs[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                nn.init.zeros((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x), activation="relu")  # (N, 64, H/2, W/2)
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)  # (N, 64, H/4, W/4), or 256 channels
        x = self.layer2(x)  # (N, 128, H/8, W/8), or 512
        x = self.layer3(x)  # (N, 256, H/16, W/16), or 1024
        x = self.layer4(x)  # (N, 512, H/32, W/32), or 2048
        return self.fc(ops.global_avg_pool2d(x))  # (N, 512) or (N, 2048) -> (N, num_classes)
