"""``mr.explain.swap``: the error of a network whose blocks change places, as in Veit et al., arXiv 1605.06431.

The paper's Figure 5b: the error of a residual network grows smoothly with the disorder, measured by Kendall's tau. A
network whose every layer needs what the one before it makes would fail at the first swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core import checks
from ..data.dataset import Source, Transform
from ..nn import Module
from ..training.figures import new_figure, style_axes
from ..training.folder import Row
from ..training.gradients import blue
from .measurement import GREY, Measurement
from .surgery import Study, check_counts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SWAPS = 5  # by default


@dataclass(frozen=True, repr=False)
class Swap(Measurement):
    """What :func:`swap` returns: a row for the intact network, then one for each order of its blocks.

    =================  ==========================================================================================
    ``count``          how many pairs changed places; 0 for the intact network
    ``kendall_tau``    of the order, over all blocks: 1 as they were, less the more pairs are in the wrong order
    ``order``          the paths of the blocks where they were before, in their new order, with spaces between
    ``error_percent``  of all images of the split
    ``loss``           mean cross-entropy
    =================  ==========================================================================================

    Attributes
    ----------
    guessing_percent : float
        The error of always answering the most frequent class of the split.
    """

    guessing_percent: float

    columns = ("count", "kendall_tau", "order", "error_percent", "loss")
    subject = "error when blocks change places"

    def figure(self, title: str | None = None) -> Figure:
        """Error by Kendall's tau, the intact network at the left, a shade for each number of swaps."""
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
        axes.axhline(self.guessing_percent, color=GREY, linewidth=1, linestyle=":", label="guessing")
        axes.set_ylim(0, 105)
        axes.invert_xaxis()
        axes.set_xlabel("Kendall's tau of the blocks' order (1: as trained)")
        axes.set_ylabel("error in %")
        axes.legend(title="swapped pairs", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        style_axes(axes)
        figure.suptitle(title or f"{self.model}: {self.subject}", parse_math=False)
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
    """Let random pairs of blocks of equal shapes change places, and test the network; nothing is trained again.

    Blocks that change the size stay where they are. The model is in evaluation mode meanwhile, and
    afterwards as it was.

    Parameters
    ----------
    model, split, transform, blocks, batch_size
        As for :func:`lesion`.
    counts : sequence of int, optional
        How many different pairs change places, one after the other; each number is tried ``trials`` times, and an
        order that came before is not tested again. By default 1 to 5, or to as many as there are.
    trials, seed : int

    Returns
    -------
    Swap

    Raises
    ------
    ArgumentError
        For a model without two blocks of equal shapes, or counts, trials or a seed out of range.
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
    trials, seed = checks.integer("swap", trials, "trials", 1), checks.integer("swap", seed, "seed", 0)
    study = Study("swap", model, split, transform, blocks, batch_size)
    pairs = study.interchangeable()
    if counts is None:
        counts = range(1, min(len(pairs), MOST_SWAPS) + 1)
    rng = np.random.default_rng(seed)
    as_trained = list(range(len(study.places)))
    rows: list[Row] = [_row(study, 0, as_trained, study.intact)]
    for count in check_counts("swap", counts, len(pairs), "pairs"):
        orders = []
        for _ in range(trials):
            order = as_trained.copy()
            for pair in rng.choice(len(pairs), count, replace=False):
                i, j = pairs[pair]
                order[i], order[j] = order[j], order[i]
            orders.append(order)
        for different in sorted({tuple(order) for order in orders}):
            with study.reordered(different):
                rows.append(_row(study, count, different, study.result()))
    return Swap(type(model).__name__, rows, study.guessing)


def _row(study: Study, count: int, order: Sequence[int], result: Row) -> Row:
    from scipy.stats import kendalltau  # takes as long to import as all of minires

    tau = float(kendalltau(range(len(order)), order).statistic)
    names = " ".join(study.places[number].name for number in order)
    return {"count": count, "kendall_tau": tau, "order": names, **result}
