"""Show runs of video their test clips backwards: does the answer change to the opposite direction?

python experiments/reversed_clips.py runs/tsm-seed0 runs/tsn-seed0 --out reversed.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from minires.core.state import no_grad
from minires.core.tensor import Tensor
from minires.training import load_run
from minires.training.folder import write_table
from minires.training.recipe import load_data

BATCH = 50


def score(folder: str) -> dict[str, str | float]:
    """Return the accuracy of a run on clips forward and backward, and the share of clips whose answer changes."""
    run = load_run(folder)
    test = load_data(run.config.data, task="video").test
    answers: list[list[np.ndarray]] = [[], []]
    for begin in range(0, len(test), BATCH):
        clips, _ = test[np.arange(begin, min(begin + BATCH, len(test)))]  # (N, T, C, H, W)
        for kind, shown in enumerate((clips, np.ascontiguousarray(clips[:, ::-1]))):
            with no_grad():
                answers[kind].append(run.model(Tensor.wrap(run.normalize(shown))).numpy().argmax(axis=1))
    forward, backward = map(np.concatenate, answers)
    opposite = 1 - test.labels  # right and left
    return {
        "run": Path(folder).name,
        "network": run.config.model,
        "accuracy_forward": float((forward == test.labels).mean()),
        "accuracy_backward": float((backward == opposite).mean()),
        "answers_that_change": float((forward != backward).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run of video on moving shapes")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="CSV file to write")
    given = parser.parse_args()
    rows = [score(run) for run in given.runs]
    for row in rows:
        print(
            f"{row['run']}: {row['accuracy_forward']:.1%} right forward, {row['accuracy_backward']:.1%} backward; "
            f"{row['answers_that_change']:.1%} of the answers change"
        )
    write_table(given.out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
