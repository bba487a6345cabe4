"""The parts that the instruments share: a result with rows and a figure, and the layers of a model to measure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..core.tensor import Tensor, TensorLike, as_tensor
from ..data import Split
from ..data.dataset import LabelledSource
from ..errors import ArgumentError, sizes
from ..interop.files import PathLike
from ..nn import LayerNorm, Module, Parameter
from ..nn.module import check_module
from ..training.figures import figure_bytes, new_figure, save_figure, style_axes
from ..training.folder import Row, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # distinct with any kind of colour vision (Okabe and Ito, 2008)
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o"},
    {"color": ORANGE, "marker": "s", "linestyle": ":"},
)
MOST_NAMES = 40  # more names along an axis would overlap
FEW_POWERS = 1000  # the ratio of the axis limits below which 2 and 5 are marked, too


@dataclass(frozen=True)
class Measurement:
    """The result of an instrument: numbers and a figure. A notebook shows the figure.

    Attributes
    ----------
    model : str
        The name of the model's class, for the title.
    rows : list of dict
        The numbers, keyed by ``columns``; a value that was not measured is None.
    """

    model: str
    rows: list[Row]

    columns: ClassVar[tuple[str, ...]]
    subject: ClassVar[str]  # what the figure shows, for its title

    def figure(self, title: str | None = None) -> Figure:
        """Return a new Matplotlib figure. Its default title is ``<model>: <subject>``."""
        figure = self._draw()
        figure.suptitle(title or f"{self.model}: {self.subject}", parse_math=False)
        return figure

    def _draw(self) -> Figure:
        raise NotImplementedError

    def save(self, path: PathLike, title: str | None = None) -> Path:
        """Write the figure as a PNG file. Raises ArgumentError for another extension, DataError if writing fails."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ArgumentError(
                f"save: {path.name} must end in .png; for other formats, call .figure().savefig('x.pdf')."
            )
        save_figure(self.figure(title), path)
        return path

    def save_csv(self, path: PathLike) -> Path:
        """Write the rows as a CSV file, with six digits for floats. Raises DataError if writing fails."""
        write_table(Path(path), self.columns, self.rows)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return figure_bytes(self.figure())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model}: {len(self.rows)} rows; .rows, .figure(), .save(path)>"


def batch_for(where: str, model: Any, x: TensorLike) -> Tensor:
    """Return ``x`` as a tensor on the model's device. Raises ArgumentError if x is empty, or model is not a module."""
    check_module(where, model)
    device = next((parameter.device for parameter in model.parameters()), "cpu")
    batch = as_tensor(x).detach().to(device)
    if batch.ndim == 0 or len(batch) == 0:
        raise ArgumentError(f"{where}: x is {sizes(batch.shape)}; it must be a batch (N, ...) of at least one example.")
    return batch


def sample(source: LabelledSource, count: int, seed: int = 0) -> Split:
    """Return ``count`` images and their labels, chosen at random, or all if there are fewer."""
    numbers = np.random.default_rng(seed).choice(len(source), min(count, len(source)), replace=False)
    return Split(*source[np.sort(numbers)])


def own_weights(module: Module) -> list[Parameter]:
    """Return the module's own weights, such as those of a convolution or a linear layer, but not biases and scales."""
    if isinstance(module, LayerNorm):
        return []
    return [value for value in vars(module).values() if isinstance(value, Parameter) and value.ndim > 1]


def layers_of(model: Module) -> dict[str, Module]:
    """Return the layers with weights, keyed by their paths."""
    return {name or "(itself)": module for name, module in model.named_modules() if own_weights(module)}


def watch(modules: Mapping[str, Module], watcher: Callable[[str, Module, tuple[Any, ...], Tensor], None]) -> None:
    """Call ``watcher(name, module, inputs, output)`` after each call of a module from a tensor to a tensor.

    If the module was called with keyword arguments, ``inputs`` holds all arguments in the order of its ``forward``.

    The hooks are not removed: call it inside ``with undisturbed(model):``.
    """

    def look(name: str, module: Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        if options:
            bound = inspect.signature(module.forward).bind(*inputs, **options)
            bound.apply_defaults()
            inputs = bound.args
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            watcher(name, module, inputs, output)

    for name, module in modules.items():
        module.register_forward_hook(partial(look, name), with_kwargs=True)


def no_layers(where: str, model: Module) -> ArgumentError:
    """Return the error for a model without layers to measure."""
    return ArgumentError(
        f"{where}: {type(model).__name__} called no layer with weights; for a network made by nn.fold, use the "
        "original."
    )


def depth_figure(rows: list[Row], panels: Mapping[str, Mapping[str, str]], log: bool = False) -> Figure:
    """Draw lines along the layers, from the input to the output; values that were not measured are left out.

    Parameters
    ----------
    rows : list of dict
        A row for each layer.
    panels : mapping of str to mapping
        Maps the label of each panel's y axis to the lines in it: a mapping of columns of the rows to labels.
    log : bool
        Whether the y axes have a logarithmic scale. Zeros are then left out.
    """
    figure = new_figure(width=max(7, min(2 + 0.22 * len(rows), 12)), height=2.8 + 1.8 * len(panels))
    figure.subplots(len(panels), sharex=True)
    for axes, (ylabel, lines) in zip(figure.axes, panels.items(), strict=True):
        for (column, label), style in zip(lines.items(), STYLES, strict=False):
            values = [(number, row[column]) for number, row in enumerate(rows, 1)]
            points = [(number, value) for number, value in values if value is not None and (value or not log)]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, markersize=4, **style)
        axes.set_ylabel(ylabel)
        if log:
            log_scale(axes)
        else:
            axes.set_ylim(bottom=0)
        if len(axes.lines) > 1:
            axes.legend(frameon=False)
        style_axes(axes)
    name_depths(figure.axes[-1], [row["layer"] for row in rows])
    figure.axes[-1].set_xlabel("layer, from the input to the output")
    return figure


def name_depths(axes: Any, names: list[str]) -> None:
    """Write the names of layers below the axis; if there are many, only some of them."""
    every = -(-len(names) // MOST_NAMES)
    places = range(1, len(names) + 1, every)
    axes.set_xticks(places, names[::every], rotation=90, fontsize=8, parse_math=False)
    axes.set_xlim(0.5, len(names) + 0.5)


def log_scale(axes: Any) -> None:
    """Set a logarithmic scale with plain numbers, and also mark 2 and 5 if few powers of ten are in view."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < FEW_POWERS else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
