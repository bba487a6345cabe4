"""Networks for semantic segmentation, which give each pixel a class: FCN and DeepLabv3+.

Both take the maps of a residual network, turn each pixel of a map into scores of the classes, and enlarge these to the
size of the image. The parts have torchvision's names and initial weights, which are PyTorch's default outside of the
backbone.
"""

from __future__ import annotations

from typing import Any

from .. import models, nn, ops
from ..core import checks
from ..core.tensor import Tensor
from ..errors import ArgumentError
from ..nn.module import check_module, in_mode
from .backbone import Backbone

WIDTH = 256  # channels of ASPP and the decoder (Chen et al., arXiv 1802.02611, section 4)
LOW_LEVEL = 48  # channels of the fine map in the decoder (the same, table 1)
PAPERS_MAP, PAPERS_RATES = 33, (6, 12, 18)  # pixels along the side of a map, from images of 513 pixels, stride 16


def fcn(backbone: str | nn.Module, num_classes: int, output_stride: int = 8) -> FCN:
    """Build a fully convolutional network; see :class:`FCN`."""
    return FCN(backbone, num_classes, output_stride)


def deeplabv3plus(
    backbone: str | nn.Module, num_classes: int, output_stride: int = 16, image_size: int | None = None,
    rates: Any = None,
) -> DeepLabV3Plus:  # fmt: skip
    """Build a network with dilated convolutions and a decoder; see :class:`DeepLabV3Plus`."""
    return DeepLabV3Plus(backbone, num_classes, output_stride, image_size, rates)


