"""``mr.explain.step``: step through the tape of your own loss with the arrow keys."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import data, models, nn, ops
from ..core import backend
from ..core.tensor import Tensor, tensor
from ..data.transforms import Normalize
from ..errors import ArgumentError
from ..interop.files import PathLike
from ..models.blocks import ResidualBlock
from ..nn import Module
from ..nn.module import check_module
from .page import frame, page
from .tape import Tape, known_names
from .trace import trace


class Stepper:
    """The result of :func:`step`. A notebook displays it; elsewhere, call ``save`` and open the file in a browser.

    Attributes
    ----------
    tape : Tape
        The data of the page: nodes in forward order, with values, gradients, and the edges between them.
    html : str
        The page as one HTML file, which needs no network.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.title = f"{tape.nodes[-1].name}, step by step"
        self.html = page(tape, self.title)

    def save(self, path: PathLike) -> Path:
        """Write the page to a file, replacing an existing one. Raises OSError if writing fails."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        return frame(self.html, self.title)

    def __repr__(self) -> str:
        count = len(self.tape.nodes)
        return f"<Stepper: {count} forward and {count} backward steps, {len(self.html) / 1000:.0f} kB; .save(path)>"


def step(loss: Tensor, model: Module | None = None, names: Mapping[str, Tensor] | None = None) -> Stepper:
    """Show the tape under ``loss`` as a page that goes forward and backward through the real tensors, node by node.

    It runs a separate backward pass with the textbook engine, and keeps the gradient along each edge. Your graph and
    every ``.grad`` stay unchanged, and hooks are not called. Call it while the graph exists: before
    ``loss.backward()``, or after ``loss.backward(retain_graph=True)``, and before an optimiser changes the parameters.

    Parameters
    ----------
    loss : Tensor
        A tensor with one number that was computed from something with ``requires_grad=True``.
    model : Module, optional
        A module; its parameters, and the ops that use them, are named after its layers.
    names : mapping of str to Tensor, optional
        Maps names to other tensors; by default, the local variables of the caller.

    Returns
    -------
    Stepper

    Raises
    ------
    ArgumentError
        If ``loss`` is not a tensor, or ``model`` is not a module.
    GraphError
        If no graph was recorded, backward has freed it, or an array that it needs was changed in place.
    ShapeError
        If ``loss`` holds more than one number.

    Examples
    --------
    >>> import minires as mr
    >>> x = mr.tensor(3.0, requires_grad=True)
    >>> y = x * x + x
    >>> stepper = mr.explain.step(y)
    >>> [(node.name, node.value.item(), node.gradient.item()) for node in stepper.tape.nodes]
    [('x', 3.0, 7.0), ('mul_1', 9.0, 1.0), ('y', 12.0, 1.0)]
    """
    if not isinstance(loss, Tensor):
        raise ArgumentError(f"step: loss is {type(loss).__name__}; it must be a tensor that backward can start from.")
    if model is not None:
        check_module("step", model)
    variables = sys._getframe(1).f_locals if names is None else names
    tensors = {name: value for name, value in variables.items() if isinstance(value, Tensor)}
    return Stepper(trace(loss, known_names(tensors, model), tensors.values()))


class Example(NamedTuple):
    """A loss, and the network and image that it was computed from."""

    loss: Tensor
    network: nn.Module
    x: Tensor  # (1, C, H, W), requires a gradient


def block_loss(model: str = "resnet8", dataset: str = "digits", seed: int = 0) -> Example:
    """Compute the loss of a network that is cut down to its first block, for the first training image.

    The network's first convolution precedes the block; pooling, a linear layer and cross-entropy follow it. Batch norm
    is a separate op here, not one op with the ReLU or the addition of the shortcut as in the network's blocks.

    Parameters
    ----------
    model, dataset : str
        One of ``mr.models.names()``, and one of ``mr.data.names()``.
    seed : int
        The seed of the weights, which are not trained.

    Raises
    ------
    ArgumentError
        If a name is unknown, or the seed is not an integer >= 0.
    DataError
        If the data set is not on this machine.
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
    first = next(place for place, layer in enumerate(layers) if isinstance(layer, ResidualBlock))
    return nn.Sequential(*layers[: first + 1])


def _one_op_each(
    norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None = None, activation: str | None = None
) -> Tensor:
    y = nn.BatchNorm2d.forward(norm, x)
    if shortcut is not None:
        return ops.residual_add(y, shortcut, activation)
    return y if activation is None else ops.relu(y)
