"""The figures of a run folder.

They are drawn without pyplot, whose global state belongs to the user.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import Source
from ..interop.files import write_atomically
from .folder import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .classification import Evaluation

TRAIN, TEST = "#888888", "#1f5fa8"  # grey and blue
# One colour for each depth; readers with any kind of colour vision can tell them apart (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
BOLD: dict[str, Any] = {"linewidth": 2.4}
THIN: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (4, 2))}
MOST_COUNTS = 30  # with more classes, numbers in the cells and names beside them would be too small to read
MOST_MISTAKES = 25
LONGEST_NAME, LONGEST_TITLE = 20, 24  # characters, of a class name and of a line above an image


def write_curves(path: Path, history: list[Row], title: str) -> None:
    """Draw loss and error of training and test images over the epochs.

    Training curves are means over each epoch, during which the network changes and images are augmented, so they may
    lie above the test curves. Raises DataError if ``path`` cannot be written.
    """
    figure, error = _loss_and_axes(history, title, "error in %")
    for split, colour in (("train", TRAIN), ("test", TEST)):
        percent = [100 * (1 - row[f"{split}_accuracy"]) for row in history]
        _curve(error, history, percent, f"{split} {{:.2f}} %", colour)
    error.set_yscale("symlog", linthresh=1)  # logarithmic down to 1 %, linear below
    error.set_ylim(0, 100)
    _finish(figure, history, path)


def write_scores(path: Path, history: list[Row], title: str, scores: Sequence[str]) -> None:
    """Draw the losses, and the scores of the test images in per cent, over the epochs.

    ``scores`` are names without ``test_``. Raises DataError if ``path`` cannot be written.
    """
    figure, axes = _loss_and_axes(history, title, "score in %")
    for score, colour in zip(scores, COLOURS, strict=False):
        percent = [100 * row[f"test_{score}"] for row in history]
        _curve(axes, history, percent, f"{score.replace('_', ' ')} {{:.1f}} %", colour)
    axes.set_ylim(0, 100)
    _finish(figure, history, path)


def _loss_and_axes(history: list[Row], title: str, name: str) -> tuple[Figure, Axes]:
    """Return a figure with the losses on the left, and its empty axes on the right."""
    figure = new_figure(width=9, height=3.8)
    loss, other = figure.subplots(1, 2)
    all_losses = []
    for split, colour in (("train", TRAIN), ("test", TEST)):
        losses = [max(row[f"{split}_loss"], 1e-6) for row in history]  # a logarithmic axis cannot show 0
        all_losses += losses
        _curve(loss, history, losses, f"{split} {{:.4f}}", colour)
    lowest, highest = (math.floor(math.log10(extreme)) for extreme in (min(all_losses), max(all_losses)))
    loss.set(yscale="log", ylim=(10**lowest, 10 ** (highest + 1)))
    loss.set_title("loss", loc="left")
    other.set_title(name, loc="left")
    figure.suptitle(title, parse_math=False)
    return figure, other


def _finish(figure: Figure, history: list[Row], path: Path) -> None:
    """Label and write a figure of curves."""
    last = history[-1]["epoch"]
    for axes in figure.axes:
        axes.set(xlabel="epoch", xlim=(0, last + 1))
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        style_axes(axes)
        axes.legend(title=f"after epoch {last}", frameon=False, alignment="left")
    save_figure(figure, path)


def _curve(axes: Axes, history: list[Row], values: list[float], label: str, colour: str) -> None:
    """Plot a line. Its label is a format string for the last value, such as ``"test {:.4f}"``."""
    axes.plot(
        [row["epoch"] for row in history],
        values,
        color=colour,
        label=label.format(values[-1]),
        marker="o",
        markevery=[-1],
        markersize=4,
    )


def write_confusion(
    path: Path, confusion: np.ndarray[Any, Any], classes: Sequence[str], example: str = "image"
) -> None:
    """Draw the number of examples of each class (row) by predicted class (column): right in blue, wrong in orange.

    Parameters
    ----------
    path : Path
    confusion : array of int, (K, K)
    classes : sequence of K str
    example : str
        What was classified, for the title.

    Raises
    ------
    DataError
        If ``path`` cannot be written.
    """
    k = len(classes)
    size = min(2.5 + 0.42 * k, 12)
    figure = new_figure(width=size, height=size)
    axes = figure.subplots()
    colours = _cell_colours(confusion)  # (K, K, 3)
    axes.imshow(colours)
    if k <= MOST_COUNTS:
        for row, column in np.argwhere(confusion):
            ink = "white" if colours[row, column].mean() < 0.6 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=ink, fontsize=9)
        names = [_short(name) for name in classes]
        upright = 90 if max(map(len, names)) > 2 else 0
        axes.set_xticks(range(k), names, rotation=upright, parse_math=False)
        axes.set_yticks(range(k), names, parse_math=False)
        axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="#e6e6e6")
        axes.tick_params(which="both", length=0)
    total = int(confusion.sum())
    title = f"{total - int(np.trace(confusion)):,} of {total:,} test {example}s wrong"
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    save_figure(figure, path)


def write_mistakes(path: Path, test: Evaluation, split: Source, classes: Sequence[str]) -> None:
    """Draw the wrongly classified images with the highest probabilities, in descending order.

    Parameters
    ----------
    path : Path
        If there are no mistakes, no figure is written, and an existing one is removed.
    test : Evaluation
        The predictions for ``split``.
    split : Split, or another source
        Only the images that are drawn are read from it.
    classes : sequence of K str

    Raises
    ------
    DataError
        If ``path`` cannot be written.
    """
    chosen = test.worst_mistakes(MOST_MISTAKES)
    if not len(chosen):
        path.unlink(missing_ok=True)
        return
    images, labels = split[chosen]  # (B, C, H, W) and (B,)
    columns = math.ceil(math.sqrt(len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    proportion = min(max(images.shape[2] / images.shape[3], 0.5), 2)
    figure = new_figure(width=max(1.8 * columns, 2.6), height=(1.8 * proportion + 0.3) * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []}).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, number, image, label in zip(grid, chosen, images, labels, strict=False):
        colour = len(image) == 3
        axes.imshow(
            image.transpose(1, 2, 0) if colour else image.mean(axis=0),  # (H, W, C) or (H, W)
            cmap=None if colour else "gray",
            vmin=0,
            vmax=255,
            interpolation="antialiased",  # this is "nearest" for small images
        )
        predicted = test.predictions[number]
        title = _mistake(classes[label], classes[predicted], test.probabilities[number, predicted])
        axes.set_title(title, fontsize=8, parse_math=False)
    most = "the most confident of " if len(chosen) < test.errors else ""
    figure.suptitle(f"{most}{test.errors:,} mistake{'s' if test.errors > 1 else ''} (true → predicted)", fontsize=10)
    save_figure(figure, path)


def _mistake(true: str, predicted: str, probability: float) -> str:
    """Return the title of a mistake, such as ``8 → 1, 97 %``, in two lines if it is long."""
    true, predicted = f"{_short(true)} →", f"{_short(predicted)}, {100 * probability:.0f} %"
    return f"{true} {predicted}" if len(true) + len(predicted) < LONGEST_TITLE else f"{true}\n{predicted}"


def _short(name: str) -> str:
    """Shorten a class name, and replace characters that cannot be drawn, since it may be the name of a folder."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _cell_colours(confusion: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return colours (K, K, 3): the diagonal in blue, relative to its row, and the rest in orange.

    Orange is relative to the most frequent mistake.
    """
    right = np.eye(len(confusion), dtype=bool)
    wrong = np.where(right, 0, confusion)
    share = np.where(
        right, confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1), wrong / max(wrong.max(), 1)
    )
    full = np.where(right[..., None], [0.12, 0.37, 0.66], [0.90, 0.45, 0.10])  # (K, K, 3)
    return 1 + (full - 1) * np.sqrt(share)[..., None]  # with the root, small numbers stay visible


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure. Sizes are in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def style_axes(axes: Axes) -> None:
    """Add a faint grid, and remove the frame at the top and right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write ``figure`` as PNG. Raises DataError if that fails."""
    write_atomically(path, figure_bytes(figure))


def figure_bytes(figure: Figure) -> bytes:
    """Return ``figure`` as PNG."""
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # for class names in scripts that the font lacks
        figure.savefig(png, format="png")  # without pyplot, this uses Agg, whatever backend the user has
    return png.getvalue()


def blue(lightness: float) -> tuple[float, float, float]:
    """Return a shade of blue, from dark (0) to white (1)."""
    red, green, blue = (full + (1 - full) * lightness for full in (0.05, 0.19, 0.42))
    return red, green, blue
