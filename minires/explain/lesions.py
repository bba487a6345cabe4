"""``mr.explain.lesion`` and ``swap``: the error of a network without some of its blocks, or with blocks swapped.

The experiments are those of Veit et al., arXiv 1605.06431. If one block is taken out of a residual network, its error
hardly changes, unless the block changes the size; if one layer is taken out of a plain network (VGG), it fails
(Figure 3). The more blocks are taken out, the higher the error (5a). If blocks are swapped, the error of a residual
network grows smoothly with the disorder, measured by Kendall's tau (5b). A network in which every layer needs the
output of the previous one would fail at the first swap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import Source, Transform
from ..errors import sizes
from ..nn import Module
from ..training.figures import blue, new_figure, style_axes
from ..training.folder import Row
from .measurement import BLUE, GREY, ORANGE, Measurement, name_depths
from .surgery import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERS = 30  # with more bars, the numbers above them would overlap
MOST_SWAPS = 5  # the largest number of swaps by default


@dataclass(frozen=True, repr=False)
class _ErrorMeasurement(Measurement):
    guessing_percent: float

    def _draw_guessing(self, axes: Any) -> None:
        axes.axhline(self.guessing_percent, color=GREY, linewidth=1, linestyle=":", label="guessing")


@dataclass(frozen=True, repr=False)
class Lesion(_ErrorMeasurement):
    """The result of :func:`lesion`: a row for the intact network, then one for each lesion.

    =================  ===========================================================================
    ``count``          the number of blocks that were taken out; 0 for the intact network
    ``removed``        the paths of these blocks in the model, separated by spaces
    ``reads, gives``   for a single block, the shapes of its input and output for one image
    ``error_percent``  the error on all images of the split, in %
    ``loss``           the mean cross-entropy
    =================  ===========================================================================

    Attributes
    ----------
    guessing_percent : float
        The error, in %, of always predicting the most frequent class of the split.
    """

    columns = ("count", "removed", "reads", "gives", "error_percent", "loss")
    subject = "error without some of its blocks"

    def _draw(self) -> Figure:
        """Draw the error without each block and, if several were taken out at once, by the number of blocks."""
        single = [row for row in self.rows if row["count"] == 1]
        by_count = any(row["count"] > 1 for row in self.rows)
        wide = max(6.0, min(2.5 + 0.3 * len(single), 12.0))
        figure = new_figure(width=wide + 4 * by_count, height=4.8)
        panels = figure.subplots(1, 1 + by_count, sharey=True, squeeze=False, width_ratios=(wide, 4)[: 1 + by_count])[0]
        _draw_single(panels[0], single)
        if by_count:
            _draw_counts(panels[1], self.rows)
        legend = {}
        for axes in panels:
            style_axes(axes)
            axes.set_axisbelow(True)
            axes.axhline(self.rows[0]["error_percent"], color="black", linewidth=1, linestyle="--", label="intact")
            self._draw_guessing(axes)
            axes.set_ylim(0, 108)
            legend.update({line.get_label(): line for line in axes.get_legend_handles_labels()[0]})
        panels[0].set_ylabel("error in %")
        figure.legend(handles=legend.values(), loc="outside lower center", ncols=5 if by_count else 2, frameon=False)
        return figure


def _draw_single(axes: Any, rows: list[Row]) -> None:
    """Draw a bar for each block that was taken out alone."""
    keeps, changes = ("block that keeps the size", BLUE), ("block that changes the size", ORANGE)
    labels, colours = zip(*(keeps if row["reads"] == row["gives"] else changes for row in rows), strict=True)
    errors = [row["error_percent"] for row in rows]
    bars = axes.bar(range(1, len(rows) + 1), errors, color=colours, label=labels)
    if len(rows) <= MOST_NUMBERS:
        axes.bar_label(bars, fmt="{:.1f}", fontsize=8, padding=2)
    name_depths(axes, [row["removed"] for row in rows])
    axes.set_xlabel("the block that is taken out")


def _draw_counts(axes: Any, rows: list[Row]) -> None:
    """Draw a dot for each lesion, and a line through the medians for each number of blocks."""
    counts = sorted({row["count"] for row in rows})
    axes.scatter([row["count"] for row in rows], [row["error_percent"] for row in rows], s=14, color=BLUE, alpha=0.5)
    medians = [np.median([row["error_percent"] for row in rows if row["count"] == count]) for count in counts]
    axes.plot(counts, medians, color=BLUE, label="median")
    axes.set_xlabel("how many blocks are taken out")
    axes.xaxis.get_major_locator().set_params(integer=True)


def lesion(
    model: Module,
    split: Source,
    transform: Transform | None = None,
    blocks: Sequence[str] | None = None,
    counts: Sequence[int] = (),
    trials: int = 5,
    seed: int = 0,
    batch_size: int = 256,
) -> Lesion:
    """Take each block out in turn, and test the remaining network without training it again.

    The shortcut of a residual block remains: F(x) is 0, and the ReLU after the addition stays. A plain block is
    replaced by the shortcut without parameters (option A) of its residual twin: its input, with every second pixel and
    more channels where the block changes the size. Any other module is replaced by its input, if its output has the
    same shape. The model is tested in evaluation mode, and is restored afterwards.

    Parameters
    ----------
    model : Module
        A module that takes (N, C, H, W) and returns logits (N, K).
    split : Split, or another source that a loader takes
        The images to test on.
    transform : callable, optional
        As for :func:`minires.training.evaluate`, such as ``load_run(path).normalize``.
    blocks : sequence of str, optional
        The paths of the modules to take out; by default all blocks of ``minires.models``.
    counts : sequence of int
        Numbers of blocks to take out at once, in addition. For each number, blocks are chosen at random ``trials``
        times (Figure 5a).
    trials, seed : int
        The number of random choices for each count, and the seed of these choices.
    batch_size : int
        The number of images that are tested at once.

    Returns
    -------
    Lesion

    Raises
    ------
    ArgumentError
        If the model does not have these blocks, a block cannot be replaced, or counts, trials or the seed are out of
        range.
    ShapeError, DTypeError, LabelError
        If the images or labels do not fit the model.

    Examples
    --------
    >>> import minires as mr
    >>> model, test = mr.models.resnet8(in_channels=1), mr.data.digits().test
    >>> lesion = mr.explain.lesion(model, test, mr.data.transforms.Normalize.of(test))
    >>> [(row["count"], row["removed"], row["reads"], row["gives"]) for row in lesion.rows]
    [(0, '', '', ''), (1, 'layer1.0', '16x8x8', '16x8x8'), (1, 'layer2.0', '16x8x8', '32x4x4'),
     (1, 'layer3.0', '32x4x4', '64x2x2')]
    """
    study = Study("lesion", model, split, transform, blocks, trials, seed, batch_size)
    draws = study.draws(counts, len(study.places), "blocks")
    rows: list[Row] = [{"count": 0, "removed": "", "reads": "", "gives": "", **study.intact}]
    for number, place in enumerate(study.places):
        shapes = {"reads": sizes(place.reads), "gives": sizes(place.gives)}
        rows.append({"count": 1, "removed": place.name, **shapes, **study.without([number])})
    for count, numbers in sorted({(len(draw), tuple(sorted(draw))) for draw in draws if len(draw) > 1}):
        removed = study.names(numbers)
        rows.append({"count": count, "removed": removed, "reads": "", "gives": "", **study.without(numbers)})
    return Lesion(type(model).__name__, rows, study.guessing)


@dataclass(frozen=True, repr=False)
class Swap(_ErrorMeasurement):
    """The result of :func:`swap`: a row for the intact network, then one for each order of its blocks.

    =================  ==========================================================================================
    ``count``          the number of pairs that were swapped; 0 for the intact network
    ``kendall_tau``    Kendall's tau of the order of all blocks: 1 for the original order, less for other orders
    ``order``          the original paths of the blocks, in their new order, separated by spaces
    ``error_percent``  the error on all images of the split, in %
    ``loss``           the mean cross-entropy
    =================  ==========================================================================================

    Attributes
    ----------
    guessing_percent : float
        The error, in %, of always predicting the most frequent class of the split.
    """

    columns = ("count", "kendall_tau", "order", "error_percent", "loss")
    subject = "error when blocks change places"

    def _draw(self) -> Figure:
        """Draw the error over Kendall's tau, with the intact network at the left and a shade per number of swaps."""
        figure = new_figure(width=7, height=4.6)
        axes = figure.subplots()
        counts = sorted({row["count"] for row in self.rows})
        for count in counts:
            rows = [row for row in self.rows if row["count"] == count]
            points = [row["kendall_tau"] for row in rows], [row["error_percent"] for row in rows]
            if count == 0:
                axes.scatter(*points, color="black", marker="D", label="none", zorder=3, clip_on=False)
            else:
                axes.scatter(*points, color=blue(0.75 * (1 - count / counts[-1])), label=str(count), clip_on=False)
        self._draw_guessing(axes)
        axes.set_ylim(0, 105)
        axes.invert_xaxis()
        axes.set_xlabel("Kendall's tau of the blocks' order (1: as trained)")
        axes.set_ylabel("error in %")
        axes.legend(title="swapped pairs", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        style_axes(axes)
        return figure


def swap(
    model: Module,
    split: Source,
    transform: Transform | None = None,
    blocks: Sequence[str] | None = None,
    counts: Sequence[int] | None = None,
    trials: int = 5,
    seed: int = 0,
    batch_size: int = 256,
) -> Swap:
    """Swap random pairs of blocks with equal shapes, and test the network without training it again.

    Blocks that change the size stay in place. The model is tested in evaluation mode, and is restored afterwards.

    Parameters
    ----------
    model, split, transform, blocks, batch_size
        As for :func:`lesion`.
    counts : sequence of int, optional
        Numbers of different pairs that are swapped, one pair after the other. Each number is tried ``trials`` times,
        but for each number, no order is tested twice. By default 1 to 5, or fewer if there are not as many pairs.
    trials, seed : int
        The number of random choices for each count, and the seed of these choices.

    Returns
    -------
    Swap

    Raises
    ------
    ArgumentError
        If the model does not have these blocks, no two of them have equal shapes, one is part of another, or counts,
        trials or the seed are out of range.
    ShapeError, DTypeError, LabelError
        If the images or labels do not fit the model.

    Examples
    --------
    >>> import minires as mr
    >>> model, test = mr.models.resnet14(in_channels=1), mr.data.digits().test
    >>> swap = mr.explain.swap(model, test, mr.data.transforms.Normalize.of(test), counts=[1], trials=1)
    >>> [(row["count"], round(row["kendall_tau"], 2)) for row in swap.rows]
    [(0, 1.0), (1, 0.87)]
    """
    study = Study("swap", model, split, transform, blocks, trials, seed, batch_size)
    pairs = study.interchangeable()
    if counts is None:
        counts = range(1, min(len(pairs), MOST_SWAPS) + 1)
    as_trained = tuple(range(len(study.places)))
    draws = study.draws(counts, len(pairs), "pairs")
    orders = sorted({(len(draw), _swapped(as_trained, [pairs[number] for number in draw])) for draw in draws})
    results = [(0, as_trained, study.intact), *((count, order, study.reordered(order)) for count, order in orders)]
    rows = [
        {"count": count, "kendall_tau": _kendall_tau(order), "order": study.names(order), **result}
        for count, order, result in results
    ]
    return Swap(type(model).__name__, rows, study.guessing)


def _swapped(order: Sequence[int], pairs: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Return the order after swapping the entries at each pair of places in turn.

    >>> _swapped(range(4), [(0, 1), (1, 3)])
    (1, 3, 2, 0)
    """
    swapped = list(order)
    for i, j in pairs:
        swapped[i], swapped[j] = swapped[j], swapped[i]
    return tuple(swapped)


def _kendall_tau(order: Sequence[int]) -> float:
    from scipy.stats import kendalltau  # imported here, because it is slow to import

    return float(kendalltau(range(len(order)), order).statistic)
