"""The exercises of tutorial 8, the residual block."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import CheckError
from .exercise import Exercises, call, compare

EXERCISES = Exercises()

EXERCISES.predicted(
    "8.1",
    "Each block multiplies the slope by 1 + f, and the 1 comes from the shortcut.",
    "the slope",
    1.1**10,
    (0.1**10, "that is the plain network: ten factors of 0.1. A block adds x, so its slope is 0.1 + 1."),
    (1.1, "that is one block; there are ten, and their slopes multiply."),
    (11.0, "the slopes of consecutive blocks multiply; they do not add up."),
    (1.0, "the shortcut does not close the other path: each block's slope is 1 + 0.1, not 1."),
    nearly=0.01,
)


@EXERCISES.judged(
    "8.2", "Both paths get the same gradient. So the block's input gets it twice: once unchanged, and once through F."
)
def backward_of_the_join(answer: Any) -> None:
    rng = np.random.default_rng(0)
    branch, shortcut, upstream = (rng.standard_normal((2, 3, 4)) for _ in range(3))
    y = np.maximum(branch + shortcut, 0)
    got = call(answer, upstream, y)
    if not isinstance(got, tuple) or len(got) != 2:
        raise CheckError("join_backward should return two gradients: one for the branch, and one for the shortcut.")
    step = 1e-6
    slope = (np.maximum(branch + step + shortcut, 0) - y) / step
    expected = upstream * slope
    for name, gradient in zip(("the branch's gradient", "the shortcut's gradient"), got, strict=True):
        mistakes = {
            f"{name} passes where the ReLU let nothing through: where y is 0, no gradient passes.": upstream,
            f"{name} is 1 where it should be the upstream: whatever comes after the block is lost.": 1.0 * (y > 0),
            f"{name} adds 1 to the upstream. The slope of an addition is 1: multiply by it.": upstream + 1,
            f"{name} is multiplied by y; ReLU's slope is 1 where y > 0.": upstream * y,
            f"{name} is halved. Both paths get all of the upstream, because both were added in full.": expected / 2,
            f"{name} is masked the wrong way round: it passes where y is 0.": np.where(y > 0, 0, upstream),
        }
        compare(name, gradient, expected, mistakes)


EXERCISES.predicted(
    "8.3",
    "The variances of independent numbers add up, and that of F(x) equals that of x: each block doubles it.",
    "the variance",
    2**20,
    (40, "one block doubles the variance; the next one doubles it again."),
    (1, "that would be F(x) alone, which keeps the variance; but x is added to it."),
    (21, "that would be the case if each block added the variance of the network's input: 1 + 20."),
    (2**10, "that is for the standard deviation, the square root of the variance."),
    (4**20, "if F(x) and x were the same, their sum would have 4 times the variance; but they are nearly independent."),
    (2**19, "that is nineteen blocks."),
    (2**21, "that is twenty-one blocks."),
)

EXERCISES.predicted(
    "8.4",
    "Only the last gamma and the last beta: nothing gets past a gamma of 0. From the second step on, all six have one.",
    "the number of parameters with a gradient",
    2,
    (6, "all six would be right for any other gamma; but what goes back through the last BN is multiplied by it."),
    (0, "none? The last gamma's gradient does not contain gamma itself, and beta's is the sum of the upstream."),
    (1, "the last gamma, and one more: the last beta, which is added after gamma."),
    (3, "the last convolution comes before gamma: its gradient passes through the last BN, and is multiplied by 0."),
    (4, "everything before the last BN gets its gradient through it, multiplied by gamma = 0."),
)
