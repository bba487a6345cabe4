"""Tutorial 8, the residual block."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import CheckError
from .check import call, exercise
from .compare import OpenError, compare


@exercise("8.1", "Each block multiplies by 1 + f, and the 1 is the shortcut's.")
def ten_blocks_of_one_number(answer: Any) -> None:
    mistakes = {
        "that is the plain network: ten factors of 0.1. A block adds x, so its slope is 0.1 + 1.": 0.1**10,
        "that is one block; there are ten, and their slopes multiply.": 1.1,
        "slopes of blocks one after the other multiply; they do not add up.": 11.0,
        "the shortcut does not stop the other path: each block's slope is 1 + 0.1, and not 1.": 1.0,
    }
    if isinstance(answer, float) and abs(answer - 1.1**10) < 0.01:
        return  # rounded to what one would say
    compare("the slope", answer, 1.1**10, mistakes)


@exercise(
    "8.2", "Both paths get the same gradient. The block's input then gets it twice: once as it is, once through F."
)
def backward_of_the_join(answer: Any) -> None:
    rng = np.random.default_rng(0)
    branch, shortcut, upstream = (rng.standard_normal((2, 3, 4)) for _ in range(3))
    y = np.maximum(branch + shortcut, 0)
    got = call(answer, upstream, y)
    if not isinstance(got, tuple) or len(got) != 2:
        raise CheckError("join_backward should return two gradients: to the branch, and to the shortcut.")
    expected = np.where(branch + shortcut > 0, upstream, 0)
    step = 1e-6
    for direction in (np.ones_like(branch), rng.standard_normal(branch.shape)):  # it is what differences say, too
        moved = np.maximum(branch + step * direction + shortcut, 0)
        assert np.isclose(((moved - y) * upstream).sum() / step, (expected * direction).sum(), rtol=1e-3)
    for name, gradient in zip(("the gradient to the branch", "the gradient to the shortcut"), got, strict=True):
        mistakes = {
            f"{name} passes where the ReLU let nothing through: where y is 0, no gradient passes.": upstream,
            f"{name} is 1 where it should be the upstream: whatever comes after the block is lost.": np.where(
                y > 0, 1, 0
            ),
            f"{name} adds 1 to the upstream. The slope of an addition is 1: multiply by it.": upstream + 1,
            f"{name} has y as a factor; ReLU's slope is 1 where y > 0.": upstream * y,
            f"{name} is halved: both paths get all of the upstream, for both were added in full.": expected / 2,
            f"{name} is masked the wrong way: it passes where y is 0.": np.where(y > 0, 0, upstream),
        }
        if gradient is None:
            raise OpenError
        compare(name, gradient, expected, mistakes)


@exercise("8.3", "Independent variances add, and F has as much as its input: each block doubles it.")
def variance_without_norm(answer: Any) -> None:
    mistakes = {
        "one block doubles the variance; the next one doubles that again.": 40,
        "that would be F(x) alone, which keeps the variance; but x is added to it.": 1,
        "that is what would happen if each block added the variance that came in at the first: 1 + 20.": 21,
        "that is for the standard deviation, the root of the variance.": 2**10,
        "if F(x) and x were the same, their sum would have 4 times the variance; but they are nearly independent.": 4
        ** 20,
        "that is nineteen blocks.": 2**19,
        "that is twenty-one blocks.": 2**21,
    }
    compare("the variance", answer, 2**20, mistakes)


@exercise(
    "8.4", "Only what comes after the zero: the last gamma and the last beta. From the second step on, all of them."
)
def gradients_behind_a_zero(answer: Any) -> None:
    mistakes = {
        "all six would be right for any other gamma; but what goes back through the last BN is multiplied by it.": 6,
        "none? The last gamma's gradient does not contain gamma itself; and beta's is the sum of the upstream.": 0,
        "the last gamma, and one more: the last beta, which is added after gamma.": 1,
        "the last convolution comes before gamma: its gradient passes through the last BN, and is multiplied by 0.": 3,
        "everything before the last BN gets its gradient through it, multiplied by gamma = 0.": 4,
    }
    compare("the number of parameters with a gradient", answer, 2, mistakes)
