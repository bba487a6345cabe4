"""Draw the README's figure from a run: python docs/images/digits.py runs/resnet8-digits-seed0"""

import csv
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minires as mr
from minires.training import evaluate, load_run

BLUE, ORANGE, GREY = "#1f5fa8", "#d2691e", "#666666"


def draw_curves(axes, history):
    """The errors of each epoch in percent, on a scale on which both 1 and 90 can be read."""
    epochs = [int(row["epoch"]) for row in history]
    for name, colour in (("train", ORANGE), ("test", BLUE)):
        errors = [100 * (1 - float(row[f"{name}_accuracy"])) for row in history]
        axes.plot(epochs, errors, color=colour, linewidth=2)
        axes.annotate(f"{name} {errors[-1]:.1f} %", (epochs[-1], errors[-1]), (6, 0), textcoords="offset points",
                      color=colour, va="center", fontsize=10)  # fmt: skip
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, 1, 3, 10, 30, 90], ["0", "1", "3", "10", "30", "90"])
    axes.set_xlim(0, epochs[-1] * 1.22)
    axes.set_xlabel("epoch")
    axes.set_title("error, %", loc="left", fontsize=11)
    axes.grid(axis="y", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)


def draw_images(panels, test, found):
    """The test images that the network is least sure of, the wrong ones first."""
    sure = found.probabilities[np.arange(len(test)), test.labels]
    for panel, i in zip(panels, np.argsort(sure), strict=False):
        right = found.predictions[i] == test.labels[i]
        panel.imshow(test.images[i, 0], cmap="gray_r", interpolation="nearest")
        told = f"{test.labels[i]}" if right else f"{test.labels[i]}, not {found.predictions[i]}"
        panel.set_title(told, fontsize=9, color=GREY if right else "#c00000", fontweight="normal" if right else "bold")
        panel.set_xticks([])
        panel.set_yticks([])
        for spine in panel.spines.values():
            spine.set_color("#bbbbbb" if right else "#c00000")


def main(run_folder):
    run = load_run(run_folder)
    test = mr.data.load(run.config.data).test
    found = evaluate(run.model, test, run.normalize)
    with (Path(run_folder) / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 3.6), dpi=110, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    draw_curves(left.subplots(), history)
    draw_images(right.subplots(3, 6).flat, test, found)
    right.suptitle(f"the 18 of {len(test)} test images it is least sure of ({found.errors} wrong)", fontsize=11)
    figure.savefig(Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1])
