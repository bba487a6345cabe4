"""The same networks in PyTorch, written as PyTorch users write them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as f

LARGE = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution and its batch norm."""
    padding = kernel // 2
    return [nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False), nn.BatchNorm2d(out_channels)]


class SubsampleAndPad(nn.Module):
    """The shortcut of option A: it skips every second row and column, and pads channels with zeros."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.pad = new_channels // 2

    def forward(self, x: Any) -> Any:
        return f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


class Block(nn.Module):
    """A basic block with a shortcut of option A or B, or a bottleneck block."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, bottleneck: bool, option: str) -> None:
        super().__init__()
        relu, width = nn.ReLU(inplace=True), out_channels // 4
        if bottleneck:
            narrow = [*conv(in_channels, width, 1), relu, *conv(width, width, 3, stride), relu]
            self.branch = nn.Sequential(*narrow, *conv(width, out_channels, 1))
        else:
            self.branch = nn.Sequential(
                *conv(in_channels, out_channels, 3, stride), relu, *conv(out_channels, out_channels, 3)
            )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            projection = nn.Sequential(*conv(in_channels, out_channels, 1, stride))
            self.shortcut = projection if option == "B" else SubsampleAndPad(out_channels - in_channels)

    def forward(self, x: Any) -> Any:
        return f.relu(self.branch(x) + self.shortcut(x), inplace=True)


def build(name: str, classes: int) -> Any:
    """Build one of ``LARGE``, or the CIFAR network of a depth 6n + 2.

    It keeps PyTorch's default initialisation, which does not affect the speed.
    """
    torch.manual_seed(0)
    large, expansion = name in LARGE, 4 if name == "resnet50" else 1
    counts = LARGE.get(name) or (int(name.removeprefix("resnet")) // 6,) * 3
    channels = 64 if large else 16
    layers = [*(conv(3, channels, 7, 2) if large else conv(3, channels, 3)), nn.ReLU(inplace=True)]
    if large:
        layers.append(nn.MaxPool2d(3, 2, 1))
    for stage, count in enumerate(counts):
        out_channels = expansion * (64 if large else 16) * 2**stage
        for i in range(count):
            stride = 2 if i == 0 and stage > 0 else 1
            layers.append(Block(channels, out_channels, stride, expansion > 1, "B" if large else "A"))
            channels = out_channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
