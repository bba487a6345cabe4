"""The figures of a comparison: plain networks at the left, residual ones at the right, a colour for each depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import new_figure, save_figure, style_axes
from .folder import Row
from .gradients import by_depth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {"plain": "plain", "resnet": "residual"}
# By depth, and told apart by readers with any kind of colour vision (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
BOLD: dict[str, Any] = {"linewidth": 2.4}
THIN: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (4, 2))}


def write_errors(path: Path, histories: Mapping[str, list[Row]], title: str) -> None:
    """Draw training error (dashed) and test error (bold) over the epochs, as Figure 6 of arXiv 1512.03385.

    Where all networks are far better at the end than at the beginning, the first epochs are cut off, as in that figure.

    Parameters
    ----------
    path : Path
    histories : mapping of str to list of dict
        By model (``plain8``, ``resnet8``, ...): the rows of its ``history.csv``.
    title : str

    Raises
    ------
    DataError
        If ``path`` cannot be written.
    """
    errors = {
        model: {part: [100 * (1 - row[f"{part}_accuracy"]) for row in history] for part in ("train", "test")}
        for model, history in histories.items()
    }
    worst = max(values[-1] for of_model in errors.values() for values in of_model.values())
    figure, panels = _panels(histories, f"{title}: error on test images (bold) and training images (dashed)")
    for model, depth, axes, colour in panels:
        epochs = [row["epoch"] for row in histories[model]]
        train, test = errors[model]["train"], errors[model]["test"]
        axes.plot(epochs, train, color=colour, **THIN)
        axes.plot(epochs, test, color=colour, **BOLD, label=f"{depth}: {test[-1]:.1f} %")
        axes.plot(epochs[-1:], test[-1:], color=colour, marker="o")
        axes.set_ylim(0, min(100, 10 * np.ceil((1.6 * worst + 1) / 10)))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(figure, path, "error in %", legend="layers: test error at the end")


def write_gradients(path: Path, gradients: Mapping[str, list[Row]], title: str) -> None:
    """Draw the norm of the gradient by depth in the first epoch (dashed) and in the last (bold).

    Parameters
    ----------
    path : Path
    gradients : mapping of str to list of dict
        By model: the rows of its ``gradients.csv``.
    title : str

    Raises
    ------
    DataError
        If ``path`` cannot be written.
    """
    figure, panels = _panels(gradients, f"{title}: gradients in the first epoch (dashed) and in the last (bold)")
    for model, depth, axes, colour in panels:
        last = gradients[model][-1]["epoch"]
        for epoch, style, label in ((1, THIN, None), (last, BOLD, str(depth))):
            norms = by_depth(gradients[model], epoch)
            axes.plot(np.linspace(0, 1, len(norms)), norms, color=colour, label=label, **style)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("depth: 0 the first layer, 1 the last")
    _finish(figure, path, "L2 norm of the weight's gradient", legend="layers")


def _panels(models: Iterable[str], title: str) -> tuple[Figure, list[tuple[str, int, Any, str]]]:
    """Two panels with one scale; and each model with its depth, its panel, and the colour of its depth."""
    figure = new_figure(width=10, height=5.2)
    panels = dict(zip(PANELS, figure.subplots(1, 2, sharex=True, sharey=True), strict=True))
    for kind, axes in panels.items():
        axes.set_title(PANELS[kind], loc="left", fontsize=14)
        style_axes(axes)
    figure.suptitle(title)
    named = [(model, model.rstrip("0123456789")) for model in models]
    depths = sorted({int(model.removeprefix(kind)) for model, kind in named})
    colours = dict(zip(depths, COLOURS, strict=False))
    found = [(model, int(model.removeprefix(kind)), panels[kind]) for model, kind in named]
    return figure, [(model, depth, axes, colours[depth]) for model, depth, axes in found]


def _finish(figure: Figure, path: Path, quantity: str, legend: str) -> None:
    left, _ = figure.axes
    left.set_ylabel(quantity, fontsize=12)
    for axes in figure.axes:
        if axes.lines:
            axes.legend(
                title=legend,
                frameon=False,
                fontsize=12,
                ncols=3,
                handlelength=1.2,
                columnspacing=1.2,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.13),  # below the panel, where it covers no curve
            )
    save_figure(figure, path)