class FCN(nn.Module):
    """A classifier for each pixel of the last map (Long et al., arXiv 1411.4038), images (N, C, H, W) to (N, K, H, W).

    The head is that of torchvision's ``fcn_resnet50``, whose weights fit here: a 3x3 convolution to a quarter of the
    channels, BN, ReLU, dropout, and a 1x1 convolution. The logits are enlarged by bilinear interpolation.

    Parameters
    ----------
    backbone : str or Module
        A network of ``mr.models``, or its name.
    num_classes : int
        K, with the background.
    output_stride : int
        The largest stride of the last map; stages beyond it are dilated. With 8, as in torchvision, a pixel of the last
        map of an ImageNet-sized network stands for 8x8 pixels, and not for 32x32. CIFAR-sized networks, whose stride
        is 4, stay as they are.

    Raises
    ------
    ArgumentError
        If a value is invalid, or the network is unknown or cannot have this output stride.

    Examples
    --------
    >>> import minires as mr
    >>> mr.vision.fcn("resnet8", num_classes=6)(mr.zeros(2, 3, 48, 64)).shape
    (2, 6, 48, 64)
    """

    def __init__(self, backbone: str | nn.Module, num_classes: int, output_stride: int = 8) -> None:
        checks.integer("fcn", num_classes, "num_classes", 1)
        self.backbone = Backbone(_network("fcn", backbone), output_stride)
        channels = self.backbone.channels[-1]
        self.classifier = nn.Sequential(
            nn.Conv2d(channels, channels // 4, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels // 4),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(channels // 4, num_classes, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = checks.images("fcn", x)
        logits = self.classifier(self.backbone(x)[-1])  # (N, K, H/s, W/s)
        return _resized(logits, x)  # (N, K, H, W)


class DeepLabV3Plus(nn.Module):
    """DeepLabv3+ (Chen et al., arXiv 1802.02611, figure 2), images (N, C, H, W) to logits (N, K, H, W).

    ASPP looks at the last map with several rates. The decoder enlarges the result to the size of a finer map, joins it
    with that map, which still shows where objects end, and applies two 3x3 convolutions.

    The finer map is the first one with a stride of 2 or more: ``layer1`` of ImageNet-sized networks (stride 4), as in
    the paper, and ``layer2`` of CIFAR-sized ones (stride 2), as at full size the decoder would take longer than all
    other parts together. ASPP and the decoder have 256 channels, or as many as the last map if it has fewer; the finer
    map is reduced to 48, or keeps its number of channels if that is smaller.

    Parameters
    ----------
    backbone : str or Module
        A network of ``mr.models``, or its name.
    num_classes : int
        K, with the background.
    output_stride : int
        The largest stride of the last map; stages beyond it are dilated.
    image_size : int, optional
        The height or width of the images, which decides the rates. By default 128 for networks whose stem has
        maximum pooling (ImageNet-sized), and 64 for others. The network also takes images of other sizes.
    rates : sequence of int, optional
        The dilations of ASPP's 3x3 convolutions. By default r, 2r and 3r, where r is to the size of the map as 6 to 33.
        So they are 6, 12 and 18 for 513 pixels and output stride 16, and 12, 24 and 36 for stride 8, as in the papers;
        3, 6 and 9 for a CIFAR-sized network at 64 pixels; and 1, 2 and 3 for a ResNet-18 at 128 pixels. A larger rate
        would leave most kernels with a single pixel, as the others would be outside of the map.

    Raises
    ------
    ArgumentError
        If a value is invalid, or the network is unknown or cannot have this output stride.

    Examples
    --------
    >>> import minires as mr
    >>> mr.vision.deeplabv3plus("resnet8", num_classes=6)(mr.zeros(2, 3, 48, 64)).shape
    (2, 6, 48, 64)
    """

    def __init__(
        self, backbone: str | nn.Module, num_classes: int, output_stride: int = 16, image_size: int | None = None,
        rates: Any = None,
    ) -> None:  # fmt: skip
        checks.integer("deeplabv3plus", num_classes, "num_classes", 1)
        self.backbone = Backbone(_network("deeplabv3plus", backbone), output_stride)
        channels, strides = self.backbone.channels, self.backbone.strides
        if image_size is None:
            image_size = 128 if hasattr(self.backbone, "maxpool") else 64
        checks.integer("deeplabv3plus", image_size, "image_size", 1)
        rates = _rates(-(-image_size // strides[-1])) if rates is None else rates
        width = min(WIDTH, channels[-1])
        self.finer = next((i for i, stride in enumerate(strides) if stride >= 2), 0)
        low_level = min(LOW_LEVEL, channels[self.finer])
        self.aspp = ASPP(channels[-1], rates, width)
        self.low_level = ConvNormReLU(channels[self.finer], low_level, kernel_size=1)
        self.decoder = nn.Sequential(
            ConvNormReLU(width + low_level, width, kernel_size=3), ConvNormReLU(width, width, kernel_size=3)
        )
        self.classifier = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x = checks.images("deeplabv3plus", x)
        maps = self.backbone(x)
        coarse = self.aspp(maps[-1])  # (N, 256, H/16, W/16)
        fine = self.low_level(maps[self.finer])  # (N, 48, H/4, W/4)
        joined = ops.concatenate([_resized(coarse, fine), fine], axis=1)  # (N, 304, H/4, W/4)
        logits = self.classifier(self.decoder(joined))  # (N, K, H/4, W/4)
        return _resized(logits, x)  # (N, K, H, W)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., arXiv 1706.05587, section 3.3), (N, C, H, W) to (N, O, H, W).

    A 1x1 convolution, a dilated 3x3 convolution for each rate, and the mean of the image each give O channels. These
    are joined, and a 1x1 convolution reduces them to O, with dropout: 0.5 as in torchvision, or 0.1 if O is less than
    256, since a narrow map can hardly spare half of its channels.

    Raises ArgumentError unless ``rates`` is a list of integers >= 1.
    """

    def __init__(self, in_channels: int, rates: Any, out_channels: int = WIDTH) -> None:
        if not isinstance(rates, (tuple, list)) or not rates or not all(checks.is_integer(rate, 1) for rate in rates):
            raise ArgumentError(f"ASPP: rates is {rates!r}; it must be a list of integers >= 1, such as [6, 12, 18].")
        dilated = [ConvNormReLU(in_channels, out_channels, kernel_size=3, dilation=rate) for rate in rates]
        pyramid = [ConvNormReLU(in_channels, out_channels, kernel_size=1), *dilated]
        self.convs = nn.ModuleList([*pyramid, ImagePooling(in_channels, out_channels)])
        self.project = ConvNormReLU(len(self.convs) * out_channels, out_channels, kernel_size=1)
        self.dropout = nn.Dropout(0.5 if out_channels >= WIDTH else 0.1)

    def forward(self, x: Tensor) -> Tensor:
        joined = ops.concatenate([branch(x) for branch in self.convs], axis=1)  # (N, 5 O, H, W)
        return self.dropout(self.project(joined))  # (N, O, H, W)


class ConvNormReLU(nn.Sequential):
    """A 1x1 or 3x3 convolution that keeps the size, BN and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> None:
        padding = dilation * (kernel_size // 2)
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self
        return norm(conv(x), activation="relu")


class ImagePooling(nn.Sequential):
    """The mean of each image, a 1x1 convolution, BN and ReLU, repeated at each pixel: (N, C, H, W) to (N, O, H, W).

    A single image has one value for each channel here, which BN would turn into 0 whatever it is, so torchvision raises
    an error in training. This BN uses its running statistics then, as in evaluation, and does not update them.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
        super().__init__(nn.AdaptiveAvgPool2d(1), conv, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        pool, conv, norm = self
        pooled = conv(pool(x))  # (N, O, 1, 1)
        with in_mode(norm, training=norm.training and len(x) > 1):
            pooled = norm(pooled, activation="relu")
        return pooled.broadcast_to((*pooled.shape[:2], *x.shape[2:]))  # (N, O, H, W)


def _network(function: str, backbone: str | nn.Module) -> nn.Module:
    return check_module(function, models.build(backbone) if isinstance(backbone, str) else backbone)


def _rates(size: int) -> tuple[int, ...]:
    """Return the rates that relate to the size of a map as the paper's rates to its map.

    >>> _rates(33), _rates(65), _rates(16), _rates(8)
    ((6, 12, 18), (12, 24, 36), (3, 6, 9), (1, 2, 3))
    """
    first = max(1, round(size * PAPERS_RATES[0] / PAPERS_MAP))
    return tuple(first * rate // PAPERS_RATES[0] for rate in PAPERS_RATES)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """Resize the maps (N, C, h, w) to the height and width of ``like``."""
    return ops.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
