"""Plain and residual networks compared, trained in the same way: He et al., arXiv 1512.03385, section 4.2.

The folder of a comparison holds a run folder for each network (``plain20``, ``resnet20``, ...) and

==================  ====================================================================================
``compare.csv``     a row for each network: its size, and its loss and error after training
``compare.png``     training and test error over the epochs, plain on the left, residual on the right
``gradients.png``   the norm of each layer's gradient, in the first epoch and in the last
==================  ====================================================================================

``minires compare`` adds ``responses.csv`` and ``responses.png`` (see ``minires.explain.responses``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import models
from ..core import checks
from ..errors import ArgumentError, RunError, listed
from .classification import evaluate
from .config import Config
from .figures import BOLD, COLOURS, THIN, new_figure, save_figure, style_axes
from .folder import (
    CONFIG,
    GRADIENTS,
    HISTORY,
    METRICS,
    Row,
    damaged,
    existing_folder,
    load_run,
    read_json,
    read_table,
    write_table,
)
from .gradients import by_depth, read_gradients
from .lock import locked
from .loop import Stop, train
from .progress import Progress
from .recipe import load_data
from .task import find

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARISON, FIGURE, GRADIENTS_FIGURE = "compare.csv", "compare.png", "gradients.png"
KINDS = {"plain": "plain", "resnet": "residual"}  # the beginnings of names, and what they mean
COLUMNS = (
    "model", "depth", "parameters", "epochs", "train_loss", "train_error_percent", "test_loss", "test_error_percent",
    "last_epoch_train_loss", "last_epoch_train_error_percent", "gradient_ratio_first_epoch",
    "gradient_ratio_last_epoch", "train_seconds",
)  # fmt: skip
HISTORY_COLUMNS = find("classification").columns
MARGIN = 0.5  # percentage points; smaller differences count as equal, because runs with different seeds differ as much
SHRUNK, GROWN = 0.1, 10  # limits for the ratio of the first block's gradient to the last one's


def compare(
    depths: Sequence[int], config: Config, progress: Progress | None = None, stop: Stop = lambda: False
) -> list[Row]:
    """Train the plain and the residual network of each depth, on the same images in the same order.

    If it is called again with the same arguments, it continues where it was stopped. Complete runs are kept.

    Parameters
    ----------
    depths : sequence of int
        Some of the depths that :func:`twin_depths` returns: 8, 20, 56, ...
    config : Config
        The settings of all runs, except for ``model``. ``out`` is the folder of the comparison, by default
        ``runs/compare-<data>-seed<seed>``.
    progress : Progress, optional
        Its methods are called during each run that is not complete yet.
    stop : callable, optional
        Called after each batch, see :func:`~minires.training.train`.

    Returns
    -------
    list of dict
        The rows of ``compare.csv``, sorted by depth, plain before residual. ``train_...`` and ``test_...`` are measured
        with the final weights in evaluation mode, without augmentation. ``last_epoch_...`` are the last points of the
        training curves: means over an epoch during which weights change and images are augmented.
        ``gradient_ratio_...`` is the norm of the gradient at the first convolution of the first block, divided by the
        norm at the last convolution of the last block.

    Raises
    ------
    ArgumentError
        If a depth is not in :func:`twin_depths`, or ``depths`` is empty.
    RunError
        If a run in the folder was started with other settings or is damaged, another process is writing to the folder,
        or a loss is not finite.
    StoppedError
        If ``stop`` returned True.
    DataError
        If the data set cannot be read, or the folder cannot be written to.
    """
    depths = check_depths(depths)
    folder = comparison_folder(config)
    settings = [
        replace(config, model=f"{kind}{depth}", out=str(folder / f"{kind}{depth}"), log_gradients=True)
        for depth in depths
        for kind in KINDS
    ]
    for run in settings:  # check all runs before the first one is trained
        if (Path(str(run.out)) / CONFIG).exists():
            existing_folder(run)
    rows: list[Row] = []
    with locked(folder):
        known = _known_rows(folder)
        for run in settings:
            run_folder = Path(str(run.out))
            if not (run_folder / METRICS).exists():
                known.pop(run.model, None)
                train(run, resume=(run_folder / CONFIG).exists(), progress=progress, stop=stop)
            rows.append(known.get(run.model) or _row(run))
            write_table(folder / COMPARISON, COLUMNS, rows)
            draw(folder, rows, title=f"{config.data_name}, seed {config.seed}")
    return rows


def twin_depths() -> list[int]:
    """Return the depths, 6n + 2, for which both a plain and a residual network for small images exist."""
    names = models.names()
    depths = [int(name.removeprefix("plain")) for name in names if name.startswith("plain")]
    return [depth for depth in depths if depth % 6 == 2 and f"resnet{depth}" in names]


def check_depths(depths: Sequence[int]) -> list[int]:
    """Check the depths, and return them in ascending order, each once."""
    for depth in depths:
        if not checks.is_integer(depth) or depth not in twin_depths():
            known = listed([str(known) for known in twin_depths()])
            raise ArgumentError(
                f"compare: there are no plain and residual networks of depth {depth!r}; choose from {known}."
            )
    if not depths:
        raise ArgumentError("compare: there are no depths; give some, such as 8,20,56.")
    return sorted(set(depths))


def comparison_folder(config: Config) -> Path:
    """Return the folder of a comparison with these settings."""
    return Path(config.out if config.out is not None else f"runs/compare-{config.data_name}-seed{config.seed}")


def read_comparison(folder: Path) -> list[Row]:
    """Return the rows of a comparison's ``compare.csv``. Raises RunError if it cannot be read."""
    return read_table(folder / COMPARISON, COLUMNS, texts=("model",))


