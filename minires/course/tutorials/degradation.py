"""The exercises of tutorial 7, degradation."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from .exercise import Exercises, compare

EXERCISES = Exercises()

EXERCISES.chosen(
    "7.1",
    "That is surprising, because a deeper network can compute whatever a shallower one can.",
    "higher",
    ("lower", "more layers can express more, so the loss ought to be lower; but training does not find it."),
    ("equal", "it would be equal if the extra layers did nothing; but nothing makes them do so."),
)

BEFORE_THE_LAST = "F is 0 only if the second beta, bn2.bias, is also 0 or less; another parameter is enough by itself."
LAST_GAMMA = "then F ends in relu(beta) times fc2, a constant that is 0 only if beta is 0 or less."
BETA = "a beta of 0 is where training starts, and F can be anything then."

EXERCISES.chosen(
    "7.2",
    "F ends in it, so F(x) = 0 and F(x) + x = x, whatever the other parameters are.",
    "fc2.weight",
    ("bn1.weight", BEFORE_THE_LAST),
    ("fc1.weight", BEFORE_THE_LAST),
    ("bn2.weight", LAST_GAMMA),
    ("bn1.bias", BETA),
    ("bn2.bias", BETA),
)

EXERCISES.chosen(
    "7.3",
    "Batch norm's backward pass makes the gradient a little larger in each layer, and fifty such factors make it huge.",
    "larger",
    ("smaller", "that is what most texts say: vanishing gradients. Measure it."),
    ("equal", "nothing keeps it constant: each layer multiplies it by some factor."),
)


@EXERCISES.judged("7.4", "Compared with the training error, the gap is small: training itself has already failed.")
def generalisation_gap(answer: Any, runs: Sequence[Any]) -> None:
    train, test = fmean(run.train_error for run in runs), fmean(run.test_error for run in runs)
    gap = test - train
    mistakes = {
        "that is the test error; how much more is it than the training error?": test,
        "that is the training error; how much less is it than the test error?": train,
        "it is the test error minus the training error, not the other way round.": -gap,
        "that is the first seed alone; take the mean over all of them.": runs[0].test_error - runs[0].train_error,
        "that is the sum over the seeds; take the mean.": gap * len(runs),
        "the errors are in per cent already.": 100 * gap,
    }
    compare("the gap", answer, gap, mistakes)
