"""A table of a model's layers, with their output sizes, parameters, multiply-adds and memory.

The model runs once, on zeros, and each op that it calls is counted for the innermost module that is running. Nothing
needs to be known about the modules, so your own networks are summarised just like those of minires. Multiply-adds come
from :meth:`minires.Op.multiply_adds`. As in the tables of papers, where they are called FLOPs, batch norm, ReLU and
pooling are not counted.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import backend, checks
from ..core.autograd import Op, Shape
from ..core.backend import Array, array_module
from ..core.dispatch import engine
from ..core.state import no_grad, observed
from ..core.tensor import Tensor
from ..errors import ArgumentError, MiniresError, ShapeError, sizes
from ..nn import Identity, Module, Parameter
from ..nn.module import check_module, undisturbed


@dataclass
class Layer:
    """One call of a module, not counting its sub-modules, which have their own rows."""

    name: str  # the module's path in the model, as in the state dict
    kind: str  # the name of its class
    output: Shape | None = None  # None if it does not return a tensor
    parameters: int = 0  # how many numbers it learns; 0 when the same module is called again
    multiply_adds: int = 0
    activation_bytes: int = 0  # of the arrays that its ops computed, except views
    is_leaf: bool = True

    @property
    def has_row(self) -> bool:
        """Whether the module is a layer, or does more than call its sub-modules."""
        return self.is_leaf or bool(self.parameters or self.multiply_adds or self.activation_bytes)


@dataclass(repr=False)
class Summary:
    """The table that :func:`summary` returns: print it, show it in a notebook, or read its numbers.

    Attributes
    ----------
    model : str
        The name of the model's class.
    input_shape : tuple of int
    layers : list of Layer
        The layers, in the order in which they were called.
    parameters : int
        The number of parameters of the whole model, including modules that were never called.
    multiply_adds : int
        The number of multiply-adds of one forward pass, for the whole batch.
    parameter_bytes : int
        The memory of parameters and buffers.
    activation_bytes : int
        The memory of all arrays that the forward pass computes. In training, they are kept until the backward pass has
        read them; in inference, they are freed along the way.
    """

    model: str
    input_shape: Shape
    layers: list[Layer]
    parameters: int
    multiply_adds: int
    parameter_bytes: int
    activation_bytes: int

    HEAD = ("layer", "kind", "output", "parameters", "multiply-adds", "memory")

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, one tuple for each layer."""
        return [
            (
                layer.name or "(itself)",
                layer.kind,
                "-" if layer.output is None else sizes(layer.output),
                f"{layer.parameters:,}" if layer.parameters else "-",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "-",
                _bytes(layer.activation_bytes) if layer.activation_bytes else "-",
            )
            for layer in self.layers
        ]

    def totals(self) -> list[str]:
        """Return the lines below the table."""
        return [
            f"parameters     {self.parameters:,} ({_bytes(self.parameter_bytes)} with buffers)",
            f"multiply-adds  {self.multiply_adds:,} for {sizes(self.input_shape)}",
            f"activations    {_bytes(self.activation_bytes)}, if all are kept for backward",
        ]

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(self.HEAD, *rows, strict=True)]
        template = "  ".join(f"{{:{side}{width}}}" for side, width in zip("<<<>>>", widths, strict=True))
        head, *lines = (template.format(*row).rstrip() for row in (self.HEAD, *rows))
        title, rule = f"{self.model}, input {sizes(self.input_shape)}", "-" * len(head)
        return "\n".join([title, "", head, rule, *lines, rule, *self.totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows()]
        head = "".join(f"<th>{name}</th>" for name in self.HEAD)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        title = f"{html.escape(self.model)}, input {sizes(self.input_shape)}"
        return f"<table><caption>{title}</caption><tr>{head}</tr>{body}</table><p>{'<br>'.join(self.totals())}</p>"


def summary(model: Module, shape: tuple[int, ...]) -> Summary:
    """Summarise the layers of ``model`` and their costs, for an input of ``shape``.

    Parameters
    ----------
    model : Module
        Any module that takes one tensor. It runs once, in evaluation mode and without its hooks. Afterwards it is
        unchanged (mode, hooks, buffers, gradients and other attributes), and so is the random generator.
    shape : tuple of int
        The shape of the input, including the batch axis: (N, C, H, W) for images.

    Returns
    -------
    Summary

    Raises
    ------
    ArgumentError
        If ``model`` is not a Module, or ``shape`` is not a tuple of sizes.
    ShapeError
        If the model does not accept this shape. The message names the layer that failed, and says why.

    Examples
    --------
    >>> import minires as mr
    >>> net = mr.nn.Sequential(mr.nn.Conv2d(1, 4, kernel_size=3), mr.nn.ReLU(), mr.nn.Flatten(), mr.nn.Linear(144, 2))
    >>> print(mr.models.summary(net, (1, 1, 8, 8)))
    Sequential, input 1x1x8x8
    <BLANKLINE>
    layer  kind     output   parameters  multiply-adds  memory
    ----------------------------------------------------------
    0      Conv2d   1x4x6x6          40          1,296   576 B
    1      ReLU     1x4x6x6           -              -   576 B
    2      Flatten  1x144             -              -   576 B
    3      Linear   1x2             290            288     8 B
    ----------------------------------------------------------
    parameters     330 (1.32 kB with buffers)
    multiply-adds  1,584 for 1x1x8x8
    activations    1.74 kB, if all are kept for backward
    """
    check_module("summary", model)
    given = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if not given or not all(checks.is_integer(size, 1) for size in given):
        raise ArgumentError(f"summary: shape is {shape!r}; it must be the shape of the input, such as (1, 3, 32, 32).")
    parameters, buffers = list(model.parameters()), [buffer for _, buffer in model.named_buffers()]
    like = next((p for p in parameters if p.dtype.kind == "f"), Tensor(0.0))
    x = Tensor(backend.to_device(np.zeros(given, like.dtype), like.device))
    layers: list[Layer] = []
    running: list[Layer] = []  # the innermost one last
    with undisturbed(model), no_grad(), engine("textbook"):  # compiles nothing, and every op is observed
        try:
            with _watched(model.eval(), layers, running):
                model(x)
        except (MiniresError, TypeError, ValueError, IndexError) as error:
            name = running[-1].name if running else ""
            raise ShapeError(
                f"summary: {type(model).__name__} does not take an input of {sizes(given)}"
                f"{f' (layer {name})' if name else ''}: {error}"
            ) from error
    return Summary(
        type(model).__name__,
        given,
        [layer for layer in layers if layer.has_row],
        sum(p.size for p in parameters),
        sum(layer.multiply_adds for layer in layers),
        sum(tensor.data.nbytes for tensor in (*parameters, *buffers)),
        sum(layer.activation_bytes for layer in layers),
    )


@contextmanager
def _watched(model: Module, layers: list[Layer], running: list[Layer]) -> Iterator[None]:
    """Fill ``layers`` while the model runs; each module's ``forward`` is wrapped, which ``undisturbed`` undoes."""
    counted: set[int] = set()

    def wrap(name: str, module: Module) -> Callable[..., Any]:
        forward = module.forward

        def run(*inputs: Any, **options: Any) -> Any:
            own = [value for value in vars(module).values() if isinstance(value, Parameter)]
            layer = Layer(name, type(module).__name__, parameters=sum(p.size for p in own if id(p) not in counted))
            layer.is_leaf = next(module.children(), None) is None and not isinstance(module, Identity)
            counted.update(map(id, own))
            layers.append(layer)
            running.append(layer)
            output = forward(*inputs, **options)
            running.pop()
            if type(output) is Tensor:  # a folded convolution returns a subclass that is not computed yet
                layer.output = output.shape
            return output

        return run

    def count(op: Op, phase: str, arrays: Sequence[Array]) -> Callable[[Array | None], None]:
        layer = running[-1]

        def end(output: Array | None) -> None:
            if output is None:  # the op raised an error
                return
            layer.multiply_adds += op.multiply_adds(output.shape, *(array.shape for array in arrays))
            if not any(array_module(output).may_share_memory(output, array) for array in arrays):
                layer.activation_bytes += output.nbytes

        return end

    for name, module in list(model.named_modules()):
        vars(module).update(forward=wrap(name, module), _forward_hooks=None)
    with observed(count):
        yield


def _bytes(count: int) -> str:
    """Format a number of bytes with three significant digits.

    >>> _bytes(576), _bytes(1234), _bytes(97_500_000)
    ('576 B', '1.23 kB', '97.5 MB')
    """
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(max(len(str(count)) - 1, 0) // 3, len(units) - 1)
    return f"{count / 1000**power:.{0 if power == 0 else 2 - (len(str(count)) - 1) % 3}f} {units[power]}"
