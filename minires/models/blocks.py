"""The blocks of residual networks. Their ``forward`` reads like the figures in the papers.

::

    x ──┬── conv 3x3 ── BN ── ReLU ── conv 3x3 ── BN ──(+)── ReLU ──>        BasicBlock
        └──────────────────── shortcut ─────────────────┘

    x ──┬── BN ── ReLU ── conv 3x3 ── BN ── ReLU ── conv 3x3 ──(+)──>        PreActivationBlock
        └──────────────────── shortcut ─────────────────────────┘

Parameters are named as in torchvision. ``bn(x, shortcut, activation="relu")`` is ``relu(bn(x) + shortcut)`` in one
pass over memory (see ``minires.ops.batch_norm``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from .. import nn, ops
from ..core.tensor import Tensor
from .shortcuts import StochasticDepth, make_shortcut


class ResidualBlock(nn.Module):
    """Base class of all blocks: the layers of F, the shortcut beside them, and stochastic depth, which drops F.

    Parameters
    ----------
    in_channels, out_channels, stride : int
    shortcut : {"A", "B", "C", None}
        See :func:`minires.models.shortcuts.make_shortcut`. None makes a plain block.
    drop_probability : float
        See :class:`minires.models.shortcuts.StochasticDepth`.
    avg_down : bool
        Whether a projection averages 2x2 pixels first.
    """

    expansion: ClassVar[int] = 1  # output channels per inner channel
    projection_norm: ClassVar[bool] = True  # whether the projection of a shortcut has a BN

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: str | None,
        drop_probability: float = 0.0,
        avg_down: bool = False,
    ) -> None:
        self.add_layers(in_channels, out_channels, stride)
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride, avg_down, self.projection_norm)
        self.drop = StochasticDepth(drop_probability) if drop_probability else None

    def add_layers(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Create the layers of F."""
        raise NotImplementedError

    def norm_add_relu(self, branch: Tensor, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """Compute relu(norm(branch) + shortcut(x)), in one pass over memory unless the branch may be dropped."""
        shortcut = None if self.downsample is None else self.downsample(x)
        if self.drop is not None and self.drop.training and shortcut is not None:
            return ops.residual_add(self.drop(norm(branch)), shortcut)
        output: Tensor = norm(branch, shortcut, activation="relu")
        return output


class BasicBlock(ResidualBlock):
    """relu(F(x) + shortcut(x)), where F is conv-BN-ReLU-conv-BN. Without a shortcut: relu(F(x)).

    He et al., arXiv 1512.03385, figure 2.
    """

    def add_layers(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x), activation="relu")
        return self.norm_add_relu(self.conv2(branch), x, self.bn2)


class Bottleneck(ResidualBlock):
    """relu(F(x) + shortcut(x)), where F is a 1x1 convolution to fewer channels, a 3x3 one, and a 1x1 one to more.

    He et al., arXiv 1512.03385, figure 5. The 3x3 convolution has the stride, as in torchvision ("v1.5"). In the paper,
    the first 1x1 convolution has it, which then skips three of every four pixels.
    """

    expansion = 4

    def add_layers(self, in_channels: int, out_channels: int, stride: int) -> None:
        width = out_channels // self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x), activation="relu")
        branch = self.bn2(self.conv2(branch), activation="relu")
        return self.norm_add_relu(self.conv3(branch), x, self.bn3)


class PreActivation(ResidualBlock):
    """Base class of both pre-activation blocks: F(x) + shortcut(x), with nothing after the addition.

    He et al., arXiv 1603.05027, figure 4(e). F begins with a BN and ReLU that are not applied to the shortcut, with two
    exceptions. First, a projection reads ``relu(bn1(x))``, as F does. It has no BN, since its input is already
    normalised (as in the authors' code, KaimingHe/resnet-1k-layers). Second, in the first block of a network, the first
    BN and ReLU belong to the convolution before it, so they are applied to both paths, whatever the shortcut.
    """

    projection_norm = False
    is_first: bool = False  # whether it is the first block of its network
    bn1: nn.BatchNorm2d

    @property
    def shares_activation(self) -> bool:
        """Whether the shortcut reads ``relu(bn1(x))``, as F does."""
        return self.is_first or isinstance(self.downsample, nn.Sequential)  # a projection

    def branch(self, activated: Tensor) -> Tensor:
        """Compute the rest of F, after its first BN and ReLU."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        activated = self.bn1(x, activation="relu")
        branch = self.branch(activated)
        if self.downsample is None:
            return branch
        branch = branch if self.drop is None else self.drop(branch)
        shortcut = self.downsample(activated if self.shares_activation else x)
        return ops.residual_add(branch, shortcut, activation=None)


class PreActivationBlock(PreActivation):
    """F(x) + shortcut(x), where F is BN-ReLU-conv-BN-ReLU-conv."""

    def add_layers(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)

    def branch(self, activated: Tensor) -> Tensor:
        return self.conv2(self.bn2(self.conv1(activated), activation="relu"))


class PreActivationBottleneck(PreActivation):
    """F(x) + shortcut(x), where F is BN-ReLU-conv three times, with the convolutions of :class:`Bottleneck`."""

    expansion = 4

    def add_layers(self, in_channels: int, out_channels: int, stride: int) -> None:
        width = out_channels // self.expansion
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)

    def branch(self, activated: Tensor) -> Tensor:
        branch = self.conv2(self.bn2(self.conv1(activated), activation="relu"))
        return self.conv3(self.bn3(branch, activation="relu"))


def make_stages(
    block: type[ResidualBlock],
    counts: Sequence[int],
    widths: Sequence[int],
    shortcut: str | None,
    last_drop: float,
    avg_down: bool = False,
) -> Iterator[nn.Sequential]:
    """Build stages of ``counts`` blocks with ``widths`` inner channels. Each stage except the first halves the image.

    The probability of dropping block l of L is l/L times ``last_drop`` (arXiv 1603.09382, equation 4).

    >>> first, second = make_stages(BasicBlock, counts=(2, 2), widths=(16, 32), shortcut="A", last_drop=0.5)
    >>> [layer.drop.p for stage in (first, second) for layer in stage]
    [0.125, 0.25, 0.375, 0.5]
    """
    channels, made = widths[0], 0
    for count, width in zip(counts, widths, strict=True):
        blocks: list[ResidualBlock] = []
        for _ in range(count):
            stride = 2 if made and not blocks else 1
            made += 1
            drop = last_drop * made / sum(counts)
            blocks.append(block(channels, width * block.expansion, stride, shortcut, drop, avg_down))
            channels = width * block.expansion
        yield nn.Sequential(*blocks)


def finish(network: nn.Module, mode: str, zero_init_residual: bool) -> None:
    """Initialise a complete network, and mark its first pre-activation block.

    The weights of convolutions are drawn from a normal distribution with variance 2 / fan (He et al., arXiv
    1502.01852), where ``mode`` says whether fan is fan_in or fan_out.
    """
    first = next((module for module in network.modules() if isinstance(module, PreActivation)), None)
    if first is not None:
        first.is_first = True
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal(module.weight, mode=mode, nonlinearity="relu")
        if zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            if last.weight is not None:
                nn.init.zeros(last.weight)
