"""The exercises of tutorial 14, segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...errors import CheckError
from .exercise import Exercises, OpenError, call, compare

EXERCISES = Exercises()

EXERCISES.predicted(
    "14.1",
    "Each of the 256 pixels of the map gets a score for each of the 6 classes.",
    "the number of logits",
    6 * 16 * 16,
    (6, "that is the classifier; here each pixel of the map gets its own 6 logits."),
    (64 * 16 * 16, "those are the numbers in the map; the 1x1 convolution turns 64 channels into 6."),
    (16 * 16, "that is the number of pixels; each gets 6 logits."),
    (6 * 64 * 64, "that is after the scores are enlarged to an image of 64x64 pixels; the map has 16x16."),
    (6 * 64, "those are the weights of the 1x1 convolution."),
)


@EXERCISES.judged("14.2", "The outer pixels keep the values at the ends: there is nothing to interpolate with.")
def bilinear_row(answer: Any) -> None:
    rng = np.random.default_rng(0)
    for n, m in ((5, 10), (4, 16), (6, 9), (7, 4), (1, 3)):
        row = rng.standard_normal(n)
        new = (np.arange(m) + 0.5) * n / m  # where the new pixels are, if old pixel k reaches from k to k + 1
        centres = np.arange(n) + 0.5
        expected = np.interp(new, centres, row)  # constant beyond both ends
        mistakes = {
            "it is stretched so that the end pixels stay where they are (align_corners). Their edges stay, not their "
            "centres.": np.interp(np.linspace(0, n - 1, m), np.arange(n), row),
            "these are copies of the nearest pixel; interpolate between two.": row[np.minimum(new.astype(int), n - 1)],
            "the halves are forgotten: pixel i has its centre at i + 1/2.": np.interp(
                np.arange(m) * n / m, np.arange(n), row
            ),
            "only one half is forgotten: subtract 1/2 again in the small row.": np.interp(new, np.arange(n), row),
            "the weights of the two neighbours are exchanged: the nearer one counts more.": _exchanged(row, new),
        }
        compare(f"the row of {m} numbers", call(answer, row.copy(), m), expected, mistakes)


def _exchanged(row: Array, new: Array) -> Array:
    place = np.clip(new - 0.5, 0, len(row) - 1)
    left = np.floor(place).astype(int)
    right = np.minimum(left + 1, len(row) - 1)
    mixed: Array = (place - left) * row[left] + (1 - place + left) * row[right]
    return mixed


EXERCISES.predicted(
    "14.3",
    "It has the nine weights of any 3x3 kernel, 4 pixels apart.",
    "the width",
    9,
    (12, "3 times 4 would count a gap after the last weight as well: three weights have two gaps between them."),
    (11, "that is with 4 pixels left out between weights; dilation 4 puts them 4 apart, so it leaves out 3."),
    (7, "that is dilation 3, with two pixels left out between weights."),
    (3, "that is the number of weights; they are 4 pixels apart."),
    (5, "that is dilation 2."),
)


@EXERCISES.judged("14.4", "Over a whole set, add the matrices of all images first: the mean of their scores differs.")
def scores_of_maps(answer: Any) -> None:
    true = np.array([[0, 0, 0, 0, 1], [0, 0, 1, 1, 3]])
    predicted = np.array([[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]])
    got = call(answer, predicted.copy(), true.copy(), 4)
    if not isinstance(got, tuple) or len(got) != 2:
        raise CheckError("score should return two things: the matrix, and the mean IoU.")
    matrix, mean = got
    if matrix is None or mean is None:
        raise OpenError
    expected = np.array([[((true == t) & (predicted == p)).sum() for p in range(4)] for t in range(4)])
    transposed = {"true classes belong in rows and predicted ones in columns; this is the other way round.": expected.T}
    compare("the matrix", matrix, expected, transposed)
    ious, recalls = [], []
    for k in (0, 1, 3):  # there is no class 2
        ious.append(((true == k) & (predicted == k)).sum() / ((true == k) | (predicted == k)).sum())
        recalls.append((predicted[true == k] == k).mean())
    mistakes = {
        "class 2 is neither true nor predicted anywhere: it has no IoU, and must not count as 0.": sum(ious) / 4,
        "class 2 is neither true nor predicted anywhere: it has no IoU, and must not count as 1.": (sum(ious) + 1) / 4,
        "class 3 is never predicted, but it occurs in the truth: its IoU is 0, and counts.": sum(ious) / 2,
        "that is the pixel accuracy, the share of all pixels that are right.": (true == predicted).mean(),
        "that is the mean recall; divide by the union, not by the true pixels.": np.mean(recalls),
    }
    if np.isnan(np.asarray(mean, float)).any():
        raise CheckError("0 / 0 is not a number: leave out classes whose union is empty before you take the mean.")
    compare("the mean IoU", mean, np.mean(ious), mistakes)


@EXERCISES.judged("14.5", "It is a ratio, so a small object counts as much as a large one.")
def loss_of_dice(answer: Any) -> None:
    rng = np.random.default_rng(0)
    p, t = rng.uniform(size=(4, 5)), (rng.uniform(size=(4, 5)) < 0.3).astype(float)
    shared = np.einsum("ij,ij", p, t)
    coefficient = 2 * shared / np.concatenate([p, t]).sum()
    mistakes = {
        "that is the coefficient; the loss is 1 minus it.": coefficient,
        "the factor 2 is missing: a perfect answer must have the loss 0.": 1 - coefficient / 2,
        "the sum of both sizes counts the intersection twice, and Dice's coefficient wants that; this is 1 minus the "
        "IoU.": 1 - shared / (p.sum() + t.sum() - shared),
        "the squares of p were summed; take p itself.": 1 - 2 * shared / ((p * p).sum() + t.sum()),
    }
    compare("the loss", call(answer, p, t), 1 - coefficient, mistakes)
