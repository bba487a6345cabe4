"""The units that residual networks are built of; their forward reads like the figures of the papers.

::

    x ──┬── conv 3x3 ── BN ── ReLU ── conv 3x3 ── BN ──(+)── ReLU ──>        BasicBlock
        └──────────────────── shortcut ─────────────────┘

    x ──┬── BN ── ReLU ── conv 3x3 ── BN ── ReLU ── conv 3x3 ──(+)──>        PreActivationBlock
        └──────────────────── shortcut ─────────────────────────┘

Parameters are named as in torchvision. ``bn(x, shortcut, activation="relu")`` is ``relu(bn(x) + shortcut)``, in one
walk over memory (see ``minires.ops.batch_norm``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from .. import nn, ops
from ..core.tensor import Tensor
from .shortcuts import StochasticDepth, make_shortcut


class BasicBlock(nn.Module):
    """relu(F(x) + shortcut(x)), where F is conv-BN-ReLU-conv-BN. Without a shortcut: relu(F(x)).

    He et al., arXiv 1512.03385, figure 2.
    """

    expansion: ClassVar[int] = 1  # output channels for each of the inner ones

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: str | None,
        drop_probability: float = 0.0,
        avg_down: bool = False,
    ) -> None:
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride, avg_down)
        self.drop = StochasticDepth(drop_probability) if drop_probability else None

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x), activation="relu")
        shortcut = None if self.downsample is None else self.downsample(x)
        return _norm_add_relu(self.conv2(branch), shortcut, self.bn2, self.drop)


class Bottleneck(nn.Module):
    """relu(F(x) + shortcut(x)), where F narrows by a 1x1 convolution, looks around by a 3x3 one, and widens again.

    He et al., arXiv 1512.03385, figure 5. The stride is on the 3x3 convolution, as torchvision has it ("v1.5"), and
    not on the first one as in the paper, where three of four pixels would never be read.
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: str | None,
        drop_probability: float = 0.0,
        avg_down: bool = False,
    ) -> None:
        width = out_channels // self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride, avg_down)
        self.drop = StochasticDepth(drop_probability) if drop_probability else None

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x), activation="relu")
        branch = self.bn2(self.conv2(branch), activation="relu")
        shortcut = None if self.downsample is None else self.downsample(x)
        return _norm_add_relu(self.conv3(branch), shortcut, self.bn3, self.drop)


def _norm_add_relu(
    branch: Tensor, shortcut: Tensor | None, norm: nn.BatchNorm2d, drop: StochasticDepth | None
) -> Tensor:
    """relu(norm(branch) + shortcut), in one walk over memory unless the normalised branch may be dropped."""
    if drop is not None and drop.training and shortcut is not None:
        return ops.residual_add(drop(norm(branch)), shortcut)
    output: Tensor = norm(branch, shortcut, activation="relu")
    return output


class PreActivation(nn.Module):
    """What both pre-activation blocks share: F(x) + shortcut(x), and nothing after it.

    He et al., arXiv 1603.05027, figure 4(e). Nothing stands in the way of the identity, with two exceptions. A
    projection reads ``relu(bn1(x))``, as the branch does, and has no BN of its own, for its input is normalised already
    (so in the authors' code, KaimingHe/resnet-1k-layers). And in the first block of a network the first BN and ReLU
    come before the paths part, whatever the shortcut: they are the activation of the convolution before.
    """

    bn1: nn.BatchNorm2d

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, shortcut: str | None, drop: float, avg_down: bool
    ) -> None:
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride, avg_down, norm=False)
        self.shared_activation = isinstance(self.downsample, nn.Sequential)  # a projection
        self.drop = StochasticDepth(drop) if drop else None

    def branch(self, activated: Tensor) -> Tensor:
        """F after its first BN and ReLU."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        activated = self.bn1(x, activation="relu")
        branch = self.branch(activated)
        if self.downsample is None:
            return branch
        branch = branch if self.drop is None else self.drop(branch)
        shortcut = self.downsample(activated if self.shared_activation else x)
        return ops.residual_add(branch, shortcut, activation=None)


class PreActivationBlock(PreActivation):
    """F(x) + shortcut(x), where F is BN-ReLU-conv-BN-ReLU-conv."""

    expansion: ClassVar[int] = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: str | None,
        drop_probability: float = 0.0,
        avg_down: bool = False,
    ) -> None:
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        super().__init__(in_channels, out_channels, stride, shortcut, drop_probability, avg_down)

    def branch(self, activated: Tensor) -> Tensor:
        return self.conv2(self.bn2(self.conv1(activated), activation="relu"))


class PreActivationBottleneck(PreActivation):
    """F(x) + shortcut(x), where F is three times BN-ReLU-conv: 1x1 narrows, 3x3 looks around, 1x1 widens.

    The stride is on the 3x3 convolution, as in :class:`Bottleneck`.
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: str | None,
        drop_probability: float = 0.0,
        avg_down: bool = False,
    ) -> None:
        width = out_channels // self.expansion
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        super().__init__(in_channels, out_channels, stride, shortcut, drop_probability, avg_down)

    def branch(self, activated: Tensor) -> Tensor:
        branch = self.conv2(self.bn2(self.conv1(activated), activation="relu"))
        return self.conv3(self.bn3(branch, activation="relu"))


Block = BasicBlock | Bottleneck | PreActivationBlock | PreActivationBottleneck


def make_stage(
    block: type[Block],
    count: int,
    in_channels: int,
    out_channels: int,
    stride: int,
    shortcut: str | None,
    drop_probabilities: Iterator[float],
    avg_down: bool = False,
) -> nn.Sequential:
    """Blocks of one resolution; the first one changes it. Each takes the next of ``drop_probabilities``."""
    first = block(in_channels, out_channels, stride, shortcut, next(drop_probabilities), avg_down)
    others = (
        block(out_channels, out_channels, 1, shortcut, next(drop_probabilities), avg_down) for _ in range(count - 1)
    )
    return nn.Sequential(first, *others)


def linear_decay(last: float, blocks: int) -> Iterator[float]:
    """Stochastic depth's probability to drop block l of L, l/L of the last one's (arXiv 1603.09382, equation 4).

    >>> list(linear_decay(0.5, 4))
    [0.125, 0.25, 0.375, 0.5]
    """
    return (last * number / blocks for number in range(1, blocks + 1))


def finish(network: nn.Module, mode: str, zero_init_residual: bool) -> None:
    """What a network does once it has all its blocks: initialise, and let the first pre-activation block share.

    Convolutions are normal with variance 2 / fan (He et al., arXiv 1502.01852), fan_in or fan_out as ``mode`` says.
    """
    first = next((module for module in network.modules() if isinstance(module, PreActivation)), None)
    if first is not None:
        first.shared_activation = True
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal(module.weight, mode=mode, nonlinearity="relu")
        if zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
            nn.init.zeros((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)
