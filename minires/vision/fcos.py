"""FCOS: every location of a feature map says what it shows, and how far the edges of its object are.

Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection" (arXiv 1904.01355), with the changes of their second
paper (arXiv 2006.09214) that torchvision's FCOS also has. Parameters are named as in torchvision.

::

    C5 ── 1x1 ─────────────(P5)── 3x3 ── P5 ── 3x3, stride 2 ── P6 ── ReLU, 3x3, stride 2 ── P7
                             │ copied to 2x2 pixels
    C4 ── 1x1 ────────────(+)──── 3x3 ── P4          each P ──┬── 4 x (3x3, GroupNorm, ReLU) ── 3x3 ── classes
                             │ copied to 2x2 pixels           │
    C3 ── 1x1 ────────────(+)──── 3x3 ── P3                   └── 4 x (3x3, GroupNorm, ReLU) ──┬── 3x3, ReLU ── l t r b
                                                                                               └── 3x3 ── centerness
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .. import models, nn, ops
from ..core import checks
from ..core.tensor import Tensor
from ..errors import ArgumentError, ShapeError, sizes
from .assignment import Locations, locations
from .backbone import Backbone

GROUPS = 32  # of channels that a GroupNorm normalises together; fewer if 32 does not divide their number
PRIOR = 0.01  # the probability of each class before training, sigmoid(log(PRIOR / (1 - PRIOR)))
# About how far all edges are before training. With 0, as in torchvision, half of the ReLUs would begin at 0, and an
# edge whose ReLU is 0 at all locations has no gradient: on a single map, some edges then never learn.
FIRST_SIDE = 1.0


class FeaturePyramid(nn.Module):
    """Maps with equally many channels, each with half the resolution of the one before it.

    Coarse maps, which know better what is there, are enlarged and added to finer ones, which know better where it is
    (Lin et al., arXiv 1612.03144). Still coarser maps are computed from the last one.

    Parameters
    ----------
    in_channels, in_strides : sequence of int
        Of the maps that it takes. It uses those whose stride is at least the first of ``strides``, or else the last.
    channels : int
        Of each map that it returns.
    strides : sequence of int
        Of the maps that it returns.
    """

    def __init__(
        self, in_channels: Sequence[int], in_strides: Sequence[int], channels: int, strides: Sequence[int]
    ) -> None:
        first = next((n for n, stride in enumerate(in_strides) if stride >= strides[0]), len(in_strides) - 1)
        self.levels, given = len(strides), in_strides[first:]
        kept = [stride for stride in given if stride in strides]
        further = range(_level(given[-1]) + 1, _level(strides[-1]) + 1)  # a map of level n has a stride of 2**n
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(c, channels, 1)) for c in in_channels[first:])
        self.layer_blocks = nn.ModuleList(nn.Sequential(_conv3x3(channels, channels)) for _ in kept)
        self.extra_blocks = nn.ModuleDict({f"p{n}": _conv3x3(channels, channels, 2) for n in further})
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform(module.weight, a=1)
                nn.init.zeros(module.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [block(x) for block, x in zip(self.inner_blocks, maps[-len(self.inner_blocks) :], strict=True)]
        for n in range(len(maps) - 2, -1, -1):  # from coarse to fine
            maps[n] = maps[n] + ops.interpolate(maps[n + 1], maps[n].shape[2:])  # the nearest pixel
        pyramid = [block(x) for block, x in zip(self.layer_blocks, maps, strict=False)]  # coarser maps are not wanted
        x = [*maps, *pyramid][-1]
        for number, block in enumerate(self.extra_blocks.values()):
            x = block(ops.relu(x) if number else x)  # (N, C, H, W) -> (N, C, H/2, W/2)
            pyramid.append(x)
        return pyramid[-self.levels :]  # without maps on the way to the first one


class ClassificationHead(nn.Module):
    """The score of each class, before the sigmoid, at each location of a map: (N, C, H, W) -> (N, H*W, K)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        self.conv = _tower(channels)
        self.cls_logits = _conv3x3(channels, num_classes)
        _draw(self)
        self.cls_logits.bias = nn.Parameter(np.full(num_classes, math.log(PRIOR / (1 - PRIOR)), np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return _rows(self.cls_logits(self.conv(x)))


class RegressionHead(nn.Module):
    """At each location of a map, how far the edges are, and how central it is in its object.

    Returns the distances l t r b (N, H*W, 4) in units of the stride, which are at least 0, and the centerness before
    the sigmoid (N, H*W).
    """

    def __init__(self, channels: int) -> None:
        self.conv = _tower(channels)
        self.bbox_reg = _conv3x3(channels, 4)
        self.bbox_ctrness = _conv3x3(channels, 1)
        _draw(self)
        self.bbox_reg.bias = nn.Parameter(np.full(4, FIRST_SIDE, np.float32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x)
        return _rows(ops.relu(self.bbox_reg(x))), _rows(self.bbox_ctrness(x)).squeeze(2)


class FCOS(nn.Module):
    """A backbone, a feature pyramid, and two heads that all maps of the pyramid share; see :func:`fcos`.

    It takes images (N, C, H, W). L is the number of locations: those of the first map, row by row, then those of the
    next one. It returns the scores of the K classes before the sigmoid (N, L, K), the distances l t r b from a location
    to the edges of its object in units of the stride (N, L, 4), and the centerness before the sigmoid (N, L).

    Attributes
    ----------
    strides : tuple of int
        Of the maps, from fine to coarse.
    """

    def __init__(
        self, network: nn.Module, num_classes: int, channels: int | None, strides: Sequence[int] | None, offset: float
    ) -> None:
        body = Backbone(network)
        self.num_classes = checks.integer("fcos", num_classes, "num_classes", 1)
        self.strides = _checked_strides(strides, body.strides)
        self.offset = checks.fraction("fcos", offset, "offset")
        channels = min(256, body.channels[-1]) if channels is None else checks.integer("fcos", channels, "channels", 1)
        pyramid = FeaturePyramid(body.channels, body.strides, channels, self.strides)
        self.backbone = nn.Sequential({"body": body, "fpn": pyramid})
        self.head = nn.ModuleDict(
            {
                "classification_head": ClassificationHead(channels, num_classes),
                "regression_head": RegressionHead(channels),
            }
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = checks.images("fcos", images)
        if not len(images):
            raise ShapeError(f"fcos: x ({sizes(images.shape)}) is empty; give at least one image.")
        maps = self.backbone(images)
        classes = [self.head["classification_head"](x) for x in maps]
        boxes, centerness = zip(*(self.head["regression_head"](x) for x in maps), strict=True)
        return ops.concatenate(classes, 1), ops.concatenate(boxes, 1), ops.concatenate(centerness, 1)

    def locations(self, image_size: tuple[int, int]) -> Locations:
        """Return where the L locations are in images of this height and width."""
        return locations(image_size, self.strides, self.offset)


def fcos(
    backbone: str | nn.Module,
    num_classes: int,
    channels: int | None = None,
    strides: Sequence[int] | None = None,
    offset: float = 0.5,
) -> FCOS:
    """Build a detector of objects on a network of ``mr.models``.

    Parameters
    ----------
    backbone : str or Module
        The name of a network, or a network, which may be trained already. It becomes a part of the detector.
    num_classes : int
        Classes 0 .. num_classes - 1; background is not one of them.
    channels : int, optional
        Of the pyramid and the heads. By default those of the last stage, but at most 256: 256 for ImageNet-sized
        networks, as in the paper, and 64 for CIFAR-sized ones.
    strides : sequence of int, optional
        The strides of the pyramid's maps, each twice the one before it. By default (8, 16, 32, 64, 128), P3 to P7 in
        the paper, for ImageNet-sized networks. For others, whose images are small, three maps from their last stride
        on: (4, 8, 16) for CIFAR-sized ones. One stride makes one map, which finds objects of all sizes.
    offset : float
        Where in its cell of stride x stride pixels a location is: in the middle (0.5) as in the paper, or at the upper
        left corner (0) as in torchvision, whose published weights need this.

    Raises
    ------
    ArgumentError
        If an argument is invalid, or the network has no map that these strides can begin with.

    Examples
    --------
    >>> import minires as mr
    >>> model = mr.vision.fcos("resnet8", num_classes=5)
    >>> model.strides
    (4, 8, 16)
    >>> [tuple(output.shape) for output in model(mr.randn(2, 3, 32, 32))]  # 64 + 16 + 4 locations
    [(2, 84, 5), (2, 84, 4), (2, 84)]
    """
    network = models.build(backbone) if isinstance(backbone, str) else backbone
    return FCOS(network, num_classes, channels, strides, offset)


def _checked_strides(strides: Sequence[int] | None, given: Sequence[int]) -> tuple[int, ...]:
    if strides is None:
        return (8, 16, 32, 64, 128) if given[-1] == 32 else (given[-1], 2 * given[-1], 4 * given[-1])
    possible = [given[0] * 2**n for n in range(20)]
    found = tuple(strides) if isinstance(strides, (tuple, list)) else ()
    known = all(checks.is_integer(stride) and stride in possible for stride in found)
    if not found or not known or any(b != 2 * a for a, b in pairwise(found)):
        raise ArgumentError(
            f"fcos: strides is {strides!r}; each must be twice the one before it, and the first one of "
            f"{', '.join(map(str, possible[:5]))}, ... for this backbone."
        )
    return found


def _level(stride: int) -> int:
    return stride.bit_length() - 1  # the logarithm to base 2


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)


def _tower(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [_conv3x3(channels, channels), nn.GroupNorm(math.gcd(GROUPS, channels), channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _draw(head: nn.Module) -> None:
    for module in head.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal(module.weight, std=0.01)
            nn.init.zeros(module.bias)


def _rows(x: Tensor) -> Tensor:
    n, channels = x.shape[:2]
    return x.permute(0, 2, 3, 1).reshape(n, -1, channels)  # (N, C, H, W) -> (N, H*W, C)
