"""A residual network without its head, which returns a map of features for each stage."""

from __future__ import annotations

from .. import nn
from ..core import checks
from ..core.creation import zeros
from ..core.dispatch import engine
from ..core.state import no_grad
from ..core.tensor import Tensor
from ..errors import ArgumentError
from ..models.shortcuts import HalvingAvgPool, SubsampleAndPad
from ..nn.module import in_mode, undisturbed

STEM = ("conv1", "bn1", "maxpool")
PROBE = 32  # pixels along each side of the image that strides are measured with


class Backbone(nn.Module):
    """The stem and the stages of a network of ``mr.models``, which become parts of this module and keep their names.

    It takes images (N, C, H, W) and returns a list of maps (N, channels[i], H / strides[i], W / strides[i]), one for
    each stage, in the order of the stages.

    Parameters
    ----------
    network : Module
        A classifier with the stages ``layer1``, ``layer2``, ... Its head ``fc`` is left out.
    output_stride : int, optional
        The largest stride that is wanted. A stage that would exceed it keeps the size of its input, and its
        convolutions are dilated, so that each weight still meets the same pixels (Chen et al., arXiv 1706.05587,
        section 3.1): the strided network's map is every second pixel of the dilated one's.

    Attributes
    ----------
    channels, strides : tuple of int
        Of the map of each stage.

    Raises
    ------
    ArgumentError
        If ``network`` has no stages, or cannot have this output stride.
    """

    def __init__(self, network: nn.Module, output_stride: int | None = None) -> None:
        parts = dict(network.named_children())
        self.stages = tuple(name for name in parts if name.startswith("layer"))
        if not self.stages or "conv1" not in parts:
            raise ArgumentError(f"Backbone: {type(network).__name__} has no conv1 and layer1; give a net of mr.models.")
        self.preactivation = getattr(network, "preactivation", False)
        for name in (*STEM, *self.stages):
            if name in parts:
                setattr(self, name, parts[name])
        self.channels, self.strides = self._measured()
        if output_stride is not None and self.strides[-1] > checks.integer(
            "Backbone", output_stride, "output_stride", 1
        ):
            self._dilate(output_stride, type(network).__name__)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv1(x)
        if not self.preactivation:
            x = self.bn1(x, activation="relu")
        if hasattr(self, "maxpool"):
            x = self.maxpool(x)
        maps = []
        for name in self.stages:
            x = getattr(self, name)(x)
            maps.append(x)
        if self.preactivation:  # the network's own BN and ReLU come after its last stage
            maps[-1] = self.bn1(x, activation="relu")
        return maps

    def _measured(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Measure the channels and strides of the maps with an image of zeros."""
        first = next(module for module in self.modules() if isinstance(module, nn.Conv2d))
        image = zeros(1, first.in_channels, PROBE, PROBE, dtype=first.weight.dtype, device=first.weight.device)
        with undisturbed(self), in_mode(self, training=False), no_grad(), engine("textbook"):  # compiles nothing
            maps = self(image)
        return tuple(each.shape[1] for each in maps), tuple(PROBE // each.shape[2] for each in maps)

    def _dilate(self, output_stride: int, network: str) -> None:
        if any(isinstance(module, HalvingAvgPool) for module in self.modules()):
            raise ArgumentError(
                f"Backbone: output_stride is {output_stride}, but {network} has avg_down, whose averages cannot be "
                "dilated; build it without avg_down."
            )
        before, dilation = self.strides, 1
        for name, stride in zip(self.stages, before, strict=True):
            if stride > output_stride:
                dilation = _without_strides(getattr(self, name), dilation)
        _, self.strides = self._measured()
        if self.strides[-1] != output_stride:
            raise ArgumentError(
                f"Backbone: output_stride is {output_stride}, but the strides of {network} are "
                f"{', '.join(map(str, before))}, and dilation can only lower the last one to {self.strides[-1]}."
            )


def _without_strides(stage: nn.Module, dilation: int) -> int:
    """Replace the strides of a stage by dilation, and return the dilation for the stages after it.

    A convolution whose stride is removed still meets the same pixels. The convolutions after it then find twice as many
    pixels as they should, so they skip every second one.
    """
    after = dilation
    for module in list(stage.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, SubsampleAndPad):
                layer.stride = 1
            if isinstance(layer, nn.Conv2d):
                strided = layer.stride != (1, 1)
                setattr(module, name, _dilated(layer, dilation if strided else after))
                after = dilation * layer.stride[0] if strided else after
    return after


def _dilated(conv: nn.Conv2d, dilation: int) -> nn.Conv2d:
    """Return a convolution with the same parameters, stride 1 and, unless it is 1x1, this dilation."""
    spread = dilation if conv.kernel_size != (1, 1) else 1
    padding = conv.window.padding[0] * spread
    has_bias = conv.bias is not None
    sizes = conv.in_channels, conv.out_channels, conv.kernel_size
    made = nn.Conv2d(*sizes, padding=padding, dilation=spread, groups=conv.groups, bias=has_bias)
    made.weight, made.bias = conv.weight, conv.bias
    return made
