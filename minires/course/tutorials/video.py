"""The exercises of tutorial 15, video."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...errors import CheckError
from .exercise import Exercises, call, compare

EXERCISES = Exercises()

EXERCISES.predicted(
    "15.1",
    "Of each pair, it gets exactly one right. No training can change this.",
    "the percentage",
    50,
    (100, "it gives a clip and the reversed one the same answer, so it cannot be right about both."),
    (0, "it gives a clip and the reversed one the same answer, so it cannot be wrong about both."),
    (0.5, "that is the share; give the percentage."),
)


@EXERCISES.judged("15.2", "It moves numbers, and needs no weights and no multiplications.")
def shift_in_time(answer: Any) -> None:
    rng = np.random.default_rng(0)
    for t in (4, 1):
        x, moved = rng.standard_normal((2, t, 7, 3, 5)), 2
        expected = _shifted(x, moved)
        other = np.concatenate([expected[:, :, : 2 * moved], 0 * x[:, :, 2 * moved :]], axis=2)
        around = np.concatenate(
            [
                np.roll(x[:, :, :moved], -1, axis=1),
                np.roll(x[:, :, moved : 2 * moved], 1, axis=1),
                x[:, :, 2 * moved :],
            ],
            axis=2,
        )
        mistakes = {
            "nothing is moved.": x,
            "the other channels are missing: they stay as they are.": other,
            "the first channels come from the next frame, and the second ones from the previous frame; this is the "
            "other way round.": _shifted(x[:, ::-1], moved)[:, ::-1],
            "what leaves at one end comes in at the other; there, channels are 0.": around,
            "only the first channels are moved.": np.where(np.arange(7)[:, None, None] < moved, expected, x),
        }
        got = call(answer, x.copy(), moved)
        compare("the shifted clip", got, expected, mistakes)


def _shifted(x: Array, moved: int) -> Array:
    """The shift by a loop over frames and channels."""
    _, frames, channels, *_ = x.shape
    y = np.zeros_like(x)
    for t in range(frames):
        for c in range(channels):
            source = t + 1 if c < moved else t - 1 if c < 2 * moved else t
            if 0 <= source < frames:
                y[:, t, c] = x[:, source, c]
    return y


@EXERCISES.judged("15.3", "So a (2+1)D network can be compared with a 3D network of the same size.")
def channels_between(answer: Any) -> None:
    for c, o in ((16, 16), (16, 32), (64, 64), (3, 45)):
        fits = [m for m in range(1, 27 * max(c, o)) if 9 * c * m + 3 * m * o <= 27 * c * o]
        right = fits[-1]
        mistakes = {
            "M must be a whole number; round down.": 27 * c * o / (9 * c + 3 * o),
            "rounded up, the pair has more weights than the 3x3x3 convolution.": right + 1,
            "the first convolution has 9 C M weights, and the second one 3 M O; C and O are exchanged.": 27
            * c
            * o
            // (9 * o + 3 * c),
            "that leaves out the convolution over time: it has 3 M O weights.": 27 * c * o // (9 * c),
            "that leaves out the convolution over space: it has 9 C M weights.": 27 * c * o // (3 * o),
        }
        compare(f"M for C = {c} and O = {o}", call(answer, c, o), right, mistakes)


@EXERCISES.judged("15.4", "Trackers also require a smallest IoU; what is left over begins a new track.")
def best_matching(answer: Any) -> None:
    from scipy.optimize import linear_sum_assignment  # imported late: it takes a while

    rng = np.random.default_rng(1)
    overlaps = [np.array([[0.6, 0.5], [0.5, 0.0]]), np.array([[0.1, 0.7, 0.2], [0.0, 0.6, 0.5], [0.4, 0.3, 0.2]])]
    for overlap in [*overlaps, *rng.uniform(size=(4, 4, 4))]:
        right = linear_sum_assignment(overlap, maximize=True)[1]
        got = np.asarray(call(answer, overlap.copy()))
        if got.shape == right.shape and sorted(got.tolist()) != list(range(len(right))):
            raise CheckError(f"{got.tolist()} is not a matching: each box belongs to exactly one track.")
        mistakes = {
            "this takes the largest overlap first, and leaves too little for the others: compare sums.": _greedy(
                overlap
            ),
            "this is the track of each box; return the box of each track.": np.argsort(right),
            "this matching has the smallest sum; find the largest one.": linear_sum_assignment(overlap)[1],
        }
        compare("the matching", got, right, mistakes)


def _greedy(overlap: Array) -> Array:
    left, boxes = overlap.copy(), np.zeros(len(overlap), int)
    for _ in boxes:
        i, j = np.unravel_index(left.argmax(), left.shape)
        boxes[i], left[i], left[:, j] = j, -1, -1
    return boxes
