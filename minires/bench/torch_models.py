"""The same networks in PyTorch, written as PyTorch users write them. Parameters have the names that minires gives them.

DeepLabv3+ is without dropout, whose random numbers would differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
        self.layers, self.channels = [], []
        for stage, count in enumerate(counts):
            width, blocks = self.conv1.out_channels * 2**stage, []
            for i in range(count):
                blocks.append(block(channels, width, 2 if i == 0 and stage > 0 else 1, "B" if large else "A"))
                channels = block.expansion * width
            self.layers.append(f"layer{stage + 1}")
            self.channels.append(channels)
            self.add_module(self.layers[-1], nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def maps(self, x: Any) -> list[Any]:
        """Return the map of each stage."""
        x, found = self.maxpool(f.relu(self.bn1(self.conv1(x)), inplace=True)), []
        for name in self.layers:
            x = getattr(self, name)(x)
            found.append(x)
        return found

    def forward(self, x: Any) -> Any:
        return self.fc(torch.flatten(f.adaptive_avg_pool2d(self.maps(x)[-1], 1), 1))


class Backbone(ResNet):
    """A ResNet that returns the map of each stage; the last ``dilated`` stages are dilated instead of strided."""

    def __init__(self, name: str, dilated: int = 0) -> None:
        super().__init__(name, 1)
        del self.fc
        before = 1
        for stage in self.layers[len(self.layers) - dilated :]:
            after = 2 * before
            for module in getattr(self, stage).modules():
                if isinstance(module, nn.Conv2d):
                    rate = before if module.stride == (2, 2) else after
                    module.stride = (1, 1)
                    if module.kernel_size == (3, 3):
                        module.padding = module.dilation = (rate, rate)
            before = after

    def forward(self, x: Any) -> list[Any]:
        return self.maps(x)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)


class FeaturePyramid(nn.Module):
    """P3 to P7."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(c, channels, 1)) for c in in_channels)
        self.layer_blocks = nn.ModuleList(nn.Sequential(conv3x3(channels, channels)) for _ in in_channels)
        self.extra_blocks = nn.ModuleDict({name: conv3x3(channels, channels, 2) for name in ("p6", "p7")})

    def forward(self, maps: list[Any]) -> list[Any]:
        maps = [block(x) for block, x in zip(self.inner_blocks, maps, strict=True)]
        for n in range(len(maps) - 2, -1, -1):
            maps[n] = maps[n] + f.interpolate(maps[n + 1], size=maps[n].shape[2:])
        pyramid = [block(x) for block, x in zip(self.layer_blocks, maps, strict=True)]
        pyramid.append(self.extra_blocks["p6"](pyramid[-1]))
        pyramid.append(self.extra_blocks["p7"](f.relu(pyramid[-1])))
        return pyramid


def tower(channels: int) -> nn.Sequential:
    groups, layers = math.gcd(32, channels), []
    for _ in range(4):
        layers += [conv3x3(channels, channels), nn.GroupNorm(groups, channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def rows(x: Any) -> Any:
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])  # (N, H*W, C)


