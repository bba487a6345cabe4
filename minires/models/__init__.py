"""Residual networks and their plain twins, by name.

>>> import minires as mr
>>> model = mr.models.resnet20(num_classes=10, shortcut="A")
>>> sum(parameter.size for parameter in model.parameters())
269722
>>> f"{mr.models.summary(model, (1, 3, 32, 32)).multiply_adds / 1e6:.1f} million multiply-adds for an image"
'40.6 million multiply-adds for an image'
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError
from .blocks import BasicBlock, Bottleneck, PreActivationBlock, PreActivationBottleneck
from .cifar import CifarResNet
from .imagenet import ImageNetResNet
from .myrtle import ResNet9
from .registry import MODELS, build, names, options
from .summarize import Summary, summary

Builder = Callable[..., Any]


def _residual(depth: int) -> Builder:
    def build(
        num_classes: int = 10,
        in_channels: int = 3,
        shortcut: str = "A",
        preactivation: bool = False,
        zero_init_residual: bool = False,
        stochastic_depth_prob: float = 0.0,
    ) -> CifarResNet:
        if shortcut is None:
            raise ArgumentError(f"resnet{depth}: shortcut is None; it must be 'A', 'B' or 'C' (or take plain{depth}).")
        options = preactivation, zero_init_residual, stochastic_depth_prob
        return CifarResNet(depth, num_classes, in_channels, shortcut, *options)

    build.__name__ = build.__qualname__ = f"resnet{depth}"
    build.__doc__ = f"The residual network of {depth} layers; see :class:`CifarResNet`."
    return MODELS.register(build.__name__)(build)


def _plain(depth: int) -> Builder:
    def build(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
        return CifarResNet(depth, num_classes, in_channels, shortcut=None)

    build.__name__ = build.__qualname__ = f"plain{depth}"
    build.__doc__ = f"The plain twin of ``resnet{depth}``: the same layers without shortcuts."
    return MODELS.register(build.__name__)(build)


def _imagenet(kind: str, depth: int) -> Builder:
    plain = kind == "plain"

    def build(
        num_classes: int = 1000,
        in_channels: int = 3,
        shortcut: str = "B",
        zero_init_residual: bool = False,
        preactivation: bool = False,
        deep_stem: bool = False,
        avg_down: bool = False,
        stochastic_depth_prob: float = 0.0,
    ) -> ImageNetResNet:
        if shortcut is None:
            raise ArgumentError(f"resnet{depth}: shortcut is None; it must be 'A', 'B' or 'C' (or take plain{depth}).")
        options = zero_init_residual, preactivation, deep_stem, avg_down, stochastic_depth_prob
        return ImageNetResNet(depth, num_classes, in_channels, shortcut, *options)

    def build_plain(num_classes: int = 1000, in_channels: int = 3) -> ImageNetResNet:
        return ImageNetResNet(depth, num_classes, in_channels, shortcut=None)

    function: Builder = build_plain if plain else build
    function.__name__ = function.__qualname__ = f"{kind}{depth}"
    what = "plain twin of ``resnet{}``" if plain else "residual network of {} layers for large images"
    function.__doc__ = f"The {what.format(depth)}; see :class:`ImageNetResNet`."
    return MODELS.register(function.__name__)(function)


resnet8, resnet14, resnet20, resnet32 = _residual(8), _residual(14), _residual(20), _residual(32)
resnet44, resnet56, resnet110, resnet1202 = _residual(44), _residual(56), _residual(110), _residual(1202)
plain8, plain14, plain20, plain32 = _plain(8), _plain(14), _plain(20), _plain(32)
plain44, plain56, plain110 = _plain(44), _plain(56), _plain(110)


@MODELS.register("resnet9")
def resnet9(num_classes: int = 10, in_channels: int = 3, width: int = 16) -> ResNet9:
    """The short and wide network of nine layers for few epochs; see :class:`ResNet9`."""
    return ResNet9(num_classes, in_channels, width)


resnet18, resnet34, resnet50, resnet101, resnet152 = (_imagenet("resnet", depth) for depth in (18, 34, 50, 101, 152))
plain18, plain34 = _imagenet("plain", 18), _imagenet("plain", 34)

__all__ = [
    "MODELS",
    "BasicBlock",
    "Bottleneck",
    "CifarResNet",
    "ImageNetResNet",
    "PreActivationBlock",
    "PreActivationBottleneck",
    "ResNet9",
    "Summary",
    "build",
    "names",
    "options",
    "summary",
    *MODELS,
]
