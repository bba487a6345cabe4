"""Draw docs/images/lesions.png after `minires compare`: python docs/images/lesions.py runs/compare-digits-seed0"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minires as mr
from minires.training import load_run

NETWORKS = {"plain20": ("without shortcuts", "#d55e00", "s"), "resnet20": ("with shortcuts", "#0072b2", "o")}
COUNTS = range(2, 10)


def main(comparison):
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (name, (label, colour, marker)) in enumerate(NETWORKS.items()):
        run = load_run(Path(comparison) / name)
        test = mr.data.load(run.config.data).test
        rows = mr.explain.lesion(run.model, test, run.normalize, counts=COUNTS, trials=20).rows
        intact, single = rows[0]["error_percent"], [row for row in rows if row["count"] == 1]
        errors = [row["error_percent"] for row in single]
        places = np.arange(len(single)) + 0.4 * (number - 0.5)
        bars = left.bar(places, errors, width=0.4, color=colour, label=f"{name}, {label}: {intact:.1f} % intact")
        left.bar_label(bars, fmt="{:.0f}", fontsize=8, padding=1)
        medians = [np.median([row["error_percent"] for row in rows if row["count"] == c]) for c in (0, 1, *COUNTS)]
        right.plot(range(len(medians)), medians, color=colour, marker=marker, linewidth=2)
    left.set_xticks(range(len(single)), [row["removed"] for row in single], rotation=45, fontsize=9)
    left.set_title("one block taken out", loc="left", fontsize=11)
    left.set_ylabel("test error, %")
    left.set_ylim(0, 108)
    right.set_title("several blocks taken out at once: medians", loc="left", fontsize=11)
    right.set_xlabel("blocks taken out, of nine")
    for axes in (left, right):
        axes.grid(axis="y", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1])