class ClassificationHead(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv, self.cls_logits = tower(channels), conv3x3(channels, classes)

    def forward(self, x: Any) -> Any:
        return rows(self.cls_logits(self.conv(x)))


class RegressionHead(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bbox_reg, self.bbox_ctrness = tower(channels), conv3x3(channels, 4), conv3x3(channels, 1)

    def forward(self, x: Any) -> tuple[Any, Any]:
        x = self.conv(x)
        return rows(f.relu(self.bbox_reg(x))), rows(self.bbox_ctrness(x)).squeeze(2)


class FCOS(nn.Module):
    """FCOS on an ImageNet-sized ResNet: class logits (N, L, K), l t r b (N, L, 4), centerness logits (N, L)."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        body = Backbone(backbone)
        channels = min(256, body.channels[-1])
        self.backbone = nn.ModuleDict({"body": body, "fpn": FeaturePyramid(body.channels[1:], channels)})
        classification, regression = ClassificationHead(channels, classes), RegressionHead(channels)
        self.head = nn.ModuleDict({"classification_head": classification, "regression_head": regression})

    def forward(self, images: Any) -> tuple[Any, Any, Any]:
        maps = self.backbone["fpn"](self.backbone["body"](images)[1:])
        classes = [self.head["classification_head"](x) for x in maps]
        boxes, centerness = zip(*(self.head["regression_head"](x) for x in maps), strict=True)
        return torch.cat(classes, 1), torch.cat(boxes, 1), torch.cat(centerness, 1)


class FCOSLoss:
    """Assignment and loss for a batch of images of one size, all images at once."""

    def __init__(self, size: int, strides: Sequence[int] = (8, 16, 32, 64, 128)) -> None:
        points, steps, lower, upper = [], [], [], []
        for stride in strides:
            side = -(-size // stride)
            y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            points.append((torch.stack([x, y], 2).reshape(-1, 2) + 0.5) * stride)
            steps.append(torch.full((side * side,), float(stride)))
            lower.append(torch.full((side * side,), 4.0 * stride if stride > strides[0] else 0.0))
            upper.append(torch.full((side * side,), 8.0 * stride if stride < strides[-1] else math.inf))
        self.points, self.strides = torch.cat(points), torch.cat(steps)  # (L, 2), (L,)
        self.lower, self.upper = torch.cat(lower), torch.cat(upper)

    def assign(self, boxes: Any) -> Any:
        """Return the box (N, L) of boxes (N, M, 4) that each location is responsible for, or -1."""
        points = self.points[:, None]  # (L, 1, 2)
        corners = boxes[:, None]  # (N, 1, M, 4)
        sides = torch.cat([points - corners[..., :2], corners[..., 2:] - points], 3)  # (N, L, M, 4)
        away = (points - (corners[..., :2] + corners[..., 2:]) / 2).abs().amax(3)  # (N, L, M)
        largest = sides.amax(3)
        fits = (away < 1.5 * self.strides[:, None]) & (sides.amin(3) > 0)
        fits &= (self.lower[:, None] < largest) & (largest < self.upper[:, None])
        areas = (boxes[..., 2:] - boxes[..., :2]).prod(2)[:, None]  # (N, 1, M)
        smallest, owner = torch.where(fits, areas, math.inf).min(2)
        return torch.where(smallest < math.inf, owner, -1)

    def __call__(self, outputs: tuple[Any, Any, Any], objects: tuple[Any, Any]) -> Any:
        """Return the loss, given boxes (N, M, 4), with empty ones where there are fewer, and their labels (N, M)."""
        (logits, sides, central), (boxes, labels) = outputs, objects
        owner = self.assign(boxes)  # (N, L)
        image, place = torch.nonzero(owner >= 0, as_tuple=True)  # (P,) each
        own = owner[image, place]
        count = max(1, len(place))
        present = torch.zeros_like(logits)
        present[image, place, labels[image, own]] = 1
        points, steps, truth = self.points[place], self.strides[place, None], boxes[image, own]
        found = sides[image, place] * steps  # (P, 4)
        found = torch.cat([points - found[:, :2], points + found[:, 2:]], 1)
        l, t, r, b = torch.cat([points - truth[:, :2], truth[:, 2:] - points], 1).unbind(1)
        centerness = torch.sqrt(torch.minimum(l, r) / torch.maximum(l, r) * torch.minimum(t, b) / torch.maximum(t, b))
        of_centerness = f.binary_cross_entropy_with_logits(central[image, place], centerness, reduction="sum")
        return (focal_loss(logits, present) + giou_loss(found, truth) + of_centerness) / count


def focal_loss(logits: Any, present: Any, alpha: float = 0.25) -> Any:
    p = torch.sigmoid(logits)
    losses = f.binary_cross_entropy_with_logits(logits, present, reduction="none")
    p_t = p * present + (1 - p) * (1 - present)
    return ((alpha * present + (1 - alpha) * (1 - present)) * (1 - p_t) ** 2 * losses).sum()


def giou_loss(boxes: Any, truth: Any, eps: float = 1e-7) -> Any:
    shared = torch.minimum(boxes, truth)[:, 2:] - torch.maximum(boxes, truth)[:, :2]
    around = torch.maximum(boxes, truth)[:, 2:] - torch.minimum(boxes, truth)[:, :2]
    intersection = shared.clamp(min=0).prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (truth[:, 2:] - truth[:, :2]).prod(1) - intersection
    hull = around.prod(1)
    return (1 - intersection / (union + eps) + (hull - union) / (hull + eps)).sum()


class ConvNormReLU(nn.Sequential):
    """A 1x1 or 3x3 convolution that keeps the size, BN and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class ImagePooling(nn.Sequential):
    """The mean of each image, a 1x1 convolution, BN and ReLU, repeated at each pixel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        super().__init__(nn.AdaptiveAvgPool2d(1), conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

    def forward(self, x: Any) -> Any:
        pooled = x
        for module in self:
            pooled = module(pooled)
        return pooled.expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """A 1x1 convolution, dilated 3x3 ones, and the mean of the image, joined and reduced by a 1x1 convolution."""

    def __init__(self, in_channels: int, rates: Sequence[int], out_channels: int) -> None:
        super().__init__()
        dilated = [ConvNormReLU(in_channels, out_channels, 3, rate) for rate in rates]
        first, last = ConvNormReLU(in_channels, out_channels, 1), ImagePooling(in_channels, out_channels)
        self.convs = nn.ModuleList([first, *dilated, last])
        self.project = ConvNormReLU(len(self.convs) * out_channels, out_channels, 1)

    def forward(self, x: Any) -> Any:
        return self.project(torch.cat([branch(x) for branch in self.convs], 1))


class DeepLabV3Plus(nn.Module):
    """DeepLabv3+ on an ImageNet-sized ResNet with output stride 16: images (N, C, H, W) to logits (N, K, H, W)."""

    def __init__(self, backbone: str, classes: int, rates: Sequence[int] = (1, 2, 3)) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, dilated=1)
        width = min(256, self.backbone.channels[-1])
        self.aspp = ASPP(self.backbone.channels[-1], rates, width)
        self.low_level = ConvNormReLU(self.backbone.channels[0], 48, 1)
        self.decoder = nn.Sequential(ConvNormReLU(width + 48, width, 3), ConvNormReLU(width, width, 3))
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, x: Any) -> Any:
        maps = self.backbone(x)
        fine = self.low_level(maps[0])
        coarse = f.interpolate(self.aspp(maps[-1]), size=fine.shape[2:], mode="bilinear", align_corners=False)
        logits = self.classifier(self.decoder(torch.cat([coarse, fine], 1)))
        return f.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)
