"""Score runs of segmentation on thin parts: legs, tails, beaks, and the rims of what is hidden.

    python experiments/thin_parts.py runs/deeplab-seed0 runs/fcn-seed0 --out thin_parts.csv

A pixel of an object is thin if no square of 5x5 pixels that contains it lies inside the object's class. The script
prints, for each run, the mean IoU over all pixels, and the share of thin and of other pixels of objects that get their
class (recall), on the test images of the run's data set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_opening

from minires.core.backend import Array
from minires.data.annotated import IGNORED
from minires.training import load_run
from minires.training.folder import write_table
from minires.training.recipe import load_data
from minires.vision import confusion_matrix, mean_iou
from minires.vision.task import outputs_of

SIDE = 5  # pixels


def thin(mask: Array) -> Array:
    """Return where the parts of a mask (H, W) are thin, as booleans (H, W)."""
    found = np.zeros(mask.shape, bool)
    for number in np.unique(mask):
        if number not in (0, IGNORED):
            part = mask == number
            found |= part & ~binary_opening(part, np.ones((SIDE, SIDE)))
    return found


def score(folder: str) -> dict[str, str | int | float]:
    """Return the scores of a run, from 0 to 1."""
    run = load_run(folder)
    test = load_data(run.config.data, task="segmentation").test
    confusion = np.zeros((len(run.classes), len(run.classes)), np.int64)
    right, total = np.zeros(2, np.int64), np.zeros(2, np.int64)  # of thin pixels, and of other ones of objects
    for logits, masks, _ in outputs_of(run.model, test, run.normalize):
        predicted = logits.numpy().argmax(axis=1)  # (N, H, W)
        confusion += confusion_matrix(predicted, masks, len(run.classes))
        narrow = np.stack([thin(mask) for mask in masks])
        for kind, where in enumerate((narrow, ~narrow & (masks != 0) & (masks != IGNORED))):
            right[kind] += (predicted == masks)[where].sum()
            total[kind] += where.sum()
    recalls = (right / total).tolist()
    return {
        "run": Path(folder).name,
        "network": run.config.model,
        "mean_iou": mean_iou(confusion),
        "recall_thin": recalls[0],
        "recall_other": recalls[1],
        "thin_share": float(total[0] / total.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run of segmentation")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="CSV file to write")
    given = parser.parse_args()
    rows = [score(run) for run in given.runs]
    for row in rows:
        print(
            f"{row['run']}: mean IoU {row['mean_iou']:.3f}, recall of thin pixels {row['recall_thin']:.3f} "
            f"({row['thin_share']:.0%} of all pixels of objects), of others {row['recall_other']:.3f}"
        )
    write_table(given.out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
