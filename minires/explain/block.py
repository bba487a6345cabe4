"""The example that ``minires explain step`` shows: one residual block, one small image, op by op."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from .. import data, models, nn, ops
from ..core import backend
from ..core.tensor import Tensor, tensor
from ..data.transforms import Normalize
from ..models.blocks import Block


class Example(NamedTuple):
    """A loss, with the network and the image that it was computed from."""

    loss: Tensor
    network: nn.Module
    x: Tensor  # (1, C, H, W), requires a gradient


def block_loss(model: str = "resnet8", dataset: str = "digits", seed: int = 0) -> Example:
    """The loss of a network that was cut down to its first block, for the first training image.

    What the network does around the block is its own: the first convolution before it, pooling, a linear layer and
    cross-entropy after it. Batch norm, shortcut and ReLU, which its blocks do in one op, are an op each here.

    Parameters
    ----------
    model, dataset : str
        Of ``mr.models.names()`` and ``mr.data.names()``.
    seed : int
        Decides the weights, which are as they are before training.

    Raises
    ------
    ArgumentError
        For another name, or a seed that is no integer >= 0.
    DataError
        If the data set is not here.
    """
    backend.manual_seed(seed)
    source = data.load(dataset)
    images, labels = source.train[np.arange(1)]  # (1, C, H, W) and (1,)
    network = models.build(model, num_classes=len(source.classes), in_channels=images.shape[1])
    for name, stage in list(network.named_children()):
        if name.startswith("layer"):
            setattr(network, name, _up_to_first_block(stage) if name == "layer1" else nn.Identity())
    width = [layer for layer in network.layer1.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
    network.fc = nn.Linear(width, len(source.classes))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.forward = partial(_one_op_each, layer)  # type: ignore[method-assign]
    x = tensor(Normalize.of(source.train)(images), requires_grad=True)
    return Example(ops.cross_entropy(network(x), labels), network, x)


def _up_to_first_block(stage: nn.Module) -> nn.Sequential:
    layers = list(stage.children())
    first = next(place for place, layer in enumerate(layers) if isinstance(layer, Block))
    return nn.Sequential(*layers[: first + 1])


def _one_op_each(
    norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None = None, activation: str | None = None
) -> Tensor:
    y = nn.BatchNorm2d.forward(norm, x)
    if shortcut is not None:
        return ops.residual_add(y, shortcut, activation)
    return y if activation is None else ops.relu(y)
