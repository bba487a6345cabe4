"""The same networks in PyTorch, as its users write them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as f

LARGE = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


class TorchSubsampleAndPad(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pad = (out_channels - in_channels) // 2

    def forward(self, x: Any) -> Any:
        return f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


class TorchBlock(nn.Module):
    """A basic block, or one with a bottleneck."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, bottleneck: bool, option: str) -> None:
        super().__init__()
        width = out_channels // 4 if bottleneck else out_channels
        kernels = ((1, 1), (3, stride), (1, 1)) if bottleneck else ((3, stride), (3, 1))
        channels = (in_channels, *(width,) * (len(kernels) - 1), out_channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, s, k // 2, bias=False)
            for a, b, (k, s) in zip(channels, channels[1:], kernels, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels[1:])
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))
            if option == "A":
                self.shortcut = TorchSubsampleAndPad(in_channels, out_channels)

    def forward(self, x: Any) -> Any:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            if i < len(self.convs) - 1:
                y = f.relu(y, inplace=True)
        return f.relu(y + self.shortcut(x), inplace=True)


class TorchResNet(nn.Module):
    """The CIFAR family for depths 6n + 2, or one of ``LARGE``."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        depth, large = int(name.removeprefix("resnet")), name in LARGE
        bottleneck = name == "resnet50"
        blocks = LARGE.get(name, (depth // 6,) * 3)
        widths = (64, 128, 256, 512) if large else (16, 32, 64)
        stem = [nn.Conv2d(3, widths[0], *((7, 2, 3) if large else (3, 1, 1)), bias=False), nn.BatchNorm2d(widths[0])]
        self.stem = nn.Sequential(*stem, nn.ReLU(inplace=True), *([nn.MaxPool2d(3, 2, 1)] if large else []))
        body, channels = [], widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            outputs = width * 4 if bottleneck else width
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                body.append(TorchBlock(channels, outputs, stride, bottleneck, "B" if large else "A"))
                channels = outputs
        self.body = nn.Sequential(*body)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Any) -> Any:
        return self.fc(self.body(self.stem(x)).mean((2, 3)))


def build(name: str, classes: int) -> Any:
    """A network with PyTorch's own initialisation, which speed does not depend on."""
    torch.manual_seed(0)
    return TorchResNet(name, classes)
