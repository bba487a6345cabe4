"""Tutorial 7, degradation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ...errors import CheckError
from .check import exercise
from .compare import OpenError, compare


def _choose(answer: Any, right: str, others: Mapping[str, str]) -> None:
    """Hold a word to the right one; ``others`` says of each of the wrong ones why it is."""
    if answer is None or answer is ...:
        raise OpenError
    if answer == right:
        return
    if answer in others:
        raise CheckError(others[answer])
    raise CheckError(f"{answer!r} is none of the words to choose from: {', '.join(sorted([right, *others]))}.")


@exercise("7.1", "And that is strange, for a deeper network could do whatever a shallower one does.")
def deeper_and_plain(answer: Any) -> None:
    _choose(
        answer,
        "higher",
        {
            "lower": "more layers can express more, so that it ought to be lower; training does not find it.",
            "equal": "if the layers too many did nothing, it would be equal; but nobody has told them to.",
        },
    )


@exercise("7.2", "F ends in it, so F(x) = 0 and F(x) + x = x, whatever the other parameters are.")
def what_makes_the_identity(answer: Any) -> None:
    inner = "F is 0 only as long as the second beta, bn2.bias, is 0 as well; another parameter settles it by itself."
    last = "then F ends in relu(beta) times fc2: that is constant, and it is 0 only if beta is."
    _choose(
        answer,
        "fc2.weight",
        {
            "bn1.weight": inner,
            "fc1.weight": inner,
            "bn2.weight": last,
            "bn1.bias": "a beta of 0 is where training starts: F is anything then.",
            "bn2.bias": "a beta of 0 is where training starts: F is anything then.",
        },
    )


@exercise("7.3", "Batch norm's backward makes it a little larger in each layer, and fifty factors make it huge.")
def gradient_of_the_first_block(answer: Any) -> None:
    _choose(
        answer,
        "larger",
        {
            "smaller": "that is what most texts say: vanishing gradients. Measure it.",
            "equal": "nothing holds it where it is: each layer multiplies it by some factor.",
        },
    )


@exercise("7.4", "Next to the training error, the gap is small: what is wrong is wrong in training already.")
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