def _known_rows(folder: Path) -> dict[str, Row]:
    """Return the rows of an earlier call, keyed by model, or {} if they cannot be read and must be computed again."""
    try:
        return {row["model"]: row for row in read_comparison(folder)}
    except RunError:
        return {}


def _row(run: Config) -> Row:
    """Return the row of ``compare.csv`` for a complete run."""
    folder = Path(str(run.out))
    trained, metrics = load_run(folder, run.device), read_json(folder / METRICS)
    last = read_table(folder / HISTORY, HISTORY_COLUMNS)[-1]
    measured = ("parameters", "epochs", "test_loss", "test_error_percent", "train_seconds")
    if wrong := [name for name in measured if not checks.is_number(metrics.get(name))]:
        raise damaged(folder, ValueError(f"{METRICS} holds no number for {listed(wrong)}"))
    images = load_data(run.data, run.size or None).train
    train_result = evaluate(trained.model, images, trained.normalize)
    gradients = read_gradients(folder)
    return {
        "model": run.model,
        "depth": _kind_and_depth(run.model)[1],
        "train_loss": train_result.loss,
        "train_error_percent": 100 * train_result.errors / len(images),
        **{name: metrics[name] for name in measured},
        "last_epoch_train_loss": last["train_loss"],
        "last_epoch_train_error_percent": 100 * (1 - last["train_accuracy"]),
        "gradient_ratio_first_epoch": _gradient_ratio(folder, gradients, epoch=1),
        "gradient_ratio_last_epoch": _gradient_ratio(folder, gradients, epoch=run.epochs),
    }


def _kind_and_depth(model: str) -> tuple[str, int]:
    """Split a model's name: ``plain20`` becomes ("plain", 20)."""
    kind = model.rstrip("0123456789")
    return kind, int(model.removeprefix(kind))


def _gradient_ratio(folder: Path, gradients: list[Row], epoch: int) -> float:
    norms = by_depth(gradients, epoch)
    if len(norms) < 4:
        raise damaged(folder, ValueError(f"{GRADIENTS} lacks rows of epoch {epoch}"))
    _stem, first, *_, last, _classifier = norms
    return first / last


def draw(folder: Path, rows: list[Row], title: str) -> None:
    """Write ``compare.png`` and ``gradients.png`` from the run folders of the networks in ``rows``."""
    histories = {row["model"]: read_table(folder / row["model"] / HISTORY, HISTORY_COLUMNS) for row in rows}
    gradients = {row["model"]: read_gradients(folder / row["model"]) for row in rows}
    draw_errors(folder / FIGURE, histories, title)
    draw_gradients(folder / GRADIENTS_FIGURE, gradients, title)


