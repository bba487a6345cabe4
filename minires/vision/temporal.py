"""Classifying clips: one network for each frame, the same with a shift in time, and convolutions over space and time.

A clip is (T, C, H, W): T frames of C channels. The models take clips (N, T, C, H, W) and return logits (N, K).

- :func:`tsn` looks at each frame alone and averages the logits, so it cannot tell a clip from the reversed one.
- :func:`tsm` is the same network, in which a quarter of the channels come from the frames before and after.
- :func:`r2plus1d` alternates convolutions over the pixels of a frame with convolutions over the frames of a pixel.
"""

from __future__ import annotations

from .. import models, nn, ops
from ..core import checks
from ..core.tensor import Tensor
from ..errors import ArgumentError, ShapeError, sizes
from ..models.blocks import ResidualBlock, finish

STEM_18 = 45  # channels between the two convolutions of the stem of R(2+1)D-18
SMALL, LARGE = (16, 32, 64), (64, 128, 256, 512)
LAYOUTS = {8: (SMALL, (1, 1, 1)), 14: (SMALL, (2, 2, 2)), 18: (LARGE, (2, 2, 2, 2)), 34: (LARGE, (3, 4, 6, 3))}


def shift(x: Tensor, frames: int, fold_div: int = 8, online: bool = False) -> Tensor:
    """Move some channels of each frame to the frames before and after it.

    The first C // fold_div channels come from the next frame, as many after them from the previous frame, and the rest
    stays. Where there is no such frame, the channels are 0 (Lin et al., arXiv 1811.08383, section 3).

    Parameters
    ----------
    x : Tensor, (N * T, C, H, W)
        The frames of N clips, one clip after the other.
    frames : int
        T, the number of frames in a clip.
    fold_div : int
        At least 2. In the paper, 8.
    online : bool
        Whether to move channels forward in time only: the first C // fold_div come from the previous frame, and no
        frame depends on a later one (section 4.2).

    Returns
    -------
    Tensor, (N * T, C, H, W)

    Raises
    ------
    ShapeError
        If x does not have 4 axes, or its length is not divisible by ``frames``.
    ArgumentError
        If ``frames`` or ``fold_div`` is not an integer in its range.

    Examples
    --------
    >>> import minires as mr
    >>> x = mr.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]).reshape(2, 4, 1, 1)  # two frames with four channels
    >>> shift(x, frames=2, fold_div=4).reshape(2, 4).tolist()
    [[5.0, 0.0, 3.0, 4.0], [0.0, 2.0, 7.0, 8.0]]
    """
    checks.axes("shift", x, 4, "(N * T, C, H, W)", "x")
    t = checks.integer("shift", frames, "frames", 1)
    nt, c, h, w = x.shape
    if nt % t:
        raise ShapeError(f"shift: x ({sizes(x.shape)}) holds {nt} images, which are not clips of {t} frames.")
    moved = c // checks.integer("shift", fold_div, "fold_div", 2)
    later, sooner = (0, moved) if online else (moved, 2 * moved)  # where the channels of each kind end
    x = x.reshape(nt // t, t, c, h, w)
    unmoved = ((0, 0),) * 3
    parts = [
        ops.pad(x[:, 1:, :later], ((0, 0), (0, 1), *unmoved)),  # frame t is frame t + 1
        ops.pad(x[:, :-1, later:sooner], ((0, 0), (1, 0), *unmoved)),  # frame t is frame t - 1
        x[:, :, sooner:],
    ]
    return ops.concatenate(parts, axis=2).reshape(nt, c, h, w)


class ShiftedConv2d(nn.Conv2d):
    """A convolution of shifted channels (see :func:`shift`), with the parameters of ``conv`` under the same names."""

    def __init__(self, conv: nn.Conv2d, fold_div: int, online: bool) -> None:
        vars(self).update(vars(conv))
        self.fold_div, self.online, self.frames = fold_div, online, 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(shift(x, self.frames, self.fold_div, self.online))


class PerFrame(nn.Module):
    """The mean of a network's logits over the frames of a clip, (N, T, C, H, W) to (N, K).

    Parameters
    ----------
    network : Module
        Takes images (N * T, C, H, W) and returns logits (N * T, K).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        n, t = check_clips(type(self).__name__, clips)
        for module in self.network.modules():
            if isinstance(module, ShiftedConv2d):
                module.frames = t
        logits = self.network(clips.reshape(n * t, *clips.shape[2:]))  # (N * T, K)
        return logits.reshape(n, t, -1).mean(axis=1)  # (N, K)


def check_clips(function: str, clips: Tensor) -> tuple[int, int]:
    """Return N and T of clips (N, T, C, H, W). Raises ShapeError unless they have these axes and at least one frame."""
    checks.axes(function, clips, 5, "(N, T, C, H, W)", "clips")
    if 0 in clips.shape[:2]:
        raise ShapeError(f"{function}: clips ({sizes(clips.shape)}) are empty; give at least one clip of one frame.")
    return clips.shape[0], clips.shape[1]


def tsn(backbone: str | nn.Module, num_classes: int, in_channels: int = 3) -> PerFrame:
    """Build the baseline that looks at each frame alone, and averages the logits.

    This is how a temporal segment network joins its frames (Wang et al., arXiv 1608.00859, section 3.1). Their order
    does not matter to it.

    Parameters
    ----------
    backbone : str or Module
        A name of ``mr.models``, such as "resnet18", or a network of ``mr.models``, perhaps with trained weights, which
        becomes a part of the model. If it has another number of classes, it gets a new layer ``fc``.
    num_classes : int
        K.
    in_channels : int
        C, if ``backbone`` is a name.

    Returns
    -------
    PerFrame
        A model of clips (N, T, C, H, W) with any T. Its parameters are named as in the network, after ``network.``.

    Raises
    ------
    ArgumentError
        If ``backbone`` is not a network of ``mr.models``, or a number is invalid.
    """
    return PerFrame(_classifier("tsn", backbone, num_classes, in_channels))


def tsm(
    backbone: str | nn.Module, num_classes: int, in_channels: int = 3, fold_div: int = 8, online: bool = False
) -> PerFrame:
    """Build a network with temporal shift modules: :func:`tsn`, whose blocks also see the frames before and after.

    Each residual branch begins with a shift, and the shortcut beside it keeps what the shift took from the frame
    ("residual shift", Lin et al., arXiv 1811.08383, figure 3). This needs no parameters and no multiplications.

    Parameters
    ----------
    backbone, num_classes, in_channels
        As for :func:`tsn`. The weights of an image classifier fit.
    fold_div, online
        See :func:`shift`.

    Returns
    -------
    PerFrame
        A model of clips (N, T, C, H, W) with any T. Its parameters are named as in the network, after ``network.``.

    Raises
    ------
    ArgumentError
        If ``backbone`` is not a network of ``mr.models``, or a number is invalid.

    Examples
    --------
    >>> import minires as mr
    >>> mr.vision.tsm("resnet8", num_classes=2)(mr.zeros(3, 8, 3, 16, 16)).shape  # 3 clips of 8 frames
    (3, 2)
    """
    network = _classifier("tsm", backbone, num_classes, in_channels)
    checks.integer("tsm", fold_div, "fold_div", 2)
    for block in network.modules():
        if isinstance(block, ResidualBlock):  # before conv1, F has no more than a BN and ReLU, which act on each frame
            block.conv1 = ShiftedConv2d(block.conv1, fold_div, online)
    return PerFrame(network)


def _classifier(function: str, backbone: str | nn.Module, num_classes: int, in_channels: int) -> nn.Module:
    checks.integer(function, num_classes, "num_classes", 1)
    if isinstance(backbone, str):
        network: nn.Module = models.build(backbone, num_classes=num_classes, in_channels=in_channels)
        return network
    if not isinstance(getattr(backbone, "fc", None), nn.Linear) or not any(
        isinstance(module, ResidualBlock) for module in backbone.modules()
    ):
        raise ArgumentError(
            f"{function}: backbone is {type(backbone).__name__}; give a name such as 'resnet18', or a net of mr.models."
        )
    if backbone.fc.out_features != num_classes:
        backbone.fc = nn.Linear(backbone.fc.in_features, num_classes)
    return backbone


class SpatialConv(nn.Conv2d):
    """A 1xKxK convolution, (N, C, T, H, W) to (N, O, T, OH, OW): each frame by itself."""

    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, size, stride, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, h, w = x.shape
        frames = x.transpose(0, 2, 1, 3, 4).reshape(n * t, c, h, w)
        y = super().forward(frames)  # (N * T, O, OH, OW)
        return y.reshape(n, t, *y.shape[1:]).transpose(0, 2, 1, 3, 4)  # (N, O, T, OH, OW)


class TemporalConv(nn.Conv2d):
    """A 3x1x1 convolution, (N, C, T, H, W) to (N, O, OT, H, W): each pixel by itself.

    It is a two-dimensional convolution of "images" with a row for each frame, and a column for each pixel.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, (3, 1), (stride, 1), padding=(1, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, h, w = x.shape
        y = super().forward(x.reshape(n, c, t, h * w))  # (N, O, OT, H * W)
        return y.reshape(*y.shape[:3], h, w)


class BatchNorm3d(nn.BatchNorm2d):
    """Batch norm of each channel over all frames and pixels of a batch, (N, C, T, H, W) to the same shape."""

    def forward(self, x: Tensor, shortcut: Tensor | None = None, activation: str | None = None) -> Tensor:
        n, c, t, h, w = x.shape
        return super().forward(x.reshape(n, c, t, h * w), shortcut, activation).reshape(x.shape)


class Projection(SpatialConv):
    """A 1x1x1 convolution with a stride in space and time, (N, C, T, H, W) to (N, O, OT, OH, OW)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, :: self.stride[0]])


def factorised(in_channels: int, middle: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Build a spatial convolution, BN, ReLU and a temporal convolution, (N, C, T, H, W) to (N, O, OT, OH, OW)."""
    spatial = SpatialConv(in_channels, middle, 3, stride)
    return nn.Sequential(spatial, BatchNorm3d(middle), nn.ReLU(), TemporalConv(middle, out_channels, stride))


class R2Plus1DBlock(nn.Module):
    """relu(F(x) + shortcut(x)), where F is two pairs of a spatial and a temporal convolution.

    Between the convolutions of a pair there are so many channels that it has as many parameters as the 3x3x3
    convolution that it replaces (Tran et al., arXiv 1711.11248, section 3.5).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        middle = 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)
        self.conv1 = nn.Sequential(
            factorised(in_channels, middle, out_channels, stride), BatchNorm3d(out_channels), nn.ReLU()
        )
        self.conv2 = nn.Sequential(factorised(out_channels, middle, out_channels), BatchNorm3d(out_channels))
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(Projection(in_channels, out_channels, 1, stride), BatchNorm3d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(self.conv1(x))
        return ops.residual_add(branch, x if self.downsample is None else self.downsample(x))


class R2Plus1D(nn.Module):
    """A residual network of (2+1)-dimensional convolutions; see :func:`r2plus1d`, which checks the arguments."""

    def __init__(self, num_classes: int, in_channels: int = 3, depth: int = 8) -> None:
        widths, counts = LAYOUTS[depth]
        middle, size, stride = (STEM_18, 7, 2) if widths is LARGE else (widths[0], 3, 1)
        self.stem = nn.Sequential(
            SpatialConv(in_channels, middle, size, stride), BatchNorm3d(middle), nn.ReLU(),
            TemporalConv(middle, widths[0]), BatchNorm3d(widths[0]), nn.ReLU(),
        )  # fmt: skip
        channels, self.stages = widths[0], []
        for number, (width, count) in enumerate(zip(widths, counts, strict=True), start=1):
            blocks = []
            for i in range(count):
                blocks.append(R2Plus1DBlock(channels, width, stride=2 if number > 1 and i == 0 else 1))
                channels = width
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            self.stages.append(f"layer{number}")
        self.fc = nn.Linear(channels, num_classes)
        finish(self, "fan_out", zero_init_residual=False)

    def forward(self, clips: Tensor) -> Tensor:
        check_clips("r2plus1d", clips)
        x = self.stem(clips.transpose(0, 2, 1, 3, 4))  # (N, C, T, H, W), channels first
        for stage in self.stages:
            x = getattr(self, stage)(x)  # from the second stage on, T, H and W are halved
        return self.fc(x.mean(axis=(2, 3, 4)))  # (N, C) -> (N, K)


def r2plus1d(num_classes: int, in_channels: int = 3, depth: int = 8) -> R2Plus1D:
    """Build R(2+1)D, whose 3x3x3 convolutions are factorised into one over space and one over time.

    Tran et al., arXiv 1711.11248. Where the size changes, each stage halves the number of frames as well. All layers
    are two-dimensional convolutions of reshaped clips.

    Parameters
    ----------
    num_classes : int
        K.
    in_channels : int
        C.
    depth : {8, 14, 18, 34}
        8 and 14 have the three stages of 16, 32 and 64 channels of ``resnet8`` and ``resnet14``, for clips of about
        32x32 pixels. 18 and 34 are the paper's networks, for about 112x112 pixels; 18 is torchvision's
        ``r2plus1d_18``, with the same names of parameters. Reshape its weights of convolutions to those here: one of
        their three kernel sizes is 1.

    Returns
    -------
    R2Plus1D
        A model of clips (N, T, C, H, W) with any T.

    Raises
    ------
    ArgumentError
        If a number is invalid.
    """
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels), ("depth", depth)):
        checks.integer("r2plus1d", value, name, 1)
    if depth not in LAYOUTS:
        raise ArgumentError(f"r2plus1d: depth is {depth}; it must be one of {', '.join(map(str, LAYOUTS))}.")
    return R2Plus1D(num_classes, in_channels, depth)
