"""Residual networks and their plain twins, which can be built by name.

>>> import minires as mr
>>> model = mr.models.resnet20(num_classes=10, shortcut="A")
>>> sum(parameter.size for parameter in model.parameters())
269722
>>> f"{mr.models.summary(model, (1, 3, 32, 32)).multiply_adds / 1e6:.1f} million multiply-adds for an image"
'40.6 million multiply-adds for an image'
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..core import checks
from ..core.calls import missing_name
from ..errors import ArgumentError
from .blocks import BasicBlock, Bottleneck, PreActivationBlock, PreActivationBottleneck
from .cifar import CifarResNet
from .imagenet import ImageNetResNet
from .myrtle import ResNet9
from .summarize import Summary, summary

Builder = Callable[..., Any]

#: The function or class that builds each model, with the parameters ``num_classes``, ``in_channels`` and its options.
MODELS: dict[str, Builder] = {}
LOADING = "Build the model, then load weights with mr.interop.load_weights(model, path)."


def names() -> list[str]:
    """Return the names that :func:`build` accepts."""
    return list(MODELS)


def options(name: str) -> list[str]:
    """Return the options of the model ``name``: its parameters other than ``num_classes`` and ``in_channels``."""
    return [option for option in _parameters("options", name) if option not in ("num_classes", "in_channels")]


def build(name: str, **given: Any) -> Any:
    """Build the model ``name``, with ``num_classes``, ``in_channels`` and the model's own options.

    Raises
    ------
    ArgumentError
        If ``name`` is not in :func:`names`, or the model does not take one of the options.
    """
    known = _parameters("build", name)
    for option in given:
        if option not in known:
            raise ArgumentError(f"models.build: {name} does not take {option}; it takes {', '.join(known)}.")
    return MODELS[name](**given)


def _parameters(function: str, name: str) -> list[str]:
    return list(inspect.signature(MODELS[checks.choice(f"models.{function}", name, "model", MODELS)]).parameters)


def _builder(network: type[CifarResNet | ImageNetResNet], kind: str, depth: int) -> Builder:
    """Create and register ``resnet<depth>``, with the options of ``network``, or ``plain<depth>``, without options."""
    plain = kind == "plain"
    parameters = list(inspect.signature(network).parameters.values())[1:]  # without the depth
    signature = inspect.Signature(parameters[:2] if plain else parameters)
    fixed: dict[str, Any] = {"shortcut": None} if plain else {}

    def build(*values: Any, **named: Any) -> CifarResNet | ImageNetResNet:
        try:
            given = signature.bind(*values, **named).arguments
        except TypeError as error:
            taken = ", ".join(signature.parameters)
            hint = f" {LOADING}" if {"pretrained", "weights"} & {*named} else ""
            raise ArgumentError(f"{kind}{depth}: {error}; its arguments are {taken}.{hint}") from None
        if given.get("shortcut", "A") is None:
            twin = f" (or use plain{depth})" if f"plain{depth}" in MODELS else ""
            raise ArgumentError(f"resnet{depth}: shortcut is None; it must be 'A', 'B' or 'C'{twin}.")
        return network(depth, **given, **fixed)

    what = f"plain twin of ``resnet{depth}``, without shortcuts" if plain else f"residual network of {depth} layers"
    build.__doc__ = f"Build the {what}; see :class:`{network.__name__}`."
    build.__name__ = build.__qualname__ = f"{kind}{depth}"
    build.__signature__ = signature  # type: ignore[attr-defined]
    MODELS[build.__name__] = build
    return build


resnet8, resnet14, resnet20, resnet32, resnet44, resnet56, resnet110, resnet1202 = (
    _builder(CifarResNet, "resnet", depth) for depth in (8, 14, 20, 32, 44, 56, 110, 1202)
)
plain8, plain14, plain20, plain32, plain44, plain56, plain110 = (
    _builder(CifarResNet, "plain", depth) for depth in (8, 14, 20, 32, 44, 56, 110)
)


def resnet9(num_classes: int = 10, in_channels: int = 3, width: int = 16) -> ResNet9:
    """Build the short, wide network of nine layers that learns in few epochs; see :class:`ResNet9`."""
    return ResNet9(num_classes, in_channels, width)


MODELS["resnet9"] = resnet9


resnet18, resnet34, resnet50, resnet101, resnet152 = (
    _builder(ImageNetResNet, "resnet", depth) for depth in (18, 34, 50, 101, 152)
)
plain18, plain34 = (_builder(ImageNetResNet, "plain", depth) for depth in (18, 34))

__all__ = [
    "MODELS", "BasicBlock", "Bottleneck", "CifarResNet", "ImageNetResNet", "PreActivationBlock",
    "PreActivationBottleneck", "ResNet9", "Summary", "build", "names", "options", "summary", *MODELS,
]  # fmt: skip

__getattr__ = missing_name("mr.models", __all__, {})
