"""The same networks in PyTorch, written as PyTorch users write them. Parameters have torchvision's names."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as f

LARGE = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)


class SubsampleAndPad(nn.Module):
    """The shortcut of option A: it skips every second row and column, and pads channels with zeros."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.pad = new_channels // 2

    def forward(self, x: Any) -> Any:
        return f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


def shortcut(in_channels: int, out_channels: int, stride: int, option: str) -> nn.Module:
    if in_channels == out_channels:
        return nn.Identity()
    if option == "A":
        return SubsampleAndPad(out_channels - in_channels)
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, and a shortcut of option A or B."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(in_channels, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = shortcut(in_channels, width, stride, option)

    def forward(self, x: Any) -> Any:
        out = f.relu(self.bn1(self.conv1(x)), inplace=True)
        return f.relu(self.bn2(self.conv2(out)) + self.downsample(x), inplace=True)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, and a shortcut of option B."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, option: str) -> None:
        super().__init__()
        out_channels = self.expansion * width
        self.conv1, self.bn1 = conv(in_channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, out_channels, 1), nn.BatchNorm2d(out_channels)
        self.downsample = shortcut(in_channels, out_channels, stride, option)

    def forward(self, x: Any) -> Any:
        out = f.relu(self.bn1(self.conv1(x)), inplace=True)
        out = f.relu(self.bn2(self.conv2(out)), inplace=True)
        return f.relu(self.bn3(self.conv3(out)) + self.downsample(x), inplace=True)


class ResNet(nn.Module):
    """One of ``LARGE``, or the CIFAR network of a depth 6n + 2, with PyTorch's default initialisation."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        large, block = name in LARGE, Bottleneck if name == "resnet50" else BasicBlock
        counts = LARGE.get(name) or (int(name.removeprefix("resnet")) // 6,) * 3
        channels = 64 if large else 16
        self.conv1 = conv(3, channels, 7, 2) if large else conv(3, channels, 3)
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        self.layers = []
        for stage, count in enumerate(counts):
            width, blocks = self.conv1.out_channels * 2**stage, []
            for i in range(count):
                blocks.append(block(channels, width, 2 if i == 0 and stage > 0 else 1, "B" if large else "A"))
                channels = block.expansion * width
            self.layers.append(f"layer{stage + 1}")
            self.add_module(self.layers[-1], nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(f.relu(self.bn1(self.conv1(x)), inplace=True))
        for name in self.layers:
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(f.adaptive_avg_pool2d(x, 1), 1))
