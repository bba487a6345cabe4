"""Plain against residual networks of equal budgets: the experiment of He et al., arXiv 1512.03385, section 4.2.

The folder of a comparison holds a run folder for each network (``plain20``, ``resnet20``, ...) and

==================  ====================================================================================
``compare.csv``     a row for each network: its size, and its loss and error when training is over
``compare.png``     training and test error over the epochs, plain at the left, residual at the right
``gradients.png``   the norm of each layer's gradient, in the first epoch and in the last
==================  ====================================================================================

``minires compare`` adds ``responses.csv`` and ``responses.png``, of ``minires.explain.responses``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import models
from ..core import checks
from ..errors import ArgumentError, RunError, listed
from . import comparison_figures
from .config import Config
from .evaluation import evaluate
from .folder import CONFIG, HISTORY, METRICS, Row, existing_folder, read_json, read_table, write_table
from .gradients import by_depth, read_gradients
from .loop import Stop, train
from .progress import Progress
from .recipe import load_data
from .run import load_run

COMPARISON, FIGURE, GRADIENTS_FIGURE = "compare.csv", "compare.png", "gradients.png"
KINDS = ("plain", "resnet")
COLUMNS = (
    "model",
    "depth",
    "parameters",
    "epochs",
    "train_loss",
    "train_error_percent",
    "test_loss",
    "test_error_percent",
    "last_epoch_train_loss",
    "last_epoch_train_error_percent",
    "gradient_ratio_first_epoch",
    "gradient_ratio_last_epoch",
    "train_seconds",
)
MARGIN = 0.5  # percentage points: errors that are closer are called equal, because seeds differ by as much
SHRUNK, GROWN = 0.1, 10  # times the last block's gradient: less and more than this, we say that it shrank or grew


def compare(
    depths: Sequence[int], config: Config, progress: Progress | None = None, stop: Stop = lambda: False
) -> list[Row]:
    """Train the plain and the residual network of each depth, on the same images in the same order.

    Called again with the same arguments, it goes on where it was stopped: runs that are complete are kept as they are.

    Parameters
    ----------
    depths : sequence of int
        Out of :func:`twin_depths`: 8, 20, 56, ...
    config : Config
        The settings of every run but for ``model``. ``out`` is the folder of the comparison, by default
        ``runs/compare-<data>-seed<seed>``.
    progress : Progress, optional
        Told how each run goes; not of those that were complete before.
    stop : callable, optional
        Asked after each batch, as by :func:`~minires.training.train`.

    Returns
    -------
    list of dict
        The rows of ``compare.csv``, by depth, plain before residual. ``train_...`` and ``test_...`` are of the final
        weights in evaluation mode on images without augmentation. ``last_epoch_...`` are the last points of the
        training curves: means over the epoch, while the weights change and images are augmented.
        ``gradient_ratio_...`` is the norm of the gradient at the first convolution of the first block, divided by that
        at the last convolution of the last block.

    Raises
    ------
    ArgumentError
        For a depth that is not among :func:`twin_depths`, or none at all.
    RunError
        If a run in the folder was started with other settings or is damaged, or a loss stops being finite.
    StoppedError
        If ``stop`` said so.
    DataError
        If the data set cannot be read, or the folder not written to.
    """
    depths = check_depths(depths)
    folder = comparison_folder(config)
    settings = [
        replace(config, model=f"{kind}{depth}", out=str(folder / f"{kind}{depth}"), log_gradients=True)
        for depth in depths
        for kind in KINDS
    ]
    for run in settings:  # before any of them takes its time
        if (Path(str(run.out)) / CONFIG).exists():
            existing_folder(run)
    rows: list[Row] = []
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
    """The depths that come both plain and residual: 6n + 2 layers for small images."""
    names = models.names()
    depths = [int(name.removeprefix("plain")) for name in names if name.startswith("plain")]
    return [depth for depth in depths if depth % 6 == 2 and f"resnet{depth}" in names]


def check_depths(depths: Sequence[int]) -> list[int]:
    """The depths in ascending order, each once."""
    for depth in depths:
        if not checks.is_integer(depth) or depth not in twin_depths():
            known = listed([str(known) for known in twin_depths()])
            raise ArgumentError(
                f"compare: there are no plain and residual networks of depth {depth!r}, only of {known}."
            )
    if not depths:
        raise ArgumentError("compare: there are no depths; give some, such as 8,20,56.")
    return sorted(set(depths))


def comparison_folder(config: Config) -> Path:
    """Where a comparison with these settings is."""
    return Path(config.out if config.out is not None else f"runs/compare-{config.data_name}-seed{config.seed}")


def _known_rows(folder: Path) -> dict[str, Row]:
    """By model: what an earlier call found. Where that cannot be read, it is found again from the runs."""
    try:
        return {row["model"]: row for row in read_table(folder / COMPARISON) if tuple(row) == COLUMNS}
    except RunError:
        return {}


def _row(run: Config) -> Row:
    """What ``compare.csv`` says of a complete run."""
    folder = Path(str(run.out))
    trained, metrics, last = load_run(folder, run.device), read_json(folder / METRICS), read_table(folder / HISTORY)[-1]
    images = load_data(run.data, run.size or None).train
    train_result = evaluate(trained.model, images, trained.normalize)
    gradients = read_gradients(folder)
    return {
        "model": run.model,
        "depth": _depth(run.model),
        "train_loss": train_result.loss,
        "train_error_percent": 100 * train_result.errors / len(images),
        **{name: metrics[name] for name in ("parameters", "epochs", "test_loss", "test_error_percent")},
        "last_epoch_train_loss": last["train_loss"],
        "last_epoch_train_error_percent": 100 * (1 - last["train_accuracy"]),
        "gradient_ratio_first_epoch": _gradient_ratio(gradients, epoch=1),
        "gradient_ratio_last_epoch": _gradient_ratio(gradients, epoch=run.epochs),
        "train_seconds": metrics["train_seconds"],
    }


def _depth(model: str) -> int:
    return int(model.removeprefix("plain").removeprefix("resnet"))


def _gradient_ratio(gradients: list[Row], epoch: int) -> float:
    _stem, first, *_, last, _classifier = by_depth(gradients, epoch)
    return first / last


def draw(folder: Path, rows: list[Row], title: str) -> None:
    """Write ``compare.png`` and ``gradients.png`` from the run folders of the networks in ``rows``."""
    histories = {row["model"]: read_table(folder / row["model"] / HISTORY) for row in rows}
    gradients = {row["model"]: read_gradients(folder / row["model"]) for row in rows}
    comparison_figures.write_errors(folder / FIGURE, histories, title)
    comparison_figures.write_gradients(folder / GRADIENTS_FIGURE, gradients, title)


def findings(rows: list[Row]) -> list[str]:
    """What the rows of ``compare.csv`` show, in sentences that follow from the numbers, whatever these are.

    Errors within half a percentage point of each other count as equal.
    """
    models_by_name = {row["model"]: row for row in rows}
    shallow, deep = rows[0]["depth"], rows[-1]["depth"]
    sentences = []
    if shallow != deep:
        for kind, how in zip(KINDS, ("Without", "With"), strict=True):
            few, many = (models_by_name[f"{kind}{depth}"]["train_error_percent"] for depth in (shallow, deep))
            outcome = _compared(many, few, ("better than", "as well as", "worse than"))
            sentences.append(
                f"{how} shortcuts, {deep} layers learned the training images {outcome} {shallow}: "
                f"{many:.1f} % and {few:.1f} % of them are wrong."
            )
    plain, residual = (models_by_name[f"{kind}{deep}"] for kind in KINDS)
    without, with_shortcuts = plain["test_error_percent"], residual["test_error_percent"]
    outcome = _compared(with_shortcuts, without, ("a lower", "the same", "a higher"))
    sentences.append(
        f"With {deep} layers, shortcuts gave {outcome} test error: {with_shortcuts:.1f} %, and {without:.1f} % without."
    )
    ratio = plain["gradient_ratio_first_epoch"]
    sentences.append(
        f"In {plain['model']}'s first epoch, the gradient at the first block was {two_digits(ratio)} times that at the "
        f"last one: it {'shrank' if ratio < SHRUNK else 'grew' if ratio > GROWN else 'kept its size'} on its way back."
    )
    return sentences


def two_digits(number: float) -> str:
    """Two significant digits, without an exponent as long as that is short: ``0.19``, ``3.6``, ``510``."""
    return f"{float(f'{number:.2g}'):,g}"


def _compared(error: float, other: float, words: tuple[str, str, str]) -> str:
    """The word for lower, equal or higher."""
    return words[1 + (error > other + MARGIN) - (error < other - MARGIN)]
