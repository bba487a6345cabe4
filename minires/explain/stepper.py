"""``mr.explain.step``: the learner's own tape, to walk through with the arrow keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..core.tensor import Tensor
from ..errors import ArgumentError
from ..nn import Module
from .names import known_names
from .page import frame, page
from .trace import Tape, trace


class Stepper:
    """What :func:`step` returns. A notebook shows it; elsewhere, ``save`` it and open the file in a browser.

    Attributes
    ----------
    tape : Tape
        What the page shows, as data: nodes in forward order, with values, gradients, and the edges between them.
    html : str
        The page: one file, which needs no network.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.title = f"{tape.nodes[-1].name}, step by step"
        self.html = page(tape, self.title)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, which is replaced if it exists. Raises OSError if that cannot be."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        return frame(self.html, self.title)

    def __repr__(self) -> str:
        count = len(self.tape.nodes)
        return f"<Stepper: {count} forward and {count} backward steps, {len(self.html) / 1000:.0f} kB; .save(path)>"


def step(loss: Tensor, model: Module | None = None, names: Mapping[str, Tensor] | None = None) -> Stepper:
    """The tape under ``loss`` as a page: forward and backward through the real tensors, node by node.

    It runs a backward pass of its own, by the textbook, and keeps what flowed along each edge. Your graph stays as it
    is, and so do all ``.grad``; hooks are not called. Call it while the graph is there: before ``loss.backward()``, or
    after ``loss.backward(retain_graph=True)``, and before an optimiser changes the parameters.

    Parameters
    ----------
    loss : Tensor
        One number that was computed from something with ``requires_grad=True``.
    model : Module, optional
        Its parameters, and the ops that use them, are named after its layers.
    names : mapping of str to Tensor, optional
        Names of other tensors; by default, the variables where ``step`` is called.

    Returns
    -------
    Stepper

    Raises
    ------
    ArgumentError
        If ``loss`` is no tensor, or ``model`` no module.
    GraphError
        If nothing was recorded, backward has freed the graph, or an array that it needs was changed in place.
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
    if model is not None and not isinstance(model, Module):
        raise ArgumentError(f"step: model is {type(model).__name__}; it must be a Module, such as mr.models.resnet8().")
    variables = sys._getframe(1).f_locals if names is None else names
    tensors = {name: value for name, value in variables.items() if isinstance(value, Tensor)}
    return Stepper(trace(loss, known_names(tensors, model), tensors.values()))