def draw_errors(path: Path, histories: Mapping[str, list[Row]], title: str) -> None:
    """Draw training error (dashed) and test error (bold) over the epochs, like Figure 6 of arXiv 1512.03385.

    As in that figure, the vertical axis ends a little above the final errors, which may cut off the first epochs.

    Parameters
    ----------
    path : Path
    histories : mapping of str to list of dict
        The rows of ``history.csv``, keyed by model (``plain8``, ``resnet8``, ...).
    title : str

    Raises
    ------
    DataError
        If ``path`` cannot be written.
    """
    worst = 0.0
    figure, panels = _panels(histories, f"{title}: error on test images (bold) and training images (dashed)")
    for model, depth, axes, colour in panels:
        history = histories[model]
        epochs = [row["epoch"] for row in history]
        train, test = ([100 * (1 - row[f"{part}_accuracy"]) for row in history] for part in ("train", "test"))
        worst = max(worst, train[-1], test[-1])
        axes.plot(epochs, train, color=colour, **THIN)
        axes.plot(epochs, test, color=colour, **BOLD, label=f"{depth}: {test[-1]:.1f} %")
        axes.plot(epochs[-1:], test[-1:], color=colour, marker="o")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].set_ylim(0, min(100, 10 * np.ceil((1.6 * worst + 1) / 10)))  # the panels share their axes
    _finish(figure, path, "error in %", legend="layers: test error at the end")


def draw_gradients(path: Path, gradients: Mapping[str, list[Row]], title: str) -> None:
    """Draw the norm of the gradient by depth in the first epoch (dashed) and in the last (bold).

    Parameters
    ----------
    path : Path
    gradients : mapping of str to list of dict
        The rows of ``gradients.csv``, keyed by model.
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
        axes.set(yscale="log", xlabel="depth: 0 the first layer, 1 the last")
        axes.yaxis.set_major_formatter("{x:g}")
    _finish(figure, path, "L2 norm of the weight's gradient", legend="layers")


def _panels(models: Iterable[str], title: str) -> tuple[Figure, list[tuple[str, int, Any, str]]]:
    """Return a figure of two panels with the same scale, and for each model its name, depth, panel and colour."""
    figure = new_figure(width=10, height=5.2)
    panels = dict(zip(KINDS, figure.subplots(1, 2, sharex=True, sharey=True), strict=True))
    for kind, axes in panels.items():
        axes.set_title(KINDS[kind], loc="left", fontsize=14)
        style_axes(axes)
    figure.suptitle(title)
    named = {model: _kind_and_depth(model) for model in models}
    colours = dict(zip(sorted({depth for _, depth in named.values()}), COLOURS, strict=False))
    return figure, [(model, depth, panels[kind], colours[depth]) for model, (kind, depth) in named.items()]


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
                bbox_to_anchor=(0.5, -0.13),  # below the panel, so that it does not hide a curve
            )
    save_figure(figure, path)


def findings(rows: list[Row]) -> list[str]:
    """Return sentences that say what the rows of ``compare.csv`` show.

    Errors that differ by less than half a percentage point count as equal.
    """
    models_by_name = {row["model"]: row for row in rows}
    shallow, deep = rows[0]["depth"], rows[-1]["depth"]
    sentences = []
    if shallow != deep:
        for kind, how in zip(KINDS, ("Without", "With"), strict=True):
            few, many = (models_by_name[f"{kind}{depth}"]["train_error_percent"] for depth in (shallow, deep))
            outcome = _compared(many, few, ("better than", "as well as", "worse than"))
            sentences.append(
                f"{how} shortcuts, {deep} layers fit the training images {outcome} {shallow}: "
                f"the training error is {many:.1f} %, compared with {few:.1f} %."
            )
    plain, residual = (models_by_name[f"{kind}{deep}"] for kind in KINDS)
    without, with_shortcuts = plain["test_error_percent"], residual["test_error_percent"]
    outcome = _compared(with_shortcuts, without, ("a lower", "the same", "a higher"))
    sentences.append(
        f"With {deep} layers, the network with shortcuts has {outcome} test error: {with_shortcuts:.1f} %, "
        f"compared with {without:.1f} % without."
    )
    ratio = plain["gradient_ratio_first_epoch"]
    sentences.append(
        f"In {plain['model']}'s first epoch, the gradient at the first block was {two_digits(ratio)} times as large "
        "as at the last one: "
        f"it {'shrank' if ratio < SHRUNK else 'grew' if ratio > GROWN else 'kept its size'} on its way back."
    )
    return sentences


def two_digits(number: float) -> str:
    """Format a number with two significant digits, such as ``0.19``, ``3.6`` or ``510``."""
    return f"{float(f'{number:.2g}'):,g}"


def _compared(error: float, other: float, words: tuple[str, str, str]) -> str:
    """Choose the words for a lower, an equal or a higher error."""
    return words[1 + (error > other + MARGIN) - (error < other - MARGIN)]
