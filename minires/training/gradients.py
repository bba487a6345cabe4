"""The norm of each layer's gradient over the epochs: ``gradients.csv`` and ``gradients.png``.

A vanishing gradient gets smaller from the last layer to the first. With batch norm, the gradient does not vanish, even
in plain networks that are too deep to learn (He et al., arXiv 1512.03385, section 4.1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..nn import Module
from ..optim import l2_norm
from .figures import blue, new_figure, save_figure, style_axes
from .folder import GRADIENTS, GRADIENTS_FIGURE, Row, read_table, write_table

EVERY = 10  # batches between measurements; each is a pass over all weights, and more would hardly change the means
COLUMNS = ("epoch", "layer", "gradient_norm", "weight_norm")
MOST_LINES = 6  # in a figure
SMALLEST = 1e-12  # a logarithmic axis cannot show 0


class GradientLog:
    """Logs the L2 norms of the weights of convolutions and linear layers, and of their gradients, as means per epoch.

    Parameters
    ----------
    model : Module
    folder : Path
        The run folder. Its ``gradients.csv`` gets a row for each epoch and layer, with the layers in order of depth.

    Attributes
    ----------
    norms : dict of str to list of [float, float]
        For each layer, the norms of its gradient and of its weight at each measured batch of the current epoch.
    """

    def __init__(self, model: Module, folder: Path) -> None:
        self.folder = folder
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.ndim > 1}
        self.norms: dict[str, list[list[float]]] = {}

    def batch(self, number: int) -> None:
        """Measure every tenth batch. Call it after ``backward``; ``number`` counts from 1 in each epoch."""
        if number % EVERY != 1:
            return
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.norms.setdefault(name, []).append([l2_norm(weight.grad.data), l2_norm(weight.data)])

    def epoch(self, number: int) -> None:
        """Add the means of epoch ``number`` to ``gradients.csv``, and start the next epoch.

        Raises
        ------
        RunError
            If an earlier ``gradients.csv`` is damaged.
        DataError
            If it cannot be written.
        """
        earlier = read_gradients(self.folder) if number > 1 and (self.folder / GRADIENTS).exists() else []
        rows = [row for row in earlier if row["epoch"] < number]  # later ones were written before the run was resumed
        for name, norms in self.norms.items():
            gradient_norm, weight_norm = np.mean(norms, axis=0).tolist()
            rows.append({"epoch": number, "layer": name, "gradient_norm": gradient_norm, "weight_norm": weight_norm})
        self.norms = {}
        if rows:  # a run that is resumed just before the end of an epoch may have measured nothing yet
            write_table(self.folder / GRADIENTS, COLUMNS, rows)

    def draw(self, title: str) -> None:
        """Write ``gradients.png``, if any epoch was measured. Raises RunError or DataError if that fails."""
        if (self.folder / GRADIENTS).exists():
            write_gradients(self.folder / GRADIENTS_FIGURE, read_gradients(self.folder), title)


def read_gradients(folder: Path) -> list[Row]:
    """Return the rows of the ``gradients.csv`` in a run folder. Raises RunError if it is missing or damaged."""
    return read_table(folder / GRADIENTS, COLUMNS, texts=("layer",))


def by_depth(rows: list[Row], epoch: int) -> list[float]:
    """Return the norms of the gradients in ``epoch``, from the first layer to the last."""
    return [max(row["gradient_norm"], SMALLEST) for row in rows if row["epoch"] == epoch]


def write_gradients(path: Path, rows: list[Row], title: str) -> None:
    """Draw the norm of the gradient by depth, with a line for each of up to six epochs, later ones darker.

    Parameters
    ----------
    path : Path
    rows : list of dict
        The rows of ``gradients.csv``, at least one.
    title : str

    Raises
    ------
    DataError
        If ``path`` cannot be written.
    """
    epochs = sorted({row["epoch"] for row in rows})
    chosen = [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, MOST_LINES).round().astype(int))]
    figure = new_figure(width=8, height=4)
    axes: Any = figure.subplots()
    for epoch, shade in zip(chosen, np.linspace(0.75, 0.0, len(chosen)), strict=True):
        norms = by_depth(rows, epoch)
        axes.plot(range(1, len(norms) + 1), norms, color=blue(shade), marker="o", markersize=3, label=str(epoch))
    axes.set(yscale="log", xlabel="layer, from the input to the output", ylabel="L2 norm of the weight's gradient")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    style_axes(axes)
    axes.legend(title="epoch", frameon=False)
    figure.suptitle(title)
    save_figure(figure, path)
