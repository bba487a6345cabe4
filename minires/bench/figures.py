"""Figures of the results of ``minires bench``: a chart of the races, and a roofline plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, counted
from ..training.figures import new_figure, save_figure
from .measure import best_other

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Content = dict[str, Any]

BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#d2691e", "#4a8f3c", "#666666"
DIRECTIONS = {  # direction of a convolution: its name, colour and marker
    "forward": ("forward", BLUE, "o"),
    "grad_input": ("input gradient", ORANGE, "s"),
    "grad_weight": ("weight gradient", GREEN, "D"),
}
BYTES_OF_A_NUMBER = 4  # where operations are not counted, the roofline assumes one per number moved
WORTH_A_NAME = 0.005  # share of the total time below which the roofline leaves an op out


def chart(content: Content, path: Path) -> None:
    """Draw how many times faster than the fastest other contender minires was: bars for models, dots for convolutions.

    Raises
    ------
    ArgumentError
        If ``content`` has no race against another framework.
    """
    raced = [result for result in content["results"] if _best(result)]
    models = [result for result in raced if result["workload"]["kind"] != "ops"]
    convs = _by_shape([result for result in raced if result["workload"]["kind"] == "ops"])
    if not raced:
        raise ArgumentError("chart: the results hold no race with others; run minires bench --against torch.")
    rows = [len(part) for part in (models, convs) if part]
    figure = new_figure(width=9.5, height=1.1 + 0.36 * sum(rows) + 0.5 * len(rows))
    panels = figure.subplots(len(rows), 1, height_ratios=rows, squeeze=False, sharex=True)[:, 0]
    right = 1.08 * max(1.0, *(result["ratio"][_best(result)] for result in raced))
    if models:
        _bars(panels[0], models)
    if convs:
        _dots(panels[-1], convs)
    for axes in panels:
        axes.axvline(1, color=GREY, linewidth=1.2)
        axes.set_xlim(0, right * (1.45 if models else 1))
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[-1].set_xlabel("times as fast as the fastest other contender (1: equally fast)")
    packages = {name.partition(" ")[0] for result in raced for name in result["milliseconds"]}
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items() if name in packages)
    figure.suptitle(f"{versions}; {_machine(content)}", x=0.02, ha="left")
    save_figure(figure, path)


def _bars(axes: Axes, results: Sequence[Content]) -> None:
    """Draw a bar for each model, labelled with the milliseconds of both contenders."""
    for row, result in enumerate(results):
        best, milliseconds = _best(result), result["milliseconds"]
        ratio = result["ratio"][best]
        axes.barh(row, ratio, height=0.62, color=BLUE if ratio >= 1 else ORANGE)
        label = f"{ratio:.2f}   {_milliseconds(milliseconds['minires'])} ms, {best} {_milliseconds(milliseconds[best])}"
        axes.annotate(label, (max(ratio, 1), row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(results)), [_name(result["workload"]) for result in results])
    axes.invert_yaxis()


def _dots(axes: Axes, shapes: dict[str, list[Content]]) -> None:
    """Draw a line for each convolution, with a dot for each direction."""
    for row, results in enumerate(shapes.values()):
        ratios = [result["ratio"][_best(result)] for result in results]
        axes.plot([min(ratios), max(ratios)], [row, row], color="#cccccc", linewidth=2, zorder=1)
        for ratio, result in zip(ratios, results, strict=True):
            _, colour, marker = DIRECTIONS[result["workload"]["direction"]]
            axes.scatter(ratio, row, s=34, color=colour, marker=marker, zorder=2)
    axes.set_yticks(range(len(shapes)), list(shapes))
    axes.set_ylim(len(shapes) - 0.4, -0.6)
    for name, colour, marker in DIRECTIONS.values():
        axes.scatter([], [], s=34, color=colour, marker=marker, label=name)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9, borderaxespad=0)


def _by_shape(results: Sequence[Content]) -> dict[str, list[Content]]:
    shapes: dict[str, list[Content]] = {}
    for result in results:
        shapes.setdefault(result["name"].rpartition(", ")[0], []).append(result)
    return shapes


def _best(result: Content) -> str | None:
    """Return the contender that minires is compared with, or None if one of the two is missing."""
    return best_other(result["milliseconds"]) if "minires" in result["milliseconds"] else None


def _machine(content: Content) -> str:
    return f"{content['cpu']}, {counted(content['threads'], 'thread')}"


def _name(workload: Content) -> str:
    what = {"train": "training step", "infer": "inference"}[workload["kind"]]
    return f"{what}, {workload['model']}, {workload['batch']}x{workload['size']}x{workload['size']}"


def _milliseconds(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def roofline(content: Content, path: Path) -> None:
    """Draw each op of the profile under the two limits ("roofs") of the machine (Williams et al. 2009).

    The x axis is the number of operations per byte of input and output, the y axis the number of operations per
    second. Memory limits an op to the sloping roof, arithmetic to the flat one. A dot can only be above a roof if its
    arrays are still in a cache, or if it needs fewer operations than are counted. The area of a dot shows its time.

    Raises
    ------
    ArgumentError
        If ``content`` has no profile, or its profile has no peaks because the kernels could not be loaded.
    """
    profile = next(iter(content.get("profile", ())), None)
    if profile is None or not profile["peak"]:
        raise ArgumentError("roofline: the results hold no profile with measured peaks; run minires bench profile.")
    top, slope = profile["peak"]["operations"], profile["peak"]["bytes"]
    total = sum(row["seconds"] for row in profile["rows"])
    figure = new_figure(width=9.5, height=5.6)
    axes = figure.subplots()
    dots = [(*_place(row), row) for row in profile["rows"] if row["moves"] and row["bytes"] and row["seconds"]]
    dots = [dot for dot in dots if dot[2]["seconds"] >= WORTH_A_NAME * total]
    left, right = 0.08, 2.5 * max(top / slope, *(x for x, _, _ in dots))
    bottom, ceiling = 0.4 * min(slope * left, *(y for _, y, _ in dots)), 2.5 * top
    ridge = top / slope
    x = np.array([left, ridge, right])
    axes.plot(x, np.minimum(top, slope * x), color="black", linewidth=1.6)
    axes.fill_between(x, np.minimum(top, slope * x), ceiling, color="#f0f0f0", linewidth=0)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, ceiling))
    for across, up, row in sorted(dots, key=lambda dot: -dot[2]["seconds"]):  # small ones on top
        colour = BLUE if row["phase"] == "forward" else ORANGE
        face = colour if row["operations"] else "white"
        axes.scatter(across, up, _area(row, total), facecolor=face, edgecolor=colour, alpha=0.8, zorder=3)
    axes.set(xlabel="operations for each byte in and out (FLOP/byte)", ylabel="GFLOP/s")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate / 1e9:g}")
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    for name, colour in (("forward", BLUE), ("backward", ORANGE)):
        axes.scatter([], [], s=60, color=colour, alpha=0.75, label=name)
    axes.scatter([], [], s=60, facecolor="white", edgecolor=GREY, label="not counted: one operation per number")
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    figure.suptitle(f"{_name(profile['workload'])}: {_machine(content)}; areas are times", x=0.02, ha="left")
    figure.draw_without_rendering()  # fixes the position of the axes, which the labels depend on
    _label_dots(axes, dots, total, ridge)
    _label_roofs(axes, top, slope)
    save_figure(figure, path)


def _label_roofs(axes: Axes, top: float, slope: float) -> None:
    left, ridge = axes.get_xlim()[0], top / slope
    (x0, y0), (x1, y1) = axes.transData.transform([(left, slope * left), (ridge, top)])
    angle, middle = float(np.degrees(np.arctan2(y1 - y0, x1 - x0))), (left * ridge) ** 0.5
    axes.annotate(
        f"memory: {slope / 1e9:.0f} GB/s", (middle, slope * middle), (0, 5), textcoords="offset points",
        rotation=angle, rotation_mode="anchor", ha="center",
    )  # fmt: skip
    axes.annotate(f"arithmetic: {top / 1e9:.0f} GFLOP/s", (ridge, top), (0, 5), textcoords="offset points")


def _place(row: Content) -> tuple[float, float]:
    """Return operations per byte and operations per second."""
    operations = row["operations"] or row["bytes"] / BYTES_OF_A_NUMBER
    return operations / row["bytes"], operations / row["seconds"]


def _area(row: Content, total: float) -> float:
    return 2500 * row["seconds"] / total


def _label_dots(axes: Axes, dots: Sequence[tuple[float, float, Content]], total: float, ridge: float) -> None:
    """Label dots on the right under the sloping roof and below under the flat one; keep the labels apart."""
    lowest, highest = -np.inf, np.inf  # limits for the next label: upwards on the left, downwards on the right
    left = sorted((dot for dot in dots if dot[0] < ridge), key=lambda dot: dot[1])
    right = sorted((dot for dot in dots if dot[0] >= ridge), key=lambda dot: dot[0])
    for across, up, row in left + right:
        height = float(axes.transData.transform((across, up))[1]) * 72 / axes.figure.dpi  # in points
        radius = (_area(row, total) / np.pi) ** 0.5
        if across < ridge:
            to = max(height, lowest)
            lowest = to + 14
        else:
            to = min(height - radius - 22, highest)
            highest = to - 14
        axes.annotate(
            f"{row['op']} {row['phase']}, {row['seconds'] / total:.0%}", (across, up),
            (18 + radius if across < ridge else -8, to - height), textcoords="offset points", fontsize=9,
            va="center", ha="left" if across < ridge else "right",
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.8, "shrinkA": 2, "shrinkB": radius},
        )  # fmt: skip
