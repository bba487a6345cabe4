"""``mr.explain.lesion``: the error of a network when blocks are taken out, as in Veit et al., arXiv 1605.06431.

The paper's Figure 3: take one block out of a residual network, and its error hardly changes, unless the block changes
the size; take one layer out of a plain one (VGG), and it fails. Its Figure 5a: the more blocks, the higher the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import checks
from ..data.dataset import Source, Transform
from ..errors import sizes
from ..nn import Module
from ..training.figures import new_figure, style_axes
from ..training.folder import Row
from .measurement import BLUE, GREY, ORANGE, Measurement, name_depths
from .surgery import Study, check_counts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERS = 30  # above bars, before they run into each other


@dataclass(frozen=True, repr=False)
class Lesion(Measurement):
    """What :func:`lesion` returns: a row for the intact network, then one for each lesion.

    =================  ===========================================================================
    ``count``          how many blocks were taken out; 0 for the intact network
    ``removed``        their paths in the model, with spaces between
    ``reads, gives``   of a single block, the sizes of its input and output for an image
    ``error_percent``  of all images of the split
    ``loss``           mean cross-entropy
    =================  ===========================================================================

    Attributes
    ----------
    guessing_percent : float
        The error of always answering the most frequent class of the split.
    """

    guessing_percent: float

    columns = ("count", "removed", "reads", "gives", "error_percent", "loss")
    subject = "error without some of its blocks"

    def figure(self, title: str | None = None) -> Figure:
        """Error without each block; beside it, if several were taken out at once, error by their number."""
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
            axes.axhline(self.guessing_percent, color=GREY, linewidth=1, linestyle=":", label="guessing")
            axes.set_ylim(0, 108)
            legend.update({line.get_label(): line for line in axes.get_legend_handles_labels()[0]})
        panels[0].set_ylabel("error in %")
        figure.legend(handles=legend.values(), loc="outside lower center", ncols=5 if by_count else 2, frameon=False)
        figure.suptitle(title or f"{self.model}: {self.subject}", parse_math=False)
        return figure


def _draw_single(axes: Any, rows: list[Row]) -> None:
    """A bar for each block that was taken out alone."""
    for colour, label, wanted in (
        (BLUE, "block that keeps the size", True),
        (ORANGE, "block that changes the size", False),
    ):
        numbers = [number for number, row in enumerate(rows, 1) if (row["reads"] == row["gives"]) == wanted]
        errors = [rows[number - 1]["error_percent"] for number in numbers]
        bars = axes.bar(numbers, errors, color=colour, label=label) if numbers else ()
        if len(rows) <= MOST_NUMBERS:
            axes.bar_label(bars, fmt="{:.1f}", fontsize=8, padding=2) if numbers else None
    name_depths(axes, [row["removed"] for row in rows])
    axes.set_xlabel("the block that is taken out")


def _draw_counts(axes: Any, rows: list[Row]) -> None:
    """A dot for each lesion, and a line through the medians of those of equal size."""
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
    """Take each block out in turn, and test what is left; nothing is trained again.

    Of a residual block the shortcut remains: F(x) is 0, and the ReLU after the addition stays. A plain block is
    replaced by the shortcut without parameters (option A) that its residual twin has: its input, with every second
    pixel and more channels where the block changes the size. A module of another kind is replaced by its input, if its
    output has the same shape. The model is in evaluation mode meanwhile, and afterwards as it was.

    Parameters
    ----------
    model : Module
        Takes (N, C, H, W) and returns logits (N, K).
    split : Split, or another source that a loader takes
        What it is tested on.
    transform : callable, optional
        As for :func:`minires.training.evaluate`, such as ``load_run(path).normalize``.
    blocks : sequence of str, optional
        Paths of the modules to take out; by default all blocks of ``minires.models``.
    counts : sequence of int
        Also take so many blocks out at once, ``trials`` times, chosen at random (Figure 5a of the paper).
    trials, seed : int
    batch_size : int

    Returns
    -------
    Lesion

    Raises
    ------
    ArgumentError
        For a model without such blocks, a block that nothing can replace, or counts, trials or a seed out of range.
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
    trials, seed = checks.integer("lesion", trials, "trials", 1), checks.integer("lesion", seed, "seed", 0)
    study = Study("lesion", model, split, transform, blocks, batch_size)
    several = check_counts("lesion", counts, len(study.places), "blocks")
    rng = np.random.default_rng(seed)
    rows: list[Row] = [{"count": 0, "removed": "", "reads": "", "gives": "", **study.intact}]
    for place in study.places:
        with study.without([place]):
            shapes = {"reads": sizes(place.reads), "gives": sizes(place.gives)}
            rows.append({"count": 1, "removed": place.name, **shapes, **study.result()})
    for count in several:
        draws = [np.sort(rng.choice(len(study.places), count, replace=False)) for _ in range(trials)]
        for numbers in sorted({tuple(draw) for draw in draws}) if count > 1 else ():  # single ones are above
            with study.without(study.places[number] for number in numbers):
                names = " ".join(study.places[number].name for number in numbers)
                rows.append({"count": count, "removed": names, "reads": "", "gives": "", **study.result()})
    return Lesion(type(model).__name__, rows, study.guessing)
